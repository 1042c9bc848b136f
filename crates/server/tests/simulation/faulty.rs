//! A delivery queue as a node sees it across a bad network: late, refused, or done with its answer lost; and with one
//! of the rules taken away, where a test wants to see that it is missed.

use std::ops::Add;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use evs_core::log::compact::Plan;
use evs_core::{ConsumerName, Epoch, FilterVersion, Partition, Seq, Shard, Slot};
use evs_server::backend::memory::MemoryQueue;
use evs_server::ports::delivery_queue::{
    Ack, Append, Appended, Attached, Checkpoint, Claim, ConsumerState, DeliveryQueue, Expired, QueueRead, Retention,
    ShardState, Snapshot, Standing, Start, Tail, Turns,
};
use evs_server::ports::{PortError, PortResult};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

/// A rule that is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "what is taken away")]
pub(crate) enum Mutation {
    /// Whoever appends is taken for the owner, wherever its batch begins.
    NoFence,
    /// All lives of a shard look like one: whatever names an epoch is taken to name the present one, and no answer tells
    /// another.
    NoEpochCheck,
    /// What was lost to retention is not told.
    NoFloor,
}

/// What happened, so that a campaign can be told from a walk in the park.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) applied: u64,
    pub(crate) already_applied: u64,
    pub(crate) fenced: u64,
    pub(crate) conflict: u64,
    pub(crate) stale: u64,
    pub(crate) full: u64,
    pub(crate) other_epoch: u64,
    pub(crate) spilled: u64,
    pub(crate) refused: u64,
    pub(crate) answers_lost: u64,
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            applied: self.applied + other.applied,
            already_applied: self.already_applied + other.already_applied,
            fenced: self.fenced + other.fenced,
            conflict: self.conflict + other.conflict,
            stale: self.stale + other.stale,
            full: self.full + other.full,
            other_epoch: self.other_epoch + other.other_epoch,
            spilled: self.spilled + other.spilled,
            refused: self.refused + other.refused,
            answers_lost: self.answers_lost + other.answers_lost,
        }
    }
}

/// One node's way to the queue.
#[derive(Debug)]
pub(crate) struct FaultyQueue {
    queue: Arc<MemoryQueue>,
    dice: Mutex<SmallRng>,
    /// While true nothing this node asks for gets through: it is stopped, and believes that it is not.
    frozen: watch::Receiver<bool>,
    mutation: Option<Mutation>,
    counts: Arc<Mutex<Counts>>,
}

enum Fate {
    Fine,
    Refused,
    AnswerLost,
}

impl FaultyQueue {
    pub(crate) fn new(
        queue: Arc<MemoryQueue>,
        seed: u64,
        frozen: watch::Receiver<bool>,
        mutation: Option<Mutation>,
        counts: Arc<Mutex<Counts>>,
    ) -> Self {
        Self { queue, dice: Mutex::new(SmallRng::seed_from_u64(seed)), frozen, mutation, counts }
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().unwrap());
    }

    async fn fate(&self) -> Fate {
        // A node whose switch is gone is a node that is gone.
        let _ = self.frozen.clone().wait_for(|frozen| !frozen).await;
        let (fate, late_ms) = {
            let mut dice = self.dice.lock().unwrap();
            let fate = match dice.random_range(0..100) {
                0 => Fate::Refused,
                1 | 2 => Fate::AnswerLost,
                _ => Fate::Fine,
            };
            (fate, if dice.random_bool(0.05) { dice.random_range(1..30) } else { 0 })
        };
        if late_ms > 0 {
            tokio::time::sleep(Duration::from_millis(late_ms)).await;
            let _ = self.frozen.clone().wait_for(|frozen| !frozen).await;
        }
        fate
    }

    async fn through<T>(&self, call: impl Future<Output = PortResult<T>> + Send) -> PortResult<T> {
        let error = |cause: &str| PortError::Unavailable { what: "the delivery queue", cause: cause.to_owned() };
        match self.fate().await {
            Fate::Fine => call.await,
            Fate::Refused => {
                self.count(|counts| counts.refused += 1);
                Err(error("refused"))
            }
            Fate::AnswerLost => {
                let _ = call.await;
                self.count(|counts| counts.answers_lost += 1);
                Err(error("the answer is lost"))
            }
        }
    }

    async fn present(&self, shard: Shard, epoch: Epoch) -> PortResult<Epoch> {
        match self.mutation {
            Some(Mutation::NoEpochCheck) => Ok(self.queue.state(shard).await?.epoch),
            _ => Ok(epoch),
        }
    }

    /// What the node is told of an epoch.
    fn told(&self, epoch: Epoch) -> Epoch {
        if self.mutation == Some(Mutation::NoEpochCheck) { Epoch(7) } else { epoch }
    }

    fn told_state(&self, state: ShardState) -> ShardState {
        ShardState { epoch: self.told(state.epoch), ..state }
    }

    async fn altered(&self, shard: Shard, mut append: Append) -> PortResult<Append> {
        append.epoch = self.present(shard, append.epoch).await?;
        if let Some(entry) = &mut append.entry {
            Arc::make_mut(entry).epoch = append.epoch;
        }
        if self.mutation == Some(Mutation::NoFence) || self.mutation == Some(Mutation::NoEpochCheck) {
            append.owner = self.queue.owner(shard, append.partition).unwrap_or(append.owner);
        }
        if self.mutation == Some(Mutation::NoFence) {
            // Claims tell where the log stands; without the fence that is taken for the place of any batch.
            let claim = self.queue.claim(shard, append.epoch, append.partition).await?;
            if let Some(Claim { owner, next: Some(next) }) = claim {
                append.owner = owner;
                append.from = next;
                append.to = append.to.max(evs_core::Offset(next.0 + 1));
            }
        }
        Ok(append)
    }
}

#[async_trait]
impl DeliveryQueue for FaultyQueue {
    fn shards(&self) -> u16 {
        self.queue.shards()
    }

    async fn open(&self, shard: Shard, version: FilterVersion) -> PortResult<ShardState> {
        self.through(self.queue.open(shard, version)).await.map(|state| self.told_state(state))
    }

    async fn state(&self, shard: Shard) -> PortResult<ShardState> {
        self.through(self.queue.state(shard)).await.map(|state| self.told_state(state))
    }

    async fn renew(&self, shard: Shard, epoch: Epoch) -> PortResult<()> {
        let epoch = self.present(shard, epoch).await?;
        self.through(self.queue.renew(shard, epoch)).await
    }

    async fn slots(&self, shard: Shard) -> PortResult<u32> {
        self.through(self.queue.slots(shard)).await
    }

    async fn raise(&self, shard: Shard, epoch: Epoch, version: FilterVersion) -> PortResult<bool> {
        let epoch = self.present(shard, epoch).await?;
        self.through(self.queue.raise(shard, epoch, version)).await
    }

    async fn claim(&self, shard: Shard, epoch: Epoch, partition: Partition) -> PortResult<Option<Claim>> {
        let epoch = self.present(shard, epoch).await?;
        self.through(self.queue.claim(shard, epoch, partition)).await
    }

    async fn append(&self, shard: Shard, append: Append) -> PortResult<Appended> {
        let append = match self.mutation {
            Some(Mutation::NoFence | Mutation::NoEpochCheck) => {
                // The node may have been stopped between its match and its append.
                let _ = self.frozen.clone().wait_for(|frozen| !frozen).await;
                self.altered(shard, append).await?
            }
            _ => append,
        };
        let appended = self.through(self.queue.append(shard, append)).await?;
        self.count(|counts| match appended {
            Appended::Applied { .. } => counts.applied += 1,
            Appended::AlreadyApplied => counts.already_applied += 1,
            Appended::Fenced => counts.fenced += 1,
            Appended::Conflict { .. } => counts.conflict += 1,
            Appended::Stale { .. } => counts.stale += 1,
            Appended::Full => counts.full += 1,
            Appended::OtherEpoch(_) => counts.other_epoch += 1,
        });
        Ok(appended)
    }

    async fn snapshot(&self, shard: Shard) -> PortResult<Snapshot> {
        let snapshot = self.through(self.queue.snapshot(shard)).await?;
        Ok(Snapshot { state: self.told_state(snapshot.state), ..snapshot })
    }

    async fn tail(&self, shard: Shard, after: u64, bytes_max: usize, wait: Duration) -> PortResult<Tail> {
        let mut tail = self.through(self.queue.tail(shard, after, bytes_max, wait)).await?;
        tail.state = self.told_state(tail.state);
        for (_, entry) in &mut tail.entries {
            let epoch = self.told(entry.epoch);
            if epoch != entry.epoch {
                Arc::make_mut(entry).epoch = epoch;
            }
        }
        Ok(tail)
    }

    async fn compact(&self, shard: Shard, plan: &Plan) -> PortResult<bool> {
        let spills = plan.spills.len() as u64;
        let plan = Plan { epoch: self.present(shard, plan.epoch).await?, ..plan.clone() };
        let done = self.through(self.queue.compact(shard, &plan)).await?;
        self.count(|counts| counts.spilled += if done { spills } else { 0 });
        Ok(done)
    }

    async fn attach(&self, shard: Shard, slot: Slot, consumer: &ConsumerName, start: Start) -> PortResult<Attached> {
        let mut attached = self.through(self.queue.attach(shard, slot, consumer, start)).await?;
        attached.state = self.told_state(attached.state);
        attached.row_epoch = self.told(attached.row_epoch);
        if self.mutation == Some(Mutation::NoFloor) {
            attached.lost = Seq(0);
        }
        Ok(attached)
    }

    fn is_shared(&self) -> bool {
        self.queue.is_shared()
    }

    async fn take_turn(&self, shard: Shard, slot: Slot, consumer: &ConsumerName) -> PortResult<u64> {
        self.through(self.queue.take_turn(shard, slot, consumer)).await
    }

    async fn turns(&self, shard: Shard, after: u64, max: usize) -> PortResult<Turns> {
        let turns = self.through(self.queue.turns(shard, after, max)).await?;
        Ok(Turns { epoch: self.told(turns.epoch), ..turns })
    }

    async fn read(&self, shard: Shard, slot: Slot, from: Seq, max: usize) -> PortResult<QueueRead> {
        let mut read = self.through(self.queue.read(shard, slot, from, max)).await?;
        read.state = self.told_state(read.state);
        if self.mutation == Some(Mutation::NoFloor) {
            read.lost = Seq(0);
        }
        Ok(read)
    }

    async fn ack(&self, shard: Shard, epoch: Epoch, acks: &[Ack]) -> PortResult<bool> {
        let epoch = self.present(shard, epoch).await?;
        self.through(self.queue.ack(shard, epoch, acks)).await
    }

    async fn reset(&self, shard: Shard, slot: Slot, consumer: &ConsumerName, to: Seq) -> PortResult<()> {
        self.through(self.queue.reset(shard, slot, consumer, to)).await
    }

    async fn remove(&self, shard: Shard, slot: Slot) -> PortResult<()> {
        self.through(self.queue.remove(shard, slot)).await
    }

    async fn acked(&self, shard: Shard, slots: &[Slot]) -> PortResult<Vec<Seq>> {
        self.through(self.queue.acked(shard, slots)).await
    }

    async fn standings(&self, shard: Shard, after: Option<Slot>, max: usize) -> PortResult<Vec<Standing>> {
        self.through(self.queue.standings(shard, after, max)).await
    }

    async fn checkpoints(&self, shard: Shard) -> PortResult<Vec<Checkpoint>> {
        self.through(self.queue.checkpoints(shard)).await
    }

    async fn consumers(&self, shard: Shard, slot: Slot) -> PortResult<Vec<ConsumerState>> {
        self.through(self.queue.consumers(shard, slot)).await
    }

    async fn expire(&self, shard: Shard, retention: &Retention) -> PortResult<Vec<Expired>> {
        self.through(self.queue.expire(shard, retention)).await
    }
}
