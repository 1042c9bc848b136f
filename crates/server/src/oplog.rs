//! What happened that an operator wants to know: a bounded ring of entries with dense ids, and a wake-up for readers. It
//! holds what happened here, and what other instances reported ([`crate::instances`]).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use evs_api::oplog::{Level, LogEntry};
use tokio::sync::watch;

use crate::clock::Clock;

/// Entries kept; a reader that falls further behind sees a hole in the ids.
const ENTRIES_MAX: usize = 4096;

/// Entries of this instance that go into one of its reports, and for how long: every report is written to the filter
/// store, and one that gets lost is followed by the next.
const RECENT_MAX: usize = 32;
const RECENT_MS: i64 = 60_000;

#[derive(Debug)]
pub struct OpLog {
    clock: Clock,
    instance: Arc<str>,
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Ring {
    last_id: u64,
    entries: VecDeque<LogEntry>,
    /// What was written here, by its own number from 1 on.
    recent: VecDeque<LogEntry>,
    written: u64,
}

impl Ring {
    fn push(&mut self, entry: LogEntry) -> u64 {
        self.last_id += 1;
        self.entries.push_back(LogEntry { id: self.last_id, ..entry });
        if self.entries.len() > ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.last_id
    }
}

impl OpLog {
    /// Ids go on from the time in milliseconds, so that those of a process that was started again are above those of its
    /// life before: a reader that resumes misses nothing of the new one.
    #[must_use]
    pub fn new(clock: Clock, instance: Arc<str>) -> Self {
        let last_id = clock.now_ms().unsigned_abs();
        let ring = Ring { last_id, entries: VecDeque::new(), recent: VecDeque::new(), written: 0 };
        Self { clock, instance, ring: Mutex::new(ring), newest: watch::Sender::new(last_id) }
    }

    /// `kind` is one of the words that [`LogEntry`] lists.
    pub fn write(&self, level: Level, kind: &str, subscriber: Option<&str>, message: impl Into<String>) {
        let instance = Some(self.instance.as_ref().to_owned());
        let entry = self.entry(level, kind, subscriber, message.into());
        let entry = LogEntry { instance, ..entry };
        let id = self.with(|ring| {
            ring.written += 1;
            ring.recent.push_back(LogEntry { id: ring.written, ..entry.clone() });
            if ring.recent.len() > RECENT_MAX {
                ring.recent.pop_front();
            }
            ring.push(entry)
        });
        self.newest.send_replace(id);
    }

    /// What every instance finds out by itself, from what all of them report.
    pub fn write_common(&self, level: Level, kind: &str, message: impl Into<String>) {
        let entry = self.entry(level, kind, None, message.into());
        self.copy([entry]);
    }

    /// Takes what others wrote, whatever ids they gave it.
    pub fn copy(&self, entries: impl IntoIterator<Item = LogEntry>) {
        if let Some(id) = self.with(|ring| entries.into_iter().map(|entry| ring.push(entry)).last()) {
            self.newest.send_replace(id);
        }
    }

    /// The newest entries that were written here, oldest first; their ids count them from 1 on.
    #[must_use]
    pub fn recent(&self) -> Vec<LogEntry> {
        let since_ms = self.clock.now_ms() - RECENT_MS;
        self.with(|ring| ring.recent.iter().filter(|entry| entry.time_ms >= since_ms).cloned().collect())
    }

    fn entry(&self, level: Level, kind: &str, subscriber: Option<&str>, message: String) -> LogEntry {
        let (kind, subscriber) = (kind.to_owned(), subscriber.map(str::to_owned));
        LogEntry { id: 0, time_ms: self.clock.now_ms(), level, kind, subscriber, instance: None, message }
    }

    /// The lock is held for a push or a copy only; nothing is awaited under it.
    fn with<T>(&self, act: impl FnOnce(&mut Ring) -> T) -> T {
        act(&mut self.ring.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Entries with an id above `after`, oldest first, the newest `max` of them.
    #[must_use]
    pub fn after(&self, after: u64, max: usize) -> Vec<LogEntry> {
        self.with(|ring| {
            let from = ring.entries.partition_point(|entry| entry.id <= after);
            let from = from.max(ring.entries.len().saturating_sub(max));
            ring.entries.range(from..).cloned().collect()
        })
    }

    /// Holds the newest id; changes wake readers.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }
}
