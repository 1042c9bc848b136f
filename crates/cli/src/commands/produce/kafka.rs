//! Straight to Kafka: idempotent, acknowledged by all replicas, keyed by the user.

use std::time::Duration;

use evs_core::Event;
use futures_util::future::join_all;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::sink::Outcome;
use super::source::Record;
use crate::exit::{ExitStatus, Failure};

pub(super) struct Kafka {
    producer: FutureProducer,
    topic: String,
}

impl Kafka {
    pub(super) fn connect(brokers: &str, topic: &str, properties: &[String]) -> Result<Self, Failure> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("client.id", "evs-produce")
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "lz4")
            .set("linger.ms", "5");
        for property in properties {
            let (name, value) = property.split_once('=').ok_or_else(|| {
                Failure::usage(format!("-X {property:?} is not NAME=VALUE"))
                    .hint("for example -X compression.type=zstd")
            })?;
            config.set(name, value);
        }
        let producer = config
            .create()
            .map_err(|error| Failure::usage(format!("librdkafka does not take this configuration: {error}")))?;
        Ok(Self { producer, topic: topic.to_owned() })
    }

    /// The producer repeats and keeps the order by itself; it reports when it knows.
    pub(super) async fn send(&self, batch: Vec<Record>, give_up_after: Duration) -> Outcome {
        let sends = batch.iter().map(|record| {
            let key = Event::trusted(record.bytes.clone()).user_id().map(|user| user.into_owned()).unwrap_or_default();
            async move {
                let message = FutureRecord::to(&self.topic).key(key.as_bytes()).payload(record.bytes.as_ref());
                self.producer.send(message, give_up_after).await.map_err(|(error, _)| error)
            }
        });
        let mut outcome = Outcome::default();
        for result in join_all(sends).await {
            match result {
                Ok(_) => outcome.accepted += 1,
                Err(error) => {
                    outcome.failure.get_or_insert_with(|| {
                        Failure::new(ExitStatus::Unreachable, format!("Kafka did not take an event: {error}"))
                            .hint("are --brokers and --topic right? `evs doctor` and kcat look closer")
                    });
                }
            }
        }
        outcome
    }
}
