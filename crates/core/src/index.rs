//! Finds the filters that match an event.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::{Event, Filter, FilterId, FilterVersion, Shard, Slot};

/// Whose queue a match goes to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Target {
    pub shard: Shard,
    pub slot: Slot,
}

/// One filter that matches, ordered as the delivery log's routes are: by shard, slot and filter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Match {
    pub target: Target,
    pub filter: FilterId,
}

/// What `/stats` tells of the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IndexStats {
    pub filters: usize,
    pub classes: usize,
    pub unindexable_filters: usize,
    pub memory_bytes: usize,
}

/// What one thread reuses from event to event, with counters of its work.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    pub events: u64,
    pub candidates: u64,
    pub matches: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    target: Target,
    filter: Arc<Filter>,
}

/// The filters by the event type they ask for; those that ask for none are candidates of every event.
#[derive(Clone, Debug, Default)]
struct Table {
    entries: BTreeMap<FilterId, Entry>,
    by_type: HashMap<Box<str>, Vec<FilterId>>,
    any_type: Vec<FilterId>,
}

/// The single writer of the index.
#[derive(Debug, Default)]
pub struct MatchIndex {
    table: Table,
    published: Arc<ArcSwap<Snapshot>>,
}

impl MatchIndex {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a filter, or replaces the one of this id.
    pub fn insert(&mut self, id: FilterId, target: Target, filter: &Filter) {
        self.remove(id);
        if filter.event_types.is_empty() {
            self.table.any_type.push(id);
        }
        for event_type in &filter.event_types {
            let ids = self.table.by_type.entry(event_type.clone()).or_default();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        self.table.entries.insert(id, Entry { target, filter: Arc::new(filter.clone()) });
    }

    pub fn remove(&mut self, id: FilterId) -> bool {
        let Some(entry) = self.table.entries.remove(&id) else { return false };
        self.table.any_type.retain(|other| *other != id);
        for event_type in &entry.filter.event_types {
            if let Some(ids) = self.table.by_type.get_mut(event_type) {
                ids.retain(|other| *other != id);
            }
        }
        true
    }

    /// Makes all changes so far visible to readers at once.
    pub fn publish(&mut self, version: FilterVersion) {
        self.published.store(Arc::new(Snapshot { version, table: self.table.clone() }));
    }

    #[must_use]
    pub fn reader(&self) -> IndexReader {
        IndexReader { cache: arc_swap::Cache::new(Arc::clone(&self.published)) }
    }

    #[must_use]
    pub fn stats(&self) -> IndexStats {
        IndexStats {
            filters: self.table.entries.len(),
            classes: self.table.entries.len(),
            unindexable_filters: self.table.any_type.len(),
            memory_bytes: 0,
        }
    }
}

/// A reader's handle: always the newest published snapshot, for about a nanosecond.
#[derive(Clone, Debug)]
pub struct IndexReader {
    cache: arc_swap::Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
}

impl IndexReader {
    pub fn snapshot(&mut self) -> &Arc<Snapshot> {
        self.cache.load()
    }
}

/// The filters as of one version, never changing.
#[derive(Debug, Default)]
pub struct Snapshot {
    version: FilterVersion,
    table: Table,
}

impl Snapshot {
    #[must_use]
    pub fn version(&self) -> FilterVersion {
        self.version
    }

    /// Fills `out` with the matches of this event, sorted.
    pub fn matches(&self, event: &Event, scratch: &mut Scratch, out: &mut Vec<Match>) {
        out.clear();
        let json = event.value();
        let event_type = json.get("event_type").and_then(serde_json::Value::as_str);
        let typed = event_type.and_then(|name| self.table.by_type.get(name)).map_or(&[][..], Vec::as_slice);
        for id in typed.iter().chain(&self.table.any_type) {
            let entry = &self.table.entries[id];
            scratch.candidates += 1;
            if entry.filter.matches(event) {
                out.push(Match { target: entry.target, filter: *id });
            }
        }
        out.sort_unstable();
        scratch.events += 1;
        scratch.matches += out.len() as u64;
    }
}
