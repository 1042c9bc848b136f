//! Makes filter changes active: waits until every live matcher has applied them, then raises the queue shards.
//!
//! Raising is what makes it true: from then on no append that was matched against older filters is accepted, so every
//! event that the log acknowledges later is matched against the change. Waiting for the matchers first only spares
//! them refused appends. One task does it for all requests, so a thousand waiting creations cost one round.

use std::time::Duration;

use evs_core::{FilterVersion, Shard};
use tokio::sync::watch;

use crate::app::App;
use crate::ports::{PortError, PortResult};

/// Between looks at the matchers' reports while somebody waits.
const POLL: Duration = Duration::from_millis(20);

/// A matcher that is alive but stuck must not keep filters pending for ever; the fence is right without it.
const MATCHERS_WAIT: Duration = Duration::from_secs(8);

/// After a failure of a backend.
const RETRY: Duration = Duration::from_secs(1);

/// A shard that changes its epoch again and again while it is raised is in trouble.
const RAISE_ATTEMPTS_MAX: usize = 5;

#[derive(Debug)]
pub(super) struct Activation {
    wanted: watch::Sender<FilterVersion>,
    active: watch::Receiver<FilterVersion>,
}

impl Activation {
    pub(super) fn start(app: &App) -> Self {
        let wanted = watch::Sender::new(FilterVersion(0));
        let (active_sender, active) = watch::channel(FilterVersion(0));
        let (app, wanted_receiver) = (app.clone(), wanted.subscribe());
        tokio::spawn(async move {
            let shutdown = app.shutdown.clone();
            shutdown.run_until_cancelled(run(&app, wanted_receiver, active_sender)).await;
        });
        Self { wanted, active }
    }

    /// Asks for `version` to become active, and does not wait.
    pub(super) fn want(&self, version: FilterVersion) {
        self.wanted.send_if_modified(|wanted| {
            let newer = version > *wanted;
            *wanted = version.max(*wanted);
            newer
        });
    }

    /// Asks for `version` and waits. `false`: not within `timeout`; it goes on in the background.
    pub(super) async fn wait(&self, version: FilterVersion, timeout: Duration) -> bool {
        self.want(version);
        let mut active = self.active.clone();
        let reached = active.wait_for(|active| *active >= version);
        matches!(tokio::time::timeout(timeout, reached).await, Ok(Ok(_)))
    }
}

async fn run(app: &App, mut wanted: watch::Receiver<FilterVersion>, active: watch::Sender<FilterVersion>) {
    // What was stored before this process started, and perhaps not raised, counts as asked for.
    let stored = loop {
        match app.filters.version().await {
            Ok(version) => break version,
            Err(error) => pause(&error).await,
        }
    };
    let mut version = stored;
    loop {
        while let Err(error) = activate(app, version).await {
            pause(&error).await;
        }
        active.send_replace(version);
        let Ok(newer) = wanted.wait_for(|wanted| *wanted > version).await.map(|wanted| *wanted) else { return };
        version = newer;
    }
}

async fn pause(error: &PortError) {
    tracing::warn!(%error, "filters cannot be made active now; trying again");
    tokio::time::sleep(RETRY).await;
}

async fn activate(app: &App, version: FilterVersion) -> PortResult<()> {
    if tokio::time::timeout(MATCHERS_WAIT, applied(app, version)).await.is_err() {
        tracing::warn!(%version, "a live matcher has not applied the filters in time; raising the queues without it");
    }
    for shard in 0..app.queue.shards() {
        raise(app, Shard(shard), version).await?;
    }
    Ok(())
}

/// Returns when every live matcher reports at least `version`.
async fn applied(app: &App, version: FilterVersion) {
    loop {
        match app.filters.reports().await {
            Ok(reports) => {
                let mut matchers = reports.iter().filter(|report| report.roles.iter().any(|role| role == "matcher"));
                if matchers.all(|report| report.filter_version >= version.0) {
                    return;
                }
                tokio::time::sleep(POLL).await;
            }
            Err(error) => pause(&error).await,
        }
    }
}

async fn raise(app: &App, shard: Shard, version: FilterVersion) -> PortResult<()> {
    for _ in 0..RAISE_ATTEMPTS_MAX {
        let state = app.queue.open(shard, version).await?;
        if state.min_version >= version || app.queue.raise(shard, state.epoch, version).await? {
            return Ok(());
        }
    }
    Err(PortError::Unavailable { what: "the delivery queue", cause: format!("shard {shard} keeps changing its epoch") })
}

/// What every shard is raised to: filters up to this version are active.
pub(super) async fn active_version(app: &App) -> PortResult<FilterVersion> {
    let mut lowest = FilterVersion(u64::MAX);
    for shard in 0..app.queue.shards() {
        lowest = lowest.min(app.queue.state(Shard(shard)).await?.min_version);
    }
    Ok(lowest)
}
