//! One entry of the delivery log, and how the matcher builds it.

use bytes::Bytes;

use crate::{Epoch, FilterId, Offset, Partition, Trace};

/// One batch of one partition, seen by one shard: the matched events and who gets them.
#[derive(Clone, Debug)]
pub struct Entry {
    pub epoch: Epoch,
    pub partition: Partition,
    /// The first offset that the batch covers.
    pub from: Offset,
    /// The offset after the last one; events of the batch without a match are covered and not listed.
    pub to: Offset,
    /// When it was matched, milliseconds since the Unix epoch.
    pub time_ms: i64,
    pub(super) events: Vec<EntryEvent>,
    pub(super) routes: Vec<Route>,
    pub(super) filters: Vec<u32>,
    /// By number of the event, ascending; most events have none.
    pub(super) traces: Vec<(u32, Trace)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryEvent {
    pub offset: Offset,
    /// When the event log took it, milliseconds since the Unix epoch.
    pub time_ms: i64,
    pub body: Bytes,
}

/// Slot `slot` gets event number `event` of the entry. Sorted by slot, then event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub slot: u32,
    pub event: u32,
    pub(super) filters_from: u32,
    pub(super) filters_to: u32,
}

impl Entry {
    #[must_use]
    pub fn events(&self) -> &[EntryEvent] {
        &self.events
    }

    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// One past the highest slot that it routes to.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.routes.iter().map(|route| route.slot + 1).max().unwrap_or(0)
    }

    #[must_use]
    pub fn event(&self, route: &Route) -> &EntryEvent {
        &self.events[route.event as usize]
    }

    /// The trace that the route's event belongs to.
    #[must_use]
    pub fn trace(&self, route: &Route) -> Option<Trace> {
        let at = self.traces.binary_search_by_key(&route.event, |(event, _)| *event).ok()?;
        Some(self.traces[at].1)
    }

    /// Ids of the subscriber's filters that matched, ascending.
    #[must_use]
    pub fn filters(&self, route: &Route) -> &[u32] {
        &self.filters[route.filters_from as usize..route.filters_to as usize]
    }

    /// Memory it holds, in bytes, for the bounds of windows and logs.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let bodies: usize = self.events.iter().map(|event| event.body.len()).sum();
        size_of::<Self>()
            + bodies
            + self.events.len() * size_of::<EntryEvent>()
            + self.routes.len() * size_of::<Route>()
            + self.filters.len() * size_of::<u32>()
            + self.traces.len() * size_of::<(u32, Trace)>()
    }
}

/// Equal in what they say: where the filter ids lie in memory depends on how the entry was made.
impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        let said = |entry: &Self| (entry.epoch, entry.partition, entry.from, entry.to, entry.time_ms);
        let routed = |(left, right): (&Route, &Route)| {
            (left.slot, left.event) == (right.slot, right.event) && self.filters(left) == other.filters(right)
        };
        said(self) == said(other)
            && self.events == other.events
            && self.traces == other.traces
            && self.routes.len() == other.routes.len()
            && self.routes.iter().zip(&other.routes).all(routed)
    }
}

impl Eq for Entry {}

/// Collects an entry event by event.
#[derive(Debug)]
pub struct EntryBuilder {
    entry: Entry,
    body_bytes: usize,
    sorted: bool,
}

impl EntryBuilder {
    #[must_use]
    pub fn new(epoch: Epoch, partition: Partition, from: Offset, time_ms: i64) -> Self {
        let entry = Entry {
            epoch,
            partition,
            from,
            to: from,
            time_ms,
            events: Vec::new(),
            routes: Vec::new(),
            filters: Vec::new(),
            traces: Vec::new(),
        };
        Self { entry, body_bytes: 0, sorted: true }
    }

    /// Adds an event; the routes that follow are its own.
    pub fn event(&mut self, offset: Offset, time_ms: i64, body: Bytes) {
        self.body_bytes += body.len();
        self.entry.events.push(EntryEvent { offset, time_ms, body });
    }

    /// The last event belongs to this trace.
    pub fn trace(&mut self, trace: Trace) {
        debug_assert!(!self.entry.events.is_empty(), "a trace belongs to an event");
        self.entry.traces.push((self.entry.events.len().saturating_sub(1) as u32, trace));
    }

    /// Adds a route of the last event.
    pub fn route(&mut self, slot: u32, filters: impl IntoIterator<Item = FilterId>) {
        debug_assert!(!self.entry.events.is_empty(), "a route belongs to an event");
        let event = self.entry.events.len().saturating_sub(1) as u32;
        let filters_from = self.entry.filters.len() as u32;
        self.entry.filters.extend(filters.into_iter().map(|id| id.0));
        let filters_to = self.entry.filters.len() as u32;
        self.sorted &= self.entry.routes.last().is_none_or(|last| (last.slot, last.event) <= (slot, event));
        self.entry.routes.push(Route { slot, event, filters_from, filters_to });
    }

    #[must_use]
    pub fn routes_len(&self) -> usize {
        self.entry.routes.len()
    }

    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entry.routes.is_empty()
    }

    /// The entry, which covers the partition up to `to`.
    #[must_use]
    pub fn finish(mut self, to: Offset) -> Entry {
        self.entry.to = to;
        if !self.sorted {
            self.entry.routes.sort_unstable_by_key(|route| (route.slot, route.event));
        }
        self.entry
    }
}
