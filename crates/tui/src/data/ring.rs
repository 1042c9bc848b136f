//! The newest events, bounded in number and in bytes; what falls out is old, never new.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::message::{DroppedBy, EventsQuery, Incoming, StreamState};

/// Most bytes of events and their headers that are kept, whatever the number of rows.
const BYTES_MAX: usize = 32 * 1024 * 1024;

#[derive(Clone, Debug)]
pub struct EventRow {
    /// Counts arrivals; names the row on this screen.
    pub n: u64,
    pub event: Incoming,
}

#[derive(Clone, Debug)]
pub struct EventRing {
    pub query: EventsQuery,
    pub state: StreamState,
    rows: VecDeque<Arc<EventRow>>,
    bytes: usize,
    rows_max: usize,
    /// Arrivals so far, dropped ones not counted, and how many of them were of queries before this one.
    pub arrived: u64,
    before: u64,
    pub dropped_here: u64,
    pub dropped_by_server: u64,
}

impl Default for EventRing {
    fn default() -> Self {
        Self::new(5000)
    }
}

impl EventRing {
    #[must_use]
    pub fn new(rows_max: usize) -> Self {
        Self {
            query: EventsQuery::default(),
            state: StreamState::Opening,
            rows: VecDeque::new(),
            bytes: 0,
            rows_max: rows_max.max(1),
            arrived: 0,
            before: 0,
            dropped_here: 0,
            dropped_by_server: 0,
        }
    }

    /// Starts anew if the question changed. Row numbers go on, so that a mark never means another row.
    pub fn ask(&mut self, query: &EventsQuery) {
        if self.query != *query {
            let arrived = self.arrived;
            *self = Self { query: query.clone(), arrived, before: arrived, ..Self::new(self.rows_max) };
        }
    }

    /// Answers to an older question are ignored.
    pub fn push(&mut self, query: &EventsQuery, events: Vec<Incoming>) {
        if self.query != *query {
            return;
        }
        for event in events {
            self.arrived += 1;
            self.bytes += event.size_bytes();
            self.rows.push_back(Arc::new(EventRow { n: self.arrived, event }));
            while self.rows.len() > self.rows_max || (self.bytes > BYTES_MAX && self.rows.len() > 1) {
                if let Some(old) = self.rows.pop_front() {
                    self.bytes -= old.event.size_bytes();
                }
            }
        }
    }

    pub fn dropped(&mut self, query: &EventsQuery, n: u64, by: DroppedBy) {
        if self.query == *query {
            match by {
                DroppedBy::Screen => self.dropped_here += n,
                DroppedBy::Server => self.dropped_by_server += n,
            }
        }
    }

    #[must_use]
    pub fn rows(&self) -> &VecDeque<Arc<EventRow>> {
        &self.rows
    }

    /// Arrivals of this query.
    #[must_use]
    pub fn of_query(&self) -> u64 {
        self.arrived - self.before
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    #[must_use]
    pub fn rows_max(&self) -> usize {
        self.rows_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Headers;
    use evs_api::events::EventHeader;

    fn event(json: &str) -> Incoming {
        Incoming { json: json.into(), ..Incoming::default() }
    }

    #[test]
    fn old_rows_fall_out_by_number_and_by_bytes() {
        let mut ring = EventRing::new(3);
        let query = EventsQuery::default();
        ring.push(&query, (0..5).map(|_| event("{}")).collect());
        assert_eq!(ring.rows().iter().map(|r| r.n).collect::<Vec<_>>(), [3, 4, 5]);
        let big = "x".repeat(BYTES_MAX / 2 + 1);
        ring.push(&query, vec![event(&big), event(&big)]);
        assert_eq!(ring.rows().len(), 1);
        assert!(ring.bytes() <= BYTES_MAX);
        let header = EventHeader { value: Some("x".repeat(BYTES_MAX / 2)), ..EventHeader::default() };
        let headers = Some(Arc::new(Headers { headers: vec![header], left_out: 0 }));
        ring.push(&query, vec![Incoming { headers, ..event("{}") }]);
        assert_eq!(ring.rows().len(), 1, "headers count");
    }

    #[test]
    fn another_question_starts_anew_and_late_answers_are_ignored() {
        let mut ring = EventRing::new(3);
        let (all, one) = (EventsQuery::default(), EventsQuery { subscriber: Some("u".into()), where_: None });
        ring.push(&all, vec![event("{}")]);
        ring.ask(&one);
        ring.push(&all, vec![event("{}")]);
        assert!(ring.rows().is_empty());
        ring.push(&one, vec![event("{}")]);
        assert_eq!(ring.rows()[0].n, 2);
    }
}
