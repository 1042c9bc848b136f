//! `evs produce --brokers` against real Kafka.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, OwnedMessage};
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::{run, run_with};

const PARTITIONS: i32 = 3;
const DEADLINE: Duration = Duration::from_secs(30);

fn brokers() -> String {
    std::env::var("EVS_TEST_KAFKA").expect("EVS_TEST_KAFKA is set; eval \"$(scripts/services up)\" sets it")
}

/// What lies in the topic: partition, key, value, in the order of each partition.
type Records = Vec<(i32, Option<Vec<u8>>, Vec<u8>)>;

/// A topic of its own, made empty.
async fn make_topic() -> String {
    let topic = format!("produce-{:016x}", rand::random::<u64>());
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let new = NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(1));
    let made = admin.create_topics([&new], &AdminOptions::new()).await.unwrap();
    assert_eq!(made, [Ok(topic.clone())]);
    topic
}

fn read(topic: &str, wanted: usize) -> Records {
    let plain = |message: &OwnedMessage| {
        let key = message.key().map(<[u8]>::to_vec);
        (message.partition(), key, message.payload().unwrap().to_vec())
    };
    messages(topic, wanted).iter().map(plain).collect()
}

fn messages(topic: &str, wanted: usize) -> Vec<OwnedMessage> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers()).set("group.id", "reads").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let started = Instant::now();
    let mut records = Vec::new();
    while records.len() < wanted {
        assert!(started.elapsed() < DEADLINE, "{} of {wanted} records came", records.len());
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            records.push(message.detach());
        }
    }
    records
}

#[tokio::test]
async fn a_file_goes_to_kafka_byte_for_byte_keyed_by_user() {
    let topic = make_topic().await;
    // The partitions that Kafka's own tests of its hash expect: murmur2("21") is -973932308, and so on.
    let users = [("21", -973_932_308_i32), ("foobar", -790_332_482), ("abc", 479_470_107)];
    let lines: Vec<String> = (0..60)
        .map(|n| format!(r#"{{ "user_id":"{}", "n" : {n}, "text":"\u00e4 ü" }}"#, users[n % users.len()].0))
        .chain(std::iter::once(r#"{"nobody":1}"#.to_owned()))
        .collect();
    let args = ["produce", "--brokers", &brokers(), "--topic", &topic, "--file", "-", "-o", "json"];
    let ran = run_with(&args, &lines.join("\n"));
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let summary: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&summary["accepted"], &summary["unknown"]), (&61.into(), &0.into()));

    let records = read(&topic, lines.len());
    for (user, hash) in users {
        let wanted: Vec<&String> = lines.iter().filter(|line| line.contains(&format!("{user:?}"))).collect();
        let of_user: Vec<_> = records.iter().filter(|(_, key, _)| key.as_deref() == Some(user.as_bytes())).collect();
        let values: Vec<&str> = of_user.iter().map(|(_, _, value)| std::str::from_utf8(value).unwrap()).collect();
        assert_eq!(values, wanted, "byte for byte, and in their order");
        assert!(of_user.iter().all(|(partition, ..)| *partition == (hash & i32::MAX) % PARTITIONS), "{user}");
    }
    let keyless: Vec<_> = records.iter().filter(|(_, key, _)| key.is_none()).collect();
    assert_eq!(keyless.len(), 1, "who has no user has no key");
    assert_eq!(keyless[0].2, br#"{"nobody":1}"#);
}

#[tokio::test]
async fn generated_events_go_to_kafka_with_properties_of_librdkafka() {
    let topic = make_topic().await;
    let (brokers, property) = (brokers(), "compression.type=gzip");
    let args = ["produce", "--brokers", &brokers, "--topic", &topic, "-X", property, "--seed", "7", "-n", "3k"];
    let ran = run(&[&args[..], &["--rate", "max"]].concat());
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("3,000 events"), "{}", ran.stderr);
    let records = read(&topic, 3_000);
    assert!(records.iter().all(|(_, key, value)| {
        let event: serde_json::Value = serde_json::from_slice(value).unwrap();
        event["user_id"].as_str().map(str::as_bytes) == key.as_deref()
    }));
}

#[tokio::test]
async fn records_have_the_key_and_the_headers_that_were_asked_for() {
    let topic = make_topic().await;
    let (brokers, event) = (brokers(), r#"{"event_id":"e1","event_type":"login","user_id":"u","shop":"s7"}"#);
    let args = ["produce", "--brokers", &brokers, "--topic", &topic, "--file", "-", "--key", "shop", "-H", "team: web"];
    let ran = run_with(&[&args[..], &["--format", "cloudevents"]].concat(), event);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let messages = messages(&topic, 1);
    assert_eq!((messages[0].key(), messages[0].payload()), (Some(&b"s7"[..]), Some(event.as_bytes())));
    let headers = messages[0].headers().unwrap();
    let headers: Vec<_> =
        headers.iter().map(|header| (header.key, std::str::from_utf8(header.value.unwrap()).unwrap())).collect();
    let wanted = [
        ("team", "web"),
        ("content-type", "application/json"),
        ("ce_specversion", "1.0"),
        ("ce_id", "e1"),
        ("ce_source", "evs-produce"),
        ("ce_type", "login"),
        ("ce_subject", "u"),
    ];
    assert_eq!(headers, wanted);
    let ran = run_with(&[&args[..10], &["nothing"]].concat(), event);
    assert_eq!((ran.status, ran.stderr.contains("NAME:VALUE")), (2, true), "{}", ran.stderr);
}

#[tokio::test]
async fn records_are_compressed_and_acknowledged_as_asked() {
    let topic = make_topic().await;
    let brokers = brokers();
    let lines: Vec<String> = (0..200).map(|n| format!("{{\"user_id\":\"foo\",\"n\":{n}}}")).collect();
    for (codec, acks) in [("gzip", "1"), ("none", "all"), ("snappy", "0")] {
        let args = ["produce", "--brokers", &brokers, "--topic", &topic, "--file", "-", "-o", "json"];
        let args = [&args[..], &["--compression", codec, "--acks", acks]].concat();
        let ran = run_with(&args, &lines.join("\n"));
        assert_eq!(ran.status, 0, "{codec} {acks}: {}", ran.stderr);
        let summary: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(summary["accepted"], 200, "{codec} {acks}");
    }
    let values: Vec<_> = read(&topic, 600).into_iter().map(|(_, _, value)| String::from_utf8(value).unwrap()).collect();
    assert_eq!(values, [&lines[..]; 3].concat(), "in their order, whoever acknowledged them");

    for (flags, said) in [
        (["--compression", "brotli"], "possible values: none, gzip, snappy, lz4, zstd"),
        (["--acks", "2"], "possible values: all, 1, 0"),
    ] {
        let ran = run(&[&["produce", "-n", "1", "--brokers", &brokers, "--topic", &topic][..], &flags].concat());
        assert_eq!((ran.status, ran.stderr.contains(said)), (2, true), "{}", ran.stderr);
    }
    let both = ["produce", "-n", "1", "--brokers", &brokers, "--topic", &topic, "--acks", "all", "-X", "acks=1"];
    let ran = run(&both);
    assert_eq!((ran.status, ran.stderr.contains("--acks and -X acks say the same")), (2, true), "{}", ran.stderr);
    let ran = run(&["produce", "-n", "1", "--acks", "1"]);
    assert_eq!((ran.status, ran.stderr.contains("--brokers")), (2, true), "{}", ran.stderr);
}

#[test]
fn a_wrong_topic_address_or_property_is_told_at_once() {
    let brokers = brokers();
    let produce = |more: &[&str]| run(&[&["produce", "-n", "1", "--give-up-after", "1s"], more].concat());
    let ran = produce(&["--brokers", &brokers, "--topic", "no-such-topic"]);
    assert_eq!((ran.status, ran.stderr.contains("\"no-such-topic\" cannot be used")), (3, true), "{}", ran.stderr);
    // Nothing listens there: the port is reserved and never given out.
    let ran = produce(&["--brokers", "127.0.0.1:1", "--topic", "any"]);
    assert_eq!((ran.status, ran.stderr.contains("127.0.0.1:1 does not answer")), (6, true), "{}", ran.stderr);
    let ran = produce(&["--brokers", &brokers, "-X", "no.such=1"]);
    assert_eq!((ran.status, ran.stderr.contains("no.such")), (2, true), "{}", ran.stderr);
}
