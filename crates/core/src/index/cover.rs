//! Chooses the keys under which a filter is found: a *cover*, such that every event it matches has one of them.
//!
//! A conjunction needs one of its parts, or two of them as a pair; a disjunction needs a key for each of its branches.
//! Nothing is multiplied out beyond that. What a key does not decide is the *rest*, checked for the filters it finds.

use std::sync::Arc;

use hashbrown::HashMap;

use super::fields::Field;
use super::formula::{Formula, Scalar, Test};
use super::gates;

/// Something an event has or has not, by one field.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Atom {
    Always,
    Present(Field),
    Numeric(Field),
    Value(Field, Scalar),
    Prefix(Field, Arc<str>),
    Interval { field: Field, level: u8, upper: bool, cell: u64 },
}

impl Atom {
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
    fn of(&self, atom: &Atom) -> f64;
    fn values(&self, field: Field) -> usize;
    fn may_pair(&self, first: Domain, second: Domain) -> bool;
    /// Entries of the clusters whose key is this atom alone.
    fn population(&self, atom: &Atom) -> usize;
}

/// A plan for a whole filter: where it goes, whether one event may find it twice, and what it costs per event.
#[derive(Clone, Debug)]
pub(super) struct Cover {
    pub(super) placements: Vec<Placement>,
    pub(super) repeats: bool,
    pub(super) cost: f64,
}

/// Entries that an atom has alone before filters are placed under pairs with it: as long as there are few, looking at
/// them costs less than a probe for the pair, and what is rare may yet turn out to be common.
const ALONE_COMPARED_MAX: usize = 16;
const ALONE_EVALUATED_MAX: usize = 8;

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

/// What an entry costs in memory, in the unit of a candidate evaluated per event. It makes a second entry worth while
/// if that saves one candidate in fifty thousand events.
const ENTRY_COST: f64 = 2e-5;

/// What a candidate costs: a plain copy, a compare of columns, or an evaluation.
const COPIED: f64 = 0.05;
const COMPARED: f64 = 0.3;
const EVALUATED: f64 = 1.0;

pub(super) fn cover(formula: Formula, frequencies: &impl Frequencies) -> Cover {
    let mut cover = plan(formula.conjuncts(), frequencies, 0);
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

fn plan(parts: Vec<Formula>, frequencies: &impl Frequencies, depth: usize) -> Cover {
    let options: Vec<Option<Keys>> = parts.iter().map(|part| keys(part, frequencies)).collect();
    let always = weight(&parts, None, None, frequencies);
    let mut best = (always, None, None);
    for (at, option) in options.iter().enumerate() {
        let Some(option) = option else { continue };
        let cost = option.frequency * weight(&parts, Some((at, option)), None, frequencies)
            + ENTRY_COST * option.atoms.len() as f64;
        if cost < best.0 {
            best = (cost, Some(at), None);
        }
    }
    let alone_max =
        if best.0 >= EVALUATED * frequency_of(&options, best.1) { ALONE_EVALUATED_MAX } else { ALONE_COMPARED_MAX };
    for (first, left) in options.iter().enumerate() {
        for (second, right) in options.iter().enumerate().skip(first + 1) {
            let (Some(left), Some(right)) = (left, right) else { continue };
            let (Some(left_domain), Some(right_domain)) = (left.domain, right.domain) else { continue };
            let entries = left.atoms.len() * right.atoms.len();
            if left_domain == right_domain || entries > PRODUCT_MAX || left.alone.max(right.alone) < alone_max {
                continue;
            }
            let cost = left.frequency
                * right.frequency
                * weight(&parts, Some((first, left)), Some((second, right)), frequencies)
                + ENTRY_COST * entries as f64
                + PAIR_COST;
            if cost < best.0 && frequencies.may_pair(left_domain.min(right_domain), left_domain.max(right_domain)) {
                best = (cost, Some(first), Some(second));
            }
        }
    }
    if depth < DEPTH_MAX && best.0 > ENTRY_COST {
        for (at, part) in parts.iter().enumerate() {
            let Formula::Or(branches) = part else { continue };
            if branches.len() > BRANCHES_MAX {
                continue;
            }
            let cover = take_apart(&parts, at, branches, frequencies, depth);
            if cover.cost < best.0 {
                return cover;
            }
        }
    }
    Cover { placements: placements(parts, &options, best.1, best.2), repeats: false, cost: best.0 }
}

fn frequency_of(options: &[Option<Keys>], at: Option<usize>) -> f64 {
    at.and_then(|at| options[at].as_ref()).map_or(1.0, |keys| keys.frequency)
}

fn take_apart(
    parts: &[Formula],
    at: usize,
    branches: &[Formula],
    frequencies: &impl Frequencies,
    depth: usize,
) -> Cover {
    let mut whole = Cover { placements: Vec::new(), repeats: true, cost: 0.0 };
    for branch in branches {
        let others = parts.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, part)| part.clone());
        let conjunction = Formula::and([branch.clone()].into_iter().chain(others).collect());
        let cover = plan(conjunction.conjuncts(), frequencies, depth + 1);
        whole.placements.extend(cover.placements);
        whole.cost += cover.cost;
    }
    whole
}

/// The atoms that one part of a conjunction offers.
struct Keys {
    atoms: Vec<Atom>,
    frequency: f64,
    /// What is still to be checked of this part, by atom; empty if the atoms say it all.
    rests: Vec<Option<Formula>>,
    /// Of atoms that can be part of a pair.
    domain: Option<Domain>,
    /// Entries that an atom has alone, at most.
    alone: usize,
}

fn keys(part: &Formula, frequencies: &impl Frequencies) -> Option<Keys> {
    let Formula::Test(test) = part else { return None };
    let (atoms, rests) = match test {
        Test::OneOf { field, values, negated: false } => {
            let atoms: Vec<Atom> = values.iter().map(|value| Atom::Value(*field, value.clone())).collect();
            let rests = vec![None; atoms.len()];
            (atoms, rests)
        }
        Test::Text { field, function: crate::filter::ast::StringFunction::StartsWith, pattern, negated: false }
            if !pattern.is_empty() =>
        {
            let cut = pattern.floor_char_boundary(PREFIX_BYTES_MAX);
            let rest = (cut < pattern.len()).then(|| part.clone());
            (vec![Atom::Prefix(*field, pattern[..cut].into())], vec![rest])
        }
        Test::Range { field, low, high } => range_keys(part, *field, low.as_ref(), high.as_ref()),
        Test::Present(field) => (vec![Atom::Present(*field)], vec![None]),
        _ => return None,
    };
    let frequency = atoms.iter().map(|atom| frequencies.of(atom)).sum();
    let domain = atoms.first().and_then(Atom::domain);
    let alone = match domain {
        Some(_) => atoms.iter().map(|atom| frequencies.population(atom)).max().unwrap_or_default(),
        None => 0,
    };
    Some(Keys { atoms, frequency, rests, domain, alone })
}

/// One-sided ranges are found in the order of their bounds. Two-sided ones lie at the node of a binary tree over the
/// bits of numbers where their ends part ways: an event left of its middle needs only the lower bound, else the upper.
fn range_keys(
    part: &Formula,
    field: Field,
    low: Option<&super::number::Bound>,
    high: Option<&super::number::Bound>,
) -> (Vec<Atom>, Vec<Option<Formula>>) {
    if let (Some(low), Some(high)) = (low, high)
        && low.at == high.at
    {
        return (vec![Atom::Value(field, Scalar::Number(low.at))], vec![Some(part.clone())]);
    }
    let ends = low.and_then(|low| low.lower_key()).zip(high.and_then(|high| high.upper_key()));
    let Some((low_key, high_key)) = ends.filter(|(low, high)| low < high) else {
        return (vec![Atom::Numeric(field)], vec![Some(part.clone())]);
    };
    let level = u8::try_from((low_key ^ high_key).leading_zeros()).unwrap_or_default();
    let cell = low_key.checked_shr(64 - u32::from(level)).unwrap_or_default();
    let atom = |upper| Atom::Interval { field, level, upper, cell };
    let half = |low, high| Some(Formula::Test(Test::Range { field, low, high }));
    (vec![atom(false), atom(true)], vec![half(low.copied(), None), half(None, high.copied())])
}

fn placements(
    parts: Vec<Formula>,
    options: &[Option<Keys>],
    first: Option<usize>,
    second: Option<usize>,
) -> Vec<Placement> {
    let option = |at: Option<usize>| at.and_then(|at| options[at].as_ref());
    let others: Vec<Formula> = parts
        .into_iter()
        .enumerate()
        .filter(|(at, _)| Some(*at) != first && Some(*at) != second)
        .map(|(_, part)| part)
        .collect();
    let Some(left) = option(first) else {
        return vec![Placement { key: (Atom::Always, None), rest: others }];
    };
    let lefts = left.atoms.iter().zip(&left.rests);
    let rest = |of_key: [&Option<Formula>; 2]| of_key.into_iter().flatten().chain(&others).cloned().collect();
    let Some(right) = option(second) else {
        return lefts.map(|(atom, left)| Placement { key: (atom.clone(), None), rest: rest([left, &None]) }).collect();
    };
    let rights = || right.atoms.iter().zip(&right.rests);
    lefts
        .flat_map(|left| rights().map(move |right| (left, right)))
        .map(|((left_atom, left), (right_atom, right))| {
            let mut key = (left_atom.clone(), Some(right_atom.clone()));
            if left_atom.domain() > right_atom.domain() {
                key = (right_atom.clone(), Some(left_atom.clone()));
            }
            Placement { key, rest: rest([left, right]) }
        })
        .collect()
}

/// What a candidate costs when these parts are keys and the others are left.
fn weight(
    parts: &[Formula],
    first: Option<(usize, &Keys)>,
    second: Option<(usize, &Keys)>,
    frequencies: &impl Frequencies,
) -> f64 {
    let is_key = |at: usize| [first, second].into_iter().flatten().any(|(key, _)| key == at);
    let rests = [first, second].into_iter().flatten().filter_map(|(_, keys)| keys.rests.first()?.as_ref());
    let others = parts.iter().enumerate().filter(|(at, _)| !is_key(*at)).map(|(_, part)| part);
    let (mut bounds, mut gated, mut evaluated) = (0, false, false);
    for part in others.chain(rests) {
        match part {
            Formula::Test(Test::Range { low, high, .. }) => {
                bounds += usize::from(low.is_some()) + usize::from(high.is_some());
            }
            Formula::Test(test) if is_gateable(test, frequencies) => gated = true,
            _ => evaluated = true,
        }
    }
    match (evaluated || bounds > 2, gated || bounds == 2) {
        (true, _) => EVALUATED,
        (false, true) => COMPARED,
        (false, false) => COPIED,
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
