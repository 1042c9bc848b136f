//! The event log as one list per partition, with a consumer group that hands partitions over one by one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use evs_core::{Event, Offset, Partition, Position};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::clock::Clock;
use crate::ports::event_log::{
    Committed, DeadLetter, EventLog, LogBatch, LogConsumer, LogRead, LogSignal, LoggedEvent, PartitionRange,
};
use crate::ports::{PortError, PortResult};

/// Events of one batch that a consumer is handed.
const BATCH_EVENTS_MAX: usize = 500;

/// The event log in memory. Cheap to clone; clones are the same log.
#[derive(Clone, Debug)]
pub struct MemoryLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Notify,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Inner {
    partitions: Vec<Stored>,
    members: Vec<u64>,
    members_ever: u64,
    /// Who reads a partition now. It is given on only when this is empty, as in a cooperative rebalance.
    holders: BTreeMap<Partition, u64>,
    committed: BTreeMap<Partition, Committed>,
    dead_letters: Vec<DeadLetter>,
    dead_letters_ever: u64,
}

#[derive(Debug, Default)]
struct Stored {
    low: u64,
    events: Vec<LoggedEvent>,
}

impl Stored {
    fn high(&self) -> u64 {
        self.low + self.events.len() as u64
    }

    /// Events from `from` on, at least one if there is one.
    fn slice(&self, from: Offset, events_max: usize, bytes_max: usize) -> Vec<LoggedEvent> {
        let skip = usize::try_from(from.0.saturating_sub(self.low)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let fits = |logged: &&LoggedEvent| {
            let first = bytes == 0;
            bytes += logged.event.bytes().len();
            first || bytes <= bytes_max
        };
        self.events.iter().skip(skip).take(events_max).take_while(fits).cloned().collect()
    }
}

impl MemoryLog {
    #[must_use]
    pub fn new(partitions: u32, clock: Clock) -> Self {
        let partitions = (0..partitions.max(1)).map(|_| Stored::default()).collect();
        let inner = Mutex::new(Inner { partitions, ..Inner::default() });
        Self { shared: Arc::new(Shared { inner, changed: Notify::new(), clock }) }
    }

    /// Throws every member out of the group, as a coordinator does with those that it has not heard of. They find
    /// out at their next look; until then they are zombies that believe they own their partitions.
    pub fn forget_members(&self) {
        let mut inner = self.shared.lock();
        inner.members.clear();
        inner.holders.clear();
        drop(inner);
        self.shared.changed.notify_waiters();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn partition(&self, partition: Partition) -> PortResult<&Stored> {
        self.partitions.get(partition.0 as usize).ok_or_else(|| no_partition(partition))
    }
}

fn no_partition(partition: Partition) -> PortError {
    PortError::Unavailable { what: "the event log", cause: format!("there is no partition {partition}") }
}

/// FNV-1a over the user id; events without one share a partition.
fn partition_of(event: &Event, partitions: usize) -> usize {
    #[derive(serde::Deserialize)]
    struct Keyed {
        user_id: Option<serde_json::Value>,
    }
    let key = serde_json::from_slice::<Keyed>(event.bytes()).ok().and_then(|keyed| keyed.user_id);
    let key = key.map(|key| key.to_string()).unwrap_or_default();
    let hash = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    usize::try_from(hash % partitions.max(1) as u64).unwrap_or(0)
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn append(&self, events: Vec<Event>) -> PortResult<Vec<Position>> {
        let time_ms = self.shared.clock.now_ms();
        let mut inner = self.shared.lock();
        let count = inner.partitions.len();
        let mut positions = Vec::with_capacity(events.len());
        for event in events {
            let index = partition_of(&event, count);
            let stored = &mut inner.partitions[index];
            let offset = Offset(stored.high());
            stored.events.push(LoggedEvent { offset, time_ms, event, headers: None });
            positions.push(Position { partition: Partition(index as u32), offset });
        }
        drop(inner);
        self.shared.changed.notify_waiters();
        Ok(positions)
    }

    async fn partitions(&self) -> PortResult<Vec<PartitionRange>> {
        let inner = self.shared.lock();
        let range = |(index, stored): (usize, &Stored)| PartitionRange {
            partition: Partition(index as u32),
            low: Offset(stored.low),
            high: Offset(stored.high()),
        };
        Ok(inner.partitions.iter().enumerate().map(range).collect())
    }

    async fn read(
        &self,
        partition: Partition,
        from: Offset,
        events_max: usize,
        bytes_max: usize,
    ) -> PortResult<LogRead> {
        let inner = self.shared.lock();
        let stored = inner.partition(partition)?;
        let events = stored.slice(from, events_max, bytes_max);
        let next = events.last().map_or(from.0.max(stored.low), |last| last.offset.0 + 1);
        Ok(LogRead { events, next: Offset(next), low: Offset(stored.low) })
    }

    async fn offset_at(&self, partition: Partition, time_ms: i64) -> PortResult<Offset> {
        let inner = self.shared.lock();
        let stored = inner.partition(partition)?;
        let found = stored.events.iter().find(|logged| logged.time_ms >= time_ms);
        Ok(found.map_or(Offset(stored.high()), |logged| logged.offset))
    }

    async fn consumer(&self, _instance: &str) -> PortResult<Box<dyn LogConsumer>> {
        let mut inner = self.shared.lock();
        inner.members_ever += 1;
        let id = inner.members_ever;
        inner.members.push(id);
        drop(inner);
        self.shared.changed.notify_waiters();
        Ok(Box::new(MemoryConsumer { shared: self.shared.clone(), id, held: BTreeMap::new(), turn: 0 }))
    }

    async fn retain(&self, before_ms: i64, bytes_max: u64, keep_from: &[(Partition, Offset)]) -> PortResult<()> {
        let mut inner = self.shared.lock();
        for (index, stored) in inner.partitions.iter_mut().enumerate() {
            let keep = keep_from.iter().find(|(partition, _)| partition.0 as usize == index);
            let keep = keep.map_or(0, |(_, offset)| offset.0);
            let mut bytes: u64 = stored.events.iter().map(|logged| logged.event.bytes().len() as u64).sum();
            let mut gone = 0;
            for logged in &stored.events {
                if logged.offset.0 >= keep || (logged.time_ms >= before_ms && bytes <= bytes_max) {
                    break;
                }
                bytes -= logged.event.bytes().len() as u64;
                gone += 1;
            }
            stored.events.drain(..gone);
            stored.low += gone as u64;
        }
        Ok(())
    }

    async fn committed(&self, partition: Partition) -> PortResult<Option<Committed>> {
        Ok(self.shared.lock().committed.get(&partition).cloned())
    }

    async fn bury(&self, mut letter: DeadLetter) -> PortResult<()> {
        let mut inner = self.shared.lock();
        inner.dead_letters_ever += 1;
        letter.id = inner.dead_letters_ever.to_string();
        inner.dead_letters.push(letter);
        Ok(())
    }

    async fn dead_letters(&self, skip: usize, max: usize) -> PortResult<Vec<DeadLetter>> {
        Ok(self.shared.lock().dead_letters.iter().rev().skip(skip).take(max).cloned().collect())
    }

    async fn remove_dead_letters(&self, ids: &[String]) -> PortResult<u64> {
        let mut inner = self.shared.lock();
        let before = inner.dead_letters.len();
        inner.dead_letters.retain(|letter| !ids.is_empty() && !ids.contains(&letter.id));
        Ok((before - inner.dead_letters.len()) as u64)
    }
}

/// A member of the group.
#[derive(Debug)]
struct MemoryConsumer {
    shared: Arc<Shared>,
    id: u64,
    held: BTreeMap<Partition, Reading>,
    /// Where the next look for a batch begins, so that no partition starves the others.
    turn: usize,
}

#[derive(Clone, Copy, Debug)]
enum Reading {
    /// Assigned; nothing is read before `start`.
    Waiting,
    At(Offset),
    /// Told once that it cannot go on.
    Stopped,
}

impl MemoryConsumer {
    fn look(&mut self) -> Option<LogSignal> {
        let shared = self.shared.clone();
        let mut inner = shared.lock();
        if !inner.members.contains(&self.id) {
            if let Some((partition, _)) = self.held.pop_first() {
                return Some(LogSignal::Revoked(partition));
            }
            inner.members.push(self.id);
        }
        let members = inner.members.len();
        let rank = inner.members.iter().position(|member| *member == self.id).unwrap_or(0);
        for index in 0..inner.partitions.len() {
            let partition = Partition(index as u32);
            let mine = index % members == rank;
            if !mine && self.held.remove(&partition).is_some() {
                inner.holders.remove(&partition);
                drop(inner);
                shared.changed.notify_waiters();
                return Some(LogSignal::Revoked(partition));
            }
            if mine && !inner.holders.contains_key(&partition) {
                inner.holders.insert(partition, self.id);
                self.held.insert(partition, Reading::Waiting);
                return Some(LogSignal::Assigned(partition));
            }
        }
        self.turn = self.turn.wrapping_add(1);
        let (skip, count) = (self.turn % self.held.len().max(1), self.held.len());
        let order: Vec<Partition> = self.held.keys().cycle().skip(skip).take(count).copied().collect();
        order.into_iter().find_map(|partition| {
            let Some(Reading::At(from)) = self.held.get(&partition).copied() else { return None };
            let stored = inner.partitions.get(partition.0 as usize)?;
            let (low, high) = (Offset(stored.low), Offset(stored.high()));
            if from < low || from > high {
                self.held.insert(partition, Reading::Stopped);
                return Some(LogSignal::OutOfRange { partition, want: from, low, high });
            }
            let events = stored.slice(from, BATCH_EVENTS_MAX, usize::MAX);
            let to = Offset(events.last()?.offset.0 + 1);
            self.held.insert(partition, Reading::At(to));
            Some(LogSignal::Batch(LogBatch { partition, from, to, events }))
        })
    }
}

#[async_trait]
impl LogConsumer for MemoryConsumer {
    async fn next(&mut self, wait: Duration) -> PortResult<LogSignal> {
        let deadline = Instant::now() + wait;
        let shared = self.shared.clone();
        loop {
            let changed = shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(signal) = self.look() {
                return Ok(signal);
            }
            if timeout_at(deadline, changed).await.is_err() {
                return Ok(LogSignal::Idle);
            }
        }
    }

    async fn start(&mut self, partition: Partition, from: Offset) -> PortResult<()> {
        if let Some(reading) = self.held.get_mut(&partition) {
            *reading = Reading::At(from);
        }
        Ok(())
    }

    async fn release(&mut self, partition: Partition) -> PortResult<()> {
        if self.held.remove(&partition).is_some() {
            let mut inner = self.shared.lock();
            if inner.holders.get(&partition) == Some(&self.id) {
                inner.holders.remove(&partition);
            }
        }
        Ok(())
    }

    async fn commit(&mut self, partition: Partition, progress: Committed) -> PortResult<()> {
        self.shared.lock().committed.insert(partition, progress);
        Ok(())
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        let id = self.id;
        inner.members.retain(|member| *member != id);
        inner.holders.retain(|_, holder| *holder != id);
        drop(inner);
        self.shared.changed.notify_waiters();
    }
}
