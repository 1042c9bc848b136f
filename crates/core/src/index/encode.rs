//! From a placement to an entry: distributes what a key leaves over order, second bound, gates and code.

use bumpalo::Bump;
use smallvec::{SmallVec, smallvec};

use super::catalog::Catalog;
use super::chunk::{ChunkId, Column, Entry, Layout};
use super::cover::{Atom, Domain, Key, Placement};
use super::fields::Field;
use super::formula::{Formula, Test};
use super::gates;
use super::number::{Bound, Number, hundredths};
use super::program;
use super::symbols::{NONE, SymbolId};

/// The key of a cluster in symbols.
pub(super) type SymbolKey = [SymbolId; 2];

/// One entry to be, with the key of its cluster.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) key: SymbolKey,
    /// The first cluster of the key as it was when it was looked for.
    pub(super) head: ChunkId,
    pub(super) domains: Option<(Domain, Domain)>,
    pub(super) layout: Layout,
    pub(super) entry: Entry,
}

impl Placed {
    /// Adds a gate that admits everything to an entry of a run, which has no place for a class.
    pub(super) fn make_compared(&mut self) {
        if self.layout.is_run() {
            self.layout.gates = 1;
            self.entry.words.push(u32::MAX);
        }
    }
}

impl Catalog {
    pub(super) fn key(&mut self, (first, second): Key<'_>) -> SymbolKey {
        [self.atom(first), second.map_or(NONE, |atom| self.atom(atom))]
    }

    /// Makes the entry of a placement, or, if it is to be `evaluated`, one with all that the key leaves as code, so that
    /// entries of any filters lie in one cluster.
    pub(super) fn encode<'a>(
        &mut self,
        placement: &Placement<'a>,
        repeats: bool,
        evaluated: bool,
        arena: &'a Bump,
    ) -> (Layout, Entry) {
        let (first, _) = placement.key;
        let mut layout = Layout { repeats, ..Layout::default() };
        let mut entry = Entry { words: smallvec![NONE], code: Vec::new() };
        if evaluated {
            self.encode_rest(placement.rest.iter().copied(), &mut layout, &mut entry, arena);
            return (layout, entry);
        }
        let mut bounds: SmallVec<[(Column, u64); 2]> = SmallVec::new();
        let mut words = [u64::MAX; gates::WORDS];
        let mut rest: SmallVec<[Formula<'_>; 4]> = SmallVec::new();
        for part in placement.rest {
            match *part {
                Formula::Test(Test::Range { field, low, high }) => {
                    for (bound, upper) in [(low, false), (high, true)] {
                        let Some(bound) = bound else { continue };
                        let floor = if upper { bound.upper_key() } else { bound.lower_key() };
                        match floor {
                            Some(floor) if bounds.len() < 2 || is_of_key(first, field) => {
                                bounds.push(column(field, upper, floor));
                            }
                            _ => {
                                let (low, high) = if upper { (None, Some(bound)) } else { (Some(bound), None) };
                                rest.push(Formula::Test(Test::Range { field, low, high }));
                            }
                        }
                    }
                }
                Formula::Test(Test::OneOf { field, values, negated })
                    if self.is_gated(field, values.len()) && self.admit(field, values, negated, &mut words) => {}
                Formula::Test(Test::Present(field)) if self.admit_presence(field, true, &mut words) => {}
                Formula::Test(Test::Absent(field)) if self.admit_presence(field, false, &mut words) => {}
                other => rest.push(other),
            }
        }
        // The bound on the key's own field comes first: it is what makes the key selective.
        bounds.sort_by_key(|(column, _)| !is_of_key(first, column.field));
        for (column, bound) in bounds.drain(bounds.len().min(2)..) {
            rest.push(Formula::Test(exact_range(column, bound, arena)));
        }
        let mut columns = bounds.into_iter().map(|(column, bound)| {
            push_bound(column, bound, &mut entry.words);
            column
        });
        (layout.order, layout.check) = (columns.next(), columns.next());
        drop(columns);
        for (half, word) in halves(&words) {
            if word != u32::MAX {
                layout.gates |= 1 << half;
                entry.words.push(word);
            }
        }
        self.encode_rest(rest.into_iter(), &mut layout, &mut entry, arena);
        (layout, entry)
    }

    fn encode_rest<'a>(
        &mut self,
        rest: impl ExactSizeIterator<Item = Formula<'a>>,
        layout: &mut Layout,
        entry: &mut Entry,
        arena: &'a Bump,
    ) {
        if rest.len() > 0 {
            layout.code = true;
            program::encode(&Formula::and(rest, arena), self, &mut entry.code);
            entry.words.push(0);
        }
    }

    /// A field with too many values would use up its gates for a few filters only.
    fn is_gated(&self, field: Field, values: usize) -> bool {
        values <= gates::VALUES_MAX && self.values(field) <= gates::VALUES_MAX
    }
}

/// Of a key of two.
pub(super) fn domains((first, second): Key<'_>) -> Option<(Domain, Domain)> {
    second.and_then(|second| first.domain().zip(second.domain()))
}

fn is_of_key(key: Atom<'_>, field: Field) -> bool {
    matches!(key, Atom::Numeric(other) | Atom::Interval { field: other, .. } if other == field)
}

fn column(field: Field, upper: bool, floor: u64) -> (Column, u64) {
    (Column { field, upper, narrow: hundredths(floor).is_some() }, floor)
}

/// The bound as its column stores it: inverted if it is an upper one.
#[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
fn push_bound(column: Column, floor: u64, words: &mut SmallVec<[u32; 6]>) {
    match hundredths(floor) {
        Some(narrow) if column.narrow => words.push(if column.upper { !narrow } else { narrow }),
        _ => {
            let wide = if column.upper { !floor } else { floor };
            words.extend([(wide >> 32) as u32, wide as u32]);
        }
    }
}

/// The range that a column would have decided.
fn exact_range(column: Column, floor: u64, arena: &Bump) -> Test<'_> {
    let at = Number { floor, rest: 0 };
    // An upper key admits all numbers of that floor.
    let bound = |at| Some(&*arena.alloc(Bound { at, inclusive: true }));
    let (low, high) = if column.upper { (None, bound(Number { floor, rest: u16::MAX })) } else { (bound(at), None) };
    Test::Range { field: column.field, low, high }
}

fn halves(words: &gates::Words) -> impl Iterator<Item = (usize, u32)> {
    #[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
    words.iter().enumerate().flat_map(|(at, word)| [(2 * at, *word as u32), (2 * at + 1, (*word >> 32) as u32)])
}
