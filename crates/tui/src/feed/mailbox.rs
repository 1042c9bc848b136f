//! Events on their way to the screen: the newest stay, the oldest are dropped and counted.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::message::{EventsQuery, Incoming};

/// More than a screen's ring holds is not worth keeping: at 5,000 events a second the loop takes a few hundred at a
/// time, and only a loop that stalls for a second fills it.
pub const MAILBOX_MAX: usize = 5_000;
/// The same for large events: a terminal that takes no output stalls the loop for as long as it likes.
const BYTES_MAX: usize = 32 * 1024 * 1024;

#[derive(Debug, Default)]
pub struct Mailbox {
    inner: Mutex<Inner>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    query: EventsQuery,
    events: VecDeque<Incoming>,
    bytes: usize,
    dropped: u64,
    dropped_by_server: u64,
}

/// What was waiting.
#[derive(Debug)]
pub struct Taken {
    pub query: EventsQuery,
    pub events: Vec<Incoming>,
    pub dropped: u64,
    pub dropped_by_server: u64,
}

impl Mailbox {
    /// Starts anew for another question.
    pub fn open(&self, query: &EventsQuery) {
        let mut inner = self.lock();
        *inner = Inner { query: query.clone(), ..Inner::default() };
    }

    /// What belongs to an older question is thrown away.
    pub fn put(&self, query: &EventsQuery, event: Incoming) {
        let mut inner = self.lock();
        if inner.query != *query {
            return;
        }
        inner.bytes += event.size_bytes();
        inner.events.push_back(event);
        while inner.events.len() > MAILBOX_MAX || (inner.bytes > BYTES_MAX && inner.events.len() > 1) {
            let Some(oldest) = inner.events.pop_front() else { break };
            inner.bytes -= oldest.size_bytes();
            inner.dropped += 1;
        }
        drop(inner);
        self.arrived.notify_one();
    }

    pub fn put_drops(&self, query: &EventsQuery, n: u64) {
        let mut inner = self.lock();
        if inner.query == *query {
            inner.dropped_by_server += n;
            drop(inner);
            self.arrived.notify_one();
        }
    }

    #[must_use]
    pub fn take(&self) -> Option<Taken> {
        let mut inner = self.lock();
        if inner.events.is_empty() && inner.dropped == 0 && inner.dropped_by_server == 0 {
            return None;
        }
        inner.bytes = 0;
        Some(Taken {
            query: inner.query.clone(),
            events: std::mem::take(&mut inner.events).into(),
            dropped: std::mem::take(&mut inner.dropped),
            dropped_by_server: std::mem::take(&mut inner.dropped_by_server),
        })
    }

    /// Until something is put.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Nothing is awaited while it is held, and a panic elsewhere leaves it whole.
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: usize) -> Incoming {
        Incoming { seq: Some(n as u64), json: "{}".into(), ..Incoming::default() }
    }

    #[test]
    fn the_newest_stay_and_drops_are_counted() {
        let mailbox = Mailbox::default();
        let query = EventsQuery::default();
        for n in 0..MAILBOX_MAX + 7 {
            mailbox.put(&query, event(n));
        }
        let taken = mailbox.take().unwrap();
        assert_eq!((taken.dropped, taken.events.len()), (7, MAILBOX_MAX));
        assert_eq!(taken.events[0].seq, Some(7));
        assert!(mailbox.take().is_none());
        // Two that are together more than it may hold, and a third: each drives out the one before it.
        let large = Incoming { json: "x".repeat(BYTES_MAX / 2 + 1).into(), ..event(0) };
        for _ in 0..3 {
            mailbox.put(&query, large.clone());
        }
        let taken = mailbox.take().unwrap();
        assert_eq!((taken.dropped, taken.events.len()), (2, 1));
    }

    #[test]
    fn another_question_throws_the_old_answers_away() {
        let mailbox = Mailbox::default();
        let (old, new) = (EventsQuery::default(), EventsQuery { subscriber: Some("u".into()), where_: None });
        mailbox.put(&old, event(1));
        mailbox.open(&new);
        mailbox.put(&old, event(2));
        assert!(mailbox.take().is_none());
    }
}
