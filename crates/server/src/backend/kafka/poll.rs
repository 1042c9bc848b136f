//! The thread that polls Kafka for one matcher, whatever the matcher is doing.
//!
//! A partition that the group gives us is only *granted*: it is assigned to the client when the matcher has claimed it
//! and says where to start, in the call that sets the offset. `seek` in the callback fails, and an offset stored with
//! the group would be a second truth. Being paused, full or slow never stops the polling, for a member that does not
//! poll is thrown out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use evs_core::{Offset, Partition};
use rand::Rng as _;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset as KafkaOffset, TopicPartitionList};
use tokio::runtime::Handle;

use super::consumer::{Command, Mailbox};
use super::dead_letters::bury;
use super::{KafkaLog, config, kafka_partition, partition_of, port_error, range, record, witness};
use crate::ports::PortResult;
use crate::ports::event_log::{LogBatch, LogSignal, LoggedEvent};

/// A command waits no longer than this for the thread to look up from its poll.
const POLL: Duration = Duration::from_millis(10);
/// A batch ends here, or where nothing more has arrived.
const BATCH_EVENTS_MAX: usize = 1_000;
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// How long a revocation waits for the matcher to finish its batch; well below the session timeout.
const DRAIN_BUDGET: Duration = Duration::from_secs(6);
/// A partition that was released after a fence is offered again after about this time.
const RELEASED_FOR: Duration = Duration::from_secs(1);

/// What the group has given us; shared with the callback, which runs inside the poll of the same thread.
#[derive(Debug)]
struct Context {
    topic: String,
    mailbox: Arc<Mailbox>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    granted: BTreeSet<Partition>,
    /// Assigned to the client, with the offset that the next batch begins at.
    assigned: BTreeMap<Partition, u64>,
}

impl Context {
    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions: Vec<Partition> =
            list.elements().iter().map(|element| partition_of(element.partition())).collect();
        let nothing = TopicPartitionList::new();
        // A round that changes nothing here has an empty list.
        if !partitions.is_empty() {
            self.mailbox.signal(LogSignal::Rebalanced);
        }
        match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                tracing::info!(?partitions, "the group gives partitions");
                // The list says what is new since the last one, whatever of that we have told the client to read.
                for partition in partitions {
                    self.held().granted.insert(partition);
                    self.mailbox.signal(LogSignal::Assigned(partition));
                }
                // The client is given nothing yet, and must be told so for the rebalance to go on.
                if let Err(error) = consumer.incremental_assign(&nothing) {
                    tracing::warn!(%error, "an empty assignment was refused");
                }
            }
            _ => {
                tracing::info!(?partitions, lost = consumer.assignment_lost(), "the group takes partitions");
                let mut gone = TopicPartitionList::new();
                for partition in partitions {
                    let mut held = self.held();
                    if held.assigned.remove(&partition).is_some() {
                        gone.add_partition(&self.topic, kafka_partition(partition));
                    }
                    let ours = held.granted.remove(&partition);
                    drop(held);
                    self.mailbox.forget(partition);
                    if ours {
                        self.mailbox.signal(LogSignal::Revoked(partition));
                    }
                }
                if !consumer.assignment_lost() {
                    self.mailbox.drain(DRAIN_BUDGET);
                }
                if let Err(error) = consumer.incremental_unassign(&gone) {
                    tracing::warn!(%error, "a revocation was refused");
                }
            }
        }
    }
}

pub(super) struct Thread {
    log: KafkaLog,
    consumer: BaseConsumer<Context>,
    mailbox: Arc<Mailbox>,
    asked: Receiver<Command>,
    runtime: Handle,
    /// Events read and not yet handed over, of one partition each.
    open: BTreeMap<Partition, Open>,
    paused: bool,
    released: BTreeMap<Partition, Instant>,
}

#[derive(Default)]
struct Open {
    events: Vec<LoggedEvent>,
    bytes: usize,
    /// Offset after the last record, which may have been put aside.
    to: u64,
}

impl Thread {
    pub(super) fn new(
        log: KafkaLog,
        instance: &str,
        mailbox: Arc<Mailbox>,
        asked: Receiver<Command>,
        runtime: Handle,
    ) -> PortResult<Self> {
        let shared = &log.shared;
        let context = Context { topic: shared.topic.clone(), mailbox: mailbox.clone(), held: Mutex::default() };
        let mut config = config(&shared.brokers, &shared.properties, &[]);
        let ours = [
            ("client.id", instance),
            ("session.timeout.ms", "10000"),
            ("heartbeat.interval.ms", "2000"),
            ("queued.min.messages", "10000"),
            ("queued.max.messages.kbytes", "16384"),
            // By default librdkafka stops for a second whenever it has read far enough ahead, which takes us less.
            ("fetch.queue.backoff.ms", "10"),
            ("fetch.error.backoff.ms", "100"),
        ];
        for (name, value) in ours {
            if !shared.properties.contains_key(name) {
                config.set(name, value);
            }
        }
        // The guarantee depends on these: offsets come from the checkpoint alone, and nothing is skipped in silence.
        config.set("group.id", &shared.group);
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "error");
        config.set("partition.assignment.strategy", "cooperative-sticky");
        let consumer: BaseConsumer<Context> = config.create_with_context(context).map_err(port_error)?;
        consumer.subscribe(&[&shared.topic]).map_err(port_error)?;
        Ok(Self {
            log,
            consumer,
            mailbox,
            asked,
            runtime,
            open: BTreeMap::new(),
            paused: false,
            released: BTreeMap::new(),
        })
    }

    /// Until the matcher is gone or Kafka refuses us for good. Dropping the client leaves the group.
    pub(super) fn run(mut self) {
        while !self.mailbox.lock().closed {
            if let Err(cause) = self.round() {
                self.mailbox.fail(cause);
                break;
            }
        }
        // The callback that runs while the client closes must not wait for a matcher.
        self.mailbox.lock().closed = true;
    }

    fn round(&mut self) -> Result<(), String> {
        while let Ok(command) = self.asked.try_recv() {
            self.obey(command)?;
        }
        self.offer_again();
        // One poll that waits, then whatever has arrived with it.
        let mut wait = POLL;
        let mut taken = 0;
        while taken < BATCH_EVENTS_MAX {
            let polled = self.consumer.poll(wait).map(|polled| polled.map(|message| self.take(&message)));
            match polled {
                Some(Ok(None)) => {}
                Some(Ok(Some((partition, event, next)))) => self.add(partition, event?, next),
                Some(Err(error)) => self.judge(error)?,
                None => break,
            }
            taken += 1;
            wait = Duration::ZERO;
        }
        self.hand_over();
        Ok(())
    }

    /// A record as an event, or put aside; `None` where it belongs to no partition of ours, or lies before the start.
    fn take(&self, message: &BorrowedMessage<'_>) -> Option<(Partition, Result<Option<LoggedEvent>, String>, u64)> {
        use rdkafka::Message as _;
        let partition = partition_of(message.partition());
        let offset = record::offset_of(message).0;
        let expected = self.open.get(&partition).map(|open| open.to).or(self
            .consumer
            .context()
            .held()
            .assigned
            .get(&partition)
            .copied())?;
        if offset < expected {
            return None;
        }
        let event = match record::read(message) {
            Ok(event) => Ok(Some(event)),
            Err(letter) => {
                let shared = &self.log.shared;
                tracing::warn!(position = %letter.position, reason = letter.reason, "a record cannot be read; putting it aside");
                // The partition moves on only when the letter is safe.
                let buried = self.runtime.block_on(bury(&shared.producer, &shared.dead_letter_topic, &letter));
                buried.map(|()| None).map_err(|error| error.to_string())
            }
        };
        Some((partition, event, offset + 1))
    }

    fn add(&mut self, partition: Partition, event: Option<LoggedEvent>, next: u64) {
        let open = self.open.entry(partition).or_default();
        open.to = next;
        if let Some(event) = event {
            open.bytes += event.event.bytes().len();
            open.events.push(event);
        }
        if open.events.len() >= BATCH_EVENTS_MAX || open.bytes >= BATCH_BYTES_MAX {
            self.hand_over();
        }
    }

    /// Gives what was read to the matcher; what it has no room for waits here, with the partitions paused.
    fn hand_over(&mut self) {
        let mut full = false;
        for (partition, open) in std::mem::take(&mut self.open) {
            let from = self.consumer.context().held().assigned.get(&partition).copied();
            // It was revoked or released meanwhile.
            let Some(from) = from else { continue };
            let batch = LogBatch { partition, from: Offset(from), to: Offset(open.to), events: open.events };
            match self.mailbox.batch(batch) {
                Ok(()) => {
                    self.consumer.context().held().assigned.insert(partition, open.to);
                }
                Err(batch) => {
                    full = true;
                    self.open.insert(partition, Open { events: batch.events, bytes: open.bytes, to: open.to });
                }
            }
        }
        if full != self.paused
            && let Ok(assigned) = self.consumer.assignment()
        {
            let result = if full { self.consumer.pause(&assigned) } else { self.consumer.resume(&assigned) };
            match result {
                Ok(()) => self.paused = full,
                Err(error) => tracing::warn!(%error, "cannot pause or resume"),
            }
        }
    }

    fn obey(&mut self, command: Command) -> Result<(), String> {
        let topic = &self.log.shared.topic.clone();
        match command {
            Command::Start(partition, from) => {
                if !self.consumer.context().held().granted.contains(&partition) {
                    return Ok(());
                }
                self.take_back(partition)?;
                let (low, high) = range(&self.consumer, topic, partition).map_err(|error| error.to_string())?;
                if from.0 < low || from.0 > high {
                    let (low, high) = (Offset(low), Offset(high));
                    self.mailbox.signal(LogSignal::OutOfRange { partition, want: from, low, high });
                    return Ok(());
                }
                let mut list = TopicPartitionList::new();
                list.add_partition_offset(topic, kafka_partition(partition), KafkaOffset::Offset(from.0.cast_signed()))
                    .map_err(|error| error.to_string())?;
                self.consumer.incremental_assign(&list).map_err(|error| error.to_string())?;
                self.consumer.context().held().assigned.insert(partition, from.0);
                // A pause outlives the assignment that it was made in, so it is set here either way.
                let paused = if self.paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
                paused.map_err(|error| error.to_string())?;
            }
            Command::Release(partition) => {
                self.take_back(partition)?;
                let again = RELEASED_FOR.mul_f64(rand::rng().random_range(0.5..1.5));
                self.released.insert(partition, Instant::now() + again);
            }
            Command::Commit(partition, progress) => {
                let list = witness::list(topic, partition, &progress);
                // A witness only: a commit that fails is followed by a later one.
                if let Err(error) = list.and_then(|list| self.consumer.commit(&list, CommitMode::Async)) {
                    tracing::debug!(%error, %partition, "a commit failed");
                }
            }
        }
        Ok(())
    }

    /// Takes a partition from the client, if it has it, with all that was read of it.
    fn take_back(&mut self, partition: Partition) -> Result<(), String> {
        self.released.remove(&partition);
        self.open.remove(&partition);
        self.mailbox.forget(partition);
        self.unassign(partition)
    }

    fn unassign(&self, partition: Partition) -> Result<(), String> {
        if self.consumer.context().held().assigned.remove(&partition).is_some() {
            let mut list = TopicPartitionList::new();
            list.add_partition(&self.log.shared.topic, kafka_partition(partition));
            self.consumer.incremental_unassign(&list).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Offers released partitions again that the group has left with us.
    fn offer_again(&mut self) {
        let now = Instant::now();
        let held = self.consumer.context().held();
        let due: Vec<Partition> =
            self.released.iter().filter(|(_, at)| **at <= now).map(|(partition, _)| *partition).collect();
        for partition in due {
            self.released.remove(&partition);
            if held.granted.contains(&partition) {
                self.mailbox.signal(LogSignal::Assigned(partition));
            }
        }
    }

    /// Decides what an error means: most are repaired by the client itself.
    fn judge(&mut self, error: KafkaError) -> Result<(), String> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset) => self.find_out_of_range(),
            Some(
                RDKafkaErrorCode::Fatal
                | RDKafkaErrorCode::PollExceeded
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed,
            ) => Err(error.to_string()),
            _ => {
                tracing::warn!(%error, "Kafka reports an error; the client goes on by itself");
                Ok(())
            }
        }
    }

    /// The error does not say which partition cannot go on, so all are compared with what Kafka holds. What was read of
    /// it before is still handed over, so that the gap is no larger than it must be.
    fn find_out_of_range(&mut self) -> Result<(), String> {
        let assigned: Vec<Partition> = self.consumer.context().held().assigned.keys().copied().collect();
        for partition in assigned {
            let at = self.consumer.context().held().assigned.get(&partition).copied().unwrap_or(0);
            let want = self.open.get(&partition).map_or(at, |open| open.to);
            let (low, high) =
                range(&self.consumer, &self.log.shared.topic, partition).map_err(|error| error.to_string())?;
            if want < low || want > high {
                let (want, low, high) = (Offset(want), Offset(low), Offset(high));
                if let Some(Open { events, .. }) = self.open.remove(&partition) {
                    self.mailbox.last_batch(LogBatch { partition, from: Offset(at), to: want, events });
                }
                self.unassign(partition)?;
                self.mailbox.signal(LogSignal::OutOfRange { partition, want, low, high });
            }
        }
        Ok(())
    }
}
