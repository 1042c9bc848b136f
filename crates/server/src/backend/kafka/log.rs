//! Appending, reading back and asking.

use async_trait::async_trait;
use evs_core::{Event, Offset, Partition, Position};
use rdkafka::Message;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::FutureRecord;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tokio::time::{Instant, sleep};

use super::consumer::KafkaConsumer;
use super::dead_letters::{bury, scan};
use super::{KafkaLog, QUERY_TIMEOUT, kafka_partition, partition_of, port_error, range, record, unavailable, witness};
use crate::ports::PortResult;
use crate::ports::event_log::{Committed, DeadLetter, EventLog, LogConsumer, LogRead, PartitionRange};

#[async_trait]
impl EventLog for KafkaLog {
    fn topic(&self) -> Option<&str> {
        Some(&self.shared.topic)
    }

    /// Not atomic over several events: Kafka has no such step without transactions. After an error some may be there;
    /// the identical call may write them twice, and `event_id` tells.
    async fn append(&self, events: Vec<Event>) -> PortResult<Vec<Position>> {
        let deadline = Instant::now() + QUERY_TIMEOUT;
        let mut deliveries = Vec::with_capacity(events.len());
        for event in &events {
            let key = event.user_id();
            // One after the other into the producer's queue, so that events of one user keep their order.
            loop {
                let mut record = FutureRecord::to(&self.shared.topic).payload(&event.bytes()[..]);
                if let Some(key) = &key {
                    record = record.key(key.as_bytes());
                }
                if let Some(trace) = event.trace() {
                    record = record.headers(record::trace_header(trace));
                }
                match self.shared.producer.send_result(record) {
                    Ok(delivery) => break deliveries.push(delivery),
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _))
                        if Instant::now() < deadline =>
                    {
                        sleep(std::time::Duration::from_millis(5)).await;
                    }
                    Err((error, _)) => return Err(port_error(error)),
                }
            }
        }
        let mut positions = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let delivered = delivery.await.map_err(unavailable)?.map_err(|(error, _)| port_error(error))?;
            let offset = Offset(delivered.offset.max(0).unsigned_abs());
            positions.push(Position { partition: partition_of(delivered.partition), offset });
        }
        Ok(positions)
    }

    async fn partitions(&self) -> PortResult<Vec<PartitionRange>> {
        self.ask(|shared, reader| {
            let metadata = reader.fetch_metadata(Some(&shared.topic), QUERY_TIMEOUT).map_err(port_error)?;
            let topic = metadata.topics().first().ok_or_else(|| unavailable("it does not know the topic"))?;
            if let Some(error) = topic.error() {
                return Err(unavailable(format!("topic {}: {:?}", shared.topic, RDKafkaErrorCode::from(error))));
            }
            let mut ranges = Vec::new();
            for partition in topic.partitions() {
                let partition = partition_of(partition.id());
                let (low, high) = range(reader, &shared.topic, partition)?;
                ranges.push(PartitionRange { partition, low: Offset(low), high: Offset(high) });
            }
            ranges.sort_by_key(|range| range.partition);
            Ok(ranges)
        })
        .await
    }

    async fn read(
        &self,
        partition: Partition,
        from: Offset,
        events_max: usize,
        bytes_max: usize,
    ) -> PortResult<LogRead> {
        self.page(partition, from, events_max, bytes_max, false).await
    }

    async fn read_with_headers(
        &self,
        partition: Partition,
        from: Offset,
        events_max: usize,
        bytes_max: usize,
    ) -> PortResult<LogRead> {
        self.page(partition, from, events_max, bytes_max, true).await
    }

    async fn offset_at(&self, partition: Partition, time_ms: i64) -> PortResult<Offset> {
        self.ask(move |shared, reader| {
            let (low, high) = range(reader, &shared.topic, partition)?;
            if time_ms <= 0 {
                return Ok(Offset(low));
            }
            let mut times = TopicPartitionList::new();
            let number = kafka_partition(partition);
            times.add_partition_offset(&shared.topic, number, KafkaOffset::Offset(time_ms)).map_err(port_error)?;
            let found = reader.offsets_for_times(times, QUERY_TIMEOUT).map_err(port_error)?;
            let offset = found.find_partition(&shared.topic, number).map(|element| element.offset());
            Ok(match offset {
                Some(KafkaOffset::Offset(offset)) => Offset(offset.max(0).unsigned_abs()),
                _ => Offset(high),
            })
        })
        .await
    }

    async fn committed(&self, partition: Partition) -> PortResult<Option<Committed>> {
        // It has a client of its own, so it need not wait for the reader.
        let shared = self.shared.clone();
        let asked = tokio::task::spawn_blocking(move || witness::read(&shared, partition)).await;
        asked.unwrap_or_else(|error| Err(unavailable(error)))
    }

    async fn consumer(&self, instance: &str) -> PortResult<Box<dyn LogConsumer>> {
        Ok(Box::new(KafkaConsumer::join(self.clone(), instance)?))
    }

    /// Kafka has a retention of its own.
    async fn retain(&self, _before_ms: i64, _bytes_max: u64, _keep_from: &[(Partition, Offset)]) -> PortResult<()> {
        Ok(())
    }

    async fn bury(&self, letter: DeadLetter) -> PortResult<()> {
        bury(&self.shared.producer, &self.shared.dead_letter_topic, &letter).await
    }

    async fn dead_letters(&self, skip: usize, max: usize) -> PortResult<Vec<DeadLetter>> {
        Ok(self.letters().await?.into_iter().skip(skip).take(max).collect())
    }

    async fn remove_dead_letters(&self, ids: &[String]) -> PortResult<u64> {
        let there = self.letters().await?.into_iter().map(|letter| letter.id);
        let gone: Vec<String> = there.filter(|id| ids.is_empty() || ids.contains(id)).collect();
        self.remove_letters(&gone).await?;
        Ok(gone.len() as u64)
    }
}

impl KafkaLog {
    async fn page(
        &self,
        partition: Partition,
        from: Offset,
        events_max: usize,
        bytes_max: usize,
        with_headers: bool,
    ) -> PortResult<LogRead> {
        self.ask(move |shared, reader| {
            let (low, high) = range(reader, &shared.topic, partition)?;
            let mut events = Vec::new();
            let mut bytes = 0;
            // The record that would be too much is read again by the next call.
            let mut cut = None;
            let next = scan(reader, &shared.topic, partition, from.0.max(low), high, |message| {
                // What cannot be read was put aside by the matcher that came by.
                let Ok(mut logged) = record::read(message) else { return true };
                bytes += logged.event.bytes().len();
                if !events.is_empty() && bytes > bytes_max {
                    cut = Some(message.offset().max(0).unsigned_abs());
                    return false;
                }
                if with_headers {
                    logged.headers = record::headers(message);
                }
                events.push(logged);
                events.len() < events_max
            })?;
            Ok(LogRead { events, next: Offset(cut.unwrap_or(next)), low: Offset(low) })
        })
        .await
    }
}
