//! What the operator's log hears of connections: of unnamed consumers only that they went, and never so much that it
//! hides the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use evs_api::oplog::Level;

use super::connection::Connection;
use crate::oplog::OpLog;

/// Entries on comings and goings in one second.
const PER_SECOND_MAX: u32 = 10;

#[derive(Debug)]
pub(super) struct Journal {
    oplog: Arc<OpLog>,
    second: AtomicI64,
    written: AtomicU32,
}

impl Journal {
    pub(super) fn new(oplog: Arc<OpLog>) -> Self {
        Self { oplog, second: AtomicI64::new(0), written: AtomicU32::new(0) }
    }

    pub(super) fn connected(&self, connection: &Connection, now_ms: i64) {
        // Consumers with a name of their own are few and known to somebody.
        if connection.attached.consumer.as_ref().is_some_and(|name| name.as_str() != "default") {
            self.note(connection, now_ms, Level::Info, "connected", "connected");
        }
    }

    pub(super) fn disconnected(&self, connection: &Connection, now_ms: i64) {
        self.note(connection, now_ms, Level::Info, "disconnected", "went away");
    }

    /// It took nothing for too long.
    pub(super) fn slow(&self, connection: &Connection, now_ms: i64) {
        self.note(connection, now_ms, Level::Warn, "slow", "took nothing for too long and was closed; its queue stays");
    }

    /// Asleep, stopped, or behind a network that is cut: nothing else tells these from a client that left.
    pub(super) fn silent(&self, connection: &Connection, now_ms: i64) {
        self.note(connection, now_ms, Level::Warn, "slow", "answered no ping and was closed; its queue stays");
    }

    fn note(&self, connection: &Connection, now_ms: i64, level: Level, kind: &str, what: &str) {
        let Some(consumer) = &connection.attached.consumer else { return };
        // Two threads at the turn of a second may both begin it: a few entries more, which is no harm.
        if self.second.swap(now_ms / 1000, Ordering::Relaxed) != now_ms / 1000 {
            self.written.store(0, Ordering::Relaxed);
        }
        if self.written.fetch_add(1, Ordering::Relaxed) < PER_SECOND_MAX {
            let subscriber = Some(connection.subscriber.as_str());
            self.oplog.write(level, kind, subscriber, format!("consumer {consumer} {what}"));
        }
    }
}
