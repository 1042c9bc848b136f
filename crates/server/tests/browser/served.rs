//! A server for the browser, on ports that stay the same over a restart.

use evs_core::{Shard, SubscriberId};
use evs_server::config::{Config, Durability};
use serde_json::json;
use tempfile::TempDir;

use crate::chromium::DEADLINE;
use crate::embedded::{self, Embedded};

pub(crate) struct Served {
    pub(crate) gateway: String,
    /// `None` while it restarts.
    server: Option<Embedded>,
    _folder: TempDir,
}

impl Served {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = embedded::config_in(folder.path());
        config.durability = Durability::Relaxed;
        config.drain_s = 1;
        change(&mut config);
        let server = embedded::start(config).await;
        Self { gateway: server.gateway(), server: Some(server), _folder: folder }
    }

    pub(crate) async fn restart(&mut self) {
        let config = self.server.take().unwrap().stop().await;
        self.server = Some(embedded::start(config).await);
    }

    pub(crate) async fn stop(mut self) {
        self.server.take().unwrap().stop().await;
    }

    fn server(&self) -> &Embedded {
        self.server.as_ref().unwrap()
    }

    async fn post(&self, path: &str, body: serde_json::Value) {
        let answer =
            reqwest::Client::new().post(format!("{}{path}", self.server().api())).json(&body).send().await.unwrap();
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
        let slot = self.server().app.filters.subscriber(&id).await.unwrap().unwrap().slot;
        self.until(&format!("{consumer} has acked {seq}"), async || {
            let consumers = self.server().app.queue.consumers(Shard(0), slot).await.unwrap();
            consumers.iter().any(|it| it.name.as_str() == consumer && it.acked.0 == seq)
        })
        .await;
    }

    pub(crate) async fn expired(&self, count: u64) {
        self.until("retention has dropped", async || self.server().app.metrics.expired.get() == count).await;
    }

    async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let ask = async || condition().await.then_some(()).ok_or(());
        crate::poll::poll(DEADLINE, ask, |()| format!("waited in vain until {what}")).await;
    }
}
