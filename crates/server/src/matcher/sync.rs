//! Keeps the match index equal to the filter store, reports what is applied, and lets filters become active.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evs_api::filters::FilterActivity;
use evs_api::stats::IndexStats;
use evs_core::index::{IndexReader, MatchIndex, Target};
use evs_core::{Event, FilterId, FilterVersion, Partition, Shard};
use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, watch};

use crate::app::App;
use crate::ports::filter_store::{Assignment, FilterChange, FilterRecord, InstanceReport, same_history};
use crate::ports::{PortError, PortResult};
use crate::retry::Backoff;
use crate::spec;

const PAGE: usize = 10_000;
/// The store is asked this often even if nothing woke us.
const POLL: Duration = Duration::from_secs(1);

/// Matches per filter, what the index says of itself, and what the log has assigned. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    hits: Arc<Mutex<FxHashMap<u32, Hits>>>,
    index: Arc<Mutex<IndexStats>>,
    elsewhere: Arc<AtomicU64>,
    assignment: Arc<Mutex<Assignment>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Hits {
    total: u64,
    last_match_ms: i64,
    /// Total and time at the start of the present and the last rate window.
    window: [(u64, i64); 2],
}

/// Rates are measured over windows of this length.
const RATE_WINDOW_MS: i64 = 10_000;

impl Activity {
    /// Counts the matches of one batch, a filter as often as it matched.
    pub(super) fn count(&self, matched: &[FilterId], now_ms: i64) {
        let mut hits = self.lock();
        for filter in matched {
            let hits = hits.entry(filter.0).or_insert(Hits { window: [(0, now_ms); 2], ..Hits::default() });
            if now_ms - hits.window[0].1 >= RATE_WINDOW_MS {
                hits.window = [(hits.total, now_ms), hits.window[0]];
            }
            hits.total += 1;
            hits.last_match_ms = now_ms;
        }
    }

    /// Forgets a filter that is gone.
    fn forget(&self, filter: FilterId) {
        self.lock().remove(&filter.0);
    }

    fn lock(&self) -> MutexGuard<'_, FxHashMap<u32, Hits>> {
        self.hits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[must_use]
    pub fn of(&self, filter: u32, now_ms: i64) -> FilterActivity {
        let hits = self.lock().get(&filter).copied().unwrap_or_default();
        let (total, since_ms) = hits.window[1];
        let span_s = (now_ms - since_ms).max(1) as f64 / 1000.0;
        let quiet = hits.total == 0 || now_ms - hits.last_match_ms > 2 * RATE_WINDOW_MS;
        FilterActivity {
            matched_total: hits.total,
            matched_per_s: if quiet { 0.0 } else { (hits.total - total) as f64 / span_s },
            last_match_ms: (hits.total > 0).then_some(hits.last_match_ms),
        }
    }

    /// Filters that only the hard list can hold, here or, where the matchers are other processes, as they last told.
    #[must_use]
    pub fn unindexable_filters(&self) -> u64 {
        self.elsewhere.load(Ordering::Relaxed).max(self.index().unindexable_filters)
    }

    pub(crate) fn note_elsewhere(&self, unindexable_filters: u64) {
        self.elsewhere.store(unindexable_filters, Ordering::Relaxed);
    }

    /// What this matcher has of the event log.
    #[must_use]
    pub fn assignment(&self) -> Assignment {
        self.assigned().clone()
    }

    /// These partitions are worked on now.
    pub(super) fn hold(&self, partitions: impl Iterator<Item = Partition>) {
        let mut partitions: Vec<u32> = partitions.map(|partition| partition.0).collect();
        partitions.sort_unstable();
        self.assigned().partitions = partitions;
    }

    pub(super) fn note_rebalance(&self, now_ms: i64) {
        let mut assigned = self.assigned();
        assigned.rebalances += 1;
        assigned.last_rebalance_ms = Some(now_ms);
    }

    fn assigned(&self) -> MutexGuard<'_, Assignment> {
        self.assignment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the index said of itself when it last changed.
    #[must_use]
    pub fn index(&self) -> IndexStats {
        *self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Loads every filter, then keeps following. `None`: the process stops before it was done.
pub(super) async fn start(
    app: &App,
    activity: Activity,
    sampled: mpsc::Receiver<Event>,
) -> Option<(IndexReader, watch::Receiver<u64>)> {
    let (index, version) = (MatchIndex::new(), FilterVersion(0));
    let mut sync = Sync { app: app.clone(), activity, index, version, published: version, observed: 0, raised: 0 };
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

pub(super) struct Sync {
    pub(super) app: App,
    activity: Activity,
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
            self.activity.lock().clear();
            self.version = FilterVersion(0);
        }
        while self.version < target {
            let changes = self.app.filters.changes_since(self.version, PAGE).await?;
            let last = changes.last().map(FilterChange::version);
            for change in changes {
                match change {
                    FilterChange::Put(record) => self.put(&record),
                    FilterChange::Removed { id, .. } => {
                        self.index.remove(id);
                        self.activity.forget(id);
                    }
                }
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

    fn put(&mut self, record: &FilterRecord) {
        match spec::compiled(record) {
            Ok(filter) => {
                self.index.insert(record.id, Target { shard: record.shard, slot: record.slot }, &filter);
            }
            Err(error) => {
                self.index.remove(record.id);
                tracing::error!(filter.id = record.id.0, error, "a stored filter cannot be read by this version");
            }
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
        *self.activity.index.lock().unwrap_or_else(PoisonError::into_inner) = IndexStats {
            filters: stats.filters as u64,
            classes: stats.classes as u64,
            unindexable_filters: stats.unindexable_filters as u64,
            candidates_per_match: metrics.candidates_per_match(),
            memory_bytes: stats.memory_bytes as u64,
        };
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
            assignment: self.activity.assignment(),
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
