//! The reader's side: from an event to the filters that match it.

use std::cell::OnceCell;
use std::sync::Arc;

use smallvec::SmallVec;

use super::blocks::{self, Published};
use super::chunk::{ChunkId, Column, Layout};
use super::clusters;
use super::cover::Domain;
use super::extract::{Value, Values};
use super::fields::{Field, Tree};
use super::gates::{self, Group};
use super::lexicon::{Dictionary, Known};
use super::paged::Paged;
use super::places::FILTERS_PAGE;
use super::pool::Pool;
use super::scan::Scanner;
use super::search::{Cluster, Search};
use super::symbols::{GENERATIONS, NONE, Sense, SymbolId};
use super::table::{self, mix};
use super::{Match, Target, order};
use crate::{Event, FilterId, FilterVersion, Shard, Slot};

/// A reference in a column is a filter, or with this bit the members of a class.
pub(super) const CLASS: u32 = 1 << 31;

/// Slot and shard of a filter.
pub(super) type Targets = Paged<[u32; 2], FILTERS_PAGE>;

/// What to look up for a field that an event has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lookups {
    pub(super) values: bool,
    pub(super) elements: bool,
    pub(super) present: bool,
    pub(super) numeric: bool,
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
    pub(super) lexicon: Dictionary,
    pub(super) pairs: Published,
    pub(super) chunks: Published,
    /// How much of a cluster to fetch as soon as its key is known.
    pub(super) chunk_lines: usize,
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
    pub(super) values: Values,
    /// By field: what is known of the event's value.
    pub(super) named: Vec<Named>,
    /// The fields of which something is.
    known: Vec<Field>,
    pub(super) prefixes: Vec<(Field, SymbolId)>,
    /// The symbols of the elements of its lists, sorted, with their clusters.
    pub(super) elements: Vec<(SymbolId, ChunkId)>,
    /// Symbols of the other kinds: presence, numbers and their intervals.
    pub(super) others: Vec<SymbolId>,
    /// Whether more than one of the values and prefixes is part of a pair.
    pub(super) may_pair: bool,
    pub(super) words: gates::Words,
    pub(super) heads: Vec<ChunkId>,
    pub(super) pair_heads: Vec<ChunkId>,
    pub(super) bounds: Vec<(Column, Option<u64>)>,
    pub(super) failed: Vec<u32>,
    pub(super) passed: Vec<u32>,
    pub(super) hits: Vec<u32>,
    pub(super) repeated: Vec<u32>,
    pub(super) spare: Vec<Match>,
}

/// What is known of an event's value at a field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub(super) symbol: SymbolId,
    /// The same, if it is part of a pair.
    pub(super) paired: SymbolId,
    pub(super) gate_bits: [u8; GENERATIONS],
}

impl Default for Named {
    fn default() -> Self {
        Self { symbol: NONE, paired: NONE, gate_bits: [0; GENERATIONS] }
    }
}

impl Scratch {
    /// The symbols of the event that was read last.
    pub(super) fn read_symbols(&self) -> impl Iterator<Item = SymbolId> {
        let values = self.known.iter().map(|field| self.named[field.at()].symbol);
        let elements = self.elements.iter().map(|(id, _)| *id);
        values.chain(self.prefixes.iter().map(|(_, id)| *id)).chain(elements).chain(self.others.iter().copied())
    }
}

impl Snapshot {
    #[must_use]
    pub fn version(&self) -> FilterVersion {
        self.version
    }

    /// Fills `out` with the matches of this event, sorted by shard, slot and filter.
    pub fn matches(&self, event: &Event, scratch: &mut Scratch, out: &mut Vec<Match>) {
        self.read(event, scratch);
        self.collect(event, scratch, out);
    }

    /// The second half of [`matches`](Self::matches).
    pub(super) fn collect(&self, event: &Event, scratch: &mut Scratch, out: &mut Vec<Match>) {
        out.clear();
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
    pub fn visit(&self, event: &Event, scratch: &mut Scratch, each: impl FnMut(&[u32])) {
        self.survey(event, scratch, each, |_, _, _| {});
    }

    /// The same, and tells of each key that was looked at how many candidates it had, and how many of them matched.
    #[inline]
    pub(super) fn survey(
        &self,
        event: &Event,
        scratch: &mut Scratch,
        mut each: impl FnMut(&[u32]),
        mut told: impl FnMut([SymbolId; 2], u64, u64),
    ) {
        self.set_gates(scratch);
        self.find_pairs(scratch);
        let (heads, pair_heads) = (std::mem::take(&mut scratch.heads), std::mem::take(&mut scratch.pair_heads));
        scratch.bounds.clear();
        scratch.hits.clear();
        scratch.repeated.clear();
        let (event, tree) = (event.bytes(), OnceCell::new());
        let mut search = Search { snapshot: self, scratch, event, tree, matches: 0, unseen: 0 };
        // All heads are read before any is searched, so that the misses that are left overlap.
        let mut clusters: SmallVec<[Cluster<'_>; 16]> = SmallVec::new();
        for heads in [&heads, &pair_heads] {
            clusters.extend(heads.iter().filter_map(|head| self.cluster(*head)));
        }
        for cluster in &clusters {
            let (key, before) = (cluster.view.key(), search.counts());
            search.chain(*cluster, &mut each);
            let after = search.counts();
            told(key, after.0 - before.0, after.1 - before.1);
        }
        let matches = search.matches;
        if !scratch.repeated.is_empty() {
            scratch.repeated.sort_unstable();
            scratch.repeated.dedup();
        }
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
    pub(super) fn cluster(&self, head: ChunkId) -> Option<Cluster<'_>> {
        let view = clusters::view(&self.chunks, head)?;
        Some(Cluster { layout: view.layout(), next: view.next(), view })
    }

    /// Whose queue a filter's matches go to.
    #[must_use]
    pub fn target(&self, filter: u32) -> Target {
        let [slot, shard] = self.targets.get(filter as usize).copied().unwrap_or_default();
        Target { shard: Shard(u16::try_from(shard).unwrap_or_default()), slot: Slot(slot) }
    }

    /// A head that is on its way while the rest of the event is read.
    #[inline]
    fn fetched(&self, head: ChunkId) -> Option<ChunkId> {
        if head == NONE {
            return None;
        }
        blocks::fetch(&self.chunks, head as usize, self.chunk_lines);
        Some(head)
    }

    fn find_symbols(&self, event: &[u8], scratch: &mut Scratch) {
        let Scratch { values, named, known: fields, prefixes, elements, others, heads, may_pair, .. } = scratch;
        let found = |head: ChunkId| self.fetched(head);
        // Fields may be many, and an event has few of them.
        for field in fields.drain(..) {
            named[field.at()] = Named::default();
        }
        named.resize(self.lookups.len(), Named::default());
        prefixes.clear();
        elements.clear();
        others.clear();
        heads.clear();
        heads.extend(found(self.always));
        let mut paired = 0;
        for field in values.found() {
            let Some(lookups) = self.lookups.get(field.at()) else { continue };
            let value = values.get(*field);
            let text = values.text(value, event);
            let mut note = |known: Option<Known>, heads: &mut Vec<ChunkId>| {
                others.extend(known.map(|known| known.id));
                heads.extend(known.and_then(|known| found(known.head)));
            };
            if lookups.present {
                note(self.lexicon.find(*field, Sense::Present), heads);
            }
            if lookups.values
                && let Some(sense) = sense_of(value, text)
                && let Some(known) = self.lexicon.find(*field, sense)
            {
                let is_part = known.flags.paired;
                paired += usize::from(is_part);
                let part = if is_part { known.id } else { NONE };
                fields.push(*field);
                named[field.at()] = Named { symbol: known.id, paired: part, gate_bits: known.flags.gate_bits };
                heads.extend(found(known.head));
            }
            for length in &lookups.prefix_lengths {
                let Some(prefix) = text.and_then(|text| text.get(..usize::from(*length))) else { break };
                if let Some(known) = self.lexicon.find(*field, Sense::Prefix(prefix)) {
                    paired += 1;
                    prefixes.push((*field, known.id));
                    heads.extend(found(known.head));
                }
            }
            if lookups.elements
                && let Value::List(span) | Value::Map(span) = value
            {
                Scanner::new(span.of(event)).elements(|element| {
                    let known = self.lexicon.find(*field, Sense::Element(element));
                    elements.extend(known.map(|known| (known.id, known.head)));
                });
            }
            if let Value::Number(number) = value {
                if lookups.numeric {
                    note(self.lexicon.find(*field, Sense::Numeric), heads);
                }
                let mut levels = lookups.levels;
                while levels != 0 {
                    let level = levels.trailing_zeros();
                    levels &= levels - 1;
                    note(self.lexicon.find(*field, interval(number.floor, level)), heads);
                }
            }
        }
        *may_pair = paired > 1;
        if !elements.is_empty() {
            // An element may occur twice in a list, but its filters are found once; sorted, they are also found fast.
            elements.sort_unstable();
            elements.dedup();
            heads.extend(elements.iter().filter_map(|(_, head)| found(*head)));
        }
    }

    fn set_gates(&self, scratch: &mut Scratch) {
        scratch.words = [0; gates::WORDS];
        for group in &*self.groups {
            let present = scratch.values.get(group.field) != Value::Absent;
            let bits = scratch.named.get(group.field.at()).map_or([0; GENERATIONS], |named| named.gate_bits);
            scratch.words[usize::from(group.word)] |= group.of_event(present, bits);
        }
    }

    fn find_pairs(&self, scratch: &mut Scratch) {
        let Scratch { named, prefixes, pair_heads, .. } = scratch;
        pair_heads.clear();
        if !scratch.may_pair {
            return;
        }
        for (left, right) in &*self.shapes {
            for left in active(named, prefixes, *left) {
                for right in active(named, prefixes, *right) {
                    pair_heads
                        .extend(table::get(&self.pairs, pair_key(left, right)).filter_map(|head| self.fetched(head)));
                }
            }
        }
    }
}

/// The symbols that an event has in a domain.
fn active<'a>(
    named: &'a [Named],
    prefixes: &'a [(Field, SymbolId)],
    (field, prefix): Domain,
) -> impl Iterator<Item = SymbolId> + 'a {
    let value = named.get(field.at()).map(|named| named.paired).filter(move |id| !prefix && *id != NONE);
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
