//! The reader's side: from an event to the filters that match it.

use std::cell::OnceCell;
use std::sync::Arc;

use smallvec::SmallVec;

use super::chunk::{ChunkId, Column, Layout};
use super::clusters::Chunks;
use super::cover::Domain;
use super::extract::{Value, Values};
use super::fields::{Field, Tree};
use super::gates::{self, Group};
use super::paged::Paged;
use super::pool::Pool;
use super::scan::Scanner;
use super::search::{Cluster, Search};
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
    pub(super) elements: bool,
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
    pub(super) values: Values,
    /// By field: the symbol of the event's value.
    pub(super) symbols: Vec<SymbolId>,
    /// The same, if it is part of a pair.
    pub(super) paired: Vec<SymbolId>,
    pub(super) prefixes: Vec<(Field, SymbolId)>,
    pub(super) elements: Vec<SymbolId>,
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
    pub(super) fn cluster(&self, head: ChunkId) -> Option<Cluster<'_>> {
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
        let Scratch { values, symbols, paired, prefixes, elements, heads, .. } = scratch;
        for all in [&mut *symbols, &mut *paired] {
            all.clear();
            all.resize(self.lookups.len(), NONE);
        }
        prefixes.clear();
        elements.clear();
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
            if lookups.elements
                && let Value::List(span) | Value::Map(span) = value
            {
                Scanner::new(span.of(event)).elements(|element| {
                    elements.extend(self.symbols.find(*field, Sense::Element(element)).map(|(id, _)| id));
                });
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
        // An element may occur twice in a list, but its filters are found once; sorted, they are also found fast.
        elements.sort_unstable();
        elements.dedup();
        let symbols = elements.iter().filter_map(|id| self.symbols.get(*id));
        heads.extend(symbols.map(|symbol| symbol.head).filter(|head| *head != NONE));
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
