//! Readers beside the writer: every answer is that of the oracle at the version the snapshot tells.

mod support;

use std::collections::HashMap;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};

use evs_core::filter::arbitrary::{event, filter, sample};
use evs_core::index::{MatchIndex, Scratch, Target};
use evs_core::{Event, FilterId, FilterVersion, Shard, Slot};
use support::{Dice, Oracle, written};

const VERSIONS: u64 = 300;

#[test]
fn every_answer_is_that_of_its_version() {
    let filters = sample(&filter(), 1, 400);
    let events: Vec<Event> = (0..).zip(sample(&event(), 2, 60)).map(|(seed, value)| written(&value, seed)).collect();
    let mut index = MatchIndex::new();
    let versions = RwLock::new(HashMap::from([(0, Oracle::default())]));
    let done = AtomicBool::new(false);
    let reader = index.reader();
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let (mut reader, versions, done, events) = (reader.clone(), &versions, &done, &events);
            scope.spawn(move || {
                let (mut dice, mut scratch, mut out) = (Dice(seed), Scratch::default(), Vec::new());
                let mut last = 0;
                let mut held = reader.snapshot().clone();
                while !done.load(Ordering::Relaxed) {
                    let event = &events[usize::try_from(dice.below(events.len() as u64)).unwrap()];
                    let snapshot = reader.snapshot();
                    let FilterVersion(version) = snapshot.version();
                    assert!(version >= last, "versions only grow");
                    last = version;
                    snapshot.matches(event, &mut scratch, &mut out);
                    let oracle = versions.read().unwrap()[&version].clone();
                    assert_eq!(out, oracle.matches(event), "at version {version}");
                    // One that is held on to answers as ever, however far the writer has gone on.
                    held.matches(event, &mut scratch, &mut out);
                    let FilterVersion(version) = held.version();
                    let oracle = versions.read().unwrap()[&version].clone();
                    assert_eq!(out, oracle.matches(event), "at version {version}, held");
                    if dice.below(100) == 0 {
                        held = reader.snapshot().clone();
                    }
                }
            });
        }
        let (mut oracle, mut dice) = (Oracle::default(), Dice(3));
        for version in 1..=VERSIONS {
            for _ in 0..5 {
                let id = FilterId(u32::try_from(dice.below(40)).unwrap());
                if dice.below(4) == 0 {
                    index.remove(id);
                    oracle.0.remove(&id);
                } else {
                    let filter = &filters[usize::try_from(dice.below(filters.len() as u64)).unwrap()];
                    let slot = Slot(u32::try_from(dice.below(5)).unwrap());
                    let target = Target { shard: Shard(0), slot };
                    index.insert(id, target, filter);
                    oracle.0.insert(id, (target, filter.clone()));
                }
            }
            versions.write().unwrap().insert(version, oracle.clone());
            index.publish(FilterVersion(version));
        }
        done.store(true, Ordering::Relaxed);
    });
}
