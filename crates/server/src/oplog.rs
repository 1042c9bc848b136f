//! What happened that an operator wants to know: a bounded ring of entries with dense ids, and a wake-up for readers.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use evs_api::oplog::{Level, LogEntry};
use tokio::sync::watch;

use crate::clock::Clock;

/// Entries kept; a reader that falls further behind sees a hole in the ids.
const ENTRIES_MAX: usize = 4096;

#[derive(Debug)]
pub struct OpLog {
    clock: Clock,
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Ring {
    last_id: u64,
    entries: VecDeque<LogEntry>,
}

impl OpLog {
    /// Ids go on from the time in milliseconds, so that those of a process that was started again are above those of its
    /// life before: a reader that resumes misses nothing of the new one.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let last_id = clock.now_ms().unsigned_abs();
        let ring = Ring { last_id, entries: VecDeque::new() };
        Self { clock, ring: Mutex::new(ring), newest: watch::Sender::new(last_id) }
    }

    /// `kind` is one of the words that [`LogEntry`] lists.
    pub fn write(&self, level: Level, kind: &str, subscriber: Option<&str>, message: impl Into<String>) {
        let message = message.into();
        let time_ms = self.clock.now_ms();
        let id = {
            // Held for a push only; nothing is awaited under it.
            let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            ring.last_id += 1;
            let id = ring.last_id;
            let (kind, subscriber) = (kind.to_owned(), subscriber.map(str::to_owned));
            ring.entries.push_back(LogEntry { id, time_ms, level, kind, subscriber, message });
            if ring.entries.len() > ENTRIES_MAX {
                ring.entries.pop_front();
            }
            id
        };
        self.newest.send_replace(id);
    }

    /// Entries with an id above `after`, oldest first, the newest `max` of them.
    #[must_use]
    pub fn after(&self, after: u64, max: usize) -> Vec<LogEntry> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let from = ring.entries.partition_point(|entry| entry.id <= after);
        let from = from.max(ring.entries.len().saturating_sub(max));
        ring.entries.range(from..).cloned().collect()
    }

    /// Holds the newest id; changes wake readers.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }
}
