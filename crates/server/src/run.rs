//! Starts the roles of one process, watches over them, and stops them in order.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use evs_api::oplog::Level;
use rand::Rng as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::auth::{AuthConfig, Authorizer, check_startup};
use crate::backend::Backends;
use crate::clock::Clock;
use crate::config::{Config, Role};
use crate::limits::{Limits, LimitsConfig, Proxies};
use crate::metrics::Metrics;
use crate::oplog::OpLog;
use crate::reader::Readers;
use crate::retry::Backoff;
use crate::traces::Traces;
use crate::{gateway, http, instances, keeper, matcher, notices};

/// A server whose ports are bound: nothing can fail any more that a person at the terminal should see at once.
#[derive(Debug)]
pub struct Server {
    app: App,
    listeners: Vec<(Role, TcpListener)>,
}

impl Server {
    /// Opens the stores and binds the ports.
    ///
    /// # Errors
    /// A sentence that says which store or port cannot be used, why, and what to do.
    pub async fn start(config: Config, shutdown: CancellationToken) -> anyhow::Result<Self> {
        let auth = AuthConfig::from(&config);
        check_startup(&auth).map_err(anyhow::Error::msg)?;
        Proxies::new(&config.trusted_proxies).map_err(anyhow::Error::msg)?;
        let mut listeners = Vec::new();
        for role in [Role::Api, Role::Matcher, Role::Gateway] {
            if config.runs(role) {
                let (addr, flag) = address(&config, role);
                listeners.push((role, bind(addr, role, flag).await?));
            }
        }
        let clock = Clock::system();
        let auth = Authorizer::new(&auth, clock.clone()).map_err(anyhow::Error::msg)?;
        let instance: Arc<str> = format!("{:08x}", rand::rng().random::<u32>()).into();
        let traces = Traces::start(&config, &instance).map_err(anyhow::Error::msg)?;
        let backends = Backends::open(&config, &clock).await?;
        let metrics = Arc::new(Metrics::default());
        let oplog = Arc::new(OpLog::new(clock.clone(), instance.clone()));
        let readers = Readers::start(&backends.queue, &metrics, &oplog, &shutdown);
        let app = App {
            started_ms: clock.now_ms(),
            auth,
            limits: Arc::new(Limits::new(LimitsConfig::from(&config))),
            config: Arc::new(config),
            clock,
            log: backends.log,
            queue: backends.queue,
            filters: backends.filters,
            readers,
            activity: matcher::Activity::default(),
            metrics,
            oplog,
            traces,
            instance,
            shutdown,
        };
        // Before the first request: a token that was revoked must not be good once more because of a restart.
        let mut backoff = Backoff::default();
        while let Err(error) = notices::hear(&app, &mut HashSet::new()).await {
            tracing::warn!(%error, "revoked tokens cannot be looked up yet; trying again");
            if !backoff.wait(&app.shutdown).await {
                break;
            }
        }
        Ok(Self { app, listeners })
    }

    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The address that a role listens on, with the port that the system chose where 0 was asked.
    #[must_use]
    pub fn addr(&self, role: Role) -> Option<SocketAddr> {
        let listener = self.listeners.iter().find(|(own, _)| *own == role);
        listener.and_then(|(_, listener)| listener.local_addr().ok())
    }

    /// Runs until `shutdown` is cancelled and the roles have drained, or one of them fails.
    ///
    /// # Errors
    /// A role that ended by itself.
    pub async fn run(self) -> anyhow::Result<()> {
        let Self { app, listeners } = self;
        let mut roles: JoinSet<(&'static str, anyhow::Result<()>)> = JoinSet::new();
        for (role, listener) in listeners {
            let app = app.clone();
            match role {
                Role::Api => {
                    let router = http::router(app.clone());
                    roles.spawn(async move { ("api", http::serve(app, listener, router).await) });
                }
                Role::Matcher => {
                    let router = http::health::router(app.clone());
                    let (of_matcher, of_keeper) = (app.clone(), app.clone());
                    roles.spawn(async move {
                        matcher::run(of_matcher).await;
                        ("matcher", Ok(()))
                    });
                    roles.spawn(async move {
                        keeper::run(of_keeper).await;
                        ("keeper", Ok(()))
                    });
                    roles.spawn(async move { ("health", http::serve(app, listener, router).await) });
                }
                Role::Gateway => {
                    roles.spawn(async move { ("gateway", gateway::serve(app, listener).await) });
                }
            }
        }
        roles.spawn({
            let app = app.clone();
            async move {
                instances::run(app).await;
                ("report", Ok(()))
            }
        });
        let hearing = tokio::spawn(notices::run(app.clone()));
        let names: Vec<&str> = app.config.role.iter().map(|role| role.name()).collect();
        app.oplog.write(Level::Info, "started", None, format!("{} {} started", names.join(", "), app.instance));
        let mut failure = None;
        tokio::select! {
            () = app.shutdown.cancelled() => {}
            // A role that ends because it was told to may be seen before the telling.
            Some(ended) = roles.join_next() => failure = (!app.shutdown.is_cancelled()).then(|| end_of(ended)),
        }
        app.shutdown.cancel();
        let drain = async { while roles.join_next().await.is_some() {} };
        let deadline = Duration::from_secs(app.config.drain_s) + Duration::from_secs(2);
        if tokio::time::timeout(deadline, drain).await.is_err() {
            tracing::warn!("some connections did not end in time and were cut");
        }
        hearing.abort();
        app.traces.flush().await;
        match failure {
            Some(Err(error)) => Err(error),
            Some(Ok(())) | None => Ok(()),
        }
    }
}

/// A role that ends before the process is told to stop is a failure.
fn end_of(ended: Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>) -> anyhow::Result<()> {
    match ended {
        Ok((role, Ok(()))) => anyhow::bail!("the {role} ended by itself"),
        Ok((role, Err(error))) => Err(error.context(format!("the {role} failed"))),
        Err(error) => Err(anyhow::Error::new(error).context("a role panicked")),
    }
}

fn address(config: &Config, role: Role) -> (SocketAddr, &'static str) {
    match role {
        Role::Api => (config.api_addr, "--api-addr"),
        Role::Matcher => (config.matcher_addr, "--matcher-addr"),
        Role::Gateway => (config.gateway_addr, "--gateway-addr"),
    }
}

async fn bind(addr: SocketAddr, role: Role, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| {
        format!(
            "the {} cannot listen on {addr}; is another server running? Give another address with {flag}",
            role.name()
        )
    })
}
