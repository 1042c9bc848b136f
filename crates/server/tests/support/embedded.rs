//! A whole embedded server within the test's process, for tests that speak with it from outside.

use std::path::Path;
use std::time::Duration;

use evs_server::app::App;
use evs_server::config::{Config, Role};
use evs_server::run::Server;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Longer than starting and stopping take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Embedded {
    /// Whoever holds it holds the data folder.
    pub(crate) app: App,
    /// With the ports that it got, so that it can be started on them again.
    pub(crate) config: Config,
    running: JoinHandle<anyhow::Result<()>>,
}

/// In this folder, on any ports, for [`start`].
pub(crate) fn config_in(folder: &Path) -> Config {
    let any = ([127, 0, 0, 1], 0).into();
    Config { data_dir: folder.to_owned(), api_addr: any, matcher_addr: any, gateway_addr: any, ..Config::default() }
}

/// Tries again while a server that was there before lets go of its folder and its ports.
pub(crate) async fn start(mut config: Config) -> Embedded {
    // Clients in the same process ask for TLS in general, so for a provider too; a second installation is refused and
    // no harm.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let deadline = Instant::now() + DEADLINE;
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let server = loop {
        match Server::start(config.clone(), CancellationToken::new()).await {
            Ok(server) => break server,
            Err(error) => assert!(Instant::now() < deadline, "{error:#}"),
        }
        tick.tick().await;
    };
    config.api_addr = server.addr(Role::Api).unwrap();
    config.matcher_addr = server.addr(Role::Matcher).unwrap();
    config.gateway_addr = server.addr(Role::Gateway).unwrap();
    Embedded { app: server.app().clone(), config, running: tokio::spawn(server.run()) }
}

impl Embedded {
    pub(crate) fn api(&self) -> String {
        format!("http://{}", self.config.api_addr)
    }

    pub(crate) fn gateway(&self) -> String {
        format!("http://{}", self.config.gateway_addr)
    }

    /// Stops it as SIGTERM does, which must end by itself; what it stored stays. The answer starts it again.
    pub(crate) async fn stop(self) -> Config {
        let Self { app, config, running } = self;
        app.shutdown.cancel();
        drop(app);
        tokio::time::timeout(DEADLINE, running).await.expect("it stops in time").unwrap().unwrap();
        config
    }
}
