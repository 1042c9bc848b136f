//! Attaching, acking, removing, and who stands where.

use evs_core::limits::SUBSCRIBER_CONSUMERS_MAX;
use evs_core::{Seq, Shard, Slot};
use evs_server::ports::DeliveryQueue;
use evs_server::ports::delivery_queue::{Ack, Start};

use super::{SHARD, WHOLE, ZERO, ack, acked, claim, compact_all, consumer, plan_all, spilled};

pub(crate) async fn the_first_consumer_begins_before_the_first_delivery(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    owner.append(queue, 0, 4, &[1]).await;
    assert_eq!(acked(queue, 1).await, Seq(0), "no row is not acked by all");
    compact_all(queue).await;
    assert_eq!(spilled(queue, 1).await, [1, 2, 3, 4]);
    let first = queue.attach(SHARD, Slot(1), &consumer("phone"), Start::Earliest).await.unwrap();
    assert!(first.new && !first.removed);
    assert_eq!((first.row, first.acked, first.lost, first.base), (Seq(0), Seq(0), Seq(0), Seq(4)));
    assert_eq!((first.row_epoch, first.state), (owner.epoch, queue.state(SHARD).await.unwrap()));
    let again = queue.attach(SHARD, Slot(1), &consumer("phone"), Start::At(Seq(3))).await.unwrap();
    assert!(!again.new);
    assert_eq!(again.row, Seq(0), "a start is for new consumers only");
}

pub(crate) async fn a_new_consumer_begins_at_the_minimum(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    owner.append(queue, 0, 9, &[1]).await;
    queue.attach(SHARD, Slot(1), &consumer("phone"), Start::Earliest).await.unwrap();
    assert!(ack(queue, 1, "phone", 6).await);
    let tablet = queue.attach(SHARD, Slot(1), &consumer("tablet"), Start::Earliest).await.unwrap();
    assert!(tablet.new);
    assert_eq!((tablet.row, tablet.acked), (Seq(6), Seq(6)));
    assert!(ack(queue, 1, "phone", 8).await);
    let watch = queue.attach(SHARD, Slot(1), &consumer("watch"), Start::Earliest).await.unwrap();
    assert_eq!((watch.row, watch.acked), (Seq(6), Seq(6)), "the tablet holds it back");
}

pub(crate) async fn latest_begins_at_the_given_seq(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    owner.append(queue, 0, 9, &[1, 2]).await;
    compact_all(queue).await;
    let only = queue.attach(SHARD, Slot(1), &consumer("phone"), Start::At(Seq(7))).await.unwrap();
    assert_eq!((only.new, only.row, only.acked), (true, Seq(7), Seq(7)), "nobody else wants what is before");
    assert_eq!(spilled(queue, 1).await, [8, 9]);
    let below = queue.attach(SHARD, Slot(1), &consumer("tablet"), Start::At(Seq(3))).await.unwrap();
    assert_eq!(below.row, Seq(7), "what is gone cannot be read");
    queue.attach(SHARD, Slot(2), &consumer("phone"), Start::Earliest).await.unwrap();
    let second = queue.attach(SHARD, Slot(2), &consumer("tablet"), Start::At(Seq(9))).await.unwrap();
    assert_eq!((second.row, second.acked), (Seq(9), Seq(0)), "the phone still wants all of it");
    assert_eq!(spilled(queue, 2).await.len(), 9);
}

pub(crate) async fn an_observer_is_not_registered(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    owner.append(queue, 0, 4, &[1]).await;
    let seen = queue.attach(SHARD, Slot(1), &consumer("phone"), Start::Observe).await.unwrap();
    assert!(!seen.new);
    assert_eq!((seen.row, seen.acked), (Seq(0), Seq(0)));
    assert!(queue.consumers(SHARD, Slot(1)).await.unwrap().is_empty());
    assert!(queue.standings(SHARD, None, 10).await.unwrap().is_empty(), "a look leaves nothing behind");
    queue.attach(SHARD, Slot(1), &consumer("phone"), Start::Earliest).await.unwrap();
    assert!(ack(queue, 1, "phone", 3).await);
    let seen = queue.attach(SHARD, Slot(1), &consumer("tablet"), Start::Observe).await.unwrap();
    assert_eq!((seen.new, seen.acked), (false, Seq(3)));
    assert_eq!(queue.consumers(SHARD, Slot(1)).await.unwrap().len(), 1);
}

pub(crate) async fn connections_are_numbered(queue: &dyn DeliveryQueue) {
    let epoch = claim(queue, SHARD, ZERO).await.epoch;
    let take = async |slot| queue.take_turn(SHARD, Slot(slot), &consumer("phone")).await.unwrap();
    let none = queue.turns(SHARD, 0, 10).await.unwrap();
    assert_eq!((none.epoch, none.forgotten, none.taken), (epoch, 0, vec![]));
    if !queue.is_shared() {
        assert_eq!((take(1).await, queue.turns(SHARD, 0, 10).await.unwrap().taken), (0, vec![]), "nobody asks");
        return;
    }
    let turns = [take(1).await, take(2).await, take(1).await];
    assert!(turns.is_sorted() && turns[0] < turns[1] && turns[1] < turns[2], "{turns:?}");
    let all = queue.turns(SHARD, 0, 10).await.unwrap();
    let told: Vec<_> = all.taken.iter().map(|turn| (turn.number, turn.slot, turn.consumer.clone())).collect();
    let phone = |turn, slot| (turn, Slot(slot), consumer("phone"));
    assert_eq!(told, [phone(turns[0], 1), phone(turns[1], 2), phone(turns[2], 1)]);
    assert_eq!(queue.turns(SHARD, turns[0], 1).await.unwrap().taken, all.taken[1..2]);
    assert_eq!(queue.turns(SHARD, turns[2], 10).await.unwrap().taken, []);
    assert_eq!(queue.turns(Shard(1), 0, 10).await.unwrap().taken, [], "each shard counts its own");
}

pub(crate) async fn consumers_of_a_slot_are_bounded(queue: &dyn DeliveryQueue) {
    let epoch = claim(queue, SHARD, ZERO).await.epoch;
    let attach = async |name: &str, start| queue.attach(SHARD, Slot(1), &consumer(name), start).await.unwrap();
    for n in 0..SUBSCRIBER_CONSUMERS_MAX {
        assert!(attach(&format!("c{n}"), Start::Earliest).await.new);
    }
    let refused = attach("more", Start::Earliest).await;
    assert_eq!((refused.full, refused.new), (true, false));
    assert!(!attach("more", Start::Observe).await.full, "a look registers nobody");
    let known = attach("c7", Start::Earliest).await;
    assert!(!known.full && !known.new, "who is registered stays so");
    assert!(!queue.attach(SHARD, Slot(2), &consumer("more"), Start::Earliest).await.unwrap().full);
    let all: Vec<Ack> = (0..SUBSCRIBER_CONSUMERS_MAX)
        .map(|n| Ack { slot: Slot(1), consumer: consumer(&format!("c{n}")), seq: Seq(n as u64 + 1) })
        .collect();
    assert!(queue.ack(SHARD, epoch, &all).await.unwrap());
    assert_eq!(acked(queue, 1).await, Seq(1), "what all have acked, however many there are");
}

pub(crate) async fn acks_only_rise_and_only_in_their_epoch(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    owner.append(queue, 0, 9, &[1, 2, 3]).await;
    for slot in [1, 2, 3] {
        queue.attach(SHARD, Slot(slot), &consumer("default"), Start::Earliest).await.unwrap();
    }
    let at = |slot, seq| Ack { slot: Slot(slot), consumer: consumer("default"), seq: Seq(seq) };
    assert!(queue.ack(SHARD, owner.epoch, &[at(1, 5), at(2, 2), at(1, 4), at(2, 3)]).await.unwrap());
    let slots = [Slot(3), Slot(1), Slot(2)];
    assert_eq!(queue.acked(SHARD, &slots).await.unwrap(), [Seq(0), Seq(5), Seq(3)], "in the order asked");
    let mut other = owner.epoch;
    other.0 ^= 1;
    assert!(!queue.ack(SHARD, other, &[at(1, 9)]).await.unwrap());
    assert!(queue.ack(SHARD, owner.epoch, &[at(1, 1)]).await.unwrap());
    assert!(queue.ack(SHARD, owner.epoch, &[]).await.unwrap());
    assert_eq!(acked(queue, 1).await, Seq(5));
    let many: Vec<Ack> = (0..2_000).map(|n| at(1 + n % 3, 6 + u64::from(n % 2))).collect();
    assert!(queue.ack(SHARD, owner.epoch, &many).await.unwrap(), "any number at once");
    assert_eq!(queue.acked(SHARD, &slots).await.unwrap(), [Seq(7); 3]);
}

pub(crate) async fn the_minimum_over_consumers_trims_the_spill(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    for name in ["phone", "default", "tablet"] {
        queue.attach(SHARD, Slot(1), &consumer(name), Start::Earliest).await.unwrap();
    }
    owner.append(queue, 0, 9, &[1]).await;
    compact_all(queue).await;
    assert!(ack(queue, 1, "phone", 9).await);
    assert!(ack(queue, 1, "default", 4).await);
    assert_eq!((acked(queue, 1).await, spilled(queue, 1).await.len()), (Seq(0), 9));
    assert!(ack(queue, 1, "tablet", 6).await);
    assert_eq!(acked(queue, 1).await, Seq(4));
    assert_eq!(spilled(queue, 1).await, [5, 6, 7, 8, 9]);
    let row = queue.attach(SHARD, Slot(1), &consumer("phone"), Start::Earliest).await.unwrap().row;
    assert_eq!(row, Seq(9), "each keeps its own");
}

pub(crate) async fn reset_moves_one_consumer(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    owner.append(queue, 0, 9, &[1]).await;
    for name in ["phone", "tablet"] {
        queue.attach(SHARD, Slot(1), &consumer(name), Start::Earliest).await.unwrap();
    }
    assert!(ack(queue, 1, "phone", 8).await);
    assert!(ack(queue, 1, "tablet", 3).await);
    let row = async |name: &str| {
        let consumers = queue.consumers(SHARD, Slot(1)).await.unwrap();
        consumers.iter().find(|state| state.name == consumer(name)).map(|state| state.acked.0)
    };
    for (to, stands) in [(5, 5), (1, 3), (9, 9)] {
        queue.reset(SHARD, Slot(1), &consumer("phone"), Seq(to)).await.unwrap();
        assert_eq!(row("phone").await, Some(stands), "asked for {to}");
        assert_eq!(acked(queue, 1).await, Seq(3));
    }
    queue.reset(SHARD, Slot(1), &consumer("tablet"), Seq(9)).await.unwrap();
    assert_eq!(acked(queue, 1).await, Seq(9), "both are at 9 now");
    queue.reset(SHARD, Slot(1), &consumer("tablet"), Seq(2)).await.unwrap();
    assert_eq!((acked(queue, 1).await, row("tablet").await), (Seq(9), Some(9)), "the minimum never goes back");
}

pub(crate) async fn a_tombstone_is_obeyed_by_all(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    owner.append(queue, 0, 3, &[1, 2]).await;
    compact_all(queue).await;
    queue.attach(SHARD, Slot(1), &consumer("phone"), Start::Earliest).await.unwrap();
    queue.attach(SHARD, Slot(1), &consumer("default"), Start::Earliest).await.unwrap();
    owner.append(queue, 3, 5, &[1, 2]).await;
    let plan = plan_all(queue, WHOLE).await.unwrap();
    for _ in 0..2 {
        queue.remove(SHARD, Slot(1)).await.unwrap();
        assert_eq!(queue.acked(SHARD, &[Slot(1), Slot(2)]).await.unwrap(), [Seq(u64::MAX), Seq(0)]);
    }
    assert!(queue.compact(SHARD, &plan).await.unwrap());
    let read = queue.read(SHARD, Slot(1), Seq(1), 10).await.unwrap();
    assert!(read.removed && read.records.is_empty());
    assert_eq!(read.base, Seq(5));
    assert!(ack(queue, 1, "phone", 4).await);
    queue.reset(SHARD, Slot(1), &consumer("phone"), Seq(2)).await.unwrap();
    let attached = queue.attach(SHARD, Slot(1), &consumer("phone"), Start::Earliest).await.unwrap();
    assert!(attached.removed && !attached.new);
    assert_eq!(acked(queue, 1).await, Seq(u64::MAX), "for ever");
    assert!(queue.consumers(SHARD, Slot(1)).await.unwrap().is_empty());
    let standings = queue.standings(SHARD, None, 10).await.unwrap();
    assert_eq!(standings.iter().map(|standing| standing.removed).collect::<Vec<_>>(), [true, false]);
    assert_eq!(spilled(queue, 2).await.len(), 5, "its neighbour is untouched");
    owner.append(queue, 5, 6, &[1]).await;
    compact_all(queue).await;
    assert!(spilled(queue, 1).await.is_empty());
    queue.remove(SHARD, Slot(50)).await.unwrap();
    assert_eq!(acked(queue, 50).await, Seq(u64::MAX), "one that was never read, too");
}

pub(crate) async fn standings_are_paged_by_slot(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    owner.append(queue, 0, 4, &[2, 5, 11]).await;
    compact_all(queue).await;
    for slot in [5, 7, 9_000] {
        queue.attach(SHARD, Slot(slot), &consumer("default"), Start::Earliest).await.unwrap();
    }
    assert!(ack(queue, 5, "default", 3).await);
    let all = queue.standings(SHARD, None, 100).await.unwrap();
    assert_eq!(all.iter().map(|standing| standing.slot.0).collect::<Vec<_>>(), [2, 5, 7, 11, 9_000]);
    let two = all[0];
    assert_eq!((two.acked, two.spilled, two.has_consumer, two.last_ack_ms), (Seq(0), 4, false, None));
    assert_eq!(two.oldest_spilled_ms, Some(super::event_time_ms(0)));
    let five = all[1];
    assert_eq!((five.acked, five.spilled, five.has_consumer, five.removed), (Seq(3), 1, true, false));
    assert!(five.last_ack_ms.is_some());
    assert_eq!((all[2].has_consumer, all[2].last_ack_ms, all[2].spilled), (true, None, 0));
    let mut after = None;
    let mut paged = Vec::new();
    loop {
        let page = queue.standings(SHARD, after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 2);
        after = Some(last.slot);
        paged.extend(page);
    }
    assert_eq!(paged, all);
}

pub(crate) async fn consumers_are_listed(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    owner.append(queue, 0, 4, &[1]).await;
    queue.attach(SHARD, Slot(1), &consumer("default"), Start::Earliest).await.unwrap();
    let listed = queue.consumers(SHARD, Slot(1)).await.unwrap();
    assert_eq!((listed.len(), listed[0].last_ack_ms), (1, None));
    assert!(ack(queue, 1, "default", 2).await);
    queue.attach(SHARD, Slot(1), &consumer("a:tablet"), Start::Earliest).await.unwrap();
    let listed = queue.consumers(SHARD, Slot(1)).await.unwrap();
    let brief: Vec<_> = listed.iter().map(|state| (state.name.as_str(), state.acked.0, state.epoch)).collect();
    assert_eq!(brief, [("a:tablet", 2, owner.epoch), ("default", 2, owner.epoch)], "by name");
    assert!(listed[0].last_ack_ms.is_none() && listed[1].last_ack_ms.is_some());
    assert!(queue.consumers(SHARD, Slot(2)).await.unwrap().is_empty());
}
