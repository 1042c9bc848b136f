//! Straight to Kafka: idempotent, acknowledged by all replicas, keyed by the user or another field, and partitioned as
//! the Java clients do.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use evs_core::Event;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

use super::sink::Outcome;
use super::source::Record;
use crate::exit::{ExitStatus, Failure};

/// A broker that makes topics by itself needs a moment for it.
const TOPIC_APPEARS: Duration = Duration::from_secs(5);
/// While the producer's queue is full it is looked at this often.
const QUEUE_FULL: Duration = Duration::from_millis(5);
/// Larger than any event with its key; what the topic takes is the topic's business.
const RECORD_BYTES_MAX: &str = "2097152";

pub(super) struct Kafka {
    producer: FutureProducer,
    topic: String,
    records: Records,
}

/// What records look like.
pub(super) struct Records {
    /// The field whose value is the key.
    pub(super) key: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Form {
    Json,
    /// CloudEvents 1.0, binary mode: the value stays the event, the attributes are headers.
    Cloudevents,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    /// Where it was built with it.
    Zstd,
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Acks {
    /// All replicas in sync; each record is written once and in its order.
    All,
    /// The partition's leader.
    #[value(name = "1")]
    Leader,
    /// Nobody.
    #[value(name = "0")]
    Nobody,
}

impl Acks {
    fn value(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Leader => "1",
            Self::Nobody => "0",
        }
    }
}

/// Names that librdkafka has for the same.
const OF_COMPRESSION: [&str; 2] = ["compression.type", "compression.codec"];
const OF_ACKS: [&str; 2] = ["acks", "request.required.acks"];
const OF_IN_FLIGHT: [&str; 2] = ["max.in.flight.requests.per.connection", "max.in.flight"];

/// The properties of flags, then those of `-X`, which go before what is not said by a flag.
pub(super) fn properties(
    compression: Option<Compression>,
    acks: Option<Acks>,
    more: &[String],
) -> Result<Vec<(String, String)>, Failure> {
    let mut said = Vec::with_capacity(more.len());
    for property in more {
        let (name, value) = property.split_once('=').ok_or_else(|| {
            Failure::usage(format!("-X {property:?} is not NAME=VALUE")).hint("for example -X linger.ms=50")
        })?;
        let flags = [(compression.is_some(), OF_COMPRESSION, "--compression"), (acks.is_some(), OF_ACKS, "--acks")];
        for (given, names, flag) in flags {
            if given && names.contains(&name) {
                return Err(Failure::usage(format!("{flag} and -X {name} say the same; give one of them")));
            }
        }
        for names in [OF_COMPRESSION, OF_ACKS, OF_IN_FLIGHT] {
            let other = |(said, _): &(&str, &str)| names.contains(said) && names.contains(&name);
            if let Some((other, _)) = said.iter().find(|said| other(said)) {
                return Err(Failure::usage(format!("-X {other} and -X {name} say the same; give one of them")));
            }
        }
        said.push((name, value));
    }
    let value_of = |names: &[&str]| said.iter().find(|(name, _)| names.contains(name)).map(|(_, value)| *value);
    // A default beside what -X says under the property's other name would leave it to chance which of them counts.
    let mut properties = Vec::new();
    if value_of(&OF_COMPRESSION).is_none() {
        properties.push(("compression.type", compression.unwrap_or(Compression::Lz4).name()));
    }
    let acks_said = value_of(&OF_ACKS);
    if acks_said.is_none() {
        properties.push(("acks", acks.unwrap_or(Acks::All).value()));
    }
    if matches!(acks_said.unwrap_or(acks.unwrap_or(Acks::All).value()), "all" | "-1") {
        properties.push(("enable.idempotence", "true"));
    } else if value_of(&OF_IN_FLIGHT).is_none() {
        // Without idempotence a repeated batch overtakes the next one, unless there is no next one.
        properties.push((OF_IN_FLIGHT[0], "1"));
    }
    properties.retain(|(name, _)| value_of(&[*name]).is_none());
    properties.extend(said);
    Ok(properties.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// `name: value`.
pub(super) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or_else(|| format!("{text:?} is not NAME:VALUE"))?;
    if name.is_empty() {
        Err("a header needs a name".to_owned())
    } else {
        Ok((name.to_owned(), value.trim().to_owned()))
    }
}

impl Kafka {
    /// Asks for the topic first: a wrong address or name is told at once and not after a timeout.
    pub(super) async fn connect(
        brokers: &str,
        topic: &str,
        records: Records,
        properties: Vec<(String, String)>,
        give_up_after: Duration,
    ) -> Result<Self, Failure> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("client.id", "evs-produce")
            .set("partitioner", "murmur2_random")
            .set("message.max.bytes", RECORD_BYTES_MAX)
            .set("linger.ms", "5")
            .set("delivery.timeout.ms", give_up_after.as_millis().clamp(100, 3_600_000).to_string());
        for (name, value) in properties {
            config.set(name, value);
        }
        let producer: FutureProducer = config
            .create()
            .map_err(|error| Failure::usage(format!("librdkafka does not take this configuration: {error}")))?;
        let (asking, asked, of) = (producer.clone(), topic.to_owned(), brokers.to_owned());
        tokio::task::spawn_blocking(move || find_topic(&asking, &of, &asked, give_up_after))
            .await
            .map_err(|error| Failure::new(ExitStatus::Failure, error.to_string()))??;
        Ok(Self { producer, topic: topic.to_owned(), records })
    }

    fn headers(&self, event: &Event) -> Option<OwnedHeaders> {
        let mut all: Vec<(&str, Cow<'_, str>)> =
            self.records.headers.iter().map(|(name, value)| (&**name, value.as_str().into())).collect();
        if self.records.form == Form::Cloudevents {
            let text = |field, default: &'static str| event.text(field).unwrap_or(default.into());
            let id = event.text("event_id").unwrap_or_else(|| format!("{:016x}", rand::random::<u64>()).into());
            all.extend([
                ("content-type", "application/json".into()),
                ("ce_specversion", "1.0".into()),
                ("ce_id", id),
                ("ce_source", "evs-produce".into()),
                ("ce_type", text("event_type", "event")),
            ]);
            all.extend(event.text("timestamp").map(|time| ("ce_time", time)));
            all.extend(event.text("user_id").map(|user| ("ce_subject", user)));
        }
        let with = |headers: OwnedHeaders, (key, value): &(&str, Cow<'_, str>)| {
            headers.insert(Header { key, value: Some(value.as_bytes()) })
        };
        (!all.is_empty()).then(|| all.iter().fold(OwnedHeaders::new(), with))
    }

    /// The producer repeats and keeps the order by itself; it reports when it knows.
    pub(super) async fn send(&self, batch: Vec<Record>, give_up_after: Duration) -> Outcome {
        let mut outcome = Outcome::default();
        let deadline = Instant::now() + give_up_after;
        let mut deliveries = Vec::with_capacity(batch.len());
        for record in &batch {
            let event = Event::trusted(record.bytes.clone());
            let (key, headers) = (event.text(&self.records.key), self.headers(&event));
            // One after the other into the queue, so that events of one user keep their order.
            let queued = loop {
                let mut message = FutureRecord::to(&self.topic).payload(record.bytes.as_ref());
                if let Some(key) = &key {
                    message = message.key(key.as_bytes());
                }
                if let Some(headers) = &headers {
                    message = message.headers(headers.clone());
                }
                match self.producer.send_result(message) {
                    Ok(delivery) => break Ok(delivery),
                    Err((error, _)) if is_full(&error) && Instant::now() < deadline => {
                        tokio::time::sleep(QUEUE_FULL).await;
                    }
                    Err((error, _)) => break Err(error),
                }
            };
            match queued {
                Ok(delivery) => deliveries.push((record, delivery)),
                Err(error) => {
                    fail(&mut outcome, record, &error);
                    break;
                }
            }
        }
        for (record, delivery) in deliveries {
            match delivery.await {
                Ok(Ok(_)) => outcome.accepted += 1,
                Ok(Err((error, _))) => fail(&mut outcome, record, &error),
                Err(_) => fail(&mut outcome, record, &KafkaError::Canceled),
            }
        }
        outcome
    }
}

fn is_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
}

/// What is too large concerns one event; everything else concerns all that follow.
fn fail(outcome: &mut Outcome, record: &Record, error: &KafkaError) {
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
        let reason = format!("{} bytes are more than the topic takes", record.bytes.len());
        outcome.refused.push((record.clone(), reason));
        return;
    }
    outcome.failure.get_or_insert_with(|| {
        Failure::new(ExitStatus::Unreachable, format!("Kafka did not take an event: {error}"))
            .hint("are all replicas of the topic in sync? The broker's log says more")
    });
}

fn find_topic(producer: &FutureProducer, brokers: &str, topic: &str, patience: Duration) -> Result<(), Failure> {
    let started = Instant::now();
    loop {
        let metadata = producer.client().fetch_metadata(Some(topic), patience).map_err(|error| {
            Failure::new(ExitStatus::Unreachable, format!("Kafka at {brokers} does not answer: {error}"))
                .hint("is --brokers right? Secured brokers need -X security.protocol=… and a build with kafka-ssl")
        })?;
        let error = metadata.topics().first().and_then(|found| found.error());
        match error.map(RDKafkaErrorCode::from) {
            None => return Ok(()),
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                let message = format!("this user may not write to the topic {topic:?}");
                return Err(Failure::new(ExitStatus::Unauthorized, message));
            }
            Some(code) if started.elapsed() > TOPIC_APPEARS.min(patience) => {
                let message = format!("the topic {topic:?} cannot be used: {code}");
                return Err(Failure::new(ExitStatus::NotFound, message)
                    .hint("evs-server makes its topic at the start, if the broker allows it; --topic names another"));
            }
            Some(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_properties_and_say_it_once() {
        let all = |compression, acks, more: &[&str]| {
            let more: Vec<String> = more.iter().map(|&text| text.to_owned()).collect();
            let properties = properties(compression, acks, &more).map_err(|failure| failure.message)?;
            Ok::<_, String>(
                properties.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "),
            )
        };
        assert_eq!(all(None, None, &[]).unwrap(), "compression.type=lz4 acks=all enable.idempotence=true");
        assert_eq!(
            all(Some(Compression::Gzip), Some(Acks::Leader), &["linger.ms=50"]).unwrap(),
            "compression.type=gzip acks=1 max.in.flight.requests.per.connection=1 linger.ms=50"
        );
        // By whatever name: one value each, and what `--acks` of that value sets.
        assert_eq!(
            all(None, None, &["compression.codec=zstd"]).unwrap(),
            "acks=all enable.idempotence=true compression.codec=zstd"
        );
        for acks in ["acks=1", "request.required.acks=0"] {
            let told = all(None, None, &[acks]).unwrap();
            assert_eq!(told, format!("compression.type=lz4 max.in.flight.requests.per.connection=1 {acks}"));
        }
        assert_eq!(
            all(None, None, &["request.required.acks=-1"]).unwrap(),
            "compression.type=lz4 enable.idempotence=true request.required.acks=-1"
        );
        assert_eq!(
            all(None, None, &["acks=1", "max.in.flight=5"]).unwrap(),
            "compression.type=lz4 acks=1 max.in.flight=5"
        );
        assert_eq!(
            all(None, None, &["enable.idempotence=false"]).unwrap(),
            "compression.type=lz4 acks=all enable.idempotence=false"
        );
        assert!(all(None, None, &["acks=1", "request.required.acks=all"]).unwrap_err().contains("say the same"));
        for (compression, acks, property) in [
            (Some(Compression::None), None, "compression.type=lz4"),
            (Some(Compression::None), None, "compression.codec=lz4"),
            (None, Some(Acks::All), "acks=1"),
            (None, Some(Acks::All), "request.required.acks=all"),
        ] {
            assert!(all(compression, acks, &[property]).unwrap_err().contains("say the same"), "{property}");
        }
        assert!(all(None, None, &["acks"]).unwrap_err().contains("NAME=VALUE"));
    }
}
