//! The durable, ordered log of events.

use async_trait::async_trait;
use bytes::Bytes;
use evs_core::{Epoch, Event, Offset, Partition, Position};
use std::time::Duration;

use super::PortResult;

/// # Contract
///
/// `append` is all or nothing and answers only when the events are durable. Offsets of a partition only grow; embedded
/// they are dense, in Kafka they may have holes. Events of one `user_id` go to one partition, in the order of their
/// appends. What was answered by `read` never changes.
#[async_trait]
pub trait EventLog: Send + Sync + std::fmt::Debug {
    /// Positions in the order of `events`.
    async fn append(&self, events: Vec<Event>) -> PortResult<Vec<Position>>;

    /// The topic that the events lie in, where the log is one among others.
    fn topic(&self) -> Option<&str> {
        None
    }

    /// Whether [`append_once`](Self::append_once) is of use here.
    fn keeps_keys(&self) -> bool {
        false
    }

    /// As [`append`](Self::append), but in the same step the batch takes its key: with a key that was taken before,
    /// nothing is written. Only where [`keeps_keys`](Self::keeps_keys).
    async fn append_once(&self, events: Vec<Event>, _key: BatchKey) -> PortResult<Once> {
        self.append(events).await.map(Once::Written)
    }

    /// Every partition with the range of offsets that it holds.
    async fn partitions(&self) -> PortResult<Vec<PartitionRange>>;

    /// Events from `from` on, oldest first, at least one if there is one, about `bytes_max` at the most.
    async fn read(
        &self,
        partition: Partition,
        from: Offset,
        events_max: usize,
        bytes_max: usize,
    ) -> PortResult<LogRead>;

    /// The same with what producers put beside the events, for those who show it.
    async fn read_with_headers(
        &self,
        partition: Partition,
        from: Offset,
        events_max: usize,
        bytes_max: usize,
    ) -> PortResult<LogRead> {
        self.read(partition, from, events_max, bytes_max).await
    }

    /// The first offset whose event was taken at or after `time_ms`; the end of the partition if there is none.
    async fn offset_at(&self, partition: Partition, time_ms: i64) -> PortResult<Offset>;

    /// The newest note of progress of a partition; `None` if there is none, or where the delivery queue lies in the same
    /// file, so that a note could say nothing new.
    async fn committed(&self, _partition: Partition) -> PortResult<Option<Committed>> {
        Ok(None)
    }

    /// Joins the matchers: partitions come and go by [`LogSignal`].
    async fn consumer(&self, instance: &str) -> PortResult<Box<dyn LogConsumer>>;

    /// Removes events older than `before_ms`, and the oldest beyond `bytes_max`, but none at or past `keep_from` of
    /// its partition. Backends that have a retention of their own do nothing.
    async fn retain(&self, before_ms: i64, bytes_max: u64, keep_from: &[(Partition, Offset)]) -> PortResult<()>;

    /// Puts a record that could not be read as an event aside, with its reason.
    async fn bury(&self, letter: DeadLetter) -> PortResult<()>;

    /// Newest first, from the `skip`th on.
    async fn dead_letters(&self, skip: usize, max: usize) -> PortResult<Vec<DeadLetter>>;

    /// Removes dead letters by id; all of them where `ids` is empty. Answers how many.
    async fn remove_dead_letters(&self, ids: &[String]) -> PortResult<u64>;
}

/// One matcher's view of the log. Dropping it leaves the group.
#[async_trait]
pub trait LogConsumer: Send {
    /// What happened next; [`LogSignal::Idle`] after `wait` without anything. Cancel-safe.
    async fn next(&mut self, wait: Duration) -> PortResult<LogSignal>;

    /// Answers [`LogSignal::Assigned`]: reading of `partition` begins at exactly `from`.
    async fn start(&mut self, partition: Partition, from: Offset) -> PortResult<()>;

    /// Gives `partition` up for now, after a fence; it will be assigned again later, here or elsewhere.
    async fn release(&mut self, partition: Partition) -> PortResult<()>;

    /// Leaves the group's own note of progress, a second witness behind the checkpoints of the delivery queue.
    async fn commit(&mut self, partition: Partition, progress: Committed) -> PortResult<()>;
}

/// The matchers' progress in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Everything before it was appended to every shard of the delivery queue…
    pub next: Offset,
    /// …in these lives of the shards, by their number. Empty where they are not known.
    pub epochs: Vec<Epoch>,
}

/// A client's own name for a batch, so that sending it again is no second batch.
#[derive(Clone, Debug)]
pub struct BatchKey {
    /// Who chose the key.
    pub scope: String,
    pub key: String,
    /// Digest of the request, to tell a repetition from another batch.
    pub body: [u8; 32],
    pub until_ms: i64,
}

/// Answer of [`EventLog::append_once`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Once {
    Written(Vec<Position>),
    /// It was written before, there.
    Known(Vec<Position>),
    /// The key was taken by another batch.
    OtherBody,
}

#[derive(Debug)]
pub enum LogSignal {
    /// Claim it, then call [`LogConsumer::start`].
    Assigned(Partition),
    /// Another matcher has it, or will; drop everything of it.
    Revoked(Partition),
    Batch(LogBatch),
    /// The partition cannot go on at the wanted offset: it is below `low` or above `high` of what the log holds.
    OutOfRange {
        partition: Partition,
        want: Offset,
        low: Offset,
        high: Offset,
    },
    /// The group of the matchers gave this one partitions, or took some; what it means for each follows. Only where the
    /// log has such a group.
    Rebalanced,
    Idle,
}

/// Consecutive events of a partition: `from` is where the last batch ended, `to` where the next begins.
#[derive(Debug)]
pub struct LogBatch {
    pub partition: Partition,
    pub from: Offset,
    pub to: Offset,
    pub events: Vec<LoggedEvent>,
}

#[derive(Clone, Debug)]
pub struct LoggedEvent {
    pub offset: Offset,
    /// When the log took it, milliseconds since the Unix epoch.
    pub time_ms: i64,
    pub event: Event,
    /// What its producer put beside it; only [`EventLog::read_with_headers`] tells it, and only where the log
    /// keeps it.
    pub headers: Option<Box<Headers>>,
}

/// Headers of one event that are told, of as many as its producer liked to give.
pub const HEADERS_MAX: usize = 32;
/// Of a header's name, in characters.
pub const HEADER_NAME_MAX: usize = 128;
/// Of a header's value: enough for a `traceparent` with its state. With the bounds above, an operator's page of 1000
/// events has at most 31 MiB of them, if every character of every name takes four bytes.
pub const HEADER_BYTES_MAX: usize = 512;

/// What a producer put beside an event, cut to the bounds above.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    pub headers: Vec<Header>,
    pub left_out: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub name: String,
    /// A header need not have one.
    pub value: Option<Bytes>,
    /// Bytes of the value before it was cut.
    pub len: usize,
}

/// Answer of [`EventLog::read`] and [`EventLog::read_with_headers`].
#[derive(Debug, Default)]
pub struct LogRead {
    pub events: Vec<LoggedEvent>,
    /// Where to go on. Greater than `from` even without events, where the log has a hole.
    pub next: Offset,
    /// The oldest offset that the log still holds: greater than the `from` that was asked where events are gone.
    pub low: Offset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionRange {
    pub partition: Partition,
    pub low: Offset,
    /// The next offset to be written.
    pub high: Offset,
}

/// A record that could not be read as an event, byte for byte.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Given by the log when it is buried; empty before.
    pub id: String,
    /// A stable word.
    pub reason: String,
    pub detail: String,
    pub position: Position,
    pub time_ms: i64,
    pub payload: Bytes,
}
