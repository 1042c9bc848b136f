//! The match index equals the oracle `Filter::matches` under any interleaving of changes and events.

mod support;

use std::ops::ControlFlow;

use evs_core::filter::arbitrary::{event, filter};
use evs_core::index::{MatchIndex, Pipeline, Scratch, Target};
use evs_core::{Filter, FilterId, FilterVersion, Shard, Slot};
use proptest::prelude::*;
use support::{Oracle, written};

type Put = (FilterId, Target, Filter);

#[derive(Clone, Debug)]
enum Step {
    Insert(Put),
    /// Together; an id may be among them twice.
    InsertAll(Vec<Put>),
    Remove(u32),
    Event(serde_json::Value, u64),
}

/// Few, so that they are replaced and removed often; and one that uses all bits.
fn id() -> impl Strategy<Value = u32> {
    prop_oneof![20 => 0..24_u32, 1 => Just(u32::MAX), 1 => Just(1 << 31)]
}

fn put() -> impl Strategy<Value = Put> {
    let target = (0..3_u16, 0..8_u32).prop_map(|(shard, slot)| Target { shard: Shard(shard), slot: Slot(slot) });
    (id().prop_map(FilterId), target, filter())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => put().prop_map(Step::Insert),
        1 => proptest::collection::vec(put(), 0..20).prop_map(Step::InsertAll),
        1 => id().prop_map(Step::Remove),
        4 => (event(), any::<u64>()).prop_map(|(value, seed)| Step::Event(value, seed)),
    ]
}

proptest! {
    // A case is up to sixty steps; PROPTEST_CASES scales their number.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 2, ..ProptestConfig::default() })]

    #[test]
    fn equals_the_oracle(steps in proptest::collection::vec(step(), 1..60)) {
        let mut index = MatchIndex::new();
        let mut reader = index.reader();
        let mut oracle = Oracle::default();
        let (mut scratch, mut out) = (Scratch::default(), Vec::new());
        let (mut pipeline, mut events) = (Pipeline::default(), Vec::new());
        for (version, step) in (1..).zip(steps) {
            match step {
                Step::Insert((id, target, filter)) => {
                    index.insert(id, target, &filter);
                    oracle.0.insert(id, (target, filter));
                }
                Step::InsertAll(all) => {
                    index.insert_all(all.iter().map(|(id, target, filter)| (*id, *target, filter)));
                    oracle.0.extend(all.into_iter().map(|(id, target, filter)| (id, (target, filter))));
                }
                Step::Remove(id) => {
                    let removed = index.remove(FilterId(id));
                    prop_assert_eq!(removed, oracle.0.remove(&FilterId(id)).is_some());
                }
                Step::Event(value, seed) => {
                    index.publish(FilterVersion(version));
                    let event = written(&value, seed);
                    let snapshot = reader.snapshot();
                    prop_assert_eq!(snapshot.version(), FilterVersion(version));
                    snapshot.matches(&event, &mut scratch, &mut out);
                    let wanted = oracle.matches(&event);
                    prop_assert_eq!(&out, &wanted, "{:?}", event);
                    // Beside others, and in any place among them.
                    events.push(event);
                    let mut all = Vec::new();
                    snapshot.matches_each(&events, &mut pipeline, &mut out, |_, found| {
                        all.push(found.to_vec());
                        if all.len() == 7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    });
                    let wanted: Vec<_> = events.iter().take(7).map(|event| oracle.matches(event)).collect();
                    prop_assert_eq!(all, wanted, "{:?}", events);
                }
            }
            prop_assert_eq!(index.stats().filters, oracle.0.len());
        }
    }
}
