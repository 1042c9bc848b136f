//! The event log on Kafka.
//!
//! Events are written by an idempotent producer with acks=all, keyed by `user_id` with the partitioner of the Java
//! clients. Matchers form a consumer group that only balances the load: each partition starts where the delivery queue's
//! checkpoint says, and the fence there is what makes it right. What cannot be read as an event goes to a dead-letter
//! topic, byte for byte.

mod consumer;
mod dead_letters;
mod log;
mod poll;
mod record;
mod witness;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use anyhow::Context as _;
use evs_core::Partition;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::FutureProducer;
use tokio_util::sync::CancellationToken;

use crate::ports::{PortError, PortResult};
use crate::retry::Backoff;

const WHAT: &str = "Kafka";
/// A question about metadata, watermarks or offsets that takes longer was asked of a broker that is away.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// After this the producer gives a batch up, and its fate is unknown.
const DELIVERY_TIMEOUT_MS: &str = "20000";

/// What the client may send; the topic's own limit decides. Far above any event, for dead letters may be larger.
const SEND_BYTES_MAX: &str = "16777216";
/// `max.message.bytes` of a topic that we make: the largest event with its key fits, which Kafka's default cannot hold.
const RECORD_BYTES_MAX: &str = "2097152";

/// How a Kafka event log is opened.
#[derive(Clone, Debug, Default)]
pub struct KafkaOptions {
    /// Properties of librdkafka, as they are; they go before our own, except where the guarantee depends on ours.
    pub properties: BTreeMap<String, String>,
    /// The consumer group of the matchers; `evs-<topic>` if empty.
    pub group: String,
    /// Partitions of a topic that has to be made; what the broker gives by default if absent.
    pub partitions: Option<u32>,
}

/// The event log on a Kafka topic. Cheap to clone.
#[derive(Clone)]
pub struct KafkaLog {
    shared: Arc<Shared>,
}

struct Shared {
    brokers: String,
    topic: String,
    dead_letter_topic: String,
    group: String,
    properties: BTreeMap<String, String>,
    producer: FutureProducer,
    /// Answers questions and reads back; one at a time, on a thread that may block.
    reader: Mutex<BaseConsumer>,
}

impl std::fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The properties may hold a password.
        write!(f, "KafkaLog({}/{})", self.shared.brokers, self.shared.topic)
    }
}

impl KafkaLog {
    /// Opens `kafka://host:9092,host:9092/topic`; `?partitions=12&group=name` go before the options. Makes the topic
    /// and its dead-letter topic where they are missing and may be made.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the URL, a property or the topic.
    pub async fn open(url: &str, options: KafkaOptions) -> anyhow::Result<Self> {
        let explain = "an event log is written kafka://host:9092/topic";
        let rest = url.strip_prefix("kafka://").with_context(|| explain)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (brokers, topic) = rest.split_once('/').with_context(|| explain)?;
        anyhow::ensure!(!brokers.is_empty() && !topic.is_empty() && !topic.contains('/'), "{explain}");
        let KafkaOptions { properties, mut group, mut partitions } = options;
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "partitions" => partitions = Some(value.parse().context("partitions is no number")?),
                "group" => group = value.into_owned(),
                other => anyhow::bail!(
                    "{url:?} has the unknown parameter {other:?}; librdkafka's properties go into [kafka.properties]"
                ),
            }
        }
        check_security(&properties)?;
        if group.is_empty() {
            group = format!("evs-{topic}");
        }
        let with = |fixed: &[(&str, &str)]| config(brokers, &properties, fixed);
        let producer: FutureProducer =
            with(&[("enable.idempotence", "true"), ("acks", "all"), ("delivery.timeout.ms", DELIVERY_TIMEOUT_MS)])
                .set("message.max.bytes", properties.get("message.max.bytes").map_or(SEND_BYTES_MAX, String::as_str))
                .create()
                .context("the Kafka producer cannot be made; check [kafka.properties]")?;
        let reader: BaseConsumer = with(&[
            ("group.id", &format!("{group}-reader")),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", "true"),
            ("auto.offset.reset", "error"),
        ])
        .create()
        .context("the Kafka consumer cannot be made; check [kafka.properties]")?;
        let shared = Shared {
            brokers: brokers.to_owned(),
            topic: topic.to_owned(),
            dead_letter_topic: format!("{topic}.dead-letters"),
            group,
            properties,
            producer,
            reader: Mutex::new(reader),
        };
        let log = Self { shared: Arc::new(shared) };
        if let Err(error) = log.make_topics(partitions).await {
            tracing::warn!(%error, "Kafka cannot be reached yet; trying again");
            tokio::spawn(keep_making_topics(Arc::downgrade(&log.shared), partitions));
        }
        Ok(log)
    }

    /// An error where Kafka did not answer; what it refuses is only logged, since the topics may be there.
    async fn make_topics(&self, partitions: Option<u32>) -> PortResult<()> {
        let shared = &self.shared;
        let admin: AdminClient<DefaultClientContext> =
            config(&shared.brokers, &shared.properties, &[]).create().map_err(port_error)?;
        // -1 is what the broker gives by default.
        let partitions = partitions.map_or(-1, |count| count.max(1).cast_signed());
        let events = NewTopic::new(&shared.topic, partitions, TopicReplication::Fixed(-1))
            .set("max.message.bytes", RECORD_BYTES_MAX);
        // Dead letters are keyed by the position of their record: buried again or removed, the last word counts.
        let dead = NewTopic::new(&shared.dead_letter_topic, 1, TopicReplication::Fixed(-1))
            .set("cleanup.policy", "compact")
            .set("max.message.bytes", SEND_BYTES_MAX);
        let options = AdminOptions::new().operation_timeout(Some(QUERY_TIMEOUT)).request_timeout(Some(QUERY_TIMEOUT));
        for topic in [events, dead] {
            match admin.create_topics([&topic], &options).await.map_err(port_error)?.into_iter().next() {
                Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | None => {}
                Some(Err((name, code))) => {
                    tracing::warn!(topic = name, %code, "the topic cannot be made; make it if it is missing");
                }
                Some(Ok(name)) => tracing::info!(topic = name, "made the topic"),
            }
        }
        Ok(())
    }

    /// Runs a blocking question on the reader.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Shared, &BaseConsumer) -> PortResult<T> + Send + 'static,
    ) -> PortResult<T> {
        let shared = self.shared.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let reader = shared.reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            question(&shared, &reader)
        });
        asked.await.unwrap_or_else(|error| Err(unavailable(error)))
    }
}

/// Until Kafka answers, or the log is gone.
async fn keep_making_topics(log: Weak<Shared>, partitions: Option<u32>) {
    let (never, mut backoff) = (CancellationToken::new(), Backoff::default());
    loop {
        backoff.wait(&never).await;
        let Some(shared) = log.upgrade() else { return };
        if (KafkaLog { shared }).make_topics(partitions).await.is_ok() {
            return;
        }
    }
}

/// A build without OpenSSL says what is missing, in words that lead on.
fn check_security(properties: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let has =
        |name: &str, word: &str| properties.get(name).is_some_and(|value| value.to_ascii_uppercase().contains(word));
    let wanted = has("security.protocol", "SSL") || has("sasl.mechanism", "SCRAM") || has("sasl.mechanisms", "SCRAM");
    anyhow::ensure!(
        cfg!(feature = "kafka-ssl") || !wanted,
        "TLS and SCRAM to Kafka need OpenSSL, which this program was built without; build it with the cargo feature \
         kafka-ssl, or use the shipped image"
    );
    Ok(())
}

/// Our settings, then those of the user, then those that the guarantee depends on.
fn config(brokers: &str, properties: &BTreeMap<String, String>, fixed: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    let ours = [
        ("bootstrap.servers", brokers),
        ("client.id", "evs"),
        ("partitioner", "murmur2_random"),
        ("linger.ms", "1"),
        ("socket.keepalive.enable", "true"),
        ("check.crcs", "true"),
        ("reconnect.backoff.ms", "100"),
        ("reconnect.backoff.max.ms", "5000"),
    ];
    for (name, value) in ours {
        config.set(name, value);
    }
    for (name, value) in properties {
        config.set(name, value);
    }
    for (name, value) in fixed {
        config.set(*name, *value);
    }
    config
}

fn unavailable(error: impl std::fmt::Display) -> PortError {
    PortError::Unavailable { what: WHAT, cause: error.to_string() }
}

fn port_error(error: KafkaError) -> PortError {
    unavailable(error)
}

/// Kafka's number of a partition.
fn kafka_partition(partition: Partition) -> i32 {
    i32::try_from(partition.0).unwrap_or(i32::MAX)
}

fn partition_of(number: i32) -> Partition {
    Partition(number.unsigned_abs())
}

/// The oldest and the next offset of a partition. May block for [`QUERY_TIMEOUT`].
fn range<C: ConsumerContext>(client: &BaseConsumer<C>, topic: &str, partition: Partition) -> PortResult<(u64, u64)> {
    let (low, high) = client.fetch_watermarks(topic, kafka_partition(partition), QUERY_TIMEOUT).map_err(port_error)?;
    Ok((low.max(0).unsigned_abs(), high.max(0).unsigned_abs()))
}
