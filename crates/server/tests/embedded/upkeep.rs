//! What must hold when a process dies in the middle, and when an operator moves or removes a queue under its reader.

use evs_client::ResetTo;
use evs_core::{Seq, Shard, SubscriberId};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotency_key_survives_a_restart() {
    let installation = Installation::start(|_| {}).await;
    let first = installation.client.publish("{\"n\":1}", Some("key-1")).await.unwrap();
    let installation = Installation::start_in(installation.stop().await, |_| {}).await;
    let again = installation.client.publish("{\"n\":1}", Some("key-1")).await.unwrap();
    assert_eq!(again.positions, first.positions);
    assert_eq!(installation.app.log.partitions().await.unwrap()[0].high.0, 1, "it is stored once");
    let other = installation.client.publish("{\"n\":2}", Some("key-1")).await.unwrap_err();
    assert!(other.to_string().contains("another body"), "{other}");
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_begins_where_it_was_moved_to() {
    let installation = Installation::start(|_| {}).await;
    installation.filter("user").await;
    installation.publish(1..=10).await;
    let mut stream = installation.listen("user", "phone");
    assert_eq!(waiting(&mut stream).await.1.len(), 10);
    let slot = installation.app.filters.subscriber(&SubscriberId::new("user").unwrap()).await.unwrap().unwrap().slot;
    // A second consumer that has read nothing, so that the first ten are kept.
    let mut other = installation.listen("user", "tablet");
    let StreamItem::Connected(_) = next(&mut other).await else { panic!("a welcome") };
    other.close().await;
    let queue = installation.app.queue.clone();
    until("the acks are stored", async || {
        let consumers = queue.consumers(Shard(0), slot).await.unwrap();
        consumers.iter().any(|consumer| consumer.name.as_str() == "phone" && consumer.acked == Seq(10))
    })
    .await;
    installation.client.reset_subscriber("user", Some("phone"), ResetTo::Seq(7)).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match next(&mut stream).await {
            StreamItem::Disconnected { code, .. } => seen.push(code.map(u64::from).unwrap_or_default()),
            StreamItem::Connected(welcome) => seen.push(welcome.next),
            _ => {}
        }
    }
    assert_eq!(seen[0], 4004, "it is told to come back");
    let consumers = queue.consumers(Shard(0), slot).await.unwrap();
    let phone = consumers.iter().find(|consumer| consumer.name.as_str() == "phone").unwrap();
    assert_eq!(phone.acked, Seq(7), "and its old acks do not undo the move");
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_a_deleted_subscriber_is_told_to_stop() {
    let installation = Installation::start(|_| {}).await;
    installation.filter("user").await;
    let mut stream = installation.listen("user", "phone");
    waiting(&mut stream).await;
    installation.client.delete_subscriber("user").await.unwrap();
    let end = loop {
        match tokio::time::timeout(DEADLINE, stream.next()).await.expect("it is told") {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("it is told why"),
        }
    };
    assert!(matches!(end, StreamError::Closed { code: 4504, .. }), "{end}");
    installation.stop().await;
}

/// A process that dies after the first half of a deletion leaves a queue that nobody can name any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_left_by_half_a_deletion_is_swept() {
    let installation = Installation::start(|_| {}).await;
    for subscriber in ["gone", "stays"] {
        installation.filter(subscriber).await;
        let mut stream = installation.listen(subscriber, "phone");
        waiting(&mut stream).await;
        stream.close().await;
    }
    let gone = installation.app.filters.delete_subscriber(&SubscriberId::new("gone").unwrap()).await.unwrap().unwrap();
    let stays = installation.app.filters.subscriber(&SubscriberId::new("stays").unwrap()).await.unwrap().unwrap();
    let installation = Installation::start_in(installation.stop().await, |_| {}).await;
    let queue = installation.app.queue.clone();
    let removed = async |slot| queue.acked(Shard(0), &[slot]).await.unwrap()[0] == Seq(u64::MAX);
    until("the orphan is removed", async || removed(gone.slot).await).await;
    assert!(!removed(stays.slot).await);
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_the_operators_log_misses_nothing_of_a_new_life() {
    let installation = Installation::start(|_| {}).await;
    installation.filter("user").await;
    let last = installation.client.log(None).await.unwrap().items.last().unwrap().id;
    let installation = Installation::start_in(installation.stop().await, |_| {}).await;
    let started = async || {
        let entries = installation.client.log(Some(last)).await.unwrap().items;
        entries.iter().any(|entry| entry.kind == "started")
    };
    until("the new life is told after the old one", started).await;
    installation.stop().await;
}
