//! Records of other producers on real Kafka: what is an event is read as it is, what is none is put aside.

use bytes::Bytes;
use evs_core::{Event, Offset, Partition};
use evs_server::backend::kafka::KafkaOptions;
use evs_server::ports::EventLog as _;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::event_log::{assert_consecutive, drive};
use crate::kafka::open_log;
use crate::services::{address, fresh_name};
use evs_server::ports::event_log::{
    HEADER_BYTES_MAX, HEADER_NAME_MAX, HEADERS_MAX, Header as Told, Headers, LogSignal,
};

const DATA: &[u8] = br#"{ "user_id" : "a","n":1.00 , "text":"\u00e4" }"#;
const STRUCTURED: &[u8] = br#"{"specversion":"1.0","id":"7","source":"/shop","type":"purchase","datacontenttype":"application/json","data":{"user_id":"a"}}"#;

/// What another program writes: key, headers, value, and the reason why it is no event, if it is none.
struct Foreign {
    key: Option<&'static [u8]>,
    headers: &'static [(&'static str, Option<&'static [u8]>)],
    value: Option<Vec<u8>>,
    reason: Option<&'static str>,
}

fn foreign(value: &[u8]) -> Foreign {
    Foreign { key: None, headers: &[], value: Some(value.to_vec()), reason: None }
}

fn records() -> Vec<Foreign> {
    let unreadable = |value: &[u8], reason| Foreign { reason: Some(reason), ..foreign(value) };
    vec![
        foreign(DATA),
        Foreign { key: Some(&[0xff, 0x00]), ..foreign(DATA) },
        Foreign {
            key: Some(b""),
            headers: &[("trace", Some(&[0xfe])), ("trace", None), ("", Some(b""))],
            ..foreign(DATA)
        },
        // CloudEvents in binary mode: the attributes are headers, the value is the data.
        Foreign {
            key: Some(b"order-7"),
            headers: &[
                ("ce_specversion", Some(b"1.0")),
                ("ce_type", Some(b"purchase")),
                ("ce_id", Some(b"7")),
                ("content-type", Some(b"application/json")),
            ],
            ..foreign(DATA)
        },
        // CloudEvents in structured mode: the value is the whole.
        Foreign {
            headers: &[("content-type", Some(b"application/cloudevents+json; charset=utf-8"))],
            ..foreign(STRUCTURED)
        },
        unreadable(b"\xff\x00\xfe", "invalid_utf8"),
        unreadable(b"[1, 2]", "not_an_object"),
        unreadable(br#"{"a":1,"a":2}"#, "duplicate_key"),
        unreadable(b"{\"a\":", "invalid_json"),
        unreadable(b"", "invalid_json"),
        Foreign { key: Some(b"user"), value: None, ..unreadable(b"", "no_value") },
        unreadable(format!(r#"{{"a":"{}"}}"#, "x".repeat(1_500_000)).as_bytes(), "too_large"),
        foreign(br#"{"last":true}"#),
    ]
}

async fn write(topic: &str, records: &[Foreign]) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address("EVS_TEST_KAFKA")).set("message.max.bytes", "10000000");
    let producer: FutureProducer = config.create().unwrap();
    for foreign in records {
        let mut headers = OwnedHeaders::new();
        for (key, value) in foreign.headers {
            headers = headers.insert(Header { key, value: *value });
        }
        let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic).partition(0).headers(headers);
        record.key = foreign.key;
        record.payload = foreign.value.as_deref();
        producer.send(record, crate::event_log::DEADLINE).await.unwrap();
    }
}

#[tokio::test]
async fn records_of_any_producer_are_read_as_they_are_and_the_others_put_aside() {
    let topic = fresh_name();
    let log = open_log(&topic, KafkaOptions { partitions: Some(1), ..KafkaOptions::default() }).await;
    let records = records();
    write(&topic, &records).await;
    let end = records.len() as u64;

    let mut consumer = log.consumer("one").await.unwrap();
    let batches = drive(
        &mut *consumer,
        |_| Offset(0),
        |signal| matches!(signal, LogSignal::Batch(batch) if batch.to == Offset(end)),
    )
    .await;
    assert_consecutive(&batches, |_| Offset(0));
    let read: Vec<(u64, Bytes)> = batches
        .iter()
        .flat_map(|batch| &batch.events)
        .map(|logged| (logged.offset.0, logged.event.bytes().clone()))
        .collect();
    let wanted: Vec<(u64, Bytes)> = (0..)
        .zip(&records)
        .filter(|(_, foreign)| foreign.reason.is_none())
        .map(|(offset, foreign)| (offset, Bytes::from(foreign.value.clone().unwrap())))
        .collect();
    assert_eq!(read, wanted);
    assert!(
        batches.iter().flat_map(|batch| &batch.events).all(|logged| logged.headers.is_none()),
        "nobody matches by them"
    );
    let paged = log.read_with_headers(Partition(0), Offset(0), 100, usize::MAX).await.unwrap();
    let told: Vec<_> = paged.events.iter().filter_map(|logged| logged.headers.as_deref()).collect();
    let wanted: Vec<_> = records.iter().filter(|foreign| !foreign.headers.is_empty()).map(told_of).collect();
    assert_eq!(told.len(), 3);
    assert!(told.iter().zip(&wanted).all(|(told, wanted)| **told == *wanted), "{told:?}");
    assert_eq!(paged.events.iter().map(|logged| logged.offset.0).collect::<Vec<_>>(), [0, 1, 2, 3, 4, end - 1]);

    let mut letters = log.dead_letters(0, 100).await.unwrap();
    letters.reverse();
    let unreadable: Vec<(u64, &Foreign)> = (0..).zip(&records).filter(|(_, it)| it.reason.is_some()).collect();
    assert_eq!(letters.len(), unreadable.len());
    for (letter, (offset, foreign)) in letters.iter().zip(unreadable) {
        assert_eq!((letter.position.partition, letter.position.offset.0), (Partition(0), offset));
        assert_eq!(Some(letter.reason.as_str()), foreign.reason);
        assert!(letter.payload == foreign.value.clone().unwrap_or_default(), "byte for byte: {}", letter.reason);
    }
}

/// A dead-letter topic that somebody else has made may take less than the event topic does.
#[tokio::test]
async fn a_record_that_the_dead_letter_topic_does_not_take_does_not_stop_the_partition() {
    let topic = fresh_name();
    make_small_topic(&format!("{topic}.dead-letters")).await;
    let log = open_log(&topic, KafkaOptions { partitions: Some(1), ..KafkaOptions::default() }).await;
    let broken = vec![b'['; 200_000];
    write(&topic, &[foreign(&broken), foreign(DATA)]).await;
    let mut consumer = log.consumer("one").await.unwrap();
    drive(&mut *consumer, |_| Offset(0), |signal| matches!(signal, LogSignal::Batch(batch) if batch.to == Offset(2)))
        .await;
    let letters = log.dead_letters(0, 10).await.unwrap();
    assert_eq!((letters.len(), letters[0].position.offset, letters[0].payload.len()), (1, Offset(0), 0));
    assert!(letters[0].detail.contains("200000 bytes are more than the dead-letter topic takes"), "{letters:?}");
}

/// The headers of a record as an operator is told them.
fn told_of(foreign: &Foreign) -> Headers {
    let header = |(name, value): &(&str, Option<&'static [u8]>)| Told {
        name: (*name).to_owned(),
        value: value.map(Bytes::from_static),
        len: value.map_or(0, <[u8]>::len),
    };
    Headers { headers: foreign.headers.iter().map(header).collect(), left_out: 0 }
}

#[tokio::test]
async fn headers_are_told_within_bounds() {
    let topic = fresh_name();
    let log = open_log(&topic, KafkaOptions { partitions: Some(1), ..KafkaOptions::default() }).await;
    let name: &'static str = "n".repeat(HEADER_NAME_MAX + 1).leak();
    let value: &'static [u8] = vec![b'v'; HEADER_BYTES_MAX + 1].leak();
    let headers = vec![(name, Some(value)); HEADERS_MAX + 5].leak();
    write(&topic, &[Foreign { headers, ..foreign(DATA) }]).await;
    let read = log.read_with_headers(Partition(0), Offset(0), 1, 1).await.unwrap();
    let told = read.events[0].headers.as_deref().unwrap();
    assert_eq!((told.headers.len(), told.left_out), (HEADERS_MAX, 5));
    for header in &told.headers {
        let value = header.value.as_ref().unwrap();
        assert_eq!((header.name.len(), value.len()), (HEADER_NAME_MAX, HEADER_BYTES_MAX));
        assert_eq!(header.len, HEADER_BYTES_MAX + 1);
    }
}

async fn make_small_topic(name: &str) {
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    let admin: AdminClient<rdkafka::client::DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", address("EVS_TEST_KAFKA")).create().unwrap();
    let topic = NewTopic::new(name, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "50000");
    admin.create_topics([&topic], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
}

#[tokio::test]
async fn the_largest_event_fits() {
    let log = open_log(&fresh_name(), KafkaOptions { partitions: Some(1), ..KafkaOptions::default() }).await;
    let filling = "x".repeat(evs_core::limits::EVENT_BYTES_MAX - r#"{"user_id":"a","x":""}"#.len());
    let event = Event::parse(Bytes::from(format!(r#"{{"user_id":"a","x":"{filling}"}}"#))).unwrap();
    let position = log.append(vec![event.clone()]).await.unwrap()[0];
    let read = log.read(position.partition, position.offset, 1, 1).await.unwrap();
    assert!(read.events[0].event == event);
}
