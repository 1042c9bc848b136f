//! The delivery log against the obvious model: one list of deliveries per subscriber.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use evs_core::log::compact::{self, Budget, Spill};
use evs_core::log::{Entry, EntryBuilder, FoldPosition, Window};
use evs_core::{Epoch, FilterId, Offset, Partition, Seq, Slot, Trace};
use proptest::prelude::*;

const EPOCH: Epoch = Epoch(7);

#[derive(Clone, Debug)]
enum Step {
    /// Events of one batch; for each the slots that match.
    Append(Vec<Vec<u32>>),
    /// Compacts up to so many entries, with budgets.
    Compact { entries: usize, spills_max: usize, slots_max: usize },
    /// Acks a slot up to a share of its top.
    Ack { slot: u32, percent: u64 },
    /// A reader starts from the base.
    Restart,
    /// The reader hears how far the log is trimmed.
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let slots = prop::collection::btree_set(0..12_u32, 0..8).prop_map(|slots| slots.into_iter().collect());
    prop_oneof![
        4 => prop::collection::vec(slots, 1..4).prop_map(Step::Append),
        2 => (1..6_usize, 1..6_usize, 1..6_usize).prop_map(|(entries, spills_max, slots_max)| Step::Compact {
            entries,
            spills_max,
            slots_max
        }),
        2 => (0..12_u32, 0..=100_u64).prop_map(|(slot, percent)| Step::Ack { slot, percent }),
        1 => Just(Step::Restart),
        1 => Just(Step::Forget),
    ]
}

/// The stored log, as a backend keeps it.
#[derive(Default)]
struct Store {
    position: FoldPosition,
    entries: BTreeMap<u64, Arc<Entry>>,
    top: u64,
    base: BTreeMap<u32, u64>,
    acked: BTreeMap<u32, u64>,
    spilled: BTreeMap<(u32, u64), Spill>,
    next_offset: u64,
}

impl Store {
    fn base_of(&self, slot: Slot) -> Seq {
        Seq(self.base.get(&slot.0).copied().unwrap_or(0))
    }

    fn acked_of(&self, slot: Slot) -> Seq {
        Seq(self.acked.get(&slot.0).copied().unwrap_or(0))
    }

    fn compact(&mut self, max: usize, budget: Budget) {
        let begun = self.position.m.saturating_sub(self.position.n) as usize;
        let entries: Vec<_> =
            self.entries.iter().take(max.max(begun)).map(|(id, entry)| (*id, entry.clone())).collect();
        let plan = compact::plan(
            EPOCH,
            self.position,
            &entries,
            |slot| self.base_of(slot),
            |slot| self.acked_of(slot),
            budget,
        );
        let Some(plan) = plan else { return };
        assert_eq!(plan.at, self.position);
        for (slot, seq) in &plan.bases {
            assert!(*seq > self.base_of(*slot), "a base only grows");
            self.base.insert(slot.0, seq.0);
        }
        for spill in plan.spills {
            if spill.seq > self.acked_of(spill.slot) {
                self.spilled.insert((spill.slot.0, spill.seq.0), spill);
            }
        }
        self.position = plan.to;
        self.entries.retain(|id, _| *id > plan.to.n);
    }

    fn window(&self) -> Window {
        let len = self.base.keys().next_back().map_or(0, |slot| *slot as usize + 1);
        let base = (0..len as u32).map(|slot| self.base_of(Slot(slot)).0).collect();
        let mut window = Window::new(EPOCH, self.position, base);
        for (id, entry) in &self.entries {
            window.push(*id, entry.clone(), |_, _| {}).unwrap();
        }
        window
    }
}

/// Per slot, the offsets and filters that it must get, in order.
type Model = BTreeMap<u32, Vec<(u64, Vec<u32>)>>;

fn append(store: &mut Store, model: &mut Model, events: &[Vec<u32>]) -> (u64, Arc<Entry>) {
    let from = Offset(store.next_offset);
    let mut builder = EntryBuilder::new(EPOCH, Partition(0), from, 5);
    for slots in events {
        let offset = store.next_offset;
        store.next_offset += 1;
        if slots.is_empty() {
            continue;
        }
        builder.event(Offset(offset), 3, Bytes::from(format!("{{\"n\":{offset}}}")));
        if offset.is_multiple_of(3) {
            builder.trace(Trace { trace_id: [offset as u8 + 1; 16], span_id: [7; 8] });
        }
        for slot in slots {
            let filters = vec![*slot, slot + 100];
            builder.route(*slot, filters.iter().copied().map(FilterId));
            model.entry(*slot).or_default().push((offset, filters));
        }
    }
    let entry = builder.finish(Offset(store.next_offset));
    let again = Entry::decode(entry.encode(true).into()).unwrap();
    assert_eq!(again, entry, "the codec keeps everything");
    let mut lean = Entry::decode(entry.encode(false).into()).unwrap();
    lean.fill_bodies(|offset| Some(Bytes::from(format!("{{\"n\":{}}}", offset.0))));
    assert_eq!(lean, entry, "bodies can be kept elsewhere");
    store.top += 1;
    let entry = Arc::new(entry);
    store.entries.insert(store.top, entry.clone());
    (store.top, entry)
}

/// Every delivery of every slot that is not acked is found, in the window or among the spilled, and is the right one.
fn check(store: &Store, window: &Window, model: &Model) {
    for slot in 0..12 {
        let deliveries = model.get(&slot).map_or(&[][..], Vec::as_slice);
        assert_eq!(window.top(Slot(slot)), Seq(deliveries.len() as u64), "the fold counts every route of slot {slot}");
        for (seq, (offset, filters)) in (1_u64..).zip(deliveries) {
            if seq <= store.acked_of(Slot(slot)).0 {
                continue;
            }
            if let Some(found) = window.find(Slot(slot), Seq(seq), 3) {
                for (delivery, (offset, filters)) in found.iter().zip(&deliveries[seq as usize - 1..]) {
                    assert_eq!(delivery.entry.event(&delivery.route).offset, Offset(*offset));
                    assert_eq!(delivery.entry.filters(&delivery.route), filters);
                }
                assert_eq!(found.len(), (deliveries.len() - seq as usize + 1).min(3));
                assert_eq!(found[0].seq, Seq(seq));
            } else {
                assert!(seq <= store.base_of(Slot(slot)).0, "what is not in the window is below the base (rule 7)");
                let spill = &store.spilled[&(slot, seq)];
                assert_eq!((spill.offset, &spill.filters), (Offset(*offset), filters));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn log_and_spills_hold_what_each_subscriber_must_get(steps in prop::collection::vec(step(), 1..60)) {
        let mut store = Store::default();
        let mut model = Model::new();
        let mut window = store.window();
        for step in steps {
            match step {
                Step::Append(events) => {
                    let (id, entry) = append(&mut store, &mut model, &events);
                    let mut seen: Vec<(u32, u64)> = Vec::new();
                    window.push(id, entry.clone(), |seq, route| seen.push((route.slot, seq.0))).unwrap();
                    prop_assert_eq!(seen.len(), entry.routes().len());
                }
                Step::Compact { entries, spills_max, slots_max } => {
                    store.compact(entries, Budget { spills_max, slots_max });
                }
                Step::Ack { slot, percent } => {
                    let top = model.get(&slot).map_or(0, Vec::len) as u64;
                    let acked = store.acked_of(Slot(slot)).0.max(top * percent / 100);
                    store.acked.insert(slot, acked);
                    store.spilled.retain(|(of, seq), _| *of != slot || *seq > acked);
                }
                Step::Restart => window = store.window(),
                Step::Forget => window.forget(store.position.n),
            }
            check(&store, &window, &model);
        }
    }

    #[test]
    fn damaged_entries_are_refused_and_never_panic(cut in 0..200_usize, flip in 0..200_usize, bit in 0..8_u8) {
        let mut store = Store::default();
        let (_, entry) = append(&mut store, &mut Model::new(), &[vec![1, 5, 9], vec![], vec![5]]);
        let mut bytes = entry.encode(true);
        let at = flip % bytes.len();
        bytes[at] ^= 1 << bit;
        bytes.truncate(bytes.len().saturating_sub(cut % bytes.len()));
        // Whatever it says, it must answer.
        let _ = Entry::decode(bytes.into());
    }
}

#[test]
fn a_reader_refuses_holes_and_other_epochs() {
    let mut store = Store::default();
    let mut window = store.window();
    let (_, entry) = append(&mut store, &mut Model::new(), &[vec![1]]);
    assert!(window.push(2, entry.clone(), |_, _| {}).is_err());
    let other = EntryBuilder::new(Epoch(8), Partition(0), Offset(0), 0).finish(Offset(1));
    assert!(window.push(1, Arc::new(other), |_, _| {}).is_err());
    assert!(window.push(1, entry, |_, _| {}).is_ok());
}
