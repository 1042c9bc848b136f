//! Random command sequences get the same answers from a backend as from the model.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use evs_core::log::compact::{Budget, Plan, plan};
use evs_core::log::{Entry, EntryBuilder};
use evs_core::{ConsumerName, Epoch, FilterId, FilterVersion, Offset, Partition, Seq, Shard, Slot};
use evs_server::backend::memory::MemoryQueue;
use evs_server::clock::Clock;
use evs_server::ports::DeliveryQueue;
use evs_server::ports::delivery_queue::{Ack, Append, Appended, Retention, Start, Tail};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::delivery_queue::{LOG_BYTES_MAX, SHARDS};

const SHARD: Shard = Shard(0);
const SLOTS: u32 = 9;

/// What the backend under test can be made to suffer.
pub(crate) enum Fault {
    /// A restart that may have lost something.
    Restart,
    /// Everything is gone.
    Loss,
}

/// A clock that moves one millisecond per step, the same for both.
pub(crate) fn clock() -> (Clock, Arc<AtomicI64>) {
    let now_ms = Arc::new(AtomicI64::new(1_700_000_000_000));
    let read = now_ms.clone();
    (Clock::new(move || read.load(Ordering::Relaxed)), now_ms)
}

/// Both stores, and the epochs that each has had, in their order.
struct Pair<'a> {
    model: MemoryQueue,
    real: &'a dyn DeliveryQueue,
    epochs: Vec<(Epoch, Epoch)>,
    context: String,
}

impl Pair<'_> {
    fn check<T: Debug>(&self, model: T, real: T) -> T {
        let (mut left, mut right) = (format!("{model:?}"), format!("{real:?}"));
        for (number, (of_model, of_real)) in self.epochs.iter().enumerate() {
            left = left.replace(&format!("{of_model:?}"), &format!("epoch {number}"));
            right = right.replace(&format!("{of_real:?}"), &format!("epoch {number}"));
        }
        if left != right {
            let same = left.bytes().zip(right.bytes()).take_while(|(left, right)| left == right).count();
            let around = |text: &str| text.chars().skip(same.saturating_sub(200)).take(500).collect::<String>();
            panic!("after {}\n  model: {}\nbackend: {}", self.context, around(&left), around(&right));
        }
        model
    }

    async fn note_epoch(&mut self) {
        let epochs = (self.model.state(SHARD).await.unwrap().epoch, self.real.state(SHARD).await.unwrap().epoch);
        if self.epochs.last() != Some(&epochs) {
            let new = self.epochs.iter().all(|known| known.0 != epochs.0 && known.1 != epochs.1);
            assert!(new, "a new epoch on one side only, after {}", self.context);
            self.epochs.push(epochs);
        }
    }

    /// An epoch for both: mostly the present one, sometimes an old or a foreign one.
    fn epoch(&self, dice: &mut SmallRng) -> (Epoch, Epoch) {
        match dice.random_range(0..12) {
            0 => self.epochs[dice.random_range(0..self.epochs.len())],
            1 => (Epoch(1), Epoch(1)),
            _ => *self.epochs.last().unwrap(),
        }
    }
}

macro_rules! both {
    ($pair:ident, $queue:ident => $call:expr) => {{
        let model = {
            let $queue = &$pair.model;
            $call.await.unwrap()
        };
        let real = {
            let $queue = $pair.real;
            $call.await.unwrap()
        };
        $pair.check(model, real)
    }};
}

/// Runs `steps` random commands on a fresh backend and on the model.
pub(crate) async fn run(
    real: &dyn DeliveryQueue,
    clock: (Clock, Arc<AtomicI64>),
    seed: u64,
    steps: u32,
    mut fault: impl AsyncFnMut(Fault),
) {
    let model = MemoryQueue::new(SHARDS, LOG_BYTES_MAX, clock.0, seed);
    let mut pair = Pair { model, real, epochs: Vec::new(), context: format!("seed {seed}") };
    let mut dice = SmallRng::seed_from_u64(seed);
    let mut owners: BTreeMap<u32, u64> = BTreeMap::new();
    let mut nexts: BTreeMap<u32, u64> = BTreeMap::new();
    pair.note_epoch().await;
    both!(pair, queue => queue.open(SHARD, FilterVersion(1)));
    let mut stale_plans: Vec<Plan> = Vec::new();
    for step in 0..steps {
        clock.1.fetch_add(1, Ordering::Relaxed);
        let slot = Slot(dice.random_range(0..SLOTS));
        let consumer = ConsumerName::new(["default", "phone", "tablet"][dice.random_range(0..3)]).unwrap();
        let kind = dice.random_range(0..100);
        pair.context = format!("seed {seed} step {step} kind {kind} slot {slot} consumer {consumer}");
        match kind {
            0..5 => {
                let partition = dice.random_range(0..2);
                let epoch = pair.epoch(&mut dice);
                let model = pair.model.claim(SHARD, epoch.0, Partition(partition)).await.unwrap();
                let real = pair.real.claim(SHARD, epoch.1, Partition(partition)).await.unwrap();
                if let Some(claim) = pair.check(model, real) {
                    owners.insert(partition, claim.owner);
                    nexts.insert(partition, claim.next.map_or(0, |next| next.0));
                }
            }
            5..40 => append(&mut pair, &mut dice, &owners, &mut nexts).await,
            40..50 => compact(&mut pair, &mut dice, &mut stale_plans).await,
            50..65 => {
                let epoch = pair.epoch(&mut dice);
                let acks: Vec<Ack> = (0..dice.random_range(1..4))
                    .map(|_| {
                        let slot = Slot(dice.random_range(0..SLOTS));
                        Ack { slot, consumer: consumer.clone(), seq: Seq(dice.random_range(0..40)) }
                    })
                    .collect();
                let model = pair.model.ack(SHARD, epoch.0, &acks).await.unwrap();
                let real = pair.real.ack(SHARD, epoch.1, &acks).await.unwrap();
                pair.check(model, real);
            }
            65..73 => {
                let at = Seq(dice.random_range(0..30));
                let start = [Start::Earliest, Start::Observe, Start::At(at)][dice.random_range(0..3)];
                both!(pair, queue => queue.attach(SHARD, slot, &consumer, start));
            }
            73..75 => {
                let to = Seq(dice.random_range(0..40));
                both!(pair, queue => queue.reset(SHARD, slot, &consumer, to));
            }
            75 => {
                both!(pair, queue => queue.remove(SHARD, slot));
            }
            76..78 => {
                let version = FilterVersion(dice.random_range(0..5));
                let epoch = pair.epoch(&mut dice);
                let model = pair.model.raise(SHARD, epoch.0, version).await.unwrap();
                let real = pair.real.raise(SHARD, epoch.1, version).await.unwrap();
                pair.check(model, real);
            }
            78..82 => expire(&mut pair, &mut dice).await,
            82 => {
                let (model_fault, real_fault) = if dice.random_range(0..4) == 0 {
                    owners.clear();
                    nexts.clear();
                    (true, Fault::Loss)
                } else {
                    (false, Fault::Restart)
                };
                if model_fault {
                    pair.model.lose_everything()
                } else {
                    pair.model.restart()
                }
                fault(real_fault).await;
                pair.note_epoch().await;
                if dice.random_bool(0.7) {
                    both!(pair, queue => queue.open(SHARD, FilterVersion(2)));
                }
            }
            83 => {
                both!(pair, queue => queue.open(SHARD, FilterVersion(3)));
            }
            85..87 => {
                both!(pair, queue => queue.take_turn(SHARD, slot, &consumer));
            }
            84 => {
                let epoch = pair.epoch(&mut dice);
                pair.model.renew(SHARD, epoch.0).await.unwrap();
                pair.real.renew(SHARD, epoch.1).await.unwrap();
                pair.note_epoch().await;
            }
            _ => {}
        }
        both!(pair, queue => queue.slots(SHARD));
        both!(pair, queue => queue.turns(SHARD, u64::from(step) / 20, 4));
        both!(pair, queue => queue.snapshot(SHARD));
        let from = Seq(dice.random_range(0..30));
        both!(pair, queue => queue.read(SHARD, slot, from, 5));
        both!(pair, queue => queue.consumers(SHARD, slot));
        both!(pair, queue => queue.standings(SHARD, slot.0.checked_sub(3).map(Slot), 4));
        let slots: Vec<Slot> = (0..SLOTS).rev().map(Slot).collect();
        both!(pair, queue => queue.acked(SHARD, &slots));
        let after = dice.random_range(0..40);
        let model = stored_form(pair.model.tail(SHARD, after, 1 << 20, Duration::ZERO).await.unwrap());
        let real = stored_form(pair.real.tail(SHARD, after, 1 << 20, Duration::ZERO).await.unwrap());
        pair.check(model, real);
    }
}

/// Entries as they are once they were stored: how an entry keeps its filter ids depends on how it was built.
fn stored_form(mut tail: Tail) -> Tail {
    for (_, entry) in &mut tail.entries {
        *entry = Arc::new(Entry::decode(entry.encode(true).into()).unwrap());
    }
    tail
}

async fn append(pair: &mut Pair<'_>, dice: &mut SmallRng, owners: &BTreeMap<u32, u64>, nexts: &mut BTreeMap<u32, u64>) {
    let partition = dice.random_range(0..2);
    let owner = owners.get(&partition).copied().unwrap_or(1) - u64::from(dice.random_bool(0.05));
    let next = nexts.get(&partition).copied().unwrap_or(0);
    let from = next.saturating_add_signed(if dice.random_bool(0.1) { dice.random_range(-3..3) } else { 0 });
    let to = from + dice.random_range(1..4);
    let version = FilterVersion(dice.random_range(0..8));
    let epoch = pair.epoch(dice);
    let empty = dice.random_bool(0.1);
    let mut slots: Vec<u32> = (0..SLOTS).filter(|_| dice.random_bool(0.4)).collect();
    slots.dedup();
    let big = if dice.random_bool(0.02) { 40_000 } else { 20 };
    let build = |epoch| {
        let mut builder = EntryBuilder::new(epoch, Partition(partition), Offset(from), 7);
        for offset in from..to {
            builder.event(Offset(offset), 1_000 + offset as i64, Bytes::from(vec![offset as u8; big]));
            for slot in &slots {
                builder.route(*slot, [FilterId(slot + 1)]);
            }
        }
        let entry = Some(builder.finish(Offset(to))).filter(|_| !empty && !slots.is_empty());
        Append {
            epoch,
            owner,
            partition: Partition(partition),
            from: Offset(from),
            to: Offset(to),
            version,
            entry: entry.map(Arc::new),
        }
    };
    let model = pair.model.append(SHARD, build(epoch.0)).await.unwrap();
    let real = pair.real.append(SHARD, build(epoch.1)).await.unwrap();
    if matches!(pair.check(model, real), Appended::Applied { .. }) {
        nexts.insert(partition, to);
    }
}

/// Plans from the model, and applies to both: at once, or much later, when the log has moved.
async fn compact(pair: &mut Pair<'_>, dice: &mut SmallRng, stale: &mut Vec<Plan>) {
    let snapshot = pair.model.snapshot(SHARD).await.unwrap();
    let tail = pair.model.tail(SHARD, snapshot.state.position.n, usize::MAX, Duration::ZERO).await.unwrap();
    let upto = match snapshot.state.position {
        half if half.m > half.n => tail.entries.len(),
        _ => dice.random_range(0..=tail.entries.len()),
    };
    let slots: Vec<Slot> = (0..SLOTS).map(Slot).collect();
    let acked = pair.model.acked(SHARD, &slots).await.unwrap();
    let budget = Budget { spills_max: dice.random_range(1..40), slots_max: dice.random_range(1..8) };
    let base = |slot: Slot| Seq(snapshot.base.get(slot.0 as usize).copied().unwrap_or(0));
    let planned = plan(
        snapshot.state.epoch,
        snapshot.state.position,
        &tail.entries[..upto],
        base,
        |slot| acked[slot.0 as usize],
        budget,
    );
    let Some(planned) = planned else { return };
    if dice.random_bool(0.2) {
        stale.push(planned);
        return;
    }
    let planned = if dice.random_bool(0.2) && !stale.is_empty() { stale.swap_remove(0) } else { planned };
    let of_real = pair.epochs.iter().find(|epochs| epochs.0 == planned.epoch).map_or(Epoch(1), |epochs| epochs.1);
    let model = pair.model.compact(SHARD, &planned).await.unwrap();
    let real = pair.real.compact(SHARD, &Plan { epoch: of_real, ..planned }).await.unwrap();
    pair.check(model, real);
}

/// A backend may do its work in pieces: both are called until all is done, and the sums must be the same.
async fn expire(pair: &mut Pair<'_>, dice: &mut SmallRng) {
    let retention = Retention {
        now_ms: 1_700_000_000_000,
        before_ms: if dice.random_bool(0.5) { 1_000 + dice.random_range(0..20) } else { 0 },
        events_max: dice.random_range(1..12),
        bytes_max: dice.random_range(20..400),
        consumers_before_ms: if dice.random_bool(0.2) { i64::MAX } else { 0 },
    };
    let sum = async |queue: &dyn DeliveryQueue| {
        let mut lost: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for _ in 0..12 {
            for expired in queue.expire(SHARD, &retention).await.unwrap() {
                lost.entry(expired.slot.0).or_insert((expired.from.0, 0)).1 = expired.to.0;
            }
        }
        lost
    };
    let (model, real) = (sum(&pair.model).await, sum(pair.real).await);
    pair.check(model, real);
}
