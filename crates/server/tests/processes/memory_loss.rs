//! Stores that forget what they had, and who notices: Kafka's commit for the delivery queue, the delivery queue for the
//! filter store.

use evs_core::{Partition, Shard};
use evs_server::backend::kafka::{KafkaLog, KafkaOptions};
use evs_server::ports::EventLog;
use evs_server::ports::event_log::Committed;
use sqlx::{Connection, PgConnection, Row};

use crate::bed::{Bed, address, client, follow, fresh_database, publish, receive, subscribe, until};

fn url_of(bed: &Bed, variable: &str) -> String {
    bed.environment.iter().find(|(name, _)| *name == variable).unwrap().1.clone()
}

/// The checkpoints are gone, and nothing else tells of it: no restart, no new run id.
#[tokio::test]
async fn checkpoints_that_vanish_are_missed_and_what_they_covered_is_matched_again() {
    let mut bed = Bed::new().await;
    bed.set("EVS_QUEUE_SHARDS", "1");
    let (api, gateway, mut matcher) = tokio::join!(bed.start("api"), bed.start("gateway"), bed.start("matcher"));
    let client = client(&api, &gateway);
    subscribe(&client, "reads").await;
    let mut deliveries = follow(&client, "reads");
    publish(&client, 0..50).await;
    assert_eq!(receive(&mut deliveries, 50).await, (0..50).collect::<Vec<_>>());
    let before = client.stats().await.unwrap().shards[0].epoch.clone();
    let log = KafkaLog::open(&url_of(&bed, "EVS_EVENT_LOG"), KafkaOptions::default()).await.unwrap();
    until("all of it is committed", async || {
        let both = tokio::join!(log.committed(Partition(0)), log.committed(Partition(1)));
        let next = |committed: &Option<Committed>| committed.as_ref().map_or(0, |committed| committed.next.0);
        matches!(&both, (Ok(zero), Ok(one)) if next(zero) + next(one) == 50)
    })
    .await;

    matcher.child.kill().await.unwrap();
    let (redis, prefix) = {
        let url = url_of(&bed, "EVS_DELIVERY_QUEUE");
        let (redis, prefix) = url.split_once("?prefix=").unwrap();
        (redis::Client::open(redis).unwrap(), prefix.to_owned())
    };
    let mut connection = redis.get_multiplexed_async_connection().await.unwrap();
    let key = format!("{{{prefix}:{}}}:checkpoints", Shard(0));
    let gone: u64 = redis::cmd("DEL").arg(&key).query_async(&mut connection).await.unwrap();
    assert_eq!(gone, 1, "{key}");

    let matcher = bed.start("matcher").await;
    publish(&client, 50..60).await;
    assert_eq!(receive(&mut deliveries, 10).await, (50..60).collect::<Vec<_>>(), "nothing twice, nothing missing");
    assert!(matcher.log().contains("the delivery queue has lost part of shard 0"), "{}", matcher.log());
    assert_ne!(client.stats().await.unwrap().shards[0].epoch, before);
}

/// An older backup: a subscriber and its filter are unknown again, its slot is free again, the version is lower.
#[tokio::test]
async fn a_filter_store_restored_from_a_backup_gives_nobody_the_queue_of_another() {
    let database = fresh_database(&address("EVS_TEST_POSTGRES")).await;
    let mut bed = Bed::with_filters(database.as_str());
    bed.set("EVS_QUEUE_SHARDS", "1");
    let (api, both) = tokio::join!(bed.start("api"), bed.start("gateway,matcher"));
    let client = client(&api, &both);
    subscribe(&client, "early").await;
    subscribe(&client, "late").await;
    publish(&client, 0..20).await;
    let mut early = follow(&client, "early");
    assert_eq!(receive(&mut early, 20).await, (0..20).collect::<Vec<_>>());

    let mut connection = PgConnection::connect(database.as_str()).await.unwrap();
    for restored in [
        "DELETE FROM filters WHERE subscriber = 'late'",
        "DELETE FROM subscribers WHERE id = 'late'",
        "UPDATE slots SET next = 1",
        "UPDATE filter_version SET version = 1, last_id = 1",
    ] {
        sqlx::query(restored).execute(&mut connection).await.unwrap();
    }
    until("the delivery queue has told what it has seen", async || {
        let row = sqlx::query("SELECT next, version FROM slots, filter_version").fetch_one(&mut connection).await;
        let row = row.unwrap();
        row.get::<i64, _>("next") >= 2 && row.get::<i64, _>("version") > 2
    })
    .await;
    subscribe(&client, "other").await;
    let mut other = follow(&client, "other");
    publish(&client, 20..30).await;
    assert_eq!(receive(&mut other, 10).await, (20..30).collect::<Vec<_>>(), "and none of those of `late`");
    assert_eq!(receive(&mut early, 10).await, (20..30).collect::<Vec<_>>());
    until("every instance has the new history", async || {
        client.stats().await.unwrap().instances.iter().all(|it| it.filter_version > 1 << 32)
    })
    .await;
    assert!(both.log().contains("the filters have a new history"), "{}", both.log());
}
