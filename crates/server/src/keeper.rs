//! The keeper: takes old entries out of the delivery log, spills what is not acked, and enforces retention.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use evs_api::oplog::Level;
use evs_core::log::compact::{self, Budget};
use evs_core::log::{Entry, FoldPosition};
use evs_core::{Epoch, Offset, Partition, Seq, Shard, Slot, SubscriberId};

use crate::app::App;
use crate::ports::PortResult;
use crate::ports::delivery_queue::{Expired, Retention, ShardState, Snapshot};
use crate::retry::Backoff;

const TICK: Duration = Duration::from_secs(1);
/// Retention is looked at once in so many ticks.
const RETENTION_TICKS: u64 = 10;
/// Orphans are looked for at the start and about once an hour.
const SWEEP_TICKS: u64 = 3600;
/// What one page of a sweep reads.
const SWEEP_PAGE: usize = 1000;
/// What one look at the log reads.
const READ_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Routes that one plan sorts.
const PLAN_ROUTES_MAX: usize = 200_000;
/// Subscribers that one look at retention names in the operator's log; the others are counted.
const EXPIRED_TOLD_MAX: usize = 10;
/// A step holds the store for a few milliseconds, not longer.
const BUDGET: Budget = Budget { spills_max: 300, slots_max: 50_000 };

/// Keeps every shard until the process stops. Several keepers may compete: a step applies only at its position.
pub async fn run(app: App) {
    let shards = (0..app.queue.shards()).map(|shard| {
        let app = app.clone();
        tokio::spawn(async move { supervise(app, Shard(shard)).await })
    });
    for shard in shards.collect::<Vec<_>>() {
        // Ends with the process.
        let _ = shard.await;
    }
}

/// Keeps a keeper running: one that ended by a panic would let its shard's log grow until appends are refused.
async fn supervise(app: App, shard: Shard) {
    while !app.shutdown.is_cancelled() {
        if let Err(error) = tokio::spawn(keep(app.clone(), shard)).await {
            tracing::error!(%shard, %error, "the keeper of a shard failed and starts again");
            tokio::time::sleep(TICK).await;
        }
    }
}

async fn keep(app: App, shard: Shard) {
    let mut keeper = Keeper { app, shard, fold: None };
    let mut backoff = Backoff::default();
    let mut ticks = 0;
    while !keeper.app.shutdown.is_cancelled() {
        match keeper.tick(ticks % RETENTION_TICKS == 0, ticks % SWEEP_TICKS == 0).await {
            Ok(()) => {
                backoff = Backoff::default();
                ticks += 1;
                tokio::select! {
                    () = keeper.app.shutdown.cancelled() => return,
                    () = tokio::time::sleep(TICK) => {}
                }
            }
            Err(error) => {
                tracing::warn!(%error, %shard, "the keeper could not work; trying again");
                keeper.fold = None;
                if !backoff.wait(&keeper.app.shutdown).await {
                    return;
                }
            }
        }
    }
}

/// The base as the keeper last saw or wrote it, and where that was: another keeper may have moved both since, and a
/// plan on an old base at the new position would be taken and destroy what the other has counted (rule 1).
#[derive(Debug)]
struct Fold {
    epoch: Epoch,
    position: FoldPosition,
    base: Vec<u64>,
}

struct Keeper {
    app: App,
    shard: Shard,
    fold: Option<Fold>,
}

impl Keeper {
    async fn tick(&mut self, retention: bool, sweep: bool) -> PortResult<()> {
        while !self.app.shutdown.is_cancelled() && self.compact_once().await? {}
        if retention {
            self.keep_filters_above().await?;
            self.retain().await?;
        }
        if sweep {
            self.sweep().await?;
        }
        Ok(())
    }

    /// A filter store that was restored from a backup would give slots again that this queue has used, to other
    /// subscribers, and count versions again that appends are fenced by.
    async fn keep_filters_above(&self) -> PortResult<()> {
        let (queue, shard) = (&self.app.queue, self.shard);
        let (slots, version) = (queue.slots(shard).await?, queue.state(shard).await?.min_version);
        match self.app.filters.keep_above(shard, slots, version).await {
            Ok(()) => Ok(()),
            // Retention goes on while it is away.
            Err(error) => {
                tracing::warn!(%error, %shard, "the filter store was not told what the delivery queue has used");
                Ok(())
            }
        }
    }

    /// Removes queues without a subscriber: a process that died between the two halves of a deletion leaves one. The
    /// queues are listed first: whoever has one then and has no subscriber after that was deleted.
    async fn sweep(&self) -> PortResult<()> {
        let (mut orphans, mut after) = (BTreeSet::new(), None);
        loop {
            let page = self.app.queue.standings(self.shard, after, SWEEP_PAGE).await?;
            after = page.last().map(|standing| standing.slot);
            orphans.extend(page.iter().filter(|standing| !standing.removed).map(|standing| standing.slot));
            if page.len() < SWEEP_PAGE {
                break;
            }
        }
        let mut after = None;
        while !orphans.is_empty() {
            let page = self.app.filters.subscribers(after.as_ref(), SWEEP_PAGE).await?;
            for subscriber in page.iter().filter(|subscriber| subscriber.shard == self.shard) {
                orphans.remove(&subscriber.slot);
            }
            if page.len() < SWEEP_PAGE {
                break;
            }
            after = page.last().map(|subscriber| subscriber.id.clone());
        }
        for slot in orphans {
            self.app.queue.remove(self.shard, slot).await?;
            let message =
                format!("the queue of slot {slot} in shard {} was left by a deletion and is removed", self.shard);
            self.app.oplog.write(Level::Warn, "orphan_removed", None, message);
        }
        Ok(())
    }

    /// One step of compaction; `false` if nothing is old enough.
    async fn compact_once(&mut self) -> PortResult<bool> {
        let queue = &self.app.queue;
        let state = queue.state(self.shard).await?;
        self.app.metrics.delivery_log_bytes.set(state.log_bytes as i64);
        let here = |fold: &Fold| fold.epoch == state.epoch && fold.position == state.position;
        if !self.fold.as_ref().is_some_and(here) {
            let Snapshot { state, base } = queue.snapshot(self.shard).await?;
            self.fold = Some(Fold { epoch: state.epoch, position: state.position, base });
            return Ok(true);
        }
        let entries = self.leaving(&state).await?;
        if entries.is_empty() {
            return Ok(false);
        }
        let mut slots: Vec<u32> =
            entries.iter().flat_map(|(_, entry)| entry.routes().iter().map(|route| route.slot)).collect();
        slots.sort_unstable();
        slots.dedup();
        let slots: Vec<Slot> = slots.into_iter().map(Slot).collect();
        let acked = queue.acked(self.shard, &slots).await?;
        let acked_of = |slot: Slot| slots.binary_search(&slot).map_or(Seq(0), |at| acked[at]);
        let Some(fold) = &mut self.fold else { return Ok(true) };
        let base_of = |slot: Slot| Seq(fold.base.get(slot.0 as usize).copied().unwrap_or(0));
        let Some(plan) = compact::plan(state.epoch, state.position, &entries, base_of, acked_of, BUDGET) else {
            return Ok(false);
        };
        if !queue.compact(self.shard, &plan).await? {
            // Another keeper was here: its base is in the store.
            self.fold = None;
            return Ok(true);
        }
        for (slot, seq) in &plan.bases {
            let slot = slot.0 as usize;
            if slot >= fold.base.len() {
                fold.base.resize(slot + 1, 0);
            }
            fold.base[slot] = seq.0;
        }
        fold.position = plan.to;
        self.app.metrics.compactions.inc();
        self.app.metrics.spilled.inc_by(plan.spills.len() as u64);
        Ok(true)
    }

    /// The oldest entries that should leave: beyond the hot window in age or in bytes, or begun already.
    async fn leaving(&self, state: &ShardState) -> PortResult<Vec<(u64, Arc<Entry>)>> {
        let config = &self.app.config;
        if state.top <= state.position.n {
            return Ok(Vec::new());
        }
        let tail = self.app.queue.tail(self.shard, state.position.n, READ_BYTES_MAX, Duration::ZERO).await?;
        if (tail.state.epoch, tail.state.position) != (state.epoch, state.position) {
            // Another keeper was here between the two looks: these entries may not begin at our position.
            return Ok(Vec::new());
        }
        let before_ms = self.app.clock.now_ms() - i64::try_from(config.hot_s * 1000).unwrap_or(i64::MAX);
        let mut excess = state.log_bytes.saturating_sub(config.hot_bytes_max);
        let mut routes = 0;
        let mut leaving = Vec::new();
        for (id, entry) in tail.entries {
            let begun = id <= state.position.m;
            if !begun && (routes >= PLAN_ROUTES_MAX || (entry.time_ms >= before_ms && excess == 0)) {
                break;
            }
            excess = excess.saturating_sub(entry.size_bytes() as u64);
            routes += entry.routes().len();
            leaving.push((id, entry));
        }
        // A half-done step is finished with the same end: if not all of it was read, there is nothing to plan on.
        let whole = leaving.last().is_some_and(|(id, _)| *id >= state.position.m);
        Ok(if whole { leaving } else { Vec::new() })
    }

    async fn retain(&mut self) -> PortResult<()> {
        let config = &self.app.config;
        let now_ms = self.app.clock.now_ms();
        let retention = Retention {
            now_ms,
            before_ms: now_ms - i64::try_from(config.retention_s * 1000).unwrap_or(i64::MAX),
            events_max: config.queue_events_max,
            bytes_max: config.queue_bytes_max,
            consumers_before_ms: now_ms - i64::try_from(config.retention_s * 1000).unwrap_or(i64::MAX),
        };
        let expired = self.app.queue.expire(self.shard, &retention).await?;
        self.tell_expired(&expired).await;
        if self.shard == Shard(0) {
            let keep = self.keep_from().await?;
            // Events outlive the deliveries that point at them.
            let log_before_ms = retention.before_ms.saturating_sub(60_000);
            self.app.log.retain(log_before_ms, config.log_bytes_max, &keep).await?;
        }
        Ok(())
    }

    /// What was dropped is counted and told whether its subscribers' names can be had or not.
    async fn tell_expired(&self, expired: &[Expired]) {
        if expired.is_empty() {
            return;
        }
        let slots: Vec<Slot> = expired.iter().take(EXPIRED_TOLD_MAX).map(|expired| expired.slot).collect();
        let named = self.app.filters.at_slots(self.shard, &slots).await.unwrap_or_else(|error| {
            tracing::warn!(%error, shard = %self.shard, "whose deliveries retention dropped cannot be looked up");
            Vec::new()
        });
        let named: HashMap<Slot, SubscriberId> = named.into_iter().collect();
        self.app.metrics.expired.inc_by(expired.iter().map(|expired| expired.to.0 - expired.from.0 + 1).sum());
        if let Some(more @ 1..) = expired.len().checked_sub(EXPIRED_TOLD_MAX) {
            let message =
                format!("retention dropped unread deliveries of {more} more subscribers in shard {}", self.shard);
            self.app.oplog.write(Level::Warn, "gap", None, message);
        }
        for Expired { slot, from, to } in expired.iter().take(EXPIRED_TOLD_MAX) {
            let subscriber = named.get(slot).map(SubscriberId::as_str);
            let of = if subscriber.is_some() {
                String::new()
            } else {
                format!(" of slot {slot} in shard {}, whose subscriber is not known any more,", self.shard)
            };
            let message = format!("retention dropped deliveries {from}..={to}{of} unread");
            self.app.oplog.write(Level::Warn, "gap", subscriber, message);
        }
    }

    /// Per partition the first offset that the hot log still needs.
    async fn keep_from(&self) -> PortResult<Vec<(Partition, Offset)>> {
        let mut keep: Vec<(Partition, Offset)> = Vec::new();
        let mut note = |partition: Partition, offset: Offset| match keep.iter_mut().find(|(own, _)| *own == partition) {
            Some((_, least)) => *least = (*least).min(offset),
            None => keep.push((partition, offset)),
        };
        for shard in (0..self.app.queue.shards()).map(Shard) {
            let state = self.app.queue.state(shard).await?;
            let mut oldest = None;
            if state.top > state.position.n {
                let tail = self.app.queue.tail(shard, state.position.n, 1, Duration::ZERO).await?;
                oldest = tail.entries.first().map(|(_, entry)| (entry.partition, entry.from));
            }
            match oldest {
                Some((partition, offset)) => note(partition, offset),
                None => {
                    let ends = self.app.readers.shard(shard).with_window(|window| window.ends().to_vec());
                    for (partition, end) in ends.unwrap_or_default() {
                        note(partition, end);
                    }
                }
            }
        }
        for range in self.app.log.partitions().await? {
            if !keep.iter().any(|(partition, _)| *partition == range.partition) {
                keep.push((range.partition, range.low));
            }
        }
        Ok(keep)
    }
}
