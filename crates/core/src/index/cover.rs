//! Chooses the keys under which a filter is found: a *cover*, such that every event it matches has one of them.
//!
//! A conjunction needs one of its parts, or two of them as a pair; a disjunction needs a key for each of its branches.
//! Nothing is multiplied out beyond that. What a key does not decide is the *rest*, checked for the filters it finds.

use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::{SmallVec, smallvec};

use super::bound;
use super::fields::Field;
use super::formula::{Formula, Scalar, Test};
use super::gates;
use super::number::{Bound, Number};
use super::symbols::{Element, Sense};
use crate::filter::ast::StringFunction;

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

/// Entries that an atom has alone before filters are placed under pairs with it: as long as there are few, looking at
/// them costs less than a probe for the pair, and what is rare may yet turn out to be common.
pub(super) const ALONE_COMPARED_MAX: usize = bound(16, 2);
const ALONE_EVALUATED_MAX: usize = bound(8, 1);

/// What a pair costs beyond its entries: clusters of its own, small ones, and a probe for every event.
const PAIR_COST: f64 = 3e-5;

/// Longer prefixes are looked up by their beginning: each length in use is one lookup for every event.
const PREFIX_BYTES_MAX: usize = 32;

/// Entries that a pair of lists may make.
const PRODUCT_MAX: usize = 16;

/// Branches of a disjunction that are placed on their own.
const BRANCHES_MAX: usize = 8;

/// Disjunctions inside disjunctions that are still taken apart.
const DEPTH_MAX: usize = 2;

/// Parts of branches that are looked at for one filter. Where disjunctions are many, a filter of a kilobyte could be
/// taken apart in ten thousand ways.
const TRIED_PARTS_MAX: usize = 1024;

/// What an entry costs in memory, in the unit of a candidate evaluated per event. It makes a second entry worth while
/// if that saves one candidate in fifty thousand events.
const ENTRY_COST: f64 = 2e-5;

/// What a candidate costs: a plain copy, a compare of columns, or an evaluation.
const COPIED: f64 = 0.05;
const COMPARED: f64 = 0.3;
const EVALUATED: f64 = 1.0;

pub(super) fn cover(formula: Formula, frequencies: &impl Frequencies) -> Cover {
    let plan = Planner { frequencies, parts_left: TRIED_PARTS_MAX }.plan(formula.conjuncts(), 0);
    let mut cover = Cover { placements: Vec::new(), repeats: matches!(plan.choice, Choice::Apart(_)) };
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

/// What was chosen for a conjunction.
struct Plan {
    parts: Vec<Formula>,
    choice: Choice,
    cost: f64,
}

enum Choice {
    /// One of the parts, two as a pair, or none.
    Keys(Option<usize>, Option<usize>),
    /// A plan for each branch of a disjunction among them.
    Apart(Vec<Plan>),
}

impl Plan {
    fn place(self, placements: &mut Vec<Placement>) {
        match self.choice {
            Choice::Keys(first, second) => placements.extend(place(self.parts, first, second)),
            Choice::Apart(branches) => branches.into_iter().for_each(|branch| branch.place(placements)),
        }
    }
}

struct Planner<'a, F> {
    frequencies: &'a F,
    /// Parts of branches that may still be looked at; see [`TRIED_PARTS_MAX`].
    parts_left: usize,
}

impl<F: Frequencies> Planner<'_, F> {
    fn plan(&mut self, parts: Vec<Formula>, depth: usize) -> Plan {
        let (choice, cost) = self.best_keys(&parts);
        if depth < DEPTH_MAX && cost > ENTRY_COST {
            for (at, part) in parts.iter().enumerate() {
                let Formula::Or(branches) = part else { continue };
                if branches.len() > BRANCHES_MAX {
                    continue;
                }
                if let Some((branches, cost)) = self.take_apart(&parts, at, branches, depth, cost) {
                    return Plan { parts, choice: Choice::Apart(branches), cost };
                }
            }
        }
        Plan { parts, choice, cost }
    }

    /// The cheapest of the parts or pairs of them, and what that costs.
    fn best_keys(&self, parts: &[Formula]) -> (Choice, f64) {
        let offers: SmallVec<[Option<Offer>; 6]> = parts.iter().map(|part| offer(part, self.frequencies)).collect();
        let left_over = AllLeftovers::of(parts, self.frequencies);
        let mut best = (left_over.without(&[]).weight(), None, None);
        for (at, offer) in offers.iter().enumerate() {
            let Some(offer) = offer else { continue };
            let weight = left_over.without(&[(at, offer)]).weight();
            let cost = offer.frequency * weight + ENTRY_COST * offer.atoms as f64;
            if cost < best.0 {
                best = (cost, Some(at), None);
            }
        }
        let alone_max =
            if best.0 >= EVALUATED * frequency_of(&offers, best.1) { ALONE_EVALUATED_MAX } else { ALONE_COMPARED_MAX };
        for (first, left) in offers.iter().enumerate() {
            for (second, right) in offers.iter().enumerate().skip(first + 1) {
                let (Some(left), Some(right)) = (left, right) else { continue };
                let (Some(left_domain), Some(right_domain)) = (left.domain, right.domain) else { continue };
                let entries = left.atoms * right.atoms;
                if left_domain == right_domain || entries > PRODUCT_MAX || left.alone.max(right.alone) < alone_max {
                    continue;
                }
                let weight = left_over.without(&[(first, left), (second, right)]).weight();
                let cost = left.frequency * right.frequency * weight + ENTRY_COST * entries as f64 + PAIR_COST;
                let domains = (left_domain.min(right_domain), left_domain.max(right_domain));
                if cost < best.0 && self.frequencies.may_pair(domains.0, domains.1) {
                    best = (cost, Some(first), Some(second));
                }
            }
        }
        (Choice::Keys(best.1, best.2), best.0)
    }

    /// A plan for each branch with the other parts, if together they cost less than `most`.
    fn take_apart(
        &mut self,
        parts: &[Formula],
        at: usize,
        branches: &[Formula],
        depth: usize,
        most: f64,
    ) -> Option<(Vec<Plan>, f64)> {
        let (mut plans, mut cost) = (Vec::with_capacity(branches.len()), 0.0);
        for branch in branches {
            self.parts_left = self.parts_left.checked_sub(parts.len())?;
            let others = parts.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, part)| part.clone());
            let conjunction = Formula::and([branch.clone()].into_iter().chain(others).collect());
            let plan = self.plan(conjunction.conjuncts(), depth + 1);
            cost += plan.cost;
            plans.push(plan);
            if cost >= most {
                return None;
            }
        }
        Some((plans, cost))
    }
}

fn frequency_of(offers: &[Option<Offer>], at: Option<usize>) -> f64 {
    at.and_then(|at| offers[at].as_ref()).map_or(1.0, |offer| offer.frequency)
}

/// What one part of a conjunction offers as a key.
struct Offer {
    atoms: usize,
    /// The share of events that have one of the atoms.
    frequency: f64,
    /// What is still to be checked of this part where its atoms are the key.
    rest: Leftovers,
    /// Of atoms that can be part of a pair.
    domain: Option<Domain>,
    /// Entries that an atom has alone, at most.
    alone: usize,
}

fn offer(part: &Formula, frequencies: &impl Frequencies) -> Option<Offer> {
    let Formula::Test(test) = part else { return None };
    let one = |field, sense, rest, domain| {
        let Estimate { frequency, alone } = frequencies.of(field, sense);
        Some(Offer { atoms: 1, frequency, rest, domain, alone })
    };
    match test {
        Test::OneOf { field, values, negated: false } => {
            let (mut frequency, mut alone) = (0.0, 0);
            for value in &**values {
                let estimate = frequencies.of(*field, Sense::of(value));
                frequency += estimate.frequency;
                alone = alone.max(estimate.alone);
            }
            let (atoms, domain) = (values.len(), Some((*field, false)));
            Some(Offer { atoms, frequency, rest: Leftovers::default(), domain, alone })
        }
        Test::Text { field, function: StringFunction::StartsWith, pattern, negated: false } if !pattern.is_empty() => {
            let prefix = beginning(pattern);
            let rest = Leftovers { evaluated: usize::from(prefix.len() < pattern.len()), ..Leftovers::default() };
            one(*field, Sense::Prefix(prefix.as_bytes()), rest, Some((*field, true)))
        }
        Test::Range { field, low, high } => match range(low.as_ref(), high.as_ref()) {
            Range::Point(at) => one(*field, Sense::Number(at), Leftovers::bounds(2), Some((*field, false))),
            Range::Sides => {
                let bounds = usize::from(low.is_some()) + usize::from(high.is_some());
                one(*field, Sense::Numeric, Leftovers::bounds(bounds), None)
            }
            Range::Interval { level, cell } => {
                let half = |upper| frequencies.of(*field, Sense::Interval { level, upper, cell }).frequency;
                let frequency = half(false) + half(true);
                Some(Offer { atoms: 2, frequency, rest: Leftovers::bounds(1), domain: None, alone: 0 })
            }
        },
        Test::Holds { field, value, negated: false } => {
            one(*field, Sense::Element(Element::of(value)), Leftovers::default(), None)
        }
        Test::Present(field) => one(*field, Sense::Present, Leftovers::default(), None),
        _ => None,
    }
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

fn beginning(pattern: &str) -> &str {
    &pattern[..pattern.floor_char_boundary(PREFIX_BYTES_MAX)]
}

/// How a range is found. One-sided ones by the order of their bounds. Two-sided ones lie at the node of a binary tree
/// over the bits of numbers where their ends part ways: an event left of its middle needs only the lower bound, else
/// the upper.
enum Range {
    Point(Number),
    Sides,
    Interval { level: u8, cell: u64 },
}

fn range(low: Option<&Bound>, high: Option<&Bound>) -> Range {
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
fn place(mut parts: Vec<Formula>, first: Option<usize>, second: Option<usize>) -> Vec<Placement> {
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

/// What a key leaves to be looked at, counted.
#[derive(Clone, Copy, Default)]
struct Leftovers {
    bounds: usize,
    gated: usize,
    evaluated: usize,
}

impl Leftovers {
    fn bounds(bounds: usize) -> Self {
        Self { bounds, ..Self::default() }
    }

    fn of_part(part: &Formula, frequencies: &impl Frequencies) -> Self {
        match part {
            Formula::Test(Test::Range { low, high, .. }) => {
                Self::bounds(usize::from(low.is_some()) + usize::from(high.is_some()))
            }
            Formula::Test(test) if is_gateable(test, frequencies) => Self { gated: 1, ..Self::default() },
            _ => Self { evaluated: 1, ..Self::default() },
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            bounds: self.bounds + other.bounds,
            gated: self.gated + other.gated,
            evaluated: self.evaluated + other.evaluated,
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            bounds: self.bounds - other.bounds,
            gated: self.gated - other.gated,
            evaluated: self.evaluated - other.evaluated,
        }
    }

    /// What a candidate costs of which this is left.
    fn weight(self) -> f64 {
        match (self.evaluated > 0 || self.bounds > 2, self.gated > 0 || self.bounds == 2) {
            (true, _) => EVALUATED,
            (false, true) => COMPARED,
            (false, false) => COPIED,
        }
    }
}

/// The parts of a conjunction as leftovers, each and all together.
struct AllLeftovers {
    each: SmallVec<[Leftovers; 6]>,
    sum: Leftovers,
}

impl AllLeftovers {
    fn of(parts: &[Formula], frequencies: &impl Frequencies) -> Self {
        let each: SmallVec<[Leftovers; 6]> = parts.iter().map(|part| Leftovers::of_part(part, frequencies)).collect();
        let sum = each.iter().fold(Leftovers::default(), |sum, part| sum.plus(*part));
        Self { each, sum }
    }

    /// Where some parts are the key.
    fn without(&self, keys: &[(usize, &Offer)]) -> Leftovers {
        keys.iter().fold(self.sum, |sum, (at, offer)| sum.minus(self.each[*at]).plus(offer.rest))
    }
}

/// Whether a test probably fits into the gates of its field.
pub(super) fn is_gateable(test: &Test, frequencies: &impl Frequencies) -> bool {
    match test {
        Test::Present(_) | Test::Absent(_) => true,
        Test::OneOf { field, values, .. } => {
            values.len() <= gates::VALUES_MAX && frequencies.values(*field) <= gates::VALUES_MAX
        }
        _ => false,
    }
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
