//! The dead-letter topic: a compacted topic of one partition, keyed by the position of the record that was put aside.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use evs_core::Partition;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Message, Offset as KafkaOffset, TopicPartitionList};

use super::{KafkaLog, QUERY_TIMEOUT, kafka_partition, port_error, range, record, unavailable};
use crate::ports::PortResult;
use crate::ports::event_log::DeadLetter;

/// The newest records of the topic that a list looks at.
const LOOK_BACK: u64 = 10_000;
/// A producer whose queue is full for so long has lost its broker.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes a dead letter and waits until it is durable. What is larger than the topic takes is noted without its bytes,
/// which lie at its position for as long as the log keeps them: a partition must not stand for ever.
pub(super) async fn bury(producer: &FutureProducer, topic: &str, letter: &DeadLetter) -> PortResult<()> {
    match send(producer, topic, letter).await {
        Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
            let detail = format!(
                "{} (its {} bytes are more than the dead-letter topic takes; they are in the event log)",
                letter.detail,
                letter.payload.len()
            );
            let note = DeadLetter { detail, payload: Bytes::new(), ..letter.clone() };
            send(producer, topic, &note).await.map_err(port_error)
        }
        sent => sent.map_err(port_error),
    }
}

async fn send(producer: &FutureProducer, topic: &str, letter: &DeadLetter) -> Result<(), KafkaError> {
    let key = record::letter_key(letter);
    let record = FutureRecord::to(topic)
        .key(&key)
        .payload(&letter.payload[..])
        .partition(0)
        .headers(record::letter_headers(letter));
    producer.send(record, QUEUE_TIMEOUT).await.map_err(|(error, _)| error)?;
    Ok(())
}

impl KafkaLog {
    /// Those that were not removed, newest first.
    pub(super) async fn letters(&self) -> PortResult<Vec<DeadLetter>> {
        self.ask(|shared, reader| {
            let topic = &shared.dead_letter_topic;
            let (low, high) = range(reader, topic, Partition(0))?;
            let mut letters: HashMap<String, (i64, DeadLetter)> = HashMap::new();
            scan(reader, topic, Partition(0), low.max(high.saturating_sub(LOOK_BACK)), high, |record| {
                match record::letter(record) {
                    Some((id, Some(letter))) => drop(letters.insert(id, (record.offset(), letter))),
                    Some((id, None)) => drop(letters.remove(&id)),
                    None => {}
                }
                true
            })?;
            let mut letters: Vec<_> = letters.into_values().collect();
            letters.sort_by_key(|(offset, _)| std::cmp::Reverse(*offset));
            Ok(letters.into_iter().map(|(_, letter)| letter).collect())
        })
        .await
    }

    /// Writes a record without a value for each, which removes it.
    pub(super) async fn remove_letters(&self, ids: &[String]) -> PortResult<()> {
        let sends = ids.iter().map(|id| {
            let record = FutureRecord::<str, [u8]>::to(&self.shared.dead_letter_topic).key(id.as_str()).partition(0);
            self.shared.producer.send(record, QUEUE_TIMEOUT)
        });
        for sent in futures_util::future::join_all(sends).await {
            sent.map_err(|(error, _)| port_error(error))?;
        }
        Ok(())
    }
}

/// Reads `from..to` of a partition with the reader, until `take` has enough. Blocks; answers the offset after the last
/// that it saw or skipped.
pub(super) fn scan(
    reader: &BaseConsumer,
    topic: &str,
    partition: Partition,
    from: u64,
    to: u64,
    mut take: impl FnMut(&BorrowedMessage<'_>) -> bool,
) -> PortResult<u64> {
    if from >= to {
        return Ok(from);
    }
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, kafka_partition(partition), KafkaOffset::Offset(from.cast_signed()))
        .map_err(port_error)?;
    reader.assign(&list).map_err(port_error)?;
    let mut next = from;
    let mut progress = Instant::now();
    let result = loop {
        if next >= to {
            break Ok(next);
        }
        match reader.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                progress = Instant::now();
                let offset = message.offset().max(0).unsigned_abs();
                if offset >= to {
                    break Ok(to);
                }
                if offset < next {
                    continue;
                }
                next = offset + 1;
                if !take(&message) {
                    break Ok(next);
                }
            }
            // Nothing but what is no record, such as marks of transactions, lies before the end.
            Some(Err(KafkaError::PartitionEOF(_))) => break Ok(to),
            Some(Err(error)) if progress.elapsed() > QUERY_TIMEOUT => break Err(port_error(error)),
            None if progress.elapsed() > QUERY_TIMEOUT => break Err(unavailable("it sent no record in time")),
            Some(Err(_)) | None => {}
        }
    };
    reader.unassign().map_err(port_error)?;
    result
}
