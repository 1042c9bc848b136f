//! Laws of the match index that need no oracle: what must not change its answer does not.

mod support;

use evs_core::filter::arbitrary::{event, filter};
use evs_core::filter::ast::Expr;
use evs_core::index::{Match, MatchIndex, Scratch, Target};
use evs_core::{Event, Filter, FilterId, FilterVersion, Shard, Slot};
use proptest::collection::vec;
use proptest::prelude::*;
use support::{Dice, Oracle, written};

const TARGET: Target = Target { shard: Shard(0), slot: Slot(1) };

fn answer(index: &mut MatchIndex, event: &Event) -> Vec<Match> {
    index.publish(FilterVersion(1));
    let (mut reader, mut out) = (index.reader(), Vec::new());
    reader.snapshot().matches(event, &mut Scratch::default(), &mut out);
    out
}

fn indexed<'a>(filters: impl IntoIterator<Item = (u32, &'a Filter)>) -> MatchIndex {
    let mut index = MatchIndex::new();
    index.insert_all(filters.into_iter().map(|(id, filter)| (FilterId(id), TARGET, filter)));
    index
}

fn with_where(filter: &Filter, change: impl Fn(Expr) -> Expr) -> Filter {
    Filter { where_: filter.where_.clone().map(change), ..filter.clone() }
}

fn not(expr: Expr) -> Expr {
    Expr::Not(Box::new(expr))
}

/// `a && b` as `!(!a || !b)`, and the other way round, at the top.
fn de_morgan(expr: Expr) -> Expr {
    match expr {
        Expr::And(operands) => not(Expr::Or(operands.into_iter().map(not).collect())),
        Expr::Or(operands) => not(Expr::And(operands.into_iter().map(not).collect())),
        other => other,
    }
}

proptest! {
    // Each case asks several indexes, so there are fewer; PROPTEST_CASES scales them.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 16, ..ProptestConfig::default() })]

    #[test]
    fn equivalent_filters_match_alike(filters in vec(filter(), 1..12), value in event(), seed in any::<u64>()) {
        let event = written(&value, seed);
        let plain = answer(&mut indexed((0..).zip(&filters)), &event);
        let mut oracle = Oracle::default();
        oracle.0.extend((0..).map(FilterId).zip(filters.iter().map(|filter| (TARGET, filter.clone()))));
        prop_assert_eq!(&plain, &oracle.matches(&event));
        let changes: [fn(Expr) -> Expr; 3] = [|e| not(not(e)), de_morgan, |e| de_morgan(not(not(e)))];
        for change in changes {
            let changed: Vec<Filter> = filters.iter().map(|filter| with_where(filter, change)).collect();
            prop_assert_eq!(&answer(&mut indexed((0..).zip(&changed)), &event), &plain);
        }
    }

    /// Nor whether filters come together or one by one.
    #[test]
    fn the_history_does_not_matter(
        filters in vec(filter(), 1..20),
        others in vec(filter(), 1..20),
        value in event(),
        seed in any::<u64>(),
    ) {
        let event = written(&value, seed);
        let rebuilt = answer(&mut indexed((0..).zip(&filters)), &event);
        prop_assert_eq!(&answer(&mut indexed((0..).zip(&filters).collect::<Vec<_>>().into_iter().rev()), &event), &rebuilt);
        let mut index = indexed((0..).zip(&others));
        let mut dice = Dice(seed);
        let mut order: Vec<(u32, &Filter)> = (0..).zip(&filters).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, usize::try_from(dice.below(at as u64 + 1)).unwrap());
        }
        for (id, filter) in order {
            if dice.below(3) == 0 {
                answer(&mut index, &event);
            }
            index.insert(FilterId(id), TARGET, filter);
        }
        for id in filters.len()..others.len() {
            prop_assert!(index.remove(FilterId(u32::try_from(id).unwrap())));
        }
        prop_assert_eq!(answer(&mut index, &event), rebuilt);
    }

    /// Nothing is left of filters that are gone, and their names can be used again.
    #[test]
    fn an_emptied_index_is_as_new(filters in vec(filter(), 1..20), value in event(), seed in any::<u64>()) {
        let event = written(&value, seed);
        let first = answer(&mut indexed((0..).zip(&filters)), &event);
        let mut index = indexed((0..).zip(&filters));
        for _ in 0..2 {
            for id in 0..filters.len() {
                index.remove(FilterId(u32::try_from(id).unwrap()));
            }
            let stats = index.stats();
            prop_assert_eq!((stats.filters, stats.classes, stats.unindexable_filters), (0, 0, 0));
            prop_assert_eq!(answer(&mut index, &event), vec![]);
            for (id, filter) in (0..).zip(&filters) {
                index.insert(FilterId(id), TARGET, filter);
            }
            prop_assert_eq!(&answer(&mut index, &event), &first);
        }
    }

    /// Filters that were put in again for what events showed are found as in an index that has seen no event.
    #[test]
    fn re_keyed_equals_rebuilt_equals_oracle(
        filters in vec(filter(), 1..40),
        values in vec(event(), 1..12),
        seed in any::<u64>(),
    ) {
        let events: Vec<Event> = (0..).zip(&values).map(|(n, value)| written(value, seed ^ n)).collect();
        let mut index = indexed((0..).zip(&filters));
        index.publish(FilterVersion(1));
        let mut dice = Dice(seed);
        let mut named = 0;
        for n in 0..1_500_usize {
            // One event is far more frequent than the others.
            let at = if dice.below(4) == 0 { n % events.len() } else { 0 };
            index.observe(&events[at]);
            for id in index.misplaced(3) {
                let at = usize::try_from(id.0).unwrap();
                prop_assert!(at < filters.len());
                index.insert(id, TARGET, &filters[at]);
                named += 1;
            }
            if n.is_multiple_of(64) {
                index.publish(FilterVersion(1));
            }
        }
        prop_assert!(index.misplaced(usize::MAX).len() + named <= 8 * filters.len());
        let mut rebuilt = indexed((0..).zip(&filters));
        let mut oracle = Oracle::default();
        oracle.0.extend((0..).map(FilterId).zip(filters.iter().map(|filter| (TARGET, filter.clone()))));
        for event in &events {
            let found = answer(&mut index, event);
            prop_assert_eq!(&found, &answer(&mut rebuilt, event));
            prop_assert_eq!(&found, &oracle.matches(event));
        }
        prop_assert_eq!(index.stats().filters, filters.len());
        for id in 0..filters.len() {
            index.remove(FilterId(u32::try_from(id).unwrap()));
        }
        let stats = index.stats();
        prop_assert_eq!((stats.filters, stats.classes, stats.unindexable_filters), (0, 0, 0));
    }

    /// Many equal filters, far more than a leaf holds, come and go as one class.
    #[test]
    fn equal_filters_share(filter in filter(), value in event(), seed in any::<u64>()) {
        let event = written(&value, seed);
        let mut index = indexed((0..600).map(|id| (id, &filter)));
        let wanted = filter.matches(&event);
        prop_assert_eq!(answer(&mut index, &event).len(), if wanted { 600 } else { 0 });
        for id in (0..600).filter(|id| id % 7 != 0) {
            index.remove(FilterId(id));
        }
        let left: Vec<FilterId> = (0..600).step_by(7).map(FilterId).collect();
        let found: Vec<FilterId> = answer(&mut index, &event).iter().map(|m| m.filter).collect();
        prop_assert_eq!(found, if wanted { left } else { vec![] });
    }
}
