//! How entries leave the log, and what is read back of them.

use std::time::Duration;

use evs_core::log::compact::{Budget, Spill};
use evs_core::log::{FoldPosition, Window};
use evs_core::{FilterVersion, Offset, Seq, Slot};
use evs_server::ports::DeliveryQueue;
use evs_server::ports::delivery_queue::Start;

use super::{SHARD, WHOLE, ZERO, ack, body, claim, compact_all, consumer, event_time_ms, plan_all, spilled};

pub(crate) async fn compaction_counts_and_spills(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    owner.append(queue, 0, 2, &[3]).await;
    owner.append(queue, 2, 3, &[3, 8]).await;
    compact_all(queue).await;

    let snapshot = queue.snapshot(SHARD).await.unwrap();
    assert_eq!(snapshot.state.position, FoldPosition { n: 2, m: 2, a: 0 });
    assert_eq!((snapshot.state.top, snapshot.state.log_bytes), (2, 0));
    assert_eq!((snapshot.base[3], snapshot.base[8]), (3, 1));
    assert!(queue.tail(SHARD, 0, usize::MAX, Duration::ZERO).await.unwrap().entries.is_empty(), "they are trimmed");

    let read = queue.read(SHARD, Slot(3), Seq(1), 10).await.unwrap();
    let expected = |seq: u64| Spill {
        slot: Slot(3),
        seq: Seq(seq),
        partition: ZERO,
        offset: Offset(seq - 1),
        time_ms: event_time_ms(seq - 1),
        filters: vec![4, 103],
        body: body(seq - 1),
    };
    assert_eq!(read.records, [expected(1), expected(2), expected(3)]);
    assert_eq!((read.base, read.acked, read.lost, read.removed), (Seq(3), Seq(0), Seq(0), false));
    assert_eq!(read.state, snapshot.state);

    owner.append(queue, 3, 4, &[3]).await;
    assert_eq!(queue.state(SHARD).await.unwrap().top, 3, "ids go on after a trim to empty");
    let nothing = queue.read(SHARD, Slot(77), Seq(1), 10).await.unwrap();
    assert_eq!((nothing.base, nothing.records.len()), (Seq(0), 0));
}

pub(crate) async fn a_compaction_step_needs_the_very_position(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    for n in 0..3 {
        owner.append(queue, n, n + 1, &[1, 2]).await;
    }
    let plan = plan_all(queue, WHOLE).await.unwrap();
    let mut wrong = plan.clone();
    wrong.epoch.0 ^= 1;
    assert!(!queue.compact(SHARD, &wrong).await.unwrap());
    let positions =
        [FoldPosition { n: 1, ..plan.at }, FoldPosition { m: 1, ..plan.at }, FoldPosition { a: 1, ..plan.at }];
    for at in positions {
        assert!(!queue.compact(SHARD, &evs_core::log::compact::Plan { at, ..plan.clone() }).await.unwrap());
    }
    assert_eq!(queue.snapshot(SHARD).await.unwrap().state.position, FoldPosition::default(), "nothing was done");
    assert!(queue.compact(SHARD, &plan).await.unwrap());
    assert!(!queue.compact(SHARD, &plan).await.unwrap(), "a step is done once");
    assert_eq!(queue.snapshot(SHARD).await.unwrap().base[1..3], [3, 3]);
    assert_eq!(spilled(queue, 1).await, [1, 2, 3]);
}

pub(crate) async fn a_large_compaction_goes_step_by_step(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    owner.append(queue, 0, 2, &[1, 2, 3, 9]).await;
    let mut positions = Vec::new();
    while let Some(plan) = plan_all(queue, Budget { spills_max: 1_000, slots_max: 1 }).await {
        assert!(queue.compact(SHARD, &plan).await.unwrap());
        let snapshot = queue.snapshot(SHARD).await.unwrap();
        positions.push(snapshot.state.position);
        let covered = [1, 2, 3, 9].map(|slot| snapshot.state.position.covers(1, slot));
        let counted = [1, 2, 3, 9].map(|slot| snapshot.base.get(slot).is_some_and(|base| *base >= 2));
        assert_eq!(covered, counted, "the base counts just what the position covers");
        // Another entry that grows meanwhile must wait for its turn.
        if positions.len() == 2 {
            owner.append(queue, 2, 3, &[2]).await;
        }
    }
    let step = |n, m, a| FoldPosition { n, m, a };
    assert_eq!(positions[..4], [step(0, 1, 2), step(0, 1, 3), step(0, 1, 9), step(1, 1, 0)]);
    assert_eq!(positions.last(), Some(&step(2, 2, 0)));
    assert_eq!(queue.snapshot(SHARD).await.unwrap().base[..4], [0, 2, 3, 2]);
    assert_eq!(spilled(queue, 2).await, [1, 2, 3]);
}

pub(crate) async fn compaction_leaves_out_what_was_acked_meanwhile(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    owner.append(queue, 0, 5, &[1, 2, 4]).await;
    for slot in [1, 4] {
        queue.attach(SHARD, Slot(slot), &consumer("default"), Start::Earliest).await.unwrap();
    }
    let plan = plan_all(queue, WHOLE).await.unwrap();
    assert_eq!(plan.spills.len(), 15);
    assert!(ack(queue, 1, "default", 3).await);
    assert!(ack(queue, 4, "default", 5).await);
    queue.remove(SHARD, Slot(2)).await.unwrap();
    assert!(queue.compact(SHARD, &plan).await.unwrap());
    assert_eq!(spilled(queue, 1).await, [4, 5]);
    assert_eq!(spilled(queue, 4).await, [0_u64; 0]);
    assert_eq!(spilled(queue, 2).await, [0_u64; 0], "a removed queue takes nothing");
    assert_eq!(queue.snapshot(SHARD).await.unwrap().base[..5], [0, 5, 5, 0, 5], "all are counted");
}

pub(crate) async fn a_snapshot_and_the_tail_make_the_same_fold(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    let mut from = 0;
    for slots in [&[1_u32, 5][..], &[5], &[2, 5, 6], &[1], &[6]] {
        owner.append(queue, from, from + 2, slots).await;
        from += 2;
    }
    let tops = [0, 4, 2, 0, 0, 6, 4];
    let mut steps = 0;
    loop {
        let snapshot = queue.snapshot(SHARD).await.unwrap();
        let (epoch, position) = (snapshot.state.epoch, snapshot.state.position);
        let mut window = Window::new(epoch, position, snapshot.base);
        for (id, entry) in queue.tail(SHARD, position.n, usize::MAX, Duration::ZERO).await.unwrap().entries {
            window.push(id, entry, |_, _| {}).unwrap();
        }
        let folded = [0, 1, 2, 3, 4, 5, 6].map(|slot| window.top(Slot(slot)).0);
        assert_eq!(folded, tops, "after {steps} steps, at {position:?}");
        let Some(plan) = plan_all(queue, Budget { spills_max: 3, slots_max: 2 }).await else { break };
        assert!(queue.compact(SHARD, &plan).await.unwrap());
        steps += 1;
    }
    assert!(steps > 1);
}

pub(crate) async fn far_slots_have_a_base(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    owner.append(queue, 0, 1, &[0, 70_000]).await;
    owner.append(queue, 1, 2, &[150_000]).await;
    compact_all(queue).await;
    let snapshot = queue.snapshot(SHARD).await.unwrap();
    let counted: Vec<usize> = (0..snapshot.base.len()).filter(|slot| snapshot.base[*slot] > 0).collect();
    assert_eq!(counted, [0, 70_000, 150_000]);
    assert_eq!(spilled(queue, 150_000).await, [1]);
    let state = queue.open(SHARD, FilterVersion(0)).await.unwrap();
    assert_eq!(state, snapshot.state);
}

pub(crate) async fn read_gives_pages_and_its_floor(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    for n in 0..4 {
        owner.append(queue, n * 5, n * 5 + 5, &[1]).await;
        compact_all(queue).await;
    }
    let seqs = async |from: u64, max: usize| -> Vec<u64> {
        let read = queue.read(SHARD, Slot(1), Seq(from), max).await.unwrap();
        assert_eq!(read.base, Seq(20));
        read.records.iter().map(|spill| spill.seq.0).collect()
    };
    assert_eq!(seqs(1, 7).await, (1..=7).collect::<Vec<_>>());
    assert_eq!(seqs(8, 7).await, (8..=14).collect::<Vec<_>>());
    assert_eq!(seqs(20, 7).await, [20]);
    assert_eq!(seqs(21, 7).await, [0_u64; 0]);
    assert_eq!(seqs(0, 2).await, [1, 2]);
}

pub(crate) async fn acks_inside_a_spill_hide_what_they_cover(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    queue.attach(SHARD, Slot(1), &consumer("default"), Start::Earliest).await.unwrap();
    owner.append(queue, 0, 12, &[1]).await;
    compact_all(queue).await;
    for upto in [1, 4, 5, 11] {
        assert!(ack(queue, 1, "default", upto).await);
        assert_eq!(spilled(queue, 1).await, (upto + 1..=12).collect::<Vec<_>>());
        let read = queue.read(SHARD, Slot(1), Seq(1), 1).await.unwrap();
        assert_eq!((read.acked, read.records[0].seq), (Seq(upto), Seq(upto + 1)));
        let standing = queue.standings(SHARD, None, 10).await.unwrap()[0];
        assert_eq!(standing.spilled, 12 - upto);
        assert_eq!(standing.oldest_spilled_ms, Some(event_time_ms(upto)));
    }
    assert!(ack(queue, 1, "default", 12).await);
    assert_eq!(queue.standings(SHARD, None, 10).await.unwrap()[0].oldest_spilled_ms, None);
}
