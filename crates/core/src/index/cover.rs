//! Chooses the keys under which a filter is found: a *cover*, such that every event it matches has one of them.
//!
//! A conjunction needs one of its parts, or two of them as a pair; a disjunction needs a key for each of its branches.
//! Nothing is multiplied out beyond that. Which parts these are is decided by a [`plan`]. What a key does not decide is
//! the *rest*, checked for the filters it finds.

use bumpalo::Bump;
use bumpalo::collections::Vec;
use hashbrown::HashMap;

use super::fields::Field;
use super::formula::{Formula, Scalar, Test, Value};
use super::number::{Bound, Number};
use super::plan::plan;
use super::symbols::{Element, Sense};

/// Something an event has or has not, by one field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Atom<'a> {
    Always,
    Present(Field),
    Numeric(Field),
    Value(Field, &'a Value<'a>),
    Prefix(Field, &'a str),
    Element(Field, Scalar<'a>),
    Interval { field: Field, level: u8, upper: bool, cell: u64 },
}

impl<'a> Atom<'a> {
    /// How the dictionary knows it; none for what every event has.
    pub(super) fn sense(self) -> Option<(Field, Sense<'a>)> {
        Some(match self {
            Self::Always => return None,
            Self::Present(field) => (field, Sense::Present),
            Self::Numeric(field) => (field, Sense::Numeric),
            Self::Value(field, value) => (field, Sense::of(value.scalar)),
            Self::Prefix(field, prefix) => (field, Sense::Prefix(prefix.as_bytes())),
            Self::Element(field, value) => (field, Sense::Element(Element::of(value))),
            Self::Interval { field, level, upper, cell } => (field, Sense::Interval { level, upper, cell }),
        })
    }

    /// The kind of a part of a pair: its field, and whether it is a prefix.
    pub(super) fn domain(self) -> Option<Domain> {
        match self {
            Self::Value(field, _) => Some((field, false)),
            Self::Prefix(field, _) => Some((field, true)),
            _ => None,
        }
    }
}

pub(super) type Domain = (Field, bool);

/// Two atoms, or one.
pub(super) type Key<'a> = (Atom<'a>, Option<Atom<'a>>);

/// One place of a filter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement<'a> {
    pub(super) key: Key<'a>,
    /// Placements whose keys leave the same share one slice.
    pub(super) rest: &'a [Formula<'a>],
}

/// How often events have an atom, and which pairs of domains may be looked up.
pub(super) trait Frequencies {
    fn of(&self, field: Field, sense: Sense<'_>) -> Estimate;

    fn of_value(&self, field: Field, value: &Value<'_>) -> Estimate {
        self.of(field, Sense::of(value.scalar))
    }

    fn values(&self, field: Field) -> usize;
    fn may_pair(&self, first: Domain, second: Domain) -> bool;
}

/// What is known of an atom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    /// The share of events that have it.
    pub(super) frequency: f64,
    /// Entries of the clusters whose key it is alone, if it can be part of a pair.
    pub(super) alone: usize,
}

/// Where a whole filter goes, and whether one event may find it twice.
#[derive(Debug)]
pub(super) struct Cover<'a> {
    pub(super) placements: Vec<'a, Placement<'a>>,
    pub(super) repeats: bool,
}

/// Longer prefixes are looked up by their beginning: each length in use is one lookup for every event.
const PREFIX_BYTES_MAX: usize = 32;

/// The cover that a plan makes.
pub(super) fn cover<'a>(formula: Formula<'a>, frequencies: &impl Frequencies, arena: &'a Bump) -> Cover<'a> {
    let plan = plan(formula, frequencies, arena);
    let mut placements = Vec::with_capacity_in(4, arena);
    plan.place(&mut placements);
    if plan.is_apart() {
        placements = join_equal_keys(placements);
    }
    Cover { placements, repeats: plan.is_apart() }
}

/// Two branches may have one key; a filter is in a cluster at most once, so their rests become alternatives.
fn join_equal_keys<'a>(placements: Vec<'a, Placement<'a>>) -> Vec<'a, Placement<'a>> {
    let arena = placements.bump();
    let mut by_key: HashMap<Key<'_>, usize> = HashMap::new();
    let mut joined: Vec<'a, Placement<'a>> = Vec::with_capacity_in(placements.len(), arena);
    for placement in placements {
        match by_key.get(&placement.key) {
            None => {
                by_key.insert(placement.key, joined.len());
                joined.push(placement);
            }
            Some(at) => {
                let rests = [joined[*at].rest, placement.rest];
                let either = rests.map(|rest| Formula::and(rest.iter().copied(), arena));
                joined[*at].rest = Formula::or(either, arena).conjuncts(arena);
            }
        }
    }
    joined
}

/// The atoms of a part that was chosen, each with what is still to be checked of the part.
fn atoms<'a>(part: Formula<'a>, arena: &'a Bump) -> Vec<'a, (Atom<'a>, Option<Formula<'a>>)> {
    let mut atoms = Vec::new_in(arena);
    let Formula::Test(test) = part else { return atoms };
    match test {
        Test::OneOf { field, values, .. } => {
            atoms.extend(values.iter().map(|value| (Atom::Value(field, value), None)));
        }
        Test::Text { field, pattern, .. } => {
            let prefix = beginning(pattern);
            atoms.push((Atom::Prefix(field, prefix), (prefix.len() < pattern.len()).then_some(part)));
        }
        Test::Range { field, low, high } => match range(low, high) {
            Range::Point(at) => {
                let value = arena.alloc(Value::of(Scalar::Number(at)));
                atoms.push((Atom::Value(field, value), Some(part)));
            }
            Range::Sides => atoms.push((Atom::Numeric(field), Some(part))),
            Range::Interval { level, cell } => {
                for (upper, low, high) in [(false, low, None), (true, None, high)] {
                    let rest = Formula::Test(Test::Range { field, low, high });
                    atoms.push((Atom::Interval { field, level, upper, cell }, Some(rest)));
                }
            }
        },
        Test::Holds { field, value, .. } => atoms.push((Atom::Element(field, value), None)),
        Test::Present(field) => atoms.push((Atom::Present(field), None)),
        _ => {}
    }
    atoms
}

pub(super) fn beginning(pattern: &str) -> &str {
    &pattern[..pattern.floor_char_boundary(PREFIX_BYTES_MAX)]
}

/// How a range is found. One-sided ones by the order of their bounds. Two-sided ones lie at the node of a binary tree
/// over the bits of numbers where their ends part ways: an event left of its middle needs only the lower bound, else
/// the upper.
pub(super) enum Range {
    Point(Number),
    Sides,
    Interval { level: u8, cell: u64 },
}

pub(super) fn range(low: Option<&Bound>, high: Option<&Bound>) -> Range {
    if let (Some(low), Some(high)) = (low, high)
        && low.at == high.at
    {
        return Range::Point(low.at);
    }
    let ends = low.and_then(|low| low.lower_key()).zip(high.and_then(|high| high.upper_key()));
    let Some((low_key, high_key)) = ends.filter(|(low, high)| low < high) else { return Range::Sides };
    let level = u8::try_from((low_key ^ high_key).leading_zeros()).unwrap_or_default();
    let cell = low_key.checked_shr(64 - u32::from(level)).unwrap_or_default();
    Range::Interval { level, cell }
}

/// Adds a placement for each key that the chosen parts make.
pub(super) fn place<'a>(
    parts: &[Formula<'a>],
    first: Option<usize>,
    second: Option<usize>,
    placements: &mut Vec<'a, Placement<'a>>,
) {
    let arena = placements.bump();
    let others = parts.iter().enumerate().filter(|(at, _)| Some(*at) != first && Some(*at) != second);
    let others = Vec::from_iter_in(others.map(|(_, part)| *part), arena).into_bump_slice();
    // What the key leaves of its own parts comes first.
    let rest = |of_key: [Option<Formula<'a>>; 2]| match of_key {
        [None, None] => others,
        _ => Vec::from_iter_in(of_key.into_iter().flatten().chain(others.iter().copied()), arena).into_bump_slice(),
    };
    let atoms = |at: Option<usize>| at.map(|at| atoms(parts[at], arena));
    match (atoms(first), atoms(second)) {
        (None, _) => placements.push(Placement { key: (Atom::Always, None), rest: others }),
        (Some(left), None) => {
            let places = left.into_iter().map(|(atom, left)| Placement { key: (atom, None), rest: rest([left, None]) });
            placements.extend(places);
        }
        (Some(left), Some(right)) => {
            for (atom, left) in left {
                placements.extend(right.iter().map(|(other, right)| {
                    let ordered = if atom.domain() > other.domain() { (*other, atom) } else { (atom, *other) };
                    Placement { key: (ordered.0, Some(ordered.1)), rest: rest([left, *right]) }
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fmt::Write;

    use super::*;
    use crate::Filter;
    use crate::index::fields::Fields;
    use crate::index::formula::Maker;

    /// Nothing is rare, and every question is counted.
    #[derive(Default)]
    struct Asked(Cell<usize>);

    impl Frequencies for Asked {
        fn of(&self, _: Field, _: Sense<'_>) -> Estimate {
            self.0.set(self.0.get() + 1);
            Estimate { frequency: 0.25, alone: 0 }
        }

        fn values(&self, _: Field) -> usize {
            0
        }

        fn may_pair(&self, _: Domain, _: Domain) -> bool {
            true
        }
    }

    #[test]
    fn a_filter_of_many_disjunctions_is_planned_in_a_few_steps() {
        let mut text = "a in [0".to_owned();
        (1..60).for_each(|n| write!(text, ", {n}").unwrap());
        text.push(']');
        (0..50).for_each(|n| write!(text, " && (b != {n} || c != {n})").unwrap());
        let filter = Filter::new(vec![], vec![], None, Some(&text)).unwrap();
        let asked = Asked::default();
        let (arena, condition) = (Bump::new(), filter.condition());
        let formula = Maker { arena: &arena, fields: &mut Fields::default() }.expr(&condition, true);
        assert!(!cover(formula, &asked, &arena).placements.is_empty());
        assert!(asked.0.get() < 10_000, "{} questions", asked.0.get());
        assert!(arena.allocated_bytes() < 1 << 20, "{} bytes", arena.allocated_bytes());
    }
}
