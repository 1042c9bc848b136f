//! The delivery log, its checkpoints, and what each consumer has acked.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use evs_core::log::compact::{Plan, Spill};
use evs_core::log::{Entry, FoldPosition};
use evs_core::{ConsumerName, Epoch, FilterVersion, Offset, Partition, Seq, Shard, Slot};

use super::PortResult;

/// # Contract
///
/// Every method is one atomic step on one shard. Whatever names an [`Epoch`] does nothing in another one. The log's
/// entry ids are dense; only [`compact`](Self::compact) moves the fold position and writes the base. See
/// ARCHITECTURE.md, "the delivery log", for the rules that these steps keep.
#[async_trait]
pub trait DeliveryQueue: Send + Sync + std::fmt::Debug {
    /// Fixed when the store was made.
    fn shards(&self) -> u16;

    /// Makes the shard where it is missing, and a new epoch where the store may have lost what a client has seen;
    /// raises its minimum filter version to `version` when it makes an epoch (rule 23). Any other step that is the first
    /// to meet such a store makes the epoch, too; until `open` gives it a version, `claim` and `raise` are refused in it.
    async fn open(&self, shard: Shard, version: FilterVersion) -> PortResult<ShardState>;

    async fn state(&self, shard: Shard) -> PortResult<ShardState>;

    /// Ends the epoch, if it is still this one: somebody outside knows that the store has lost something. Backends in
    /// one file with their event log lose both or nothing, and have no use for it.
    async fn renew(&self, _shard: Shard, _epoch: Epoch) -> PortResult<()> {
        Ok(())
    }

    /// From now on an append must be matched against at least `version`. `false`: other epoch, open again.
    async fn raise(&self, shard: Shard, epoch: Epoch, version: FilterVersion) -> PortResult<bool>;

    /// Takes the partition over: appends of earlier owners are fenced from now on. `None`: other epoch.
    async fn claim(&self, shard: Shard, epoch: Epoch, partition: Partition) -> PortResult<Option<Claim>>;

    /// Writes one batch, or only moves the checkpoint where it has no routes. Checks in the order of [`Appended`].
    async fn append(&self, shard: Shard, append: Append) -> PortResult<Appended>;

    /// What of each partition that was ever appended this shard's log covers: how far the matchers are.
    async fn checkpoints(&self, shard: Shard) -> PortResult<Vec<Checkpoint>>;

    /// State and base as they were at one moment.
    async fn snapshot(&self, shard: Shard) -> PortResult<Snapshot>;

    /// Entries after `after`, about `bytes_max` at the most, and the state read with or after them. Waits up to
    /// `wait` for the first. What an earlier epoch has left in the log is the beginning of the present one, and is
    /// answered as its own. Cancel-safe.
    async fn tail(&self, shard: Shard, after: u64, bytes_max: usize, wait: Duration) -> PortResult<Tail>;

    /// One step of compaction: only at exactly `plan.epoch` and `plan.at`; a spill that is acked by now is left out.
    /// `false`: the log has moved, plan again.
    async fn compact(&self, shard: Shard, plan: &Plan) -> PortResult<bool>;

    /// Registers the consumer, before its first frame (rule 11), and tells where it stands.
    async fn attach(&self, shard: Shard, slot: Slot, consumer: &ConsumerName, start: Start) -> PortResult<Attached>;

    /// Whether several processes may use it. If not, its gateway knows all connections by itself, and the three steps
    /// that follow do nothing.
    fn is_shared(&self) -> bool {
        false
    }

    /// Numbers a connection of the consumer, which is about to be served: of several the one with the highest turn
    /// counts. Turns of a shard only rise within an epoch.
    async fn take_turn(&self, _shard: Shard, _slot: Slot, _consumer: &ConsumerName) -> PortResult<u64> {
        Ok(0)
    }

    /// Who has taken a turn since turn `after`, at most `max` of them, oldest first: how a gateway learns that a
    /// consumer of its own has come back at another one. The newest [`TURNS_KEPT`] are told.
    async fn turns(&self, shard: Shard, _after: u64, _max: usize) -> PortResult<Turns> {
        Ok(Turns { epoch: self.state(shard).await?.epoch, forgotten: 0, taken: Vec::new() })
    }

    /// Tells the other processes who is connected at this gateway, for lists; it holds for [`PRESENCE_TTL_S`].
    async fn tell_presence(&self, _shard: Shard, _gateway: &str, _present: &[Present]) -> PortResult<()> {
        Ok(())
    }

    /// What all gateways but `own` have told lately; a slot as often as it is at a gateway.
    async fn presence(&self, _shard: Shard, _own: &str) -> PortResult<Vec<Present>> {
        Ok(Vec::new())
    }

    /// What a queue holds beside the log, and its floor, read at one moment: at most `max` spilled deliveries from
    /// `from` on.
    async fn read(&self, shard: Shard, slot: Slot, from: Seq, max: usize) -> PortResult<QueueRead>;

    /// Raises acks (never lowers), drops spilled deliveries that every consumer has acked. `false`: other epoch.
    async fn ack(&self, shard: Shard, epoch: Epoch, acks: &[Ack]) -> PortResult<bool>;

    /// Sets a consumer's position where it is now, back or forth; not below what every consumer has acked.
    async fn reset(&self, shard: Shard, slot: Slot, consumer: &ConsumerName, to: Seq) -> PortResult<()>;

    /// Writes the tombstone, then drops the queue (rule 16). May be repeated.
    async fn remove(&self, shard: Shard, slot: Slot) -> PortResult<()>;

    /// One past the highest slot that it has ever held anything of.
    async fn slots(&self, shard: Shard) -> PortResult<u32>;

    /// What is acked by every consumer, by slot in the order of `slots`; `Seq(u64::MAX)` for removed ones.
    async fn acked(&self, shard: Shard, slots: &[Slot]) -> PortResult<Vec<Seq>>;

    /// Standing of every slot that has one, for lag lists: by slot, those after `after`.
    async fn standings(&self, shard: Shard, after: Option<Slot>, max: usize) -> PortResult<Vec<Standing>>;

    async fn consumers(&self, shard: Shard, slot: Slot) -> PortResult<Vec<ConsumerState>>;

    /// Drops spilled deliveries beyond the retention and moves their slots' `lost` in the same step, removes
    /// consumers that were not seen for the retention time. Does a bounded piece of work; answers what was lost.
    async fn expire(&self, shard: Shard, retention: &Retention) -> PortResult<Vec<Expired>>;
}

/// What a shard's log is at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardState {
    pub epoch: Epoch,
    pub position: FoldPosition,
    /// Id of the newest entry ever written; 0 before the first.
    pub top: u64,
    pub log_bytes: u64,
    pub min_version: FilterVersion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub owner: u64,
    /// Where this shard's log goes on; `None` if it has never seen the partition.
    pub next: Option<Offset>,
}

/// What of a partition a shard's log covers: everything from `first` up to `next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub partition: Partition,
    /// Where the first append of this life of the store began: what is older was never in it (rule 33).
    pub first: Offset,
    pub next: Offset,
}

/// One batch of one partition for one shard.
#[derive(Clone, Debug)]
pub struct Append {
    pub epoch: Epoch,
    pub owner: u64,
    pub partition: Partition,
    pub from: Offset,
    pub to: Offset,
    /// The lowest filter version that any part of `from..to` was matched against (rule 21).
    pub version: FilterVersion,
    /// `None` where nothing matched.
    pub entry: Option<Arc<Entry>>,
}

/// The answers of an append, in the order in which they are checked (rule 20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// Another life of the log: open and claim again.
    OtherEpoch(Epoch),
    /// Another matcher has claimed the partition.
    Fenced,
    /// It was written before; the answer was lost.
    AlreadyApplied,
    /// The log goes on at `next`, not at `from`. Never skipped: an earlier batch is missing or `from` is wrong.
    Conflict { next: Offset },
    /// Filters of at least `minimum` must be applied first, and the batch matched again.
    Stale { minimum: FilterVersion },
    /// The log is at its byte limit: hold back until the keeper has made room.
    Full,
    /// `id` is `None` where there was no entry to write.
    Applied { id: Option<u64> },
}

#[derive(Clone, Debug)]
pub struct Snapshot {
    pub state: ShardState,
    /// By slot: how many of its routes `state.position` covers.
    pub base: Vec<u64>,
}

#[derive(Clone, Debug)]
pub struct Tail {
    pub state: ShardState,
    pub entries: Vec<(u64, Arc<Entry>)>,
}

/// Where a consumer that is new on its queue begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At what every consumer has acked (rule 12).
    Earliest,
    /// At this seq, the gateway's top.
    At(Seq),
    /// Reads without being registered, and never acks.
    Observe,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Attached {
    pub state: ShardState,
    pub removed: bool,
    /// It would have been one consumer more than [`SUBSCRIBER_CONSUMERS_MAX`](evs_core::limits::SUBSCRIBER_CONSUMERS_MAX); nothing was registered.
    pub full: bool,
    /// Whether this consumer was made by this attach.
    pub new: bool,
    /// This consumer's ack.
    pub row: Seq,
    /// The epoch of its last ack or of its making (rule 30).
    pub row_epoch: Epoch,
    /// Acked by every consumer.
    pub acked: Seq,
    /// The last delivery lost to retention; 0 if none.
    pub lost: Seq,
    pub base: Seq,
}

/// A gateway that has told nothing for so long has nobody.
pub const PRESENCE_TTL_S: u64 = 15;

/// The connections of a slot at one gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    pub slot: Slot,
    pub connections: u32,
    /// Whether all of them are caught up.
    pub live: bool,
}

/// Turns of a shard that are told at least.
pub const TURNS_KEPT: usize = 65_536;

/// Answer of [`DeliveryQueue::turns`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turns {
    pub epoch: Epoch,
    /// Those up to this turn are not told any more.
    pub forgotten: u64,
    pub taken: Vec<Turn>,
}

/// A consumer connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    pub number: u64,
    pub slot: Slot,
    pub consumer: ConsumerName,
}

#[derive(Clone, Debug)]
pub struct QueueRead {
    pub state: ShardState,
    pub removed: bool,
    pub base: Seq,
    pub acked: Seq,
    pub lost: Seq,
    pub records: Vec<Spill>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub slot: Slot,
    pub consumer: ConsumerName,
    pub seq: Seq,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub slot: Slot,
    pub acked: Seq,
    pub lost: Seq,
    pub removed: bool,
    pub last_ack_ms: Option<i64>,
    /// When the log took the oldest spilled delivery that is not acked.
    pub oldest_spilled_ms: Option<i64>,
    pub spilled: u64,
    /// Whether a consumer was ever registered.
    pub has_consumer: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerState {
    pub name: ConsumerName,
    pub acked: Seq,
    pub epoch: Epoch,
    pub last_ack_ms: Option<i64>,
}

/// Bounds of a subscriber's queue.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    pub now_ms: i64,
    /// Older deliveries are dropped.
    pub before_ms: i64,
    pub events_max: u64,
    pub bytes_max: u64,
    /// Consumers not seen since then are removed.
    pub consumers_before_ms: i64,
}

/// Deliveries `from..=to` of a queue were dropped unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    pub slot: Slot,
    pub from: Seq,
    pub to: Seq,
}
