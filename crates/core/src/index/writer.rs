//! The single writer: takes filters in and out, and publishes what it has.

use std::cell::OnceCell;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bumpalo::Bump;
use smallvec::{SmallVec, smallvec};

use super::bound;
use super::catalog::{ALWAYS, Catalog, Estimates};
use super::chunk::{ChunkId, Entry, Layout};
use super::clusters::{Clusters, Moved};
use super::cover::{Cover, Domain, cover};
use super::encode::{Placed, SymbolKey, domains};
use super::formula::{Formula, Maker};
use super::gates::Group;
use super::layouts::Layouts;
use super::places::{Place, Places};
use super::rekey::Waste;
use super::snapshot::{CLASS, Scratch, Snapshot, Targets, pair_key};
use super::symbols::{NONE, SymbolId};
use super::table::Table;
use super::{IndexReader, IndexStats, Target};
use crate::{Filter, FilterId, FilterVersion};

/// The single writer of the index.
#[derive(Debug)]
pub struct MatchIndex {
    pub(super) catalog: Catalog,
    pub(super) clusters: Clusters,
    layouts: Layouts,
    pairs: Table,
    shapes: Arc<Vec<(Domain, Domain)>>,
    groups: Arc<Vec<Group>>,
    targets: Targets,
    places: Places,
    counts: Counts,
    pub(super) waste: Waste,
    pub(super) scratch: Scratch,
    /// What is made of one filter on its way in.
    arena: Bump,
    pub(super) published: Arc<ArcSwap<Snapshot>>,
}

#[derive(Debug, Default)]
struct Counts {
    filters: usize,
    classes: usize,
    unindexable: usize,
}

/// Clusters of one key, each of another order. A filter beyond them has its bounds evaluated, so that neither an event nor
/// an insert has to walk past clusters without end.
const CHAIN_MAX: usize = bound(16, 2);

/// Entries of a cluster that may be given more columns for the sake of one more.
const WIDENED_MAX: usize = bound(128, 2);

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
            arena: Bump::new(),
            published: Arc::new(ArcSwap::from_pointee(empty)),
        }
    }
}

impl MatchIndex {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a filter, or replaces the one of this id.
    pub fn insert(&mut self, id: FilterId, target: Target, filter: &Filter) {
        let mut arena = std::mem::take(&mut self.arena);
        self.insert_in(id, target, filter, &arena);
        arena.reset();
        self.arena = arena;
    }

    fn insert_in(&mut self, id: FilterId, target: Target, filter: &Filter, arena: &Bump) {
        let condition = OnceCell::new();
        let formula = Maker { arena, fields: &mut self.catalog.fields }.whole(filter, &condition);
        // Before the one of this id goes, and with it what was observed of values that it alone names.
        let estimates = Estimates { catalog: &self.catalog, clusters: &self.clusters };
        let cover = (formula != Formula::Never).then(|| cover(formula, &estimates, arena));
        self.take(id);
        self.counts.filters += 1;
        self.targets.set(id.0 as usize, [target.slot.0, target.shard.0.into()]);
        match cover {
            Some(cover) => self.place_cover(id, &cover, arena),
            None => self.places.set(id.0, Place::Nowhere),
        }
        self.catalog.tidy();
    }

    fn place_cover<'a>(&mut self, id: FilterId, cover: &Cover<'a>, arena: &'a Bump) {
        let mut heads: SmallVec<[(SymbolKey, ChunkId); 8]> = SmallVec::new();
        for placement in &cover.placements {
            let key = self.catalog.key(placement.key);
            self.fetch_head(key);
            heads.push((key, NONE));
        }
        // Everything that is needed later is on its way before anything is waited for.
        for (key, head) in &mut heads {
            *head = self.first_head(*key);
            self.clusters.fetch(*head);
        }
        let mut placed: SmallVec<[Placed; 4]> = SmallVec::new();
        let mut same: Option<(&[Formula<'a>], bool)> = None;
        for (placement, (key, head)) in cover.placements.iter().zip(&heads) {
            let evaluated = self.is_long(*head);
            let domains = domains(placement.key);
            // What several keys leave alike is one slice, and makes entries that differ in nothing.
            let known = same.is_some_and(|(rest, how)| std::ptr::eq(rest, placement.rest) && how == evaluated);
            let (layout, entry) = match placed.last() {
                Some(last) if known => (last.layout, last.entry.clone()),
                _ => self.catalog.encode(placement, cover.repeats, evaluated, arena),
            };
            same = Some((placement.rest, evaluated));
            placed.push(Placed { key: *key, domains, layout, entry });
        }
        if let [placed] = &mut placed[..] {
            self.place_alone(id.0, placed);
        } else {
            self.place_several(id.0, &mut placed);
        }
    }

    /// Takes a filter out; whether it was there.
    pub fn remove(&mut self, id: FilterId) -> bool {
        let was_there = self.take(id);
        self.catalog.tidy();
        was_there
    }

    fn take(&mut self, id: FilterId) -> bool {
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

    /// Whether a key has as many clusters as it may have.
    fn is_long(&self, mut head: ChunkId) -> bool {
        let mut clusters = 0;
        while head != NONE && clusters < CHAIN_MAX {
            head = self.clusters.view(head).next();
            clusters += 1;
        }
        clusters == CHAIN_MAX
    }

    /// A filter with one entry shares it with its equals.
    fn place_alone(&mut self, filter: u32, placed: &mut Placed) {
        if placed.layout.is_run() || filter & CLASS != 0 {
            // Equal filters of a run cost a copied word each; sharing would cost more.
            return self.place_several(filter, std::slice::from_mut(placed));
        }
        let head = self.head_for(placed);
        let Some((leaf, at)) = self.equal_entry(head, &placed.layout, &placed.entry) else {
            return self.place_several(filter, std::slice::from_mut(placed));
        };
        let known = self.clusters.view(leaf).column(0)[at];
        if known & CLASS == 0 && !matches!(self.places.get(known), Place::Leaf(_)) {
            // One entry of a filter that has several: as a member of a class it would forget the others.
            return self.place_several(filter, std::slice::from_mut(placed));
        }
        let members = if known & CLASS == 0 {
            let members = self.create_class(Place::Leaf(leaf));
            self.clusters.set_reference(leaf, at, members | CLASS);
            self.join_class(known, members);
            members
        } else {
            known & !CLASS
        };
        self.join_class(filter, members);
    }

    fn place_several(&mut self, filter: u32, placed: &mut [Placed]) {
        self.counts.classes += 1;
        let mut reference = filter;
        if filter & CLASS != 0 {
            placed.iter_mut().for_each(Placed::make_compared);
            // Such an id would read as a class, so it becomes the only member of one.
            let members = self.create_class(Place::Nowhere);
            self.join_class(filter, members);
            reference = members | CLASS;
        }
        // Not collected: to move what was just written would wait for all writes before it.
        let mut leaves: SmallVec<[ChunkId; 8]> = SmallVec::new();
        for placed in placed {
            leaves.push(self.put(reference, placed));
        }
        let place = self.places.keep(&leaves);
        self.set_place(reference, true, place);
    }

    /// Puts an entry into the cluster of its key and layout.
    fn put(&mut self, reference: u32, placed: &mut Placed) -> ChunkId {
        placed.entry.words[0] = reference;
        self.catalog.count_entry(&placed.layout, &placed.entry, true);
        if placed.key == [ALWAYS, NONE] && !placed.layout.is_run() {
            self.counts.unindexable += 1;
        }
        let head = self.head_for(placed);
        self.insert_entry(head, &placed.layout, &placed.entry)
    }

    fn insert_entry(&mut self, head: ChunkId, layout: &Layout, entry: &Entry) -> ChunkId {
        let mut moved = Vec::new();
        let leaf = self.clusters.insert(head, layout, entry, &mut moved);
        self.follow(layout, &moved, Some(entry.words[0]));
        leaf
    }

    /// Notes where entries went.
    fn follow(&mut self, layout: &Layout, moved: &[Moved], except: Option<u32>) {
        let may_be_class = !layout.members && !layout.is_run();
        for Moved { reference, from, to } in moved {
            if Some(*reference) != except {
                let place = self.place(*reference, may_be_class);
                let place = self.places.moved(place, *from, *to);
                self.set_place(*reference, may_be_class, place);
            }
        }
    }

    fn place(&self, reference: u32, may_be_class: bool) -> Place {
        if may_be_class && reference & CLASS != 0 {
            Place::decode(self.clusters.view(reference & !CLASS).key()[0])
        } else {
            self.places.get(reference)
        }
    }

    fn set_place(&mut self, reference: u32, may_be_class: bool, place: Place) {
        if may_be_class && reference & CLASS != 0 {
            self.clusters.set_header(reference & !CLASS, |header| header.key = [place.encode(), NONE]);
        } else {
            self.places.set(reference, place);
        }
    }

    /// The cluster for an entry, made if need be; the entry is fitted to its layout.
    fn head_for(&mut self, placed: &mut Placed) -> ChunkId {
        let first = self.first_head(placed.key);
        let mut head = first;
        while head != NONE {
            if self.fit(head, placed) {
                return head;
            }
            head = self.clusters.view(head).next();
        }
        let layout = self.layouts.retain(placed.layout);
        let head = self.clusters.create(layout, &placed.layout, placed.key, first);
        self.catalog.count_cluster(placed.key, &placed.layout, true);
        if let Some(domains) = placed.domains {
            self.catalog.add_shape(domains);
        }
        self.set_first_head(placed.key, first, head);
        head
    }

    /// Makes an entry and a cluster of like order agree on gates and code, if the cluster is small enough to be
    /// widened: a step to another cluster costs a reader more than a few compares.
    fn fit(&mut self, head: ChunkId, placed: &mut Placed) -> bool {
        let view = self.clusters.view(head);
        let known = self.layouts.all[view.layout()];
        if known == placed.layout {
            return true;
        }
        let Some(joined) = known.joined(&placed.layout) else { return false };
        let small = !view.is_directory() && view.count() <= WIDENED_MAX;
        // Where every event looks, a filter that needs no evaluation must not wait among those that do.
        let apart = placed.key == [ALWAYS, NONE] || known.is_run() != placed.layout.is_run() && !small;
        if apart || joined != known && !small {
            return false;
        }
        if joined != known {
            let columns = known;
            let layout = self.layouts.retain(joined);
            self.layouts.release(view.layout());
            self.clusters.widen(head, &columns, &joined, layout);
        }
        placed.entry.widen(&placed.layout, &joined);
        placed.layout = joined;
        true
    }

    pub(super) fn first_head(&self, [left, right]: [SymbolId; 2]) -> ChunkId {
        if right == NONE {
            return self.catalog.symbols.get(left).map_or(NONE, |symbol| symbol.head);
        }
        self.pairs.get(pair_key(left, right)).next().unwrap_or(NONE)
    }

    /// Has brought near what tells the first head of a key.
    fn fetch_head(&self, [left, right]: SymbolKey) {
        if right != NONE {
            self.pairs.fetch(pair_key(left, right));
        }
    }

    fn set_first_head(&mut self, [left, right]: [SymbolId; 2], old: ChunkId, new: ChunkId) {
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

    fn equal_entry(&self, head: ChunkId, layout: &Layout, entry: &Entry) -> Option<(ChunkId, usize)> {
        let leaf = self.clusters.leaf(head, layout, entry);
        let view = self.clusters.view(leaf);
        let order = entry.order(layout);
        let compared = 1..layout.columns() - usize::from(layout.code);
        let same = |at: &usize| {
            compared.clone().all(|column| view.column(column)[*at] == entry.words[column])
                && (!layout.code || view.code(layout, view.column(layout.columns() - 1)[*at]).starts_with(&entry.code))
        };
        let admitted = (0..view.admitted(layout, order)).rev();
        let found = admitted.take_while(|at| view.order(layout, *at) == order).find(same);
        found.map(|at| (leaf, at))
    }

    fn create_class(&mut self, place: Place) -> ChunkId {
        let columns = Layout { members: true, ..Layout::default() };
        let layout = self.layouts.retain(columns);
        self.clusters.create(layout, &columns, [place.encode(), NONE], NONE)
    }

    fn join_class(&mut self, filter: u32, members: ChunkId) {
        let columns = Layout { members: true, ..Layout::default() };
        let leaf = self.insert_entry(members, &columns, &Entry { words: smallvec![filter], code: Vec::new() });
        self.places.set(filter, Place::Leaf(leaf));
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
        self.catalog.count_entry(&layout, &entry, false);
        if empty {
            self.unlink(head, key);
            self.catalog.count_cluster(key, &layout, false);
        }
    }

    fn unlink(&mut self, head: ChunkId, key: [SymbolId; 2]) {
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
