//! Feeds a share of the connections, one task per core: finds who has new deliveries, encodes and writes them itself.
//!
//! A pass takes everything that is new in the windows, marks the connections of the routed slots, and for each writes
//! all that it may have in one call. Nothing is queued per delivery, and the further a dispatcher is behind, the more
//! deliveries share a write. A connection is **marked** whenever something may have changed for it: a new entry, an
//! ack, a socket that takes bytes again, the end of a read of the store. Live and behind are the same loop.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evs_api::frames::CloseCode;
use evs_api::oplog::Level;
use evs_core::log::{Entry, Found, Place};
use evs_core::{ConsumerName, Offset, Partition, Seq, Shard, Slot};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::acks::AckBook;
use super::connection::{Connection, State};
use super::journal::Journal;
use super::session::Limits;
use crate::app::App;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::oplog::OpLog;
use crate::ports::{DeliveryQueue, PortResult};
use crate::reader::Readers;
use crate::traces::Traces;

pub(super) mod pump;
mod tick;

pub(super) use pump::Pump;

type OfSlot = SmallVec<[Arc<Connection>; 1]>;

/// What a dispatcher's task shares with everybody else.
pub(super) struct Dispatcher {
    pub(super) readers: Readers,
    pub(super) queue: Arc<dyn DeliveryQueue>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) oplog: Arc<OpLog>,
    pub(super) traces: Traces,
    pub(super) clock: Clock,
    pub(super) limits: Limits,
    pub(super) shutdown: CancellationToken,
    /// What the door of the process decides by.
    pub(super) app: App,
    pub(super) acks: Arc<AckBook>,
    pub(super) journal: Arc<Journal>,
    /// Reads of the store at a time, of all dispatchers: a storm of returning clients must not become one of reads.
    pub(super) store_reads: Arc<tokio::sync::Semaphore>,
    connections: Mutex<FxHashMap<(Shard, Slot), OfSlot>>,
    /// Marked connections, each once.
    marked: Mutex<Vec<Arc<Connection>>>,
    pub(super) wake: Arc<Notify>,
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher").finish_non_exhaustive()
    }
}

impl Dispatcher {
    pub(super) fn new(
        app: &App,
        limits: Limits,
        acks: Arc<AckBook>,
        journal: Arc<Journal>,
        store_reads: Arc<tokio::sync::Semaphore>,
    ) -> Self {
        Self {
            readers: app.readers.clone(),
            queue: app.queue.clone(),
            metrics: app.metrics.clone(),
            oplog: app.oplog.clone(),
            traces: app.traces.clone(),
            clock: app.clock.clone(),
            limits,
            shutdown: app.shutdown.clone(),
            app: app.clone(),
            acks,
            journal,
            store_reads,
            connections: Mutex::default(),
            marked: Mutex::default(),
            wake: Arc::default(),
        }
    }

    /// From now on the connection is fed. Answers those of the same consumer that were here before.
    pub(super) fn add(&self, connection: &Arc<Connection>) -> OfSlot {
        let key = (connection.attached.shard, connection.attached.slot);
        let consumer = &connection.attached.consumer;
        let older = {
            let mut connections = self.lock();
            let of_slot = connections.entry(key).or_default();
            let same = |other: &&Arc<Connection>| consumer.is_some() && other.attached.consumer == *consumer;
            let older = of_slot.iter().filter(same).cloned().collect();
            of_slot.push(connection.clone());
            older
        };
        self.readers.attached().add(connection.attached.clone());
        self.metrics.connections.inc();
        self.metrics.connections_behind.inc();
        self.ready(connection);
        older
    }

    pub(super) fn remove(&self, connection: &Arc<Connection>) {
        let key = (connection.attached.shard, connection.attached.slot);
        {
            let mut connections = self.lock();
            let Some(of_slot) = connections.get_mut(&key) else { return };
            let before = of_slot.len();
            of_slot.retain(|other| !Arc::ptr_eq(other, connection));
            if of_slot.len() == before {
                return;
            }
            if of_slot.is_empty() {
                connections.remove(&key);
            }
        }
        self.readers.attached().remove(&connection.attached);
        self.metrics.connections.dec();
        if !connection.attached.live() {
            self.metrics.connections_behind.dec();
        }
    }

    /// The connections of a slot.
    pub(super) fn of_slot(&self, shard: Shard, slot: Slot) -> OfSlot {
        self.lock().get(&(shard, slot)).cloned().unwrap_or_default()
    }

    /// The connection of a named consumer, if it is here.
    pub(super) fn of_consumer(&self, shard: Shard, slot: Slot, consumer: &ConsumerName) -> OfSlot {
        let mut found = self.of_slot(shard, slot);
        found.retain(|connection| connection.attached.consumer.as_ref() == Some(consumer));
        found
    }

    /// Closes a connection because its consumer has a newer one.
    pub(super) fn supersede(&self, older: &Arc<Connection>, state: &mut State, now_ms: i64) {
        if state.ending() {
            return;
        }
        older.close(state, CloseCode::Superseded, now_ms);
        self.metrics.superseded.inc();
        let consumer = older.attached.consumer.as_ref().map_or("", ConsumerName::as_str);
        let message = format!("consumer {consumer} connected again; its older connection was closed");
        self.oplog.write(Level::Info, "superseded", Some(older.subscriber.as_str()), message);
    }

    pub(super) fn all(&self) -> Vec<Arc<Connection>> {
        self.lock().values().flatten().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().values().map(SmallVec::len).sum()
    }

    /// Marks a connection and wakes the task.
    pub(super) fn ready(&self, connection: &Arc<Connection>) {
        if !connection.queued.swap(true, Ordering::AcqRel) {
            self.marked.lock().unwrap_or_else(PoisonError::into_inner).push(connection.clone());
            self.wake.notify_one();
        }
    }

    fn take_marked(&self, into: &mut Vec<Arc<Connection>>) {
        into.append(&mut self.marked.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Marks the connections of every slot that the entries route to.
    fn mark_routed(&self, shard: Shard, entries: &[Arc<Entry>], into: &mut Vec<Arc<Connection>>) {
        let connections = self.lock();
        if connections.is_empty() {
            return;
        }
        for entry in entries {
            let mut last = None;
            for route in entry.routes() {
                if last.replace(route.slot) == Some(route.slot) {
                    continue;
                }
                let Some(of_slot) = connections.get(&(shard, Slot(route.slot))) else { continue };
                for connection in of_slot {
                    if !connection.queued.swap(true, Ordering::AcqRel) {
                        into.push(connection.clone());
                    }
                }
            }
        }
    }

    /// Held for the walk over the routes of new entries at the longest.
    fn lock(&self) -> MutexGuard<'_, FxHashMap<(Shard, Slot), OfSlot>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The slot of every dispatcher's share: consumers of one subscriber meet in one dispatcher.
pub(super) fn share(slot: Slot, dispatchers: usize) -> usize {
    slot.0 as usize % dispatchers.max(1)
}

/// What one look at the windows found for a connection.
#[derive(Debug)]
enum Look {
    /// Deliveries `found[from..to]`; whether the window has no more.
    Found {
        from: usize,
        to: usize,
        all: bool,
    },
    CaughtUp,
    /// The wanted delivery left the window.
    Older,
    /// The window has another life than the session.
    Gone,
}

/// Deliveries found in one look, reused.
type Finds = Vec<Found>;

/// Which of a consumer's deliveries to look for.
#[derive(Debug)]
struct Want {
    connection: Arc<Connection>,
    next: Seq,
    /// Where the delivery before it lies, if it came from the window.
    after: Option<Place>,
    max: usize,
    /// For one that will be told that it has caught up: the ends of what the window holds, if it has (rule 31).
    ends: Option<Vec<(Partition, Offset)>>,
    look: Look,
}

/// Slots of connections whose subscriber was deleted.
pub(super) async fn removed(queue: &dyn DeliveryQueue, shard: Shard, slots: &[Slot]) -> PortResult<Vec<Slot>> {
    let acked = queue.acked(shard, slots).await?;
    Ok(slots.iter().zip(acked).filter(|(_, acked)| acked.0 == u64::MAX).map(|(slot, _)| *slot).collect())
}
