//! The match index equals the oracle `Filter::matches` under any interleaving of changes and events.

use std::collections::BTreeMap;

use bytes::Bytes;
use evs_core::filter::arbitrary::{event, filter};
use evs_core::index::{Match, MatchIndex, Scratch, Target};
use evs_core::{Event, Filter, FilterId, FilterVersion, Shard, Slot};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, u16, u32, Filter),
    Remove(u32),
    Event(serde_json::Value),
}

/// Few, so that they are replaced and removed often; and one that uses all bits.
fn id() -> impl Strategy<Value = u32> {
    prop_oneof![20 => 0..24_u32, 1 => Just(u32::MAX), 1 => Just(1 << 31)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (id(), 0..3_u16, 0..8_u32, filter()).prop_map(|(id, shard, slot, f)| Step::Insert(id, shard, slot, f)),
        1 => id().prop_map(Step::Remove),
        4 => event().prop_map(Step::Event),
    ]
}

/// What the index must answer: each filter asked on its own.
#[derive(Default)]
struct Oracle(BTreeMap<FilterId, (Target, Filter)>);

impl Oracle {
    fn matches(&self, event: &Event) -> Vec<Match> {
        let event = event.value();
        let wanted = self.0.iter().filter(|(_, (_, filter))| filter.matches_value(&event));
        let mut all: Vec<Match> = wanted.map(|(id, (target, _))| Match { target: *target, filter: *id }).collect();
        all.sort_unstable();
        all
    }
}

proptest! {
    #[test]
    fn equals_the_oracle(steps in proptest::collection::vec(step(), 1..60)) {
        let mut index = MatchIndex::new();
        let mut reader = index.reader();
        let mut oracle = Oracle::default();
        let (mut scratch, mut out) = (Scratch::default(), Vec::new());
        for (version, step) in (1..).zip(steps) {
            match step {
                Step::Insert(id, shard, slot, filter) => {
                    let target = Target { shard: Shard(shard), slot: Slot(slot) };
                    index.insert(FilterId(id), target, &filter);
                    oracle.0.insert(FilterId(id), (target, filter));
                }
                Step::Remove(id) => {
                    let removed = index.remove(FilterId(id));
                    prop_assert_eq!(removed, oracle.0.remove(&FilterId(id)).is_some());
                }
                Step::Event(value) => {
                    index.publish(FilterVersion(version));
                    let event = Event::parse(Bytes::from(value.to_string())).unwrap();
                    let snapshot = reader.snapshot();
                    prop_assert_eq!(snapshot.version(), FilterVersion(version));
                    snapshot.matches(&event, &mut scratch, &mut out);
                    prop_assert_eq!(&out, &oracle.matches(&event), "{}", value);
                }
            }
            prop_assert_eq!(index.stats().filters, oracle.0.len());
        }
    }
}
