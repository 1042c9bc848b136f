//! Keeps the match index equal to the filter store, reports what is applied, and lets filters become active.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use evs_api::stats::IndexStats;
use evs_core::index::{IndexReader, MatchIndex, Target};
use evs_core::{Event, FilterVersion, Shard};
use tokio::sync::{mpsc, watch};

use crate::app::App;
use crate::ports::filter_store::{FilterChange, FilterRecord, InstanceReport, same_history};
use crate::ports::{PortError, PortResult};
use crate::retry::Backoff;
use crate::spec;

const PAGE: usize = 10_000;
/// The store is asked this often even if nothing woke us.
const POLL: Duration = Duration::from_secs(1);

/// Loads every filter, then keeps following. `None`: the process stops before it was done.
pub(super) async fn start(app: &App, sampled: mpsc::Receiver<Event>) -> Option<(IndexReader, watch::Receiver<u64>)> {
    let (index, version) = (MatchIndex::new(), FilterVersion(0));
    let mut sync = Sync { app: app.clone(), index, version, published: version, observed: 0, raised: 0 };
    let mut backoff = Backoff::default();
    // Never from an empty index because the store was away: wait for it.
    while let Err(error) = sync.pull().await {
        tracing::warn!(%error, "cannot load the filters; trying again");
        if !backoff.wait(&app.shutdown).await {
            return None;
        }
    }
    tracing::info!(filters = sync.index.stats().filters, version = sync.version.0, "the match index is loaded");
    let reader = sync.index.reader();
    let applied = watch::Sender::new(sync.published.0);
    let receiver = applied.subscribe();
    tokio::spawn(sync.follow(applied, sampled));
    Some((reader, receiver))
}

fn is_put(change: &FilterChange) -> bool {
    matches!(change, FilterChange::Put(_))
}

pub(super) fn target(record: &FilterRecord) -> Target {
    Target { shard: record.shard, slot: record.slot }
}

pub(super) struct Sync {
    pub(super) app: App,
    pub(super) index: MatchIndex,
    /// What the index has applied, and what readers have of it.
    pub(super) version: FilterVersion,
    pub(super) published: FilterVersion,
    /// Events that the index was shown.
    pub(super) observed: u64,
    raised: u64,
}

impl Sync {
    async fn follow(mut self, applied: watch::Sender<u64>, mut sampled: mpsc::Receiver<Event>) {
        let filters = Arc::clone(&self.app.filters);
        loop {
            if let Err(error) = self.tell(&applied).await {
                tracing::warn!(%error, "cannot report the applied filter version");
            }
            // One wait, whatever is shown to the index meanwhile, so that no wake-up is lost.
            let mut changed = pin!(filters.changed(self.version, POLL));
            loop {
                tokio::select! {
                    biased;
                    () = self.app.shutdown.cancelled() => return,
                    () = &mut changed => break,
                    Some(event) = sampled.recv() => self.observe(&event).await,
                }
            }
            if let Err(error) = self.pull().await {
                tracing::warn!(%error, "cannot read filter changes");
                tokio::time::sleep(POLL).await;
            }
        }
    }

    /// Applies everything up to the store's present version and publishes it.
    async fn pull(&mut self) -> PortResult<()> {
        let target = self.app.filters.version().await?;
        if self.version.0 > 0 && !same_history(self.version, target) {
            // It was restored from a backup: what was removed since then is there again, and the other way round.
            tracing::warn!(
                applied = self.version.0,
                store = target.0,
                "the filters have a new history; loading them anew"
            );
            self.index.clear();
            self.app.activity.clear();
            self.version = FilterVersion(0);
        }
        while self.version < target {
            let changes = self.app.filters.changes_since(self.version, PAGE).await?;
            let last = changes.last().map(FilterChange::version);
            for run in changes.chunk_by(|a, b| is_put(a) && is_put(b)) {
                self.apply(run);
            }
            // Versions whose filter changed again since have no line of their own.
            self.version = last.map_or(target, |last| if last < target { last } else { last.max(target) });
        }
        // Not before: at a version between, a filter that has changed since is in neither of its forms.
        if self.published != self.version || self.version.0 == 0 {
            self.publish();
        }
        Ok(())
    }

    pub(super) fn publish(&mut self) {
        self.index.publish(self.version);
        self.published = self.version;
        self.note_stats();
    }

    /// Applies a removal, or filters that are put one after another.
    fn apply(&mut self, run: &[FilterChange]) {
        if let [FilterChange::Removed { id, .. }] = run {
            self.index.remove(*id);
            self.app.activity.forget(*id);
            return;
        }
        let mut unreadable = Vec::new();
        let records = run.iter().filter_map(|change| match change {
            FilterChange::Put(record) => Some(record),
            FilterChange::Removed { .. } => None,
        });
        self.index.insert_all(records.filter_map(|record| match spec::compiled(record) {
            Ok(filter) => Some((record.id, target(record), filter)),
            Err(error) => {
                tracing::error!(filter.id = record.id.0, error, "a stored filter cannot be read by this version");
                unreadable.push(record.id);
                None
            }
        }));
        for id in unreadable {
            self.index.remove(id);
        }
    }

    pub(super) fn note_stats(&self) {
        let stats = self.index.stats();
        let metrics = &self.app.metrics;
        metrics.filters.set(stats.filters as i64);
        metrics.index_classes.set(stats.classes as i64);
        metrics.filters_unindexable.set(stats.unindexable_filters as i64);
        metrics.index_memory_bytes.set(stats.memory_bytes as i64);
        metrics.filter_version.set(self.published.0 as i64);
        self.app.activity.note_index(IndexStats {
            filters: stats.filters as u64,
            classes: stats.classes as u64,
            unindexable_filters: stats.unindexable_filters as u64,
            candidates_per_match: metrics.candidates_per_match(),
            memory_bytes: stats.memory_bytes as u64,
        });
    }

    /// Reports this matcher, and raises every shard's minimum to what all live matchers have applied: from then on
    /// the filters up to there are active (rule 22).
    async fn tell(&mut self, applied: &watch::Sender<u64>) -> PortResult<()> {
        applied.send_if_modified(|version| std::mem::replace(version, self.published.0) != self.published.0);
        let report = InstanceReport {
            id: self.app.instance.to_string(),
            roles: vec!["matcher".into()],
            filter_version: self.published.0,
            connections: 0,
            uptime_s: (self.app.clock.now_ms() - self.app.started_ms) as f64 / 1000.0,
            assignment: self.app.activity.assignment(),
            ..InstanceReport::default()
        };
        self.app.filters.report(report).await?;
        let reports = self.app.filters.reports().await?;
        let matchers = reports.iter().filter(|report| report.roles.iter().any(|role| role == "matcher"));
        let version = matchers.map(|report| report.filter_version).min().unwrap_or(self.published.0);
        if version > self.raised {
            raise(&self.app, FilterVersion(version)).await?;
            self.raised = version;
        }
        Ok(())
    }
}

/// Raises the minimum filter version of every shard.
///
/// # Errors
/// [`PortError`]; some shards may be raised, and raising again is harmless.
pub async fn raise(app: &App, version: FilterVersion) -> Result<(), PortError> {
    for shard in (0..app.queue.shards()).map(Shard) {
        let state = app.queue.state(shard).await?;
        if state.min_version >= version || app.queue.raise(shard, state.epoch, version).await? {
            continue;
        }
        // A life of the log that nobody has opened begins with the newest (rule 23).
        let state = app.queue.open(shard, app.filters.version().await?).await?;
        if state.min_version < version {
            let cause = "its epoch changed while a filter was made active".into();
            return Err(PortError::Unavailable { what: "the delivery queue", cause });
        }
    }
    Ok(())
}
