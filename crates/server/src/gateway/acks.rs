//! Acks of all connections, coalesced: one write for up to 250 consumers, each at most about once a second.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evs_core::{Epoch, Shard, Slot};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use crate::metrics::Metrics;
use crate::ports::DeliveryQueue;
use crate::ports::delivery_queue::Ack;
use crate::reader::attached::End;

/// Acks in one call: about a millisecond of the store (measured for Redis).
const CALL_ACKS_MAX: usize = 250;

const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// A store that has not answered by then is asked again, with the same acks: they are maxima.
const CALL_WAIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct AckBook {
    queue: Arc<dyn DeliveryQueue>,
    metrics: Arc<Metrics>,
    /// Connections whose position moved since the last flush, each once.
    moved: Mutex<Vec<Arc<Connection>>>,
    /// A connection left: its consumer may be back at once and should find its position.
    soon: Notify,
    /// One flush at a time, so that whoever gets it knows that earlier ones have been written.
    flushing: tokio::sync::Mutex<()>,
}

impl AckBook {
    pub(super) fn new(queue: Arc<dyn DeliveryQueue>, metrics: Arc<Metrics>) -> Self {
        let (moved, soon, flushing) = (Mutex::default(), Notify::new(), tokio::sync::Mutex::new(()));
        Self { queue, metrics, moved, soon, flushing }
    }

    /// The connection's position moved.
    pub(super) fn moved(&self, connection: &Arc<Connection>) {
        if connection.attached.consumer.is_some() && !connection.unflushed.swap(true, Ordering::AcqRel) {
            self.moved.lock().unwrap_or_else(PoisonError::into_inner).push(connection.clone());
        }
    }

    /// The connection has ended; what it acked is written soon.
    pub(super) fn leaving(&self, connection: &Connection) {
        if connection.unflushed.load(Ordering::Acquire) {
            self.soon.notify_one();
        }
    }

    /// Waits until nothing of a slot is unwritten: the consumer that comes back finds where it was.
    pub(super) async fn settle(self: &Arc<Self>, shard: Shard, slot: Slot) {
        let waiting = self
            .moved
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .any(|connection| connection.attached.slot == slot && connection.attached.shard == shard);
        if waiting {
            // A client that hangs up during its handshake must not take the acks of all others with it.
            let book = self.clone();
            let _ = tokio::spawn(async move { book.flush().await }).await;
        } else {
            // A flush that has begun may hold it.
            drop(self.flushing.lock().await);
        }
    }

    /// Flushes until `done`, then once more.
    pub(super) async fn run(&self, done: CancellationToken) {
        let mut every = interval(FLUSH_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = self.soon.notified() => {}
                () = done.cancelled() => break,
            }
            self.flush().await;
        }
        self.flush().await;
    }

    /// Writes what has moved by now. What the store does not take is tried again with the next flush.
    pub(super) async fn flush(&self) {
        let _one = self.flushing.lock().await;
        let moved = std::mem::take(&mut *self.moved.lock().unwrap_or_else(PoisonError::into_inner));
        type Acks = Vec<(Ack, Arc<Connection>)>;
        let mut by_log: BTreeMap<(Shard, Epoch), Acks> = BTreeMap::new();
        for connection in moved {
            connection.unflushed.store(false, Ordering::Release);
            let Some(consumer) = connection.attached.consumer.clone() else { continue };
            // Its position was set by somebody else meanwhile, or there is none any more.
            if matches!(connection.attached.ending(), Some(End::Moved | End::Gone)) {
                continue;
            }
            let (epoch, seq) = {
                let state = connection.lock();
                (state.session.epoch(), state.session.acked())
            };
            let ack = Ack { slot: connection.attached.slot, consumer, seq };
            by_log.entry((connection.attached.shard, epoch)).or_default().push((ack, connection));
        }
        for ((shard, epoch), acks) in by_log {
            for chunk in acks.chunks(CALL_ACKS_MAX) {
                let call: Vec<Ack> = chunk.iter().map(|(ack, _)| ack.clone()).collect();
                match timeout(CALL_WAIT, self.queue.ack(shard, epoch, &call)).await {
                    // Acks of an earlier epoch mean other events now, so they are dropped (rule 13).
                    Ok(Ok(applied)) => drop(applied.then(|| self.metrics.acks.inc_by(call.len() as u64))),
                    Ok(Err(error)) => {
                        tracing::warn!(%shard, %error, "acks could not be stored; they are tried again");
                        chunk.iter().for_each(|(_, connection)| self.moved(connection));
                    }
                    Err(_) => {
                        tracing::warn!(%shard, "acks were not answered for in time; they are tried again");
                        chunk.iter().for_each(|(_, connection)| self.moved(connection));
                    }
                }
            }
        }
    }
}
