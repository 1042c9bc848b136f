//! What each screen remembers besides the data: cursor, filter, order, page.

use std::collections::BTreeSet;
use std::sync::Arc;

use evs_api::oplog::Level;

use crate::data::EventRow;
use crate::find::Find;
use crate::list::ListCursor;
use crate::message::{EventsQuery, Headers, Sort, SubscribersQuery};

/// The way through pages that only know their next one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// Tokens of the pages after the first, up to the present one.
    tokens: Vec<String>,
}

/// A table of 100,000 rows has 500 pages; more than this is a mistake.
const PAGES_MAX: usize = 100_000;

impl Pages {
    #[must_use]
    pub fn current(&self) -> Option<String> {
        self.tokens.last().cloned()
    }

    #[must_use]
    pub fn number(&self) -> usize {
        self.tokens.len()
    }

    pub fn next(&mut self, token: Option<&str>) -> bool {
        match token {
            Some(token) if self.tokens.len() < PAGES_MAX && self.tokens.last().is_none_or(|t| t != token) => {
                self.tokens.push(token.to_owned());
                true
            }
            _ => false,
        }
    }

    pub fn prev(&mut self) -> bool {
        self.tokens.pop().is_some()
    }

    pub fn first(&mut self) {
        self.tokens.clear();
    }
}

/// Rows of one page of a server's list.
pub const PAGE_ROWS: u32 = 200;

#[derive(Clone, Debug, Default)]
pub struct SubscribersView {
    pub list: ListCursor<String>,
    pub find: Find,
    pub sort: Sort,
    pub ascending: bool,
    pub only_read: bool,
    /// The operator asked that rows stay in place.
    pub hold: bool,
    /// Rows also stay in place for a moment after the cursor moved.
    pub moved_ms: i64,
    pub pages: Pages,
    pub marks: BTreeSet<String>,
    /// Cursors of the panes of one subscriber.
    pub consumers: ListCursor<String>,
    pub own_filters: ListCursor<u32>,
}

/// How long rows stay in place after the cursor moved.
const HOLD_MS: i64 = 2_000;

impl SubscribersView {
    #[must_use]
    pub fn query(&self) -> SubscribersQuery {
        SubscribersQuery {
            sort: self.sort,
            ascending: self.ascending,
            contains: self.find.plain().map(str::to_owned),
            only_read: self.only_read,
            page: self.pages.current(),
        }
    }

    #[must_use]
    pub fn holds(&self, now_ms: i64) -> bool {
        self.hold || now_ms - self.moved_ms < HOLD_MS
    }
}

#[derive(Clone, Debug, Default)]
pub struct EventsView {
    pub query: EventsQuery,
    pub list: ListCursor<u64>,
    pub find: Find,
    /// The rows being read. None follows the newest.
    pub held: Option<Held>,
    pub detail: bool,
    pub detail_scroll: u16,
    /// Which place the search is at.
    pub found_at: usize,
    pub marks: BTreeSet<u64>,
    /// The subscriber of the last "why".
    pub why_subscriber: String,
    pub looked_up: LookedUp,
}

/// The headers of an event whose stream does not bring them, which a subscriber's does not: the log is asked for those of
/// the event that is read.
#[derive(Clone, Debug, Default)]
pub struct LookedUp {
    /// One question at a time.
    pub ask: Option<u64>,
    pub position: String,
    pub headers: Option<Arc<Headers>>,
}

/// Leaving the tail keeps the rows as they are: at thousands of events a second the ring alone would push them out
/// while they are read.
#[derive(Clone, Debug)]
pub struct Held {
    pub rows: Vec<Arc<EventRow>>,
    /// How many had arrived.
    pub arrived: u64,
}

#[derive(Clone, Debug, Default)]
pub struct FiltersView {
    pub list: ListCursor<u32>,
    pub find: Find,
    pub pages: Pages,
    pub marks: BTreeSet<u32>,
}

#[derive(Clone, Debug)]
pub struct LogView {
    pub list: ListCursor<u64>,
    pub find: Find,
    pub level: Level,
    pub following: bool,
    pub marks: BTreeSet<u64>,
}

impl Default for LogView {
    fn default() -> Self {
        Self {
            list: ListCursor::default(),
            find: Find::default(),
            level: Level::Info,
            following: true,
            marks: BTreeSet::new(),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct DeadLettersView {
    pub list: ListCursor<String>,
    pub find: Find,
    pub pages: Pages,
    pub marks: BTreeSet<String>,
}

/// Cursors of the panes of the cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    pub instances: ListCursor<String>,
    pub partitions: ListCursor<u32>,
    pub shards: ListCursor<u16>,
}
