//! Deliveries arrive, in order, once, and only as fast as the client takes them.

use evs_api::frames::{ClientFrame, Resumed, ServerFrame};
use evs_server::config::Config;

use crate::bed::{Bed, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_comes_first_then_live() {
    let mut bed = Bed::start().await;
    let user = bed.subscriber("user_1").await;
    let other = bed.subscriber("user_2").await;
    bed.deliver(&[&user, &other], 3).await;
    let mut client = bed.connect("/ws/user_1").await;
    let welcome = client.welcome().await;
    assert_eq!((welcome.next, welcome.top, welcome.resumed), (1, 3, Resumed::New));
    let first = client.event().await;
    assert_eq!((first.seq, first.filters, first.data.get()), (Some(1), vec![user.id.0], r#"{"n":0,"pad":""}"#));
    assert_eq!(client.seqs(2).await, [2, 3]);
    assert!(matches!(client.frame().await, ServerFrame::CaughtUp { seq: 3, .. }));
    bed.deliver(&[&other], 1).await;
    bed.deliver(&[&user], 2).await;
    assert_eq!(client.seqs(2).await, [4, 5]);
    let presence = || bed.app.readers.attached().presence(user.shard, user.slot).unwrap();
    until("it is live", async || presence().live && presence().sent.0 == 5).await;
    assert_eq!((presence().connections, presence().consumers[0].as_str()), (1, "default"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_are_stored_and_never_beyond_what_was_sent() {
    let mut bed = Bed::start().await;
    let user = bed.subscriber("user_1").await;
    bed.deliver(&[&user], 5).await;
    let mut client = bed.connect("/ws/user_1").await;
    client.welcome().await;
    client.seqs(5).await;
    client.frame().await;
    client.say(&ClientFrame::Ack { seq: 3, n: Some(1) }).await;
    assert!(matches!(client.frame().await, ServerFrame::Acked { seq: 3, n: 1 }));
    client.say(&ClientFrame::Ack { seq: 2, n: Some(2) }).await;
    assert!(matches!(client.frame().await, ServerFrame::Acked { seq: 3, n: 2 }));
    bed.acked_is(&user, 3).await;
    client.say(&ClientFrame::Ack { seq: u64::MAX, n: Some(3) }).await;
    assert!(matches!(client.frame().await, ServerFrame::Acked { seq: 5, n: 3 }));
    // A consumer that leaves and returns at once finds its position.
    drop(client);
    let mut client = bed.connect("/ws/user_1").await;
    let welcome = client.welcome().await;
    assert_eq!((welcome.next, welcome.resumed), (6, Resumed::Exact));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_only_listens_is_acked_as_it_is_sent() {
    let mut bed = Bed::start().await;
    let user = bed.subscriber("user_1").await;
    bed.deliver(&[&user], 600).await;
    let mut client = bed.listen("/ws/user_1").await;
    client.welcome().await;
    assert_eq!(client.seqs(600).await, (1..=600).collect::<Vec<_>>());
    bed.acked_is(&user, 600).await;
    drop(client);
    let mut client = bed.listen("/ws/user_1").await;
    assert_eq!(client.welcome().await.next, 601);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credit_holds_deliveries_back_until_an_ack() {
    let mut bed = Bed::with(Config { session_events_max: 4, ..Config::default() }).await;
    let user = bed.subscriber("user_1").await;
    bed.deliver(&[&user], 6).await;
    let mut client = bed.connect("/ws/user_1").await;
    assert_eq!(client.welcome().await.window_events, 4);
    assert_eq!(client.seqs(4).await, [1, 2, 3, 4]);
    bed.deliver(&[&user], 4).await;
    client.silent().await;
    client.ack(1).await;
    assert_eq!(client.seqs(1).await, [5]);
    client.silent().await;
    client.ack(5).await;
    assert_eq!(client.seqs(4).await, [6, 7, 8, 9]);
    client.ack(9).await;
    assert_eq!(client.seqs(1).await, [10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credit_is_counted_in_bytes_too_and_a_large_event_goes_alone() {
    let mut bed = Bed::with(Config { session_bytes_max: 1000, ..Config::default() }).await;
    let user = bed.subscriber("user_1").await;
    bed.deliver_sized(&[&user], 3, 400).await;
    bed.deliver_sized(&[&user], 1, 5000).await;
    let mut client = bed.connect("/ws/user_1").await;
    client.welcome().await;
    assert_eq!(client.seqs(2).await, [1, 2]);
    client.silent().await;
    client.ack(2).await;
    assert_eq!(client.seqs(1).await, [3]);
    client.silent().await;
    client.ack(3).await;
    assert_eq!(client.seqs(1).await, [4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_reading_costs_little_and_loses_nothing() {
    let mut bed = Bed::start().await;
    let user = bed.subscriber("user_1").await;
    let mut client = bed.listen("/ws/user_1").await;
    client.welcome().await;
    for _ in 0..100 {
        bed.deliver_sized(&[&user], 20, 10_000).await;
    }
    let sent = || bed.app.readers.attached().presence(user.shard, user.slot).unwrap().sent.0;
    until("the socket is full", async || {
        let before = sent();
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        before > 0 && sent() == before
    })
    .await;
    // Part of it left the window meanwhile.
    bed.compact().await;
    bed.window_is_empty().await;
    assert_eq!(client.seqs(2000).await, (1..=2000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_further_condition_leaves_events_out_and_their_numbers_pass() {
    let mut bed = Bed::start().await;
    let user = bed.subscriber("user_1").await;
    let mut client = bed.connect("/ws/user_1?where=n%20%3E%3D%202%20%26%26%20n%20%3C%204").await;
    client.welcome().await;
    client.frame().await;
    bed.deliver(&[&user], 6).await;
    let third = client.event().await;
    assert_eq!((third.seq, third.after), (Some(3), Some(0)), "1 and 2 were left out");
    let fourth = client.event().await;
    assert_eq!((fourth.seq, fourth.after), (Some(4), None));
    client.ack(4).await;
    bed.acked_is(&user, 4).await;
    // What was left out after the last event is told by a checkpoint, and acked by it.
    let upto = loop {
        if let ServerFrame::Checkpoint { seq, .. } = client.frame().await {
            break seq;
        }
    };
    assert_eq!(upto, 6);
    client.ack(upto).await;
    bed.acked_is(&user, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_begins_at_the_end_and_moves_nothing() {
    let mut bed = Bed::start().await;
    let user = bed.subscriber("user_1").await;
    bed.deliver(&[&user], 3).await;
    let mut live = bed.listen("/ws/user_1?observe=true").await;
    assert_eq!(live.welcome().await.resumed, Resumed::Latest);
    let mut all = bed.connect("/ws/user_1?observe=true&from=earliest").await;
    all.welcome().await;
    assert_eq!(all.seqs(3).await, [1, 2, 3]);
    bed.deliver(&[&user], 1).await;
    assert_eq!(live.seqs(1).await, [4]);
    assert_eq!(all.seqs(1).await, [4]);
    all.ack(4).await;
    assert!(matches!(all.frame().await, ServerFrame::Error { .. }));
    assert_eq!(bed.acked(&user).await, 0);
    let attached = bed.app.readers.attached();
    assert_eq!((attached.connections(), attached.presence(user.shard, user.slot)), (2, None), "nobody reads it");
    assert!(attached.present(user.shard).is_empty());
    let mut reader = bed.connect("/ws/user_1").await;
    reader.welcome().await;
    assert_eq!(bed.app.readers.attached().presence(user.shard, user.slot).unwrap().connections, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn since_reads_the_event_log_and_hands_over_without_a_seam() {
    let mut bed = Bed::start().await;
    let user = bed.subscriber_with("user_1", r#"{"where":"n >= 2"}"#).await;
    let other = bed.subscriber("user_2").await;
    // Offsets 0..=3 went to somebody else and 4, 5 to both: the backfill asks the filters, not the queue.
    bed.deliver(&[&other], 4).await;
    bed.deliver(&[&other, &user], 2).await;
    let mut client = bed.connect("/ws/user_1?since=beginning&consumer=late").await;
    let welcome = client.welcome().await;
    assert_eq!((welcome.next, welcome.resumed), (3, Resumed::Backfill));
    for offset in 2..6 {
        let event = client.event().await;
        assert_eq!((event.seq, event.position), (None, Some(format!("0:{offset}"))));
        assert_eq!(event.filters, [user.id.0]);
    }
    bed.deliver(&[&user], 2).await;
    let event = client.event().await;
    assert_eq!((event.seq, event.data.get()), (Some(3), r#"{"n":6,"pad":""}"#));
    assert_eq!(client.seqs(1).await, [4]);
    // The consumer is new, and what was backfilled is not its to ack.
    client.ack(4).await;
    let mut nothing = bed.connect("/ws/user_1?since=1s&where=n%20%3E%20100&observe=true").await;
    nothing.welcome().await;
    assert!(matches!(nothing.frame().await, ServerFrame::CaughtUp { seq: 4, .. }));
}
