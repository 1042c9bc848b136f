//! Chooses the parts of a filter that become its keys, by what they cost: plans, and the cheapest of them.

use bumpalo::Bump;
use bumpalo::collections::Vec;

use super::bound;
use super::cover::{Domain, Estimate, Frequencies, Placement, Range, beginning, place, range};
use super::formula::{Formula, Test};
use super::gates;
use super::symbols::{Element, Sense};
use crate::filter::ast::StringFunction;

/// Entries that an atom has alone before filters are placed under pairs with it: as long as there are few, looking at
/// them costs less than a probe for the pair, and what is rare may yet turn out to be common.
const ALONE_COMPARED_MAX: usize = bound(16, 2);
const ALONE_EVALUATED_MAX: usize = bound(8, 1);

/// What a pair costs beyond its entries: clusters of its own, small ones, and a probe for every event.
const PAIR_COST: f64 = 3e-5;

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

/// The cheapest plan for a filter, of those that are tried.
pub(super) fn plan<'a>(formula: Formula<'a>, frequencies: &impl Frequencies, arena: &'a Bump) -> Plan<'a> {
    Planner { frequencies, arena, parts_left: TRIED_PARTS_MAX }.plan(formula.conjuncts(arena), 0)
}

/// What was chosen for a conjunction.
pub(super) struct Plan<'a> {
    parts: &'a [Formula<'a>],
    choice: Choice<'a>,
    cost: f64,
}

enum Choice<'a> {
    /// One of the parts, two as a pair, or none.
    Keys(Option<usize>, Option<usize>),
    /// A plan for each branch of a disjunction among them.
    Apart(Vec<'a, Plan<'a>>),
}

impl<'a> Plan<'a> {
    /// Whether one event may find the filter under several keys.
    pub(super) fn is_apart(&self) -> bool {
        matches!(self.choice, Choice::Apart(_))
    }

    /// A placement for each key.
    pub(super) fn place(&self, placements: &mut Vec<'a, Placement<'a>>) {
        match &self.choice {
            Choice::Keys(first, second) => place(self.parts, *first, *second, placements),
            Choice::Apart(branches) => branches.iter().for_each(|branch| branch.place(placements)),
        }
    }
}

struct Planner<'a, 'f, F> {
    frequencies: &'f F,
    arena: &'a Bump,
    /// Parts of branches that may still be looked at; see [`TRIED_PARTS_MAX`].
    parts_left: usize,
}

impl<'a, F: Frequencies> Planner<'a, '_, F> {
    fn plan(&mut self, parts: &'a [Formula<'a>], depth: usize) -> Plan<'a> {
        let (choice, cost) = self.best_keys(parts);
        if depth < DEPTH_MAX && cost > ENTRY_COST {
            for (at, part) in parts.iter().enumerate() {
                let Formula::Or(branches) = part else { continue };
                if branches.len() > BRANCHES_MAX {
                    continue;
                }
                if let Some((branches, cost)) = self.take_apart(parts, at, branches, depth, cost) {
                    return Plan { parts, choice: Choice::Apart(branches), cost };
                }
            }
        }
        Plan { parts, choice, cost }
    }

    /// The cheapest of the parts or pairs of them, and what that costs.
    fn best_keys(&self, parts: &[Formula<'a>]) -> (Choice<'a>, f64) {
        let offers = Vec::from_iter_in(parts.iter().map(|part| offer(part, self.frequencies)), self.arena);
        let left_over = AllLeftovers::of(parts, self.frequencies, self.arena);
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
        parts: &'a [Formula<'a>],
        at: usize,
        branches: &'a [Formula<'a>],
        depth: usize,
        most: f64,
    ) -> Option<(Vec<'a, Plan<'a>>, f64)> {
        let (mut plans, mut cost) = (Vec::with_capacity_in(branches.len(), self.arena), 0.0);
        for branch in branches {
            self.parts_left = self.parts_left.checked_sub(parts.len())?;
            let others = parts.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, part)| *part);
            let conjunction = Formula::and([*branch].into_iter().chain(others), self.arena);
            let plan = self.plan(conjunction.conjuncts(self.arena), depth + 1);
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

fn offer(part: &Formula<'_>, frequencies: &impl Frequencies) -> Option<Offer> {
    let Formula::Test(test) = part else { return None };
    let one = |field, sense, rest, domain| {
        let Estimate { frequency, alone } = frequencies.of(field, sense);
        Some(Offer { atoms: 1, frequency, rest, domain, alone })
    };
    match test {
        Test::OneOf { field, values, negated: false } => {
            let (mut frequency, mut alone) = (0.0, 0);
            for value in *values {
                let estimate = frequencies.of_value(*field, value);
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
        Test::Range { field, low, high } => match range(*low, *high) {
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
            one(*field, Sense::Element(Element::of(*value)), Leftovers::default(), None)
        }
        Test::Present(field) => one(*field, Sense::Present, Leftovers::default(), None),
        _ => None,
    }
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

    fn of_part(part: &Formula<'_>, frequencies: &impl Frequencies) -> Self {
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
struct AllLeftovers<'a> {
    each: Vec<'a, Leftovers>,
    sum: Leftovers,
}

impl<'a> AllLeftovers<'a> {
    fn of(parts: &[Formula<'_>], frequencies: &impl Frequencies, arena: &'a Bump) -> Self {
        let each = Vec::from_iter_in(parts.iter().map(|part| Leftovers::of_part(part, frequencies)), arena);
        let sum = each.iter().fold(Leftovers::default(), |sum, part| sum.plus(*part));
        Self { each, sum }
    }

    /// Where some parts are the key.
    fn without(&self, keys: &[(usize, &Offer)]) -> Leftovers {
        keys.iter().fold(self.sum, |sum, (at, offer)| sum.minus(self.each[*at]).plus(offer.rest))
    }
}

/// Whether a test probably fits into the gates of its field.
fn is_gateable(test: &Test<'_>, frequencies: &impl Frequencies) -> bool {
    match test {
        Test::Present(_) | Test::Absent(_) => true,
        Test::OneOf { field, values, .. } => {
            values.len() <= gates::VALUES_MAX && frequencies.values(*field) <= gates::VALUES_MAX
        }
        _ => false,
    }
}
