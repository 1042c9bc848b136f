//! The delivery queue as plain collections: what every other backend must answer like.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use evs_core::limits::SUBSCRIBER_CONSUMERS_MAX;
use evs_core::log::compact::{Plan, Spill};
use evs_core::log::{Entry, FoldPosition};
use evs_core::{ConsumerName, Epoch, FilterVersion, Offset, Partition, Seq, Shard, Slot};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::turns::TurnBook;
use crate::clock::Clock;
use crate::ports::delivery_queue::{
    Ack, Append, Appended, Attached, Checkpoint, Claim, ConsumerState, DeliveryQueue, Expired, QueueRead, Retention,
    ShardState, Snapshot, Standing, Start, Tail, Turns,
};
use crate::ports::{PortError, PortResult};

/// Stands for "acked by all, for ever": the queue was removed.
const TOMBSTONE: Seq = Seq(u64::MAX);

/// The delivery queue in memory, with the faults that a store can have.
#[derive(Debug)]
pub struct MemoryQueue {
    inner: Mutex<Inner>,
    grown: Notify,
    shards: u16,
    log_bytes_max: u64,
    clock: Clock,
}

#[derive(Debug)]
struct Inner {
    shards: Vec<ShardData>,
    dice: SmallRng,
}

/// All that the store holds at one moment, to be rolled back to.
#[derive(Clone, Debug)]
pub struct Image(Vec<ShardData>);

#[derive(Clone, Debug, Default)]
struct ShardData {
    epoch: Option<Epoch>,
    /// An epoch that no `open` has given its filter version yet: nothing can be claimed in it.
    sealed: bool,
    position: FoldPosition,
    top: u64,
    log_bytes: u64,
    min_version: FilterVersion,
    log: BTreeMap<u64, Arc<Entry>>,
    base: BTreeMap<Slot, u64>,
    checkpoints: BTreeMap<Partition, Ownership>,
    queues: BTreeMap<Slot, Queue>,
    turns: TurnBook,
    /// One past the highest slot that was ever routed to.
    slots: u32,
}

#[derive(Clone, Debug, Default)]
struct Ownership {
    owner: u64,
    /// What the appends have covered: from, to.
    covers: Option<(Offset, Offset)>,
}

/// What is held beside the log for one slot.
#[derive(Clone, Debug, Default)]
struct Queue {
    acked: Seq,
    lost: Seq,
    rows: BTreeMap<ConsumerName, Row>,
    spilled: BTreeMap<Seq, Spill>,
    had_consumer: bool,
}

#[derive(Clone, Debug)]
struct Row {
    acked: Seq,
    epoch: Epoch,
    last_ack_ms: Option<i64>,
    seen_ms: i64,
}

impl MemoryQueue {
    #[must_use]
    pub fn new(shards: u16, log_bytes_max: u64, clock: Clock, seed: u64) -> Self {
        let inner = Inner { shards: vec![ShardData::default(); shards.into()], dice: SmallRng::seed_from_u64(seed) };
        Self { inner: Mutex::new(inner), grown: Notify::new(), shards, log_bytes_max, clock }
    }

    /// What it holds now.
    #[must_use]
    pub fn image(&self) -> Image {
        Image(self.lock().shards.clone())
    }

    /// A power loss: back to what it held then. Like every restart it ends the epoch.
    pub fn roll_back(&self, to: &Image) {
        self.lock().shards.clone_from(&to.0);
        self.restart();
    }

    /// A restart that may have lost something: the first contact afterwards makes a new epoch.
    pub fn restart(&self) {
        for shard in &mut self.lock().shards {
            shard.epoch = None;
        }
        self.grown.notify_waiters();
    }

    /// Everything is gone.
    pub fn lose_everything(&self) {
        for shard in &mut self.lock().shards {
            *shard = ShardData::default();
        }
        self.grown.notify_waiters();
    }

    /// Who owns a partition now; for tests that take the fence away.
    #[must_use]
    pub fn owner(&self, shard: Shard, partition: Partition) -> Option<u64> {
        let inner = self.lock();
        inner.shards.get(usize::from(shard.0))?.checkpoints.get(&partition).map(|checkpoint| checkpoint.owner)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic of another test thread leaves plain data behind, which is still consistent for this one.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One atomic step on a shard; the first after a restart makes the new epoch before anything else (rule 28).
    fn step<T>(&self, shard: Shard, step: impl FnOnce(&mut ShardData) -> T) -> PortResult<T> {
        let mut inner = self.lock();
        let Inner { shards, dice } = &mut *inner;
        let data = shards.get_mut(usize::from(shard.0)).ok_or_else(|| PortError::Damaged {
            what: "the delivery queue",
            cause: format!("there is no shard {shard}"),
        })?;
        if data.epoch.is_none() {
            data.start_epoch(Epoch(dice.random()));
        }
        Ok(step(data))
    }
}

impl ShardData {
    /// What an earlier epoch left is the prefix of the new one, so its entries are relabelled.
    fn start_epoch(&mut self, epoch: Epoch) {
        self.epoch = Some(epoch);
        self.sealed = true;
        for entry in self.log.values_mut() {
            Arc::make_mut(entry).epoch = epoch;
        }
    }

    fn epoch(&self) -> Epoch {
        self.epoch.unwrap_or(Epoch(0))
    }

    fn state(&self) -> ShardState {
        ShardState {
            epoch: self.epoch(),
            position: self.position,
            top: self.top,
            log_bytes: self.log_bytes,
            min_version: self.min_version,
        }
    }

    fn base(&self, slot: Slot) -> Seq {
        Seq(self.base.get(&slot).copied().unwrap_or(0))
    }

    fn append(&mut self, append: Append, log_bytes_max: u64) -> Appended {
        if append.epoch != self.epoch() {
            return Appended::OtherEpoch(self.epoch());
        }
        let Some(checkpoint) = self.checkpoints.get_mut(&append.partition) else { return Appended::Fenced };
        if checkpoint.owner != append.owner {
            return Appended::Fenced;
        }
        if let Some((_, next)) = checkpoint.covers {
            if next >= append.to {
                return Appended::AlreadyApplied;
            }
            if next != append.from {
                return Appended::Conflict { next };
            }
        }
        if append.version < self.min_version {
            return Appended::Stale { minimum: self.min_version };
        }
        if append.entry.is_some() && self.log_bytes >= log_bytes_max {
            return Appended::Full;
        }
        let first = checkpoint.covers.map_or(append.from, |(first, _)| first);
        checkpoint.covers = Some((first, append.to));
        let id = append.entry.map(|entry| {
            self.top += 1;
            self.log_bytes += stored_bytes(&entry);
            self.slots = self.slots.max(entry.slots());
            self.log.insert(self.top, entry);
            self.top
        });
        Appended::Applied { id }
    }

    fn compact(&mut self, plan: &Plan) -> bool {
        if plan.epoch != self.epoch() || plan.at != self.position {
            return false;
        }
        self.base.extend(plan.bases.iter().map(|(slot, base)| (*slot, base.0)));
        for spill in &plan.spills {
            let queue = self.queues.entry(spill.slot).or_default();
            if spill.seq > queue.acked {
                queue.spilled.insert(spill.seq, spill.clone());
            }
        }
        self.position = plan.to;
        while let Some(oldest) = self.log.first_entry().filter(|oldest| *oldest.key() <= plan.to.n) {
            self.log_bytes -= stored_bytes(&oldest.remove());
        }
        true
    }

    fn attach(&mut self, slot: Slot, consumer: &ConsumerName, start: Start, now_ms: i64) -> Attached {
        let (state, base) = (self.state(), self.base(slot));
        let queue = self.queues.entry(slot).or_default();
        let removed = queue.acked == TOMBSTONE;
        let begin = match start {
            Start::Earliest | Start::Observe => queue.acked,
            Start::At(seq) => seq.max(queue.acked),
        };
        let (mut new, mut full) = (false, false);
        let (row, row_epoch) = if removed {
            (Seq(0), state.epoch)
        } else if let Some(row) = queue.rows.get_mut(consumer) {
            if start != Start::Observe {
                row.seen_ms = now_ms;
            }
            (row.acked, row.epoch)
        } else if start == Start::Observe {
            (begin, state.epoch)
        } else if queue.rows.len() >= SUBSCRIBER_CONSUMERS_MAX {
            full = true;
            (begin, state.epoch)
        } else {
            new = true;
            queue.had_consumer = true;
            let row = Row { acked: begin, epoch: state.epoch, last_ack_ms: None, seen_ms: now_ms };
            queue.rows.insert(consumer.clone(), row);
            queue.settle();
            (begin, state.epoch)
        };
        let (acked, lost) = (queue.acked, queue.lost);
        let attached = Attached { state, removed, full, new, row, row_epoch, acked, lost, base };
        self.forget_empty(slot);
        attached
    }

    /// A look at a queue makes none.
    fn forget_empty(&mut self, slot: Slot) {
        if self.queues.get(&slot).is_some_and(|queue| !queue.has_standing()) {
            self.queues.remove(&slot);
        }
    }

    fn set_position(&mut self, slot: Slot, consumer: &ConsumerName, to: Seq, now_ms: i64, back: bool) {
        let epoch = self.epoch();
        let queue = self.queues.entry(slot).or_default();
        if queue.acked == TOMBSTONE {
            return;
        }
        queue.had_consumer = true;
        let to = to.max(queue.acked);
        let row = queue.rows.entry(consumer.clone()).or_insert_with(|| Row {
            acked: queue.acked,
            epoch,
            last_ack_ms: None,
            seen_ms: now_ms,
        });
        if to > row.acked || (back && to < row.acked) {
            *row = Row { acked: to, epoch, last_ack_ms: Some(now_ms), seen_ms: now_ms };
        }
        queue.settle();
    }

    fn expire(&mut self, retention: &Retention) -> Vec<Expired> {
        let mut expired = Vec::new();
        for (slot, queue) in &mut self.queues {
            queue.rows.retain(|_, row| row.seen_ms >= retention.consumers_before_ms);
            queue.settle();
            let floor = queue.acked.max(queue.lost);
            let Some(to) = queue.beyond(retention) else { continue };
            queue.spilled.retain(|seq, _| *seq > to);
            queue.lost = to;
            expired.push(Expired { slot: *slot, from: Seq(floor.0 + 1), to });
        }
        expired
    }

    fn standing(&self, slot: Slot, queue: &Queue) -> Standing {
        Standing {
            slot,
            acked: queue.acked,
            lost: queue.lost,
            removed: queue.acked == TOMBSTONE,
            last_ack_ms: queue.rows.values().filter_map(|row| row.last_ack_ms).max(),
            oldest_spilled_ms: queue.spilled.values().next().map(|spill| spill.time_ms),
            spilled: queue.spilled.len() as u64,
            has_consumer: queue.had_consumer,
        }
    }
}

impl Queue {
    /// Raises the minimum over the consumers, which never goes back (rule 12), and drops what it covers.
    fn settle(&mut self) {
        if let Some(acked) = self.rows.values().map(|row| row.acked).min() {
            self.acked = self.acked.max(acked);
        }
        let acked = self.acked;
        self.spilled.retain(|seq, _| *seq > acked);
    }

    fn has_standing(&self) -> bool {
        self.acked > Seq(0) || self.lost > Seq(0) || self.had_consumer || !self.spilled.is_empty()
    }

    /// The last delivery that the retention does not keep. Only a prefix can be dropped, so one old delivery behind
    /// a young one waits for it.
    fn beyond(&self, retention: &Retention) -> Option<Seq> {
        let mut events = self.spilled.len() as u64;
        let mut bytes: u64 = self.spilled.values().map(|spill| spill.body.len() as u64).sum();
        let mut last = None;
        for (seq, spill) in &self.spilled {
            let keep =
                spill.time_ms >= retention.before_ms && events <= retention.events_max && bytes <= retention.bytes_max;
            if keep {
                break;
            }
            last = Some(*seq);
            events -= 1;
            bytes -= spill.body.len() as u64;
        }
        last
    }
}

fn stored_bytes(entry: &Entry) -> u64 {
    entry.encode(true).len() as u64
}

#[async_trait]
impl DeliveryQueue for MemoryQueue {
    fn shards(&self) -> u16 {
        self.shards
    }

    async fn open(&self, shard: Shard, version: FilterVersion) -> PortResult<ShardState> {
        self.step(shard, |data| {
            if data.sealed {
                data.sealed = false;
                data.min_version = data.min_version.max(version);
            }
            data.state()
        })
    }

    async fn state(&self, shard: Shard) -> PortResult<ShardState> {
        self.step(shard, |data| data.state())
    }

    async fn renew(&self, shard: Shard, epoch: Epoch) -> PortResult<()> {
        if self.state(shard).await?.epoch == epoch
            && let Some(data) = self.lock().shards.get_mut(usize::from(shard.0))
        {
            data.epoch = None;
        }
        self.state(shard).await.map(drop)
    }

    async fn raise(&self, shard: Shard, epoch: Epoch, version: FilterVersion) -> PortResult<bool> {
        self.step(shard, |data| {
            let same = epoch == data.epoch() && !data.sealed;
            if same {
                data.min_version = data.min_version.max(version);
            }
            same
        })
    }

    async fn claim(&self, shard: Shard, epoch: Epoch, partition: Partition) -> PortResult<Option<Claim>> {
        self.step(shard, |data| {
            if epoch != data.epoch() || data.sealed {
                return None;
            }
            let checkpoint = data.checkpoints.entry(partition).or_default();
            checkpoint.owner += 1;
            Some(Claim { owner: checkpoint.owner, next: checkpoint.covers.map(|(_, next)| next) })
        })
    }

    async fn checkpoints(&self, shard: Shard) -> PortResult<Vec<Checkpoint>> {
        self.step(shard, |data| {
            let known = data.checkpoints.iter().filter_map(|(partition, known)| Some((*partition, known.covers?)));
            known.map(|(partition, (first, next))| Checkpoint { partition, first, next }).collect()
        })
    }

    async fn append(&self, shard: Shard, append: Append) -> PortResult<Appended> {
        let appended = self.step(shard, |data| data.append(append, self.log_bytes_max))?;
        if matches!(appended, Appended::Applied { id: Some(_) }) {
            self.grown.notify_waiters();
        }
        Ok(appended)
    }

    async fn snapshot(&self, shard: Shard) -> PortResult<Snapshot> {
        self.step(shard, |data| {
            let slots = data.base.last_key_value().map_or(0, |(slot, _)| slot.0 + 1);
            let base = (0..slots).map(|slot| data.base(Slot(slot)).0).collect();
            Snapshot { state: data.state(), base }
        })
    }

    async fn tail(&self, shard: Shard, after: u64, bytes_max: usize, wait: Duration) -> PortResult<Tail> {
        let deadline = Instant::now() + wait;
        loop {
            // Registered before the look, so that an append between look and wait still wakes.
            let grown = self.grown.notified();
            tokio::pin!(grown);
            grown.as_mut().enable();
            let tail = self.step(shard, |data| {
                let mut entries: Vec<(u64, Arc<Entry>)> = Vec::new();
                let mut bytes = 0;
                for (id, entry) in data.log.range(after.saturating_add(1)..) {
                    bytes += entry.size_bytes();
                    if !entries.is_empty() && bytes > bytes_max {
                        break;
                    }
                    entries.push((*id, entry.clone()));
                }
                Tail { state: data.state(), entries }
            })?;
            if !tail.entries.is_empty() || timeout_at(deadline, grown).await.is_err() {
                return Ok(tail);
            }
        }
    }

    async fn compact(&self, shard: Shard, plan: &Plan) -> PortResult<bool> {
        self.step(shard, |data| data.compact(plan))
    }

    async fn attach(&self, shard: Shard, slot: Slot, consumer: &ConsumerName, start: Start) -> PortResult<Attached> {
        let now_ms = self.clock.now_ms();
        self.step(shard, |data| data.attach(slot, consumer, start, now_ms))
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn take_turn(&self, shard: Shard, slot: Slot, consumer: &ConsumerName) -> PortResult<u64> {
        self.step(shard, |data| data.turns.take(slot, consumer))
    }

    async fn turns(&self, shard: Shard, after: u64, max: usize) -> PortResult<Turns> {
        self.step(shard, |data| data.turns.after(data.epoch(), after, max))
    }

    async fn read(&self, shard: Shard, slot: Slot, from: Seq, max: usize) -> PortResult<QueueRead> {
        self.step(shard, |data| {
            let queue = data.queues.get(&slot).cloned().unwrap_or_default();
            QueueRead {
                state: data.state(),
                removed: queue.acked == TOMBSTONE,
                base: data.base(slot),
                acked: queue.acked,
                lost: queue.lost,
                records: queue.spilled.range(from..).take(max).map(|(_, spill)| spill.clone()).collect(),
            }
        })
    }

    async fn ack(&self, shard: Shard, epoch: Epoch, acks: &[Ack]) -> PortResult<bool> {
        let now_ms = self.clock.now_ms();
        self.step(shard, |data| {
            let same = epoch == data.epoch();
            if same {
                for ack in acks {
                    data.set_position(ack.slot, &ack.consumer, ack.seq, now_ms, false);
                }
            }
            same
        })
    }

    async fn reset(&self, shard: Shard, slot: Slot, consumer: &ConsumerName, to: Seq) -> PortResult<()> {
        let now_ms = self.clock.now_ms();
        self.step(shard, |data| data.set_position(slot, consumer, to, now_ms, true))
    }

    async fn remove(&self, shard: Shard, slot: Slot) -> PortResult<()> {
        self.step(shard, |data| {
            data.queues.insert(slot, Queue { acked: TOMBSTONE, ..Queue::default() });
        })
    }

    async fn slots(&self, shard: Shard) -> PortResult<u32> {
        self.step(shard, |data| {
            let attached = data.queues.keys().last().map_or(0, |slot| slot.0 + 1);
            attached.max(data.slots)
        })
    }

    async fn acked(&self, shard: Shard, slots: &[Slot]) -> PortResult<Vec<Seq>> {
        self.step(shard, |data| {
            slots.iter().map(|slot| data.queues.get(slot).map_or(Seq(0), |queue| queue.acked)).collect()
        })
    }

    async fn standings(&self, shard: Shard, after: Option<Slot>, max: usize) -> PortResult<Vec<Standing>> {
        self.step(shard, |data| {
            let later = data.queues.iter().filter(|(slot, _)| after.is_none_or(|after| **slot > after));
            later.take(max).map(|(slot, queue)| data.standing(*slot, queue)).collect()
        })
    }

    async fn consumers(&self, shard: Shard, slot: Slot) -> PortResult<Vec<ConsumerState>> {
        self.step(shard, |data| {
            let rows = data.queues.get(&slot).into_iter().flat_map(|queue| &queue.rows);
            let state = |(name, row): (&ConsumerName, &Row)| ConsumerState {
                name: name.clone(),
                acked: row.acked,
                epoch: row.epoch,
                last_ack_ms: row.last_ack_ms,
            };
            rows.map(state).collect()
        })
    }

    async fn expire(&self, shard: Shard, retention: &Retention) -> PortResult<Vec<Expired>> {
        self.step(shard, |data| data.expire(retention))
    }
}
