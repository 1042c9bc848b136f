//! The reader's side: from an event to the filters that match it.

use std::cell::OnceCell;
use std::sync::Arc;

use smallvec::SmallVec;

use super::chunk::{ChunkId, Column, Layout, View};
use super::clusters::Chunks;
use super::cover::Domain;
use super::extract::{Value, Values};
use super::fields::{Field, Tree};
use super::gates::{self, Group};
use super::number::{hundredths_at_least, hundredths_at_most};
use super::paged::Paged;
use super::pool::Pool;
use super::program::Subject;
use super::symbols::{NONE, Sense, SymbolId, Symbols};
use super::table::{Table, mix};
use super::{Match, Target, order};
use crate::{Event, FilterId, FilterVersion, Shard, Slot};

/// A reference in a column is a filter, or with this bit the members of a class.
pub(super) const CLASS: u32 = 1 << 31;

/// Slot and shard of a filter.
pub(super) type Targets = Paged<[u32; 2], 256>;

/// What to look up for a field that an event has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lookups {
    pub(super) values: bool,
    pub(super) present: Option<SymbolId>,
    pub(super) numeric: Option<SymbolId>,
    pub(super) prefix_lengths: SmallVec<[u8; 8]>,
    /// A bit for each level of the interval tree that has nodes.
    pub(super) levels: u64,
}

/// The filters as of one version, never changing.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(super) version: FilterVersion,
    pub(super) tree: Arc<Tree>,
    pub(super) lookups: Arc<Vec<Lookups>>,
    pub(super) groups: Arc<Vec<Group>>,
    pub(super) layouts: Arc<Vec<Layout>>,
    pub(super) shapes: Arc<Vec<(Domain, Domain)>>,
    pub(super) always: ChunkId,
    pub(super) symbols: Symbols,
    pub(super) pairs: Table,
    pub(super) chunks: Chunks,
    pub(super) pool: Pool,
    pub(super) targets: Targets,
}

/// What one thread reuses from event to event, with counters of its work.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    pub events: u64,
    /// Filters (or classes of equal filters) that were looked at, whether they matched or not.
    pub candidates: u64,
    pub matches: u64,
    values: Values,
    /// By field: the symbol of the event's value.
    symbols: Vec<SymbolId>,
    /// The same, if it is part of a pair.
    paired: Vec<SymbolId>,
    prefixes: Vec<(Field, SymbolId)>,
    words: gates::Words,
    heads: Vec<ChunkId>,
    pair_heads: Vec<ChunkId>,
    bounds: Vec<(Column, Option<u64>)>,
    failed: Vec<u32>,
    passed: Vec<u32>,
    hits: Vec<u32>,
    repeated: Vec<u32>,
    spare: Vec<Match>,
}

impl Scratch {
    /// The symbols of the event that was read last: values and prefixes.
    pub(super) fn read_symbols(&self) -> impl Iterator<Item = SymbolId> {
        let values = self.symbols.iter().copied().filter(|id| *id != NONE);
        values.chain(self.prefixes.iter().map(|(_, id)| *id))
    }
}

impl Snapshot {
    #[must_use]
    pub fn version(&self) -> FilterVersion {
        self.version
    }

    /// Fills `out` with the matches of this event, sorted by shard, slot and filter.
    pub fn matches(&self, event: &Event, scratch: &mut Scratch, out: &mut Vec<Match>) {
        out.clear();
        self.read(event, scratch);
        self.visit(event, scratch, |filters| {
            out.extend(filters.iter().map(|filter| Match { target: self.target(*filter), filter: FilterId(*filter) }));
        });
        order::sort(out, &mut scratch.spare);
    }

    /// The first half of matching: reads the fields that filters name, and turns what they hold into symbols.
    pub fn read(&self, event: &Event, scratch: &mut Scratch) {
        scratch.values.extract(&self.tree, event.bytes());
        self.find_symbols(event.bytes(), scratch);
    }

    /// The second half, for the event that was read: calls back with runs of filters, each filter once, in no order.
    /// Runs lie in the index itself wherever a key and a bound decide, so this costs little more than reading them.
    pub fn visit(&self, event: &Event, scratch: &mut Scratch, mut each: impl FnMut(&[u32])) {
        self.set_gates(scratch);
        self.find_pairs(scratch);
        let (heads, pair_heads) = (std::mem::take(&mut scratch.heads), std::mem::take(&mut scratch.pair_heads));
        scratch.bounds.clear();
        scratch.hits.clear();
        scratch.repeated.clear();
        let mut search = Search { snapshot: self, scratch, event: event.bytes(), tree: OnceCell::new(), matches: 0 };
        // All heads are fetched before any is searched, so that the misses overlap instead of following each other.
        let views: SmallVec<[Cluster<'_>; 32]> =
            heads.iter().chain(&pair_heads).filter_map(|head| self.cluster(*head)).collect();
        for cluster in views {
            search.chain(cluster, &mut each);
        }
        let matches = search.matches;
        scratch.repeated.sort_unstable();
        scratch.repeated.dedup();
        for filters in [&scratch.hits, &scratch.repeated] {
            if !filters.is_empty() {
                each(filters);
            }
        }
        (scratch.heads, scratch.pair_heads) = (heads, pair_heads);
        scratch.events += 1;
        scratch.matches += matches + (scratch.hits.len() + scratch.repeated.len()) as u64;
    }

    #[inline]
    fn cluster(&self, head: ChunkId) -> Option<Cluster<'_>> {
        let view = self.chunks.view(head)?;
        Some(Cluster { layout: view.layout(), next: view.next(), view })
    }

    /// Whose queue a filter's matches go to.
    #[must_use]
    pub fn target(&self, filter: u32) -> Target {
        let [slot, shard] = self.targets.get(filter as usize).copied().unwrap_or_default();
        Target { shard: Shard(u16::try_from(shard).unwrap_or_default()), slot: Slot(slot) }
    }

    fn find_symbols(&self, event: &[u8], scratch: &mut Scratch) {
        let Scratch { values, symbols, paired, prefixes, heads, .. } = scratch;
        for all in [&mut *symbols, &mut *paired] {
            all.clear();
            all.resize(self.lookups.len(), NONE);
        }
        prefixes.clear();
        heads.clear();
        if self.always != NONE {
            heads.push(self.always);
        }
        for field in values.found() {
            let Some(lookups) = self.lookups.get(field.at()) else { continue };
            let value = values.get(*field);
            let text = values.text(value, event);
            let head_of = |id: Option<SymbolId>| id.and_then(|id| self.symbols.get(id)).map(|symbol| symbol.head);
            let numeric = lookups.numeric.filter(|_| matches!(value, Value::Number(_)));
            heads.extend([head_of(lookups.present), head_of(numeric)].into_iter().flatten().filter(|id| *id != NONE));
            if lookups.values
                && let Some(sense) = sense_of(value, text)
                && let Some((id, symbol)) = self.symbols.find(*field, sense)
            {
                symbols[field.at()] = id;
                if symbol.paired {
                    paired[field.at()] = id;
                }
                if symbol.head != NONE {
                    heads.push(symbol.head);
                }
            }
            for length in &lookups.prefix_lengths {
                let Some(prefix) = text.and_then(|text| text.get(..usize::from(*length))) else { break };
                if let Some((id, symbol)) = self.symbols.find(*field, Sense::Prefix(prefix)) {
                    prefixes.push((*field, id));
                    if symbol.head != NONE {
                        heads.push(symbol.head);
                    }
                }
            }
            if let Value::Number(number) = value {
                let mut levels = lookups.levels;
                while levels != 0 {
                    let level = levels.trailing_zeros();
                    levels &= levels - 1;
                    let sense = interval(number.floor, level);
                    let symbol = self.symbols.find(*field, sense).map(|(_, symbol)| symbol.head);
                    heads.extend(symbol.filter(|head| *head != NONE));
                }
            }
        }
    }

    fn set_gates(&self, scratch: &mut Scratch) {
        scratch.words = [0; gates::WORDS];
        for group in &*self.groups {
            let present = scratch.values.get(group.field) != Value::Absent;
            let symbol = scratch.symbols.get(group.field.at()).and_then(|id| self.symbols.get(*id));
            scratch.words[usize::from(group.word)] |= group.of_event(present, symbol.map(|symbol| symbol.gate_bits));
        }
    }

    fn find_pairs(&self, scratch: &mut Scratch) {
        let Scratch { paired, prefixes, pair_heads, .. } = scratch;
        pair_heads.clear();
        for (left, right) in &*self.shapes {
            for left in active(paired, prefixes, *left) {
                for right in active(paired, prefixes, *right) {
                    pair_heads.extend(self.pairs.get(pair_key(left, right)));
                }
            }
        }
    }
}

/// The symbols that an event has in a domain.
fn active<'a>(
    paired: &'a [SymbolId],
    prefixes: &'a [(Field, SymbolId)],
    (field, prefix): Domain,
) -> impl Iterator<Item = SymbolId> + 'a {
    let value = paired.get(field.at()).copied().filter(move |id| !prefix && *id != NONE);
    let prefixes = prefixes.iter().filter(move |(other, _)| prefix && *other == field).map(|(_, id)| *id);
    value.into_iter().chain(prefixes)
}

pub(super) fn pair_key(left: SymbolId, right: SymbolId) -> u64 {
    mix(u64::from(left) << 32 | u64::from(right))
}

fn sense_of<'a>(value: Value, text: Option<&'a [u8]>) -> Option<Sense<'a>> {
    match value {
        Value::Null => Some(Sense::Null),
        Value::Bool(value) => Some(Sense::Bool(value)),
        Value::Number(number) => Some(Sense::Number(number)),
        _ => text.map(Sense::Text),
    }
}

fn interval(floor: u64, level: u32) -> Sense<'static> {
    Sense::Interval {
        level: u8::try_from(level).unwrap_or_default(),
        upper: floor << level >> 63 == 1,
        cell: floor.checked_shr(64 - level).unwrap_or_default(),
    }
}

/// A chunk that leads a cluster, with its header read.
struct Cluster<'a> {
    view: View<'a>,
    layout: usize,
    next: ChunkId,
}

/// One event's way through the clusters of its keys.
struct Search<'a> {
    snapshot: &'a Snapshot,
    scratch: &'a mut Scratch,
    event: &'a [u8],
    tree: OnceCell<serde_json::Value>,
    matches: u64,
}

impl<'a> Search<'a> {
    /// All clusters of one key.
    fn chain(&mut self, mut cluster: Cluster<'a>, each: &mut impl FnMut(&[u32])) {
        loop {
            let layout = self.snapshot.layouts[cluster.layout];
            let most = match layout.order {
                None => Some(u64::MAX),
                Some(column) => self.bound(column),
            };
            if let Some(most) = most {
                self.cluster(cluster.view, &layout, most, each);
            }
            match self.snapshot.cluster(cluster.next) {
                Some(next) => cluster = next,
                None => return,
            }
        }
    }

    fn cluster(&mut self, view: View<'_>, layout: &Layout, most: u64, each: &mut impl FnMut(&[u32])) {
        if !view.is_directory() {
            return self.leaf(view, layout, view.admitted(layout, most), each);
        }
        let last = if layout.order.is_some() { view.leaf_for(most) } else { view.count() - 1 };
        for (at, leaf) in view.column(0)[..=last].iter().enumerate() {
            let Some(leaf) = self.snapshot.chunks.view(*leaf) else { continue };
            let admitted = if at < last { leaf.count() } else { leaf.admitted(layout, most) };
            self.leaf(leaf, layout, admitted, each);
        }
    }

    /// The first `admitted` entries of a leaf.
    fn leaf(&mut self, view: View<'_>, layout: &Layout, admitted: usize, each: &mut impl FnMut(&[u32])) {
        if admitted == 0 {
            return;
        }
        self.scratch.candidates += admitted as u64;
        let references = &view.column(0)[..admitted];
        if layout.is_run() {
            return self.run(references, layout.repeats, each);
        }
        let Some(passed) = self.compare(view, layout, admitted) else { return };
        if layout.code {
            let offsets = view.column(layout.columns() - 1);
            for at in 0..passed {
                let at = self.scratch.passed[at] as usize;
                let code = view.code(layout, offsets[at]);
                let Search { snapshot, scratch, event, tree, .. } = self;
                let subject =
                    Subject { event, values: &scratch.values, symbols: &scratch.symbols, pool: &snapshot.pool, tree };
                if subject.satisfies(code) {
                    self.hit(references[at], layout, each);
                }
            }
        } else {
            for at in 0..passed {
                let at = self.scratch.passed[at] as usize;
                self.hit(references[at], layout, each);
            }
        }
    }

    fn run(&mut self, filters: &[u32], repeats: bool, each: &mut impl FnMut(&[u32])) {
        if repeats {
            self.scratch.repeated.extend(filters);
        } else {
            self.matches += filters.len() as u64;
            each(filters);
        }
    }

    #[inline]
    fn hit(&mut self, reference: u32, layout: &Layout, each: &mut impl FnMut(&[u32])) {
        if reference & CLASS != 0 {
            return self.members(reference & !CLASS, layout.repeats, each);
        }
        if layout.repeats {
            self.scratch.repeated.push(reference);
        } else {
            self.scratch.hits.push(reference);
        }
    }

    fn members(&mut self, head: ChunkId, repeats: bool, each: &mut impl FnMut(&[u32])) {
        let Some(view) = self.snapshot.chunks.view(head) else { return };
        if !view.is_directory() {
            return self.run(view.column(0), repeats, each);
        }
        for leaf in view.column(0) {
            if let Some(leaf) = self.snapshot.chunks.view(*leaf) {
                self.run(leaf.column(0), repeats, each);
            }
        }
    }

    /// Tests the columns of the first entries; those that pass are in `scratch.passed`, and their number is returned,
    /// or none if the event fails them all. Written without branches per entry, for the compiler to vectorise.
    fn compare(&mut self, view: View<'_>, layout: &Layout, admitted: usize) -> Option<usize> {
        let check = match layout.check {
            None => None,
            Some(column) => Some((column, self.bound(column)?)),
        };
        let Scratch { failed, passed, words, .. } = &mut *self.scratch;
        failed.clear();
        failed.resize(admitted, 0);
        if let Some((column, most)) = check {
            let at = layout.check_at();
            let (high, low) = halves(most);
            if column.narrow {
                for (failed, bound) in failed.iter_mut().zip(view.column(at)) {
                    *failed |= u32::from(*bound > low);
                }
            } else {
                for ((failed, bound_high), bound_low) in failed.iter_mut().zip(view.column(at)).zip(view.column(at + 1))
                {
                    *failed |=
                        u32::from(*bound_high > high) | u32::from(*bound_high == high) & u32::from(*bound_low > low);
                }
            }
        }
        let mut column = layout.gates_at();
        let mut gates = layout.gates;
        while gates != 0 {
            let half = gates.trailing_zeros() as usize;
            gates &= gates - 1;
            let (high, low) = halves(words[half / 2]);
            let event = if half.is_multiple_of(2) { low } else { high };
            for (failed, admits) in failed.iter_mut().zip(view.column(column)) {
                *failed |= !admits & event;
            }
            column += 1;
        }
        if passed.len() < admitted {
            passed.resize(admitted, 0);
        }
        let mut count = 0;
        for (at, failed) in (0_u32..).zip(failed.iter()) {
            passed[count] = at;
            count += usize::from(*failed == 0);
        }
        Some(count)
    }

    /// What a bound in this column may be at most for the event to satisfy it; none if it satisfies no bound.
    fn bound(&mut self, column: Column) -> Option<u64> {
        if let Some((_, bound)) = self.scratch.bounds.iter().find(|(other, _)| *other == column) {
            return *bound;
        }
        let bound = match self.scratch.values.get(column.field) {
            Value::Number(number) => match (column.upper, column.narrow) {
                (false, false) => Some(number.floor),
                (true, false) => Some(!number.floor),
                (false, true) => hundredths_at_most(number.floor).map(u64::from),
                (true, true) => hundredths_at_least(number.floor).map(|least| u64::from(!least)),
            },
            _ => None,
        };
        self.scratch.bounds.push((column, bound));
        bound
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
const fn halves(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}
