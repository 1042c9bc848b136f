//! A matcher that does not come to read, and a topic that is cut under it, on real Kafka.

use std::time::Duration;

use bytes::Bytes;
use evs_core::{Event, Offset, Partition};
use evs_server::backend::kafka::{KafkaLog, KafkaOptions};
use evs_server::ports::EventLog as _;
use evs_server::ports::event_log::{LogBatch, LogSignal};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset as KafkaOffset, TopicPartitionList};
use tokio::time::Instant;

use crate::event_log::{DEADLINE, assert_consecutive, drive, events};
use crate::kafka::open_log;
use crate::services::{address, fresh_name};

/// The shortest that the broker allows.
const SESSION: Duration = Duration::from_secs(6);
/// More than the batches that may wait hold, so that the partition has to be paused.
const EVENTS: u64 = 24_000;

fn impatient(group: &str) -> KafkaOptions {
    let session_ms = SESSION.as_millis().to_string();
    let properties = [
        ("session.timeout.ms", &*session_ms),
        ("max.poll.interval.ms", &*session_ms),
        ("heartbeat.interval.ms", "500"),
        // The client reads little ahead, so that much is left to be cut.
        ("queued.max.messages.kbytes", "16"),
        ("max.partition.fetch.bytes", "16384"),
    ];
    KafkaOptions {
        properties: properties.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        group: group.to_owned(),
        partitions: Some(1),
    }
}

fn event(number: u64) -> Event {
    Event::trusted(Bytes::from(format!(r#"{{"user_id":"a","n":{number}}}"#)))
}

async fn append(log: &KafkaLog, from: u64, count: u64) {
    for start in (from..from + count).step_by(4_000) {
        log.append((start..(start + 4_000).min(from + count)).map(event).collect()).await.unwrap();
    }
}

/// The members of the group as the broker sees them.
async fn members(group: &str) -> Vec<String> {
    let (brokers, group) = (address("EVS_TEST_KAFKA"), group.to_owned());
    let asked = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
        let groups = client.fetch_group_list(Some(&group), DEADLINE).unwrap();
        groups.groups().iter().flat_map(|group| group.members()).map(|member| member.id().to_owned()).collect()
    });
    asked.await.unwrap()
}

#[tokio::test]
async fn a_slow_matcher_pauses_the_partition_and_keeps_it() {
    let (topic, group) = (fresh_name(), fresh_name());
    let log = open_log(&topic, impatient(&group)).await;
    append(&log, 0, EVENTS).await;
    let mut consumer = log.consumer("one").await.unwrap();
    let mut batches = drive(&mut *consumer, |_| Offset(0), events(1)).await;
    let before = members(&group).await;
    assert_eq!(before.len(), 1);
    // Events flow for longer than a member may live without a poll, and the matcher takes none of them.
    let (until, mut tick, mut next) = (Instant::now() + SESSION * 2, tokio::time::interval(SESSION / 60), EVENTS);
    while Instant::now() < until {
        tick.tick().await;
        append(&log, next, 1).await;
        next += 1;
    }
    assert_eq!(members(&group).await, before, "the same member, which was not thrown out");
    let mut left = next as usize - batches.iter().map(|batch| batch.events.len()).sum::<usize>();
    batches.extend(
        drive(
            &mut *consumer,
            |_| Offset(0),
            |signal| match signal {
                LogSignal::Batch(batch) => {
                    left -= batch.events.len();
                    left == 0
                }
                LogSignal::Idle => false,
                other => panic!("the group has moved the partition: {other:?}"),
            },
        )
        .await,
    );
    assert_consecutive(&batches, |_| Offset(0));
    assert!(numbers(&batches).eq(0..next), "each once, in their order");
}

fn numbers(batches: &[LogBatch]) -> impl Iterator<Item = u64> {
    let events = batches.iter().flat_map(|batch| &batch.events);
    events.map(|logged| logged.offset.0)
}

/// `DeleteRecords`: what retention does, at once.
async fn truncate(topic: &str, before: u64) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", address("EVS_TEST_KAFKA")).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, KafkaOffset::Offset(before.cast_signed())).unwrap();
    admin.delete_records(&list, &AdminOptions::new()).await.unwrap();
}

#[tokio::test]
async fn a_checkpoint_before_the_cut_is_out_of_range() {
    let topic = fresh_name();
    let log = open_log(&topic, impatient(&fresh_name())).await;
    append(&log, 0, 100).await;
    truncate(&topic, 60).await;
    let mut consumer = log.consumer("one").await.unwrap();
    let mut told = None;
    drive(
        &mut *consumer,
        |_| Offset(10),
        |signal| {
            if let LogSignal::OutOfRange { want, low, high, .. } = signal {
                told = Some((want.0, low.0, high.0));
            }
            told.is_some()
        },
    )
    .await;
    assert_eq!(told, Some((10, 60, 100)));
    consumer.start(Partition(0), Offset(60)).await.unwrap();
    let batches = drive(&mut *consumer, |_| Offset(60), events(40)).await;
    assert!(numbers(&batches).eq(60..100));
}

#[tokio::test]
async fn a_cut_under_a_slow_matcher_is_told_after_all_that_was_read() {
    let topic = fresh_name();
    let log = open_log(&topic, impatient(&fresh_name())).await;
    append(&log, 0, EVENTS).await;
    let mut consumer = log.consumer("one").await.unwrap();
    let mut batches = drive(&mut *consumer, |_| Offset(0), events(1)).await;
    // It holds at most the batches that may wait, so what it reads next is gone.
    truncate(&topic, EVENTS - 100).await;
    let mut told = None;
    batches.extend(
        drive(
            &mut *consumer,
            |_| Offset(0),
            |signal| {
                if let LogSignal::OutOfRange { want, low, high, .. } = signal {
                    told = Some((want.0, low.0, high.0));
                }
                told.is_some()
            },
        )
        .await,
    );
    assert_consecutive(&batches, |_| Offset(0));
    let read = batches.last().unwrap().to.0;
    assert_eq!(told, Some((read, EVENTS - 100, EVENTS)), "exactly what was not read is missing");
    assert!(numbers(&batches).eq(0..read));
}
