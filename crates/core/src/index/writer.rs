//! The single writer: takes filters in and out, and publishes what it has.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hashbrown::HashSet;

use super::catalog::{ALWAYS, Catalog};
use super::chunk::ChunkId;
use super::clusters::Clusters;
use super::cover::Domain;
use super::encode::SymbolKey;
use super::gates::Group;
use super::layouts::Layouts;
use super::places::{Place, Places};
use super::placing::Workshop;
use super::rekey::Waste;
use super::snapshot::{CLASS, Scratch, Snapshot, Targets, pair_key};
use super::symbols::{NONE, SymbolId};
use super::table::Table;
use super::{IndexReader, IndexStats};
use crate::{FilterId, FilterVersion};

/// The single writer of the index.
#[derive(Debug)]
pub struct MatchIndex {
    pub(super) catalog: Catalog,
    pub(super) clusters: Clusters,
    pub(super) layouts: Layouts,
    pub(super) pairs: Table,
    shapes: Arc<Vec<(Domain, Domain)>>,
    groups: Arc<Vec<Group>>,
    pub(super) targets: Targets,
    pub(super) places: Places,
    pub(super) counts: Counts,
    pub(super) waste: Waste,
    pub(super) scratch: Scratch,
    /// Keys that have as many clusters as they may have.
    pub(super) long: HashSet<SymbolKey>,
    /// What is made of filters on their way in.
    pub(super) workshop: Workshop,
    pub(super) published: Arc<ArcSwap<Snapshot>>,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) filters: usize,
    pub(super) classes: usize,
    pub(super) unindexable: usize,
}

impl Default for MatchIndex {
    fn default() -> Self {
        let empty = Snapshot { always: NONE, ..Snapshot::default() };
        Self {
            catalog: Catalog::default(),
            clusters: Clusters::default(),
            layouts: Layouts::default(),
            pairs: Table::default(),
            shapes: Arc::default(),
            groups: Arc::default(),
            targets: Targets::default(),
            places: Places::default(),
            counts: Counts::default(),
            waste: Waste::default(),
            scratch: Scratch::default(),
            long: HashSet::new(),
            workshop: Workshop::default(),
            published: Arc::new(ArcSwap::from_pointee(empty)),
        }
    }
}

impl MatchIndex {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a filter out; whether it was there.
    pub fn remove(&mut self, id: FilterId) -> bool {
        let was_there = self.take(id);
        self.catalog.tidy();
        was_there
    }

    pub(super) fn take(&mut self, id: FilterId) -> bool {
        let place = self.places.get(id.0);
        if place == Place::Vacant {
            return false;
        }
        self.counts.filters -= 1;
        self.take_out(id.0, place);
        if self.places.vacate(id.0) {
            self.targets.drop_page(id.0 as usize);
        }
        true
    }

    /// Takes every filter out. Readers keep what was published until the next time.
    pub fn clear(&mut self) {
        let published = Arc::clone(&self.published);
        *self = Self { published, ..Self::default() };
    }

    /// Makes all changes so far visible to readers at once.
    pub fn publish(&mut self, version: FilterVersion) {
        if std::mem::take(&mut self.catalog.gates.changed) {
            self.groups = Arc::new(self.catalog.gates.groups());
        }
        if std::mem::take(&mut self.catalog.shapes_changed) {
            self.shapes = Arc::new(self.catalog.shapes.keys().copied().collect());
        }
        self.published.store(Arc::new(Snapshot {
            version,
            tree: self.catalog.fields.tree(),
            lookups: self.catalog.lookups(),
            groups: Arc::clone(&self.groups),
            layouts: Arc::clone(&self.layouts.all),
            shapes: Arc::clone(&self.shapes),
            always: self.catalog.symbols.get(ALWAYS).map_or(NONE, |symbol| symbol.head),
            lexicon: self.catalog.symbols.lexicon.publish(),
            pairs: self.pairs.publish(),
            chunk_lines: self.clusters.chunks.lines(),
            chunks: self.clusters.chunks.publish(),
            pool: self.catalog.pool.pool.clone(),
            targets: self.targets.clone(),
        }));
    }

    #[must_use]
    pub fn reader(&self) -> IndexReader {
        IndexReader::new(Arc::clone(&self.published))
    }

    #[must_use]
    pub fn stats(&self) -> IndexStats {
        IndexStats {
            filters: self.counts.filters,
            classes: self.counts.classes,
            unindexable_filters: self.counts.unindexable,
            memory_bytes: self.catalog.memory_bytes()
                + self.clusters.memory_bytes()
                + self.pairs.memory_bytes()
                + self.targets.memory_bytes()
                + self.places.memory_bytes(),
        }
    }

    pub(super) fn first_head(&self, [left, right]: [SymbolId; 2]) -> ChunkId {
        if right == NONE {
            return self.catalog.symbols.get(left).map_or(NONE, |symbol| symbol.head);
        }
        self.pairs.get(pair_key(left, right)).next().unwrap_or(NONE)
    }

    pub(super) fn set_first_head(&mut self, [left, right]: [SymbolId; 2], old: ChunkId, new: ChunkId) {
        if right == NONE {
            self.catalog.symbols.update(left, |symbol| symbol.head = new);
            return;
        }
        if old != NONE {
            self.pairs.remove(pair_key(left, right), old);
        }
        if new != NONE {
            self.pairs.insert(pair_key(left, right), new);
        }
    }

    fn take_out(&mut self, filter: u32, place: Place) {
        self.counts.classes -= usize::from(self.is_class(place));
        match place {
            Place::Vacant | Place::Nowhere => {}
            Place::Leaf(leaf) => self.take_entry(leaf, filter),
            Place::Block(at) => {
                let leaves = self.places.block(at).len();
                // An entry may have been moved by the one taken out before it, so each is read when it is due.
                for n in 0..leaves {
                    self.take_entry(self.places.block(at)[n], filter);
                }
                self.places.forget(place);
            }
        }
    }

    /// Whether a place is that of an entry of its own, not of a member of a class.
    fn is_class(&self, place: Place) -> bool {
        let leaf = match place {
            Place::Vacant | Place::Nowhere => return false,
            Place::Leaf(leaf) => leaf,
            Place::Block(at) => self.places.block(at)[0],
        };
        !self.layouts.all[self.clusters.view(leaf).layout()].members
    }

    fn take_entry(&mut self, leaf: ChunkId, reference: u32) {
        let view = self.clusters.view(leaf);
        let layout = self.layouts.all[view.layout()];
        let Some(at) = view.position(reference) else { return };
        let (entry, head) = (view.entry(&layout, at), self.clusters.head(leaf));
        let key = self.clusters.view(head).key();
        let mut moved = Vec::new();
        let empty = self.clusters.remove(leaf, &layout, at, &mut moved);
        self.follow(&layout, &moved, None);
        if layout.members {
            if empty {
                let class = head | CLASS;
                let place = Place::decode(key[0]);
                self.layouts.release(self.clusters.view(head).layout());
                self.clusters.drop_cluster(head);
                self.take_out(class, place);
            }
            return;
        }
        if key == [ALWAYS, NONE] && !layout.is_run() {
            self.counts.unindexable -= 1;
        }
        self.count_entry(key, &layout, &entry, false);
        if empty {
            self.unlink(head, key);
            self.catalog.count_cluster(key, &layout, false);
        }
    }

    fn unlink(&mut self, head: ChunkId, key: [SymbolId; 2]) {
        self.long.remove(&key);
        let (next, layout) = (self.clusters.view(head).next(), self.clusters.view(head).layout());
        let first = self.first_head(key);
        if first == head {
            self.set_first_head(key, head, next);
        } else {
            let mut before = first;
            while self.clusters.view(before).next() != head {
                before = self.clusters.view(before).next();
            }
            self.clusters.set_header(before, |header| header.next = next);
        }
        self.layouts.release(layout);
        self.clusters.drop_cluster(head);
    }
}
