//! Chooses the keys under which a filter is found: a *cover*, such that every event it matches has one of them.
//!
//! A conjunction needs one of its parts, or two of them as a pair; a disjunction needs a key for each of its branches.
//! Nothing is multiplied out beyond that. Which parts these are is decided by a [`plan`]. What a key does not decide is
//! the *rest*, checked for the filters it finds.

use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::{SmallVec, smallvec};

use super::fields::Field;
use super::formula::{Formula, Scalar, Test};
use super::number::{Bound, Number};
use super::plan::plan;
use super::symbols::{Element, Sense};

/// Something an event has or has not, by one field.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Atom {
    Always,
    Present(Field),
    Numeric(Field),
    Value(Field, Scalar),
    Prefix(Field, Arc<str>),
    Element(Field, Scalar),
    Interval { field: Field, level: u8, upper: bool, cell: u64 },
}

impl Atom {
    /// How the dictionary knows it; none for what every event has.
    pub(super) fn sense(&self) -> Option<(Field, Sense<'_>)> {
        Some(match self {
            Self::Always => return None,
            Self::Present(field) => (*field, Sense::Present),
            Self::Numeric(field) => (*field, Sense::Numeric),
            Self::Value(field, value) => (*field, Sense::of(value)),
            Self::Prefix(field, prefix) => (*field, Sense::Prefix(prefix.as_bytes())),
            Self::Element(field, value) => (*field, Sense::Element(Element::of(value))),
            Self::Interval { field, level, upper, cell } => {
                (*field, Sense::Interval { level: *level, upper: *upper, cell: *cell })
            }
        })
    }

    /// The kind of a part of a pair: its field, and whether it is a prefix.
    pub(super) fn domain(&self) -> Option<Domain> {
        match self {
            Self::Value(field, _) => Some((*field, false)),
            Self::Prefix(field, _) => Some((*field, true)),
            _ => None,
        }
    }
}

pub(super) type Domain = (Field, bool);

/// Two atoms, or one.
pub(super) type Key = (Atom, Option<Atom>);

/// One place of a filter.
#[derive(Clone, Debug)]
pub(super) struct Placement {
    pub(super) key: Key,
    pub(super) rest: Vec<Formula>,
}

/// How often events have an atom, and which pairs of domains may be looked up.
pub(super) trait Frequencies {
    fn of(&self, field: Field, sense: Sense<'_>) -> Estimate;
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
#[derive(Clone, Debug)]
pub(super) struct Cover {
    pub(super) placements: Vec<Placement>,
    pub(super) repeats: bool,
}

/// Longer prefixes are looked up by their beginning: each length in use is one lookup for every event.
const PREFIX_BYTES_MAX: usize = 32;

/// The cover that a plan makes.
pub(super) fn cover(formula: Formula, frequencies: &impl Frequencies) -> Cover {
    let plan = plan(formula, frequencies);
    let mut cover = Cover { placements: Vec::new(), repeats: plan.is_apart() };
    plan.place(&mut cover.placements);
    if cover.repeats {
        join_equal_keys(&mut cover.placements);
    }
    cover
}

/// Two branches may have one key; a filter is in a cluster at most once, so their rests become alternatives.
fn join_equal_keys(placements: &mut Vec<Placement>) {
    let mut by_key: HashMap<Key, usize> = HashMap::new();
    let mut joined: Vec<Placement> = Vec::with_capacity(placements.len());
    for placement in placements.drain(..) {
        match by_key.get(&placement.key) {
            None => {
                by_key.insert(placement.key.clone(), joined.len());
                joined.push(placement);
            }
            Some(at) => {
                let earlier = Formula::and(std::mem::take(&mut joined[*at].rest));
                joined[*at].rest = Formula::or(vec![earlier, Formula::and(placement.rest)]).conjuncts();
            }
        }
    }
    *placements = joined;
}

/// The atoms of a part that was chosen, each with what is still to be checked of the part.
fn atoms(part: Formula) -> SmallVec<[(Atom, Option<Formula>); 2]> {
    let Formula::Test(test) = part else { return SmallVec::new() };
    match test {
        Test::OneOf { field, values, .. } => {
            values.iter().map(|value| (Atom::Value(field, value.clone()), None)).collect()
        }
        Test::Text { field, ref pattern, .. } => {
            let prefix = beginning(pattern);
            let atom = Atom::Prefix(field, prefix.into());
            let is_whole = prefix.len() == pattern.len();
            smallvec![(atom, (!is_whole).then_some(Formula::Test(test)))]
        }
        Test::Range { field, low, high } => match range(low.as_ref(), high.as_ref()) {
            Range::Point(at) => smallvec![(Atom::Value(field, Scalar::Number(at)), Some(Formula::Test(test)))],
            Range::Sides => smallvec![(Atom::Numeric(field), Some(Formula::Test(test)))],
            Range::Interval { level, cell } => {
                let half = |upper, low, high| {
                    let rest = Formula::Test(Test::Range { field, low, high });
                    (Atom::Interval { field, level, upper, cell }, Some(rest))
                };
                smallvec![half(false, low, None), half(true, None, high)]
            }
        },
        Test::Holds { field, value, .. } => smallvec![(Atom::Element(field, value), None)],
        Test::Present(field) => smallvec![(Atom::Present(field), None)],
        _ => SmallVec::new(),
    }
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

/// An entry for each key that the chosen parts make.
pub(super) fn place(mut parts: Vec<Formula>, first: Option<usize>, second: Option<usize>) -> Vec<Placement> {
    // The second is the later one, so taking it out first leaves the place of the other.
    let right = second.map(|at| atoms(parts.remove(at)));
    let left = first.map(|at| atoms(parts.remove(at)));
    let mut others = parts;
    let mut keys: SmallVec<[(Key, [Option<Formula>; 2]); 4]> = SmallVec::new();
    match (left, right) {
        (Some(left), None) => keys.extend(left.into_iter().map(|(atom, rest)| ((atom, None), [rest, None]))),
        (Some(left), Some(right)) => {
            for (atom, rest) in left {
                keys.extend(right.iter().map(|(other, other_rest)| {
                    let (atom, other) = (atom.clone(), other.clone());
                    let ordered = if atom.domain() > other.domain() { (other, atom) } else { (atom, other) };
                    ((ordered.0, Some(ordered.1)), [rest.clone(), other_rest.clone()])
                }));
            }
        }
        (None, _) => keys.push(((Atom::Always, None), [None, None])),
    }
    let mut placements = Vec::with_capacity(keys.len());
    let last = keys.len().saturating_sub(1);
    for (n, (key, of_key)) in keys.into_iter().enumerate() {
        let mut rest = if n == last { std::mem::take(&mut others) } else { others.clone() };
        // What the key leaves of its own parts comes first.
        for part in of_key.into_iter().flatten().rev() {
            rest.insert(0, part);
        }
        placements.push(Placement { key, rest });
    }
    placements
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fmt::Write;

    use super::*;
    use crate::Filter;
    use crate::index::fields::Fields;

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
        let formula = Formula::of(&filter.condition(), true, &mut Fields::default());
        assert!(!cover(formula, &asked).placements.is_empty());
        assert!(asked.0.get() < 10_000, "{} questions", asked.0.get());
    }
}
