//! A server for the browser, on ports that stay the same over a restart.

use std::time::Duration;

use evs_core::{Shard, SubscriberId};
use evs_server::app::App;
use evs_server::config::{Config, Durability, Role};
use evs_server::run::Server;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::chromium::DEADLINE;

pub(crate) struct Served {
    pub(crate) gateway: String,
    api: String,
    /// `None` while it restarts: whoever holds it holds the data folder.
    app: Option<App>,
    config: Config,
    running: JoinHandle<anyhow::Result<()>>,
    _folder: TempDir,
}

impl Served {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        // The client asks for TLS in general, so for a provider too; a second installation is refused and no harm.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let mut config = Config {
            data_dir: folder.path().to_owned(),
            api_addr: any,
            matcher_addr: any,
            gateway_addr: any,
            durability: Durability::Relaxed,
            drain_s: 1,
            ..Config::default()
        };
        change(&mut config);
        let server = Server::start(config.clone(), CancellationToken::new()).await.unwrap();
        config.api_addr = server.addr(Role::Api).unwrap();
        config.gateway_addr = server.addr(Role::Gateway).unwrap();
        let app = server.app().clone();
        let (api, gateway) = (format!("http://{}", config.api_addr), format!("http://{}", config.gateway_addr));
        Self { gateway, api, app: Some(app), config, running: tokio::spawn(server.run()), _folder: folder }
    }

    pub(crate) async fn restart(&mut self) {
        let app = self.app.take().unwrap();
        app.shutdown.cancel();
        drop(app);
        (&mut self.running).await.unwrap().unwrap();
        // The port may linger for a moment.
        let deadline = Instant::now() + DEADLINE;
        let server = loop {
            match Server::start(self.config.clone(), CancellationToken::new()).await {
                Ok(server) => break server,
                Err(error) => assert!(Instant::now() < deadline, "{error:#}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        self.app = Some(server.app().clone());
        self.running = tokio::spawn(server.run());
    }

    pub(crate) async fn stop(self) {
        self.app().shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }

    fn app(&self) -> &App {
        self.app.as_ref().unwrap()
    }

    async fn post(&self, path: &str, body: serde_json::Value) {
        let answer = reqwest::Client::new().post(format!("{}{path}", self.api)).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    pub(crate) async fn filter(&self, subscriber: &str) {
        self.post("/filters?wait=active", json!({ "subscriber_id": subscriber, "where": "n >= 0" })).await;
    }

    pub(crate) async fn publish(&self, numbers: std::ops::RangeInclusive<u64>) {
        let events: Vec<_> = numbers.map(|n| json!({ "event_id": format!("e{n}"), "n": n })).collect();
        self.post("/events", events.into()).await;
    }

    pub(crate) async fn acked(&self, subscriber: &str, consumer: &str, seq: u64) {
        let id = SubscriberId::new(subscriber).unwrap();
        let slot = self.app().filters.subscriber(&id).await.unwrap().unwrap().slot;
        self.until(&format!("{consumer} has acked {seq}"), async || {
            let consumers = self.app().queue.consumers(Shard(0), slot).await.unwrap();
            consumers.iter().any(|it| it.name.as_str() == consumer && it.acked.0 == seq)
        })
        .await;
    }

    pub(crate) async fn expired(&self, count: u64) {
        self.until("retention has dropped", async || self.app().metrics.expired.get() == count).await;
    }

    async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !condition().await {
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
