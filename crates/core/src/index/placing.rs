//! Puts filters in: chooses their keys, makes their entries, and places these in clusters.
//!
//! Among a million filters most of an insert is waiting for memory: what tells the first cluster of a key, the cluster,
//! its leaf. So filters are put in by groups, and each step is taken for all of a group before the next, which finds what
//! it reads on its way (group prefetching, as for hash joins: Chen, Ailamaki, Gibbons and Mowry, 2004).

use std::borrow::Borrow;
use std::cell::OnceCell;

use bumpalo::Bump;
use smallvec::{SmallVec, smallvec};

use super::catalog::{ALWAYS, Estimates};
use super::chunk::{ChunkId, Entry, Layout};
use super::clusters::Moved;
use super::cover::cover;
use super::encode::{Placed, SymbolKey, domains};
use super::formula::{Formula, Maker};
use super::places::Place;
use super::snapshot::{CLASS, pair_key};
use super::symbols::NONE;
use super::writer::MatchIndex;
use super::{Target, bound};
use crate::{Filter, FilterId};

/// Clusters of one key, each of another order. A filter beyond them has its bounds evaluated, so that neither an event nor
/// an insert has to walk past clusters without end. Filters of one group may still come after the last.
const CHAIN_MAX: usize = bound(16, 2);

/// Entries of a cluster that may be given more columns for the sake of one more.
const WIDENED_MAX: usize = bound(128, 2);

/// Filters that are put in together.
const GROUP: usize = bound(16, 3);

/// What is reused from group to group.
#[derive(Debug, Default)]
pub(super) struct Workshop {
    arena: Bump,
    /// Entries that are made and not placed yet. What they name is counted as used.
    made: Vec<Placed>,
}

impl MatchIndex {
    /// Adds a filter, or replaces the one of this id.
    pub fn insert(&mut self, id: FilterId, target: Target, filter: &Filter) {
        self.insert_all([(id, target, filter)]);
    }

    /// Adds filters or replaces those of these ids, one after another, faster than each on its own.
    pub fn insert_all<F: Borrow<Filter>>(&mut self, filters: impl IntoIterator<Item = (FilterId, Target, F)>) {
        let mut filters = filters.into_iter().fuse();
        let mut workshop = std::mem::take(&mut self.workshop);
        loop {
            let group: SmallVec<[(FilterId, Target, F); GROUP]> = filters.by_ref().take(GROUP).collect();
            if group.is_empty() {
                break;
            }
            self.insert_group(&group, &mut workshop);
        }
        self.workshop = workshop;
    }

    fn insert_group<F: Borrow<Filter>>(&mut self, group: &[(FilterId, Target, F)], workshop: &mut Workshop) {
        let Workshop { arena, made } = workshop;
        let mut ends: SmallVec<[usize; GROUP]> = SmallVec::new();
        for (_, _, filter) in group {
            let condition = OnceCell::new();
            let formula = Maker { arena, fields: &mut self.catalog.fields }.whole(filter.borrow(), &condition);
            self.prepare(formula, arena, made);
            ends.push(made.len());
        }
        self.fetch(made);
        let mut from = 0;
        for ((id, target, _), end) in group.iter().zip(ends) {
            self.settle(*id, *target, &mut made[from..end]);
            from = end;
        }
        for placed in made.drain(..) {
            self.catalog.count_key(placed.key, false);
        }
        arena.reset();
    }

    /// Makes the entries of a filter.
    fn prepare<'a>(&mut self, formula: Formula<'a>, arena: &'a Bump, made: &mut Vec<Placed>) {
        let before = made.len();
        if formula == Formula::Never {
            return;
        }
        let cover = cover(formula, &Estimates(&self.catalog), arena);
        let mut same: Option<(&[Formula<'a>], bool)> = None;
        for placement in &cover.placements {
            let key = self.catalog.key(placement.key);
            self.catalog.count_key(key, true);
            if key[1] != NONE {
                self.pairs.fetch_place(pair_key(key[0], key[1]));
            }
            let evaluated = !self.long.is_empty() && self.long.contains(&key);
            // What several keys leave alike is one slice, and makes entries that differ in nothing.
            let known = same.is_some_and(|(rest, how)| std::ptr::eq(rest, placement.rest) && how == evaluated);
            let (layout, entry) = match made[before..].last() {
                Some(last) if known => (last.layout, last.entry.clone()),
                _ => self.catalog.encode(placement, cover.repeats, evaluated, arena),
            };
            same = Some((placement.rest, evaluated));
            self.count_entry(key, &layout, &entry, true);
            made.push(Placed { key, head: NONE, domains: domains(placement.key), layout, entry });
        }
        self.catalog.tidy();
    }

    /// Counts what an entry names, and it among those of its key.
    pub(super) fn count_entry(&mut self, [left, right]: SymbolKey, layout: &Layout, entry: &Entry, added: bool) {
        if right == NONE {
            self.catalog.symbols.count_alone(left, added);
        }
        self.catalog.count_entry(layout, entry, added);
    }

    /// Has brought near what entries will be put into.
    fn fetch(&self, made: &mut [Placed]) {
        let is_pair = |placed: &&mut Placed| placed.key[1] != NONE;
        for Placed { key: [left, right], .. } in made.iter_mut().filter(is_pair) {
            self.pairs.fetch(pair_key(*left, *right));
        }
        for placed in made.iter_mut() {
            placed.head = self.first_head(placed.key);
            self.clusters.fetch_place(placed.head);
        }
        for placed in made.iter() {
            self.clusters.fetch(placed.head);
        }
        for placed in made.iter().filter(|placed| placed.head != NONE) {
            let view = self.clusters.view(placed.head);
            if view.is_directory() && self.layouts.all[view.layout()] == placed.layout {
                self.clusters.fetch(self.clusters.leaf(placed.head, &placed.layout, &placed.entry));
            }
        }
    }

    /// Places a filter instead of the one of its id.
    fn settle(&mut self, id: FilterId, target: Target, made: &mut [Placed]) {
        self.take(id);
        self.counts.filters += 1;
        self.targets.set(id.0 as usize, [target.slot.0, target.shard.0.into()]);
        if made.is_empty() {
            self.places.set(id.0, Place::Nowhere);
        } else if !self.join_equal(id.0, made) {
            self.place(id.0, made);
        }
    }

    /// A filter with one entry shares it with its equals, if there are any.
    fn join_equal(&mut self, filter: u32, placed: &mut [Placed]) -> bool {
        let [placed] = placed else { return false };
        if placed.layout.is_run() || filter & CLASS != 0 {
            // Equal filters of a run cost a copied word each; sharing would cost more.
            return false;
        }
        let head = self.head_for(placed);
        let Some((leaf, at)) = self.equal_entry(head, &placed.layout, &placed.entry) else { return false };
        let known = self.clusters.view(leaf).column(0)[at];
        if known & CLASS == 0 && !matches!(self.places.get(known), Place::Leaf(_)) {
            // One entry of a filter that has several: as a member of a class it would forget the others.
            return false;
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
        self.count_entry(placed.key, &placed.layout, &placed.entry, false);
        true
    }

    fn place(&mut self, filter: u32, placed: &mut [Placed]) {
        self.counts.classes += 1;
        let mut reference = filter;
        if filter & CLASS != 0 {
            placed.iter_mut().for_each(Placed::make_compared);
            // Such an id would read as a class, so it becomes the only member of one.
            let members = self.create_class(Place::Nowhere);
            self.join_class(filter, members);
            reference = members | CLASS;
        }
        let place = match placed {
            [alone] => Place::Leaf(self.put(reference, alone)),
            several => {
                // Each is kept where it belongs at once: to move what was just written waits for all writes before it.
                let block = self.places.block_of(several.len());
                for (n, placed) in several.iter_mut().enumerate() {
                    let leaf = self.put(reference, placed);
                    self.places.set_leaf(block, n, leaf);
                }
                Place::Block(block)
            }
        };
        self.set_place(reference, true, place);
    }

    /// Puts an entry into the cluster of its key and layout.
    fn put(&mut self, reference: u32, placed: &mut Placed) -> ChunkId {
        placed.entry.words[0] = reference;
        if placed.key == [ALWAYS, NONE] && !placed.layout.is_run() {
            self.counts.unindexable += 1;
        }
        let head = self.head_for(placed);
        self.insert_entry(head, &placed.layout, &placed.entry)
    }

    /// The cluster for an entry, made if need be; the entry is fitted to its layout.
    fn head_for(&mut self, placed: &mut Placed) -> ChunkId {
        let first = self.first_head(placed.key);
        let (mut head, mut clusters) = (first, 1);
        while head != NONE {
            if self.fit(head, placed) {
                return head;
            }
            head = self.clusters.view(head).next();
            clusters += 1;
        }
        if clusters >= CHAIN_MAX {
            self.long.insert(placed.key);
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

    pub(super) fn insert_entry(&mut self, head: ChunkId, layout: &Layout, entry: &Entry) -> ChunkId {
        let mut moved = Vec::new();
        let leaf = self.clusters.insert(head, layout, entry, &mut moved);
        self.follow(layout, &moved, Some(entry.words[0]));
        leaf
    }

    /// Notes where entries went.
    pub(super) fn follow(&mut self, layout: &Layout, moved: &[Moved], except: Option<u32>) {
        let may_be_class = !layout.members && !layout.is_run();
        for Moved { reference, from, to } in moved {
            if Some(*reference) != except {
                let place = self.place_of(*reference, may_be_class);
                let place = self.places.moved(place, *from, *to);
                self.set_place(*reference, may_be_class, place);
            }
        }
    }

    fn place_of(&self, reference: u32, may_be_class: bool) -> Place {
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
}
