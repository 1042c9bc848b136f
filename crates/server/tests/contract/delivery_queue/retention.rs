//! What the retention takes, and how it is told.

use evs_core::{Seq, Slot};
use evs_server::ports::DeliveryQueue;
use evs_server::ports::delivery_queue::{Expired, Retention, Start};

use super::{SHARD, ZERO, ack, acked, claim, compact_all, consumer, event_time_ms, spilled};

const KEEP_ALL: Retention = Retention {
    now_ms: 1_000_000,
    before_ms: i64::MIN,
    events_max: u64::MAX,
    bytes_max: u64::MAX,
    consumers_before_ms: i64::MIN,
};

/// Calls until a whole round finds nothing more, and joins what one queue lost in several calls.
async fn expire(queue: &dyn DeliveryQueue, retention: Retention) -> Vec<Expired> {
    let mut lost: Vec<Expired> = Vec::new();
    let mut quiet = 0;
    while quiet < 3 {
        let expired = queue.expire(SHARD, &retention).await.unwrap();
        quiet = if expired.is_empty() { quiet + 1 } else { 0 };
        for expired in expired {
            match lost.iter_mut().find(|before| before.slot == expired.slot) {
                Some(before) => {
                    assert_eq!(expired.from.0, before.to.0 + 1, "every loss is told once");
                    before.to = expired.to;
                }
                None => lost.push(expired),
            }
        }
    }
    lost.sort_by_key(|expired| expired.slot);
    lost
}

fn lost(slot: u32, from: u64, to: u64) -> Expired {
    Expired { slot: Slot(slot), from: Seq(from), to: Seq(to) }
}

pub(crate) async fn old_deliveries_expire(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    owner.append(queue, 0, 10, &[1, 2]).await;
    owner.append(queue, 10, 12, &[3]).await;
    compact_all(queue).await;
    queue.attach(SHARD, Slot(2), &consumer("default"), Start::Earliest).await.unwrap();
    assert!(ack(queue, 2, "default", 2).await);
    assert_eq!(expire(queue, KEEP_ALL).await, []);
    let old = Retention { before_ms: event_time_ms(6), ..KEEP_ALL };
    assert_eq!(expire(queue, old).await, [lost(1, 1, 6), lost(2, 3, 6)]);
    assert_eq!(expire(queue, old).await, [], "told once");
    for slot in [1, 2] {
        let read = queue.read(SHARD, Slot(slot), Seq(1), 100).await.unwrap();
        assert_eq!((read.lost, read.base), (Seq(6), Seq(10)), "the floor says what is gone");
        assert_eq!(read.records.iter().map(|spill| spill.seq.0).collect::<Vec<_>>(), [7, 8, 9, 10]);
    }
    let attached = queue.attach(SHARD, Slot(1), &consumer("default"), Start::Earliest).await.unwrap();
    assert_eq!((attached.lost, attached.acked), (Seq(6), Seq(0)), "lost is not acked");
    assert_eq!(spilled(queue, 3).await, [1, 2]);
    let standing = queue.standings(SHARD, None, 1).await.unwrap()[0];
    assert_eq!((standing.lost, standing.spilled), (Seq(6), 4));
    assert_eq!(standing.oldest_spilled_ms, Some(event_time_ms(6)));
    let all = Retention { before_ms: i64::MAX, ..KEEP_ALL };
    assert_eq!(expire(queue, all).await, [lost(1, 7, 10), lost(2, 7, 10), lost(3, 1, 2)]);
    assert!(ack(queue, 1, "default", 8).await);
    assert_eq!(acked(queue, 1).await, Seq(8), "an ack of what is gone counts");
}

pub(crate) async fn a_queue_is_bounded_by_count_and_bytes(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    owner.append(queue, 0, 10, &[1]).await;
    owner.append(queue, 10, 11, &[2]).await;
    compact_all(queue).await;
    owner.append(queue, 11, 18, &[1]).await;
    compact_all(queue).await;
    assert_eq!(expire(queue, Retention { events_max: 9, ..KEEP_ALL }).await, [lost(1, 1, 8)]);
    assert_eq!(spilled(queue, 1).await, (9..=17).collect::<Vec<_>>());
    let read = queue.read(SHARD, Slot(1), Seq(1), 100).await.unwrap();
    let bytes = |from: u64| -> u64 {
        read.records.iter().filter(|spill| spill.seq.0 >= from).map(|spill| spill.body.len() as u64).sum()
    };
    assert_eq!(expire(queue, Retention { bytes_max: bytes(12), ..KEEP_ALL }).await, [lost(1, 9, 11)]);
    assert_eq!(expire(queue, Retention { bytes_max: bytes(15) - 1, ..KEEP_ALL }).await, [lost(1, 12, 15)]);
    assert_eq!(spilled(queue, 1).await, [16, 17]);
    assert_eq!(spilled(queue, 2).await, [1]);
}

pub(crate) async fn idle_consumers_expire(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    owner.append(queue, 0, 10, &[1, 2]).await;
    compact_all(queue).await;
    for name in ["default", "phone"] {
        queue.attach(SHARD, Slot(1), &consumer(name), Start::Earliest).await.unwrap();
    }
    queue.attach(SHARD, Slot(2), &consumer("default"), Start::Earliest).await.unwrap();
    assert!(ack(queue, 1, "default", 7).await);
    assert!(ack(queue, 2, "default", 4).await);
    assert_eq!(expire(queue, KEEP_ALL).await, []);
    assert_eq!(queue.consumers(SHARD, Slot(1)).await.unwrap().len(), 2);
    assert_eq!(expire(queue, Retention { consumers_before_ms: i64::MAX, ..KEEP_ALL }).await, []);
    for slot in [1, 2] {
        assert!(queue.consumers(SHARD, Slot(slot)).await.unwrap().is_empty());
    }
    assert_eq!(acked(queue, 2).await, Seq(4), "the minimum never goes back");
    assert!(ack(queue, 1, "phone", 9).await, "it was connected all the time, and only quiet");
    let back = queue.consumers(SHARD, Slot(1)).await.unwrap();
    assert_eq!(back.iter().map(|row| (row.name.as_str(), row.acked)).collect::<Vec<_>>(), [("phone", Seq(9))]);
    let again = queue.attach(SHARD, Slot(2), &consumer("default"), Start::Earliest).await.unwrap();
    assert_eq!((again.new, again.row), (true, Seq(4)));
}
