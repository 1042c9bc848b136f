//! A client that comes back goes on exactly where it was, or is told what is missing.

use evs_api::frames::{Gap, GapReason, Resumed, ServerFrame};
use evs_core::{Cursor, Epoch, Seq, Slot};
use evs_server::ports::DeliveryQueue;
use evs_server::ports::delivery_queue::Retention;

use crate::bed::{Bed, SHARD};

fn cursor(bed: &Bed, slot: Slot, seq: u64) -> Cursor {
    let epoch = bed.app.readers.shard(SHARD).with_window(|window| window.epoch()).unwrap();
    Cursor { shard: SHARD, slot, epoch, seq: Seq(seq), seen: Vec::new() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_resumes_exactly_from_window_and_from_spill() {
    let mut bed = Bed::start().await;
    let user = bed.subscriber("user_1").await;
    let mut client = bed.connect("/ws/user_1").await;
    client.welcome().await;
    bed.deliver(&[&user], 300).await;
    client.seqs(256).await;
    drop(client);
    let at_40 = cursor(&bed, user.slot, 40);
    let mut client = bed.connect(&format!("/ws/user_1?cursor={at_40}")).await;
    let welcome = client.welcome().await;
    assert_eq!((welcome.next, welcome.resumed), (41, Resumed::Exact));
    assert_eq!(client.seqs(200).await, (41..=240).collect::<Vec<_>>());
    drop(client);
    bed.compact().await;
    bed.window_is_empty().await;
    bed.deliver(&[&user], 10).await;
    let mut client = bed.listen(&format!("/ws/user_1?cursor={at_40}")).await;
    assert_eq!(client.welcome().await.resumed, Resumed::Exact);
    assert_eq!(client.seqs(270).await, (41..=310).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_took_is_told_with_its_exact_range() {
    let mut bed = Bed::start().await;
    let user = bed.subscriber("user_1").await;
    bed.deliver(&[&user], 50).await;
    bed.compact().await;
    bed.window_is_empty().await;
    let now_ms = bed.app.clock.now_ms();
    let retention = Retention { now_ms, before_ms: 0, events_max: 20, bytes_max: u64::MAX, consumers_before_ms: 0 };
    while !bed.queue.expire(SHARD, &retention).await.unwrap().is_empty() {}
    bed.deliver(&[&user], 5).await;
    let mut client = bed.connect("/ws/user_1").await;
    assert_eq!(client.welcome().await.resumed, Resumed::Gap);
    let ServerFrame::Gap(gap) = client.frame().await else { panic!("a gap") };
    assert_eq!(gap, Gap { from: 1, to: Some(30), reason: GapReason::Retention });
    assert_eq!(client.seqs(25).await, (31..=55).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acked_and_dropped_is_a_gap_for_a_cursor_before_it() {
    let mut bed = Bed::start().await;
    let user = bed.subscriber("user_1").await;
    bed.deliver(&[&user], 10).await;
    let mut client = bed.connect("/ws/user_1").await;
    client.welcome().await;
    client.seqs(10).await;
    client.ack(8).await;
    bed.acked_is(&user, 8).await;
    drop(client);
    bed.compact().await;
    bed.window_is_empty().await;
    let at_2 = cursor(&bed, user.slot, 2);
    let mut client = bed.connect(&format!("/ws/user_1?cursor={at_2}")).await;
    assert_eq!(client.welcome().await.resumed, Resumed::Gap);
    let ServerFrame::Gap(gap) = client.frame().await else { panic!("a gap") };
    assert_eq!(gap, Gap { from: 3, to: Some(8), reason: GapReason::Acked });
    assert_eq!(client.seqs(2).await, [9, 10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_wrong_cursor_has_its_own_answer() {
    let mut bed = Bed::start().await;
    let user = bed.subscriber("user_1").await;
    bed.subscriber("user_2").await;
    bed.deliver(&[&user], 3).await;
    let code = |frame| match frame {
        ServerFrame::Error { code, .. } => code,
        other => panic!("{other:?} is no error"),
    };
    let future = cursor(&bed, user.slot, 4);
    let mut client = bed.connect(&format!("/ws/user_1?cursor={future}")).await;
    assert_eq!(client.welcome().await.next, 1);
    assert_eq!(code(client.frame().await), "future_cursor");
    assert_eq!(client.seqs(3).await, [1, 2, 3]);
    let foreign = cursor(&bed, user.slot, 2);
    let mut client = bed.connect(&format!("/ws/user_2?cursor={foreign}")).await;
    assert_eq!(client.welcome().await.resumed, Resumed::New);
    assert_eq!(code(client.frame().await), "foreign_cursor");
    let refused = |path: &'static str| bed.try_connect(path, true);
    assert_eq!(refused("/ws/user_1?cursor=AAAA").await.err(), Some((400, "invalid_cursor".into())));
    assert_eq!(refused("/ws/nobody").await.err(), Some((404, "unknown_subscriber".into())));
    assert_eq!(refused("/ws/user_1?where=amount%20%3E").await.err(), Some((422, "invalid_where".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_epoch_closes_and_a_checkpoint_keeps_what_was_seen_out() {
    let mut bed = Bed::start().await;
    let user = bed.subscriber("user_1").await;
    bed.deliver(&[&user], 10).await;
    let image = bed.queue.image();
    let mut client = bed.connect("/ws/user_1").await;
    client.welcome().await;
    bed.deliver(&[&user], 5).await;
    client.seqs(15).await;
    let cursor = loop {
        if let ServerFrame::Checkpoint { seq: 15, cursor } = client.frame().await {
            break cursor;
        }
    };
    // The store loses power and with it the last five; the matcher writes them again, and two more.
    bed.queue.roll_back(&image);
    assert_eq!(client.closed().await, (4004, "resume".into()));
    bed.deliver(&[&user], 2).await;
    let mut client = bed.connect(&format!("/ws/user_1?cursor={cursor}")).await;
    let welcome = client.welcome().await;
    assert_eq!(welcome.resumed, Resumed::NewEpoch);
    let event = client.event().await;
    assert_eq!((event.seq, event.data.get()), (Some(16), r#"{"n":15,"pad":""}"#));
    assert_eq!(client.seqs(1).await, [17]);
    assert!(matches!(client.frame().await, ServerFrame::CaughtUp { seq: 17, .. }));
    client.silent().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_of_a_life_that_nobody_remembers_starts_at_the_floor() {
    let mut bed = Bed::start().await;
    let user = bed.subscriber("user_1").await;
    bed.deliver(&[&user], 4).await;
    let mut client = bed.connect("/ws/user_1").await;
    client.welcome().await;
    client.seqs(4).await;
    client.ack(3).await;
    bed.acked_is(&user, 3).await;
    let old = Cursor { epoch: Epoch(1), ..cursor(&bed, user.slot, 2) };
    let mut client = bed.connect(&format!("/ws/user_1?cursor={old}")).await;
    assert_eq!(client.welcome().await.resumed, Resumed::Gap);
    let ServerFrame::Gap(gap) = client.frame().await else { panic!("a gap") };
    assert_eq!(gap, Gap { from: 4, to: None, reason: GapReason::Acked });
    assert_eq!(client.seqs(1).await, [4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latest_leaves_the_past_out() {
    let mut bed = Bed::start().await;
    let user = bed.subscriber("user_1").await;
    bed.deliver(&[&user], 4).await;
    let mut client = bed.connect("/ws/user_1?from=latest&consumer=fresh").await;
    let welcome = client.welcome().await;
    assert_eq!((welcome.next, welcome.resumed, welcome.consumer.as_str()), (5, Resumed::Latest, "fresh"));
    assert!(matches!(client.frame().await, ServerFrame::CaughtUp { seq: 4, .. }));
    bed.deliver(&[&user], 1).await;
    assert_eq!(client.seqs(1).await, [5]);
}
