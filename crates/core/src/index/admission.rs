//! What a filter will cost, told before it is taken in.

use std::cell::OnceCell;

use bumpalo::Bump;

use super::cover::{Atom, Domain, Estimate, Frequencies, cover};
use super::fields::{Field, Fields};
use super::formula::{Formula, Maker};
use super::symbols::Sense;
use crate::Filter;

/// How the events that a filter matches are told from the others. The later, the dearer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Indexability {
    /// By a value, a prefix or an interval that they must have: it costs other events nothing.
    Keyed,
    /// It matches every event that has a field, or one beyond a bound; or simply every event.
    Plain,
    /// By a field's presence or one bound, and then by looking: a candidate of a good part of all events.
    Weak,
    /// Only by looking: a candidate of every event. An installation should bound the number of these.
    Scanned,
}

/// The cost of a filter for the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Admission {
    pub indexability: Indexability,
    /// Places where the filter is entered, at about twenty bytes each.
    pub entries: usize,
}

/// Judges a filter on its own. A filter that matches no event has no entries.
#[must_use]
pub fn admission(filter: &Filter) -> Admission {
    let (arena, condition) = (Bump::new(), OnceCell::new());
    let formula = Maker { arena: &arena, fields: &mut Fields::default() }.whole(filter, &condition);
    if formula == Formula::Never {
        return Admission { indexability: Indexability::Keyed, entries: 0 };
    }
    let cover = cover(formula, &Unknown, &arena);
    let worst = cover.placements.iter().map(|placement| match (placement.key.0, placement.rest.len()) {
        (Atom::Always | Atom::Present(_), 0) | (Atom::Numeric(_), 1) => Indexability::Plain,
        (Atom::Always, _) => Indexability::Scanned,
        (Atom::Present(_) | Atom::Numeric(_), _) => Indexability::Weak,
        _ => Indexability::Keyed,
    });
    Admission { indexability: worst.max().unwrap_or(Indexability::Keyed), entries: cover.placements.len() }
}

/// Nothing is known of the events and the other filters.
struct Unknown;

impl Frequencies for Unknown {
    fn of(&self, _: Field, sense: Sense<'_>) -> Estimate {
        let frequency = match sense {
            Sense::Always => 1.0,
            Sense::Present | Sense::Numeric | Sense::Bool(_) => 0.5,
            _ => 0.01,
        };
        Estimate { frequency, alone: 0 }
    }

    fn values(&self, _: Field) -> usize {
        0
    }

    fn may_pair(&self, _: Domain, _: Domain) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_told_apart_by_what_finds_them() {
        let check = |text: &str, expected: Indexability, entries: usize| {
            let filter = Filter::new(vec![], vec![], None, Some(text)).unwrap();
            assert_eq!(admission(&filter), Admission { indexability: expected, entries }, "{text}");
        };
        check(r#"country in ["DE", "FR"] && amount > 5"#, Indexability::Keyed, 2);
        check(r#"path.startsWith("/a") && !has(test)"#, Indexability::Keyed, 1);
        check("amount >= 5 && amount < 10", Indexability::Keyed, 2);
        check(r#"country == "DE" || device.os == "iOS""#, Indexability::Keyed, 2);
        check(r#""vip" in tags && amount != 5"#, Indexability::Keyed, 1);
        check("false", Indexability::Keyed, 0);
        check("amount >= 5", Indexability::Plain, 1);
        check("true", Indexability::Plain, 1);
        check("has(referrer)", Indexability::Plain, 1);
        check(r#"amount >= 5 && country != "DE""#, Indexability::Weak, 1);
        check(r#"country == "DE" || amount != 5"#, Indexability::Scanned, 2);
        check(r#"!(country in ["DE"])"#, Indexability::Scanned, 1);
        check(r#"name.contains("x")"#, Indexability::Scanned, 1);
        assert_eq!(admission(&Filter::default()).indexability, Indexability::Plain);
    }
}
