//! The matchers' progress as the group's commit: the offset, and in its metadata the lives of the delivery queue's
//! shards that it speaks of.

use evs_core::{Epoch, Offset, Partition};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::{QUERY_TIMEOUT, Shared, config, kafka_partition, port_error};
use crate::ports::PortResult;
use crate::ports::event_log::Committed;

/// Begins a note that this version understands.
const MARK: &str = "evs1:";

/// What brokers take by default (`offset.metadata.max.bytes`).
const NOTE_BYTES_MAX: usize = 4_096;

fn note(epochs: &[Epoch]) -> String {
    let epochs: Vec<String> = epochs.iter().map(ToString::to_string).collect();
    let note = format!("{MARK}{}", epochs.join(","));
    // A commit without a note is still a commit.
    if note.len() > NOTE_BYTES_MAX { String::new() } else { note }
}

fn epochs(note: &str) -> Vec<Epoch> {
    let Some(epochs) = note.strip_prefix(MARK) else { return Vec::new() };
    epochs.split(',').map(str::parse).collect::<Result<_, _>>().unwrap_or_default()
}

pub(super) fn list(topic: &str, partition: Partition, progress: &Committed) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition(topic, kafka_partition(partition));
    element.set_offset(KafkaOffset::Offset(progress.next.0.cast_signed()))?;
    element.set_metadata(note(&progress.epochs));
    Ok(list)
}

/// Asks the group's coordinator, without joining the group. Blocks.
pub(super) fn read(shared: &Shared, partition: Partition) -> PortResult<Option<Committed>> {
    let own = [("group.id", shared.group.as_str()), ("enable.auto.commit", "false")];
    let asker: BaseConsumer = config(&shared.brokers, &shared.properties, &own).create().map_err(port_error)?;
    let mut list = TopicPartitionList::new();
    list.add_partition(&shared.topic, kafka_partition(partition));
    let found = asker.committed_offsets(list, QUERY_TIMEOUT).map_err(port_error)?;
    let Some(element) = found.find_partition(&shared.topic, kafka_partition(partition)) else { return Ok(None) };
    element.error().map_err(port_error)?;
    Ok(match element.offset() {
        KafkaOffset::Offset(next) if next >= 0 => {
            Some(Committed { next: Offset(next.unsigned_abs()), epochs: epochs(element.metadata()) })
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_read_as_they_were_written() {
        let lives = [Epoch(1), Epoch(u64::MAX)];
        assert_eq!(epochs(&note(&lives)), lives);
        for unknown in ["", "evs1:", "evs1:x", "evs2:0000000000000001", "of somebody else"] {
            assert_eq!(epochs(unknown), [], "{unknown}");
        }
        assert_eq!(note(&vec![Epoch(1); 1_000]), "", "too long for a broker");
    }
}
