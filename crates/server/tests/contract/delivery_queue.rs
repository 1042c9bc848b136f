//! The contract of `DeliveryQueue`: what a test needs to write a log by hand, and the list of tests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use evs_core::log::compact::{Budget, Plan, plan};
use evs_core::log::{Entry, EntryBuilder};
use evs_core::{ConsumerName, Epoch, FilterId, FilterVersion, Offset, Partition, Seq, Shard, Slot, Trace};
use evs_server::ports::DeliveryQueue;
use evs_server::ports::delivery_queue::{Ack, Append, Appended};

mod append;
mod compact;
mod consumers;
mod retention;

pub(crate) use append::*;
pub(crate) use compact::*;
pub(crate) use consumers::*;
pub(crate) use retention::*;

/// Every backend is made with so many shards…
pub(crate) const SHARDS: u16 = 2;
/// …and takes no more than this into a shard's log before it is full.
pub(crate) const LOG_BYTES_MAX: u64 = 64 * 1024;
/// The events that a test may read back: their offsets are below this, their bodies are [`body`].
pub(crate) const EVENTS: u64 = 2_000;

const SHARD: Shard = Shard(0);
const ZERO: Partition = Partition(0);

/// Lists every test of the contract for the backend that `$make` makes; each with the attribute, if there is one.
macro_rules! delivery_queue_contract {
    ($make:ident) => {
        delivery_queue_contract!(#[cfg(all())] $make);
    };
    (#[$attribute:meta] $make:ident) => {
        delivery_queue_contract! { $make # [$attribute]:
            a_shard_is_made_once
            nothing_is_appended_without_a_claim
            a_claim_fences_the_one_before
            append_answers_in_the_order_of_its_checks
            a_lost_reply_is_answered_by_already_applied
            a_batch_that_does_not_follow_is_a_conflict
            an_older_filter_version_is_stale
            a_full_log_takes_no_entry_until_it_is_compacted
            a_batch_without_matches_moves_only_the_checkpoint
            partitions_and_shards_have_their_own_checkpoints
            appends_in_flight_keep_their_order
            tail_gives_dense_entries_as_they_were_written
            tail_is_bounded_and_gives_one_at_least
            tail_waits_for_the_first_entry
            a_dropped_tail_loses_nothing
            compaction_counts_and_spills
            a_compaction_step_needs_the_very_position
            a_large_compaction_goes_step_by_step
            compaction_leaves_out_what_was_acked_meanwhile
            a_snapshot_and_the_tail_make_the_same_fold
            far_slots_have_a_base
            read_gives_pages_and_its_floor
            acks_inside_a_spill_hide_what_they_cover
            the_first_consumer_begins_before_the_first_delivery
            a_new_consumer_begins_at_the_minimum
            latest_begins_at_the_given_seq
            an_observer_is_not_registered
            connections_are_numbered
            consumers_of_a_slot_are_bounded
            acks_only_rise_and_only_in_their_epoch
            the_minimum_over_consumers_trims_the_spill
            reset_moves_one_consumer
            a_tombstone_is_obeyed_by_all
            standings_are_paged_by_slot
            consumers_are_listed
            old_deliveries_expire
            a_queue_is_bounded_by_count_and_bytes
            idle_consumers_expire
        }
    };
    ($make:ident $hash:tt $attribute:tt: $($test:ident)*) => {
        mod delivery_queue_contract {
            $(
                #[tokio::test]
                $hash $attribute
                async fn $test() {
                    let (queue, _guard) = super::$make().await;
                    crate::delivery_queue::$test(&queue).await;
                }
            )*
        }
    };
}

/// One matcher's hold on one partition of one shard.
#[derive(Clone, Copy, Debug)]
struct Owner {
    shard: Shard,
    epoch: Epoch,
    owner: u64,
    partition: Partition,
}

async fn claim(queue: &dyn DeliveryQueue, shard: Shard, partition: Partition) -> Owner {
    let epoch = queue.open(shard, FilterVersion(0)).await.unwrap().epoch;
    let claim = queue.claim(shard, epoch, partition).await.unwrap().expect("the epoch was just read");
    Owner { shard, epoch, owner: claim.owner, partition }
}

impl Owner {
    fn batch(self, from: u64, to: u64, entry: Option<Entry>) -> Append {
        Append {
            epoch: self.epoch,
            owner: self.owner,
            partition: self.partition,
            from: Offset(from),
            to: Offset(to),
            version: FilterVersion(0),
            entry: entry.map(Arc::new),
        }
    }

    /// One event per offset; every slot gets every event of the batch.
    fn entry(self, from: u64, to: u64, slots: &[u32]) -> Entry {
        let mut builder = EntryBuilder::new(self.epoch, self.partition, Offset(from), 1_000);
        for offset in from..to {
            builder.event(Offset(offset), event_time_ms(offset), body(offset));
            if offset % 2 == 0 {
                builder.trace(Trace { trace_id: [offset as u8 + 1; 16], span_id: [9; 8] });
            }
            for slot in slots {
                builder.route(*slot, [FilterId(slot + 1), FilterId(slot + 100)]);
            }
        }
        builder.finish(Offset(to))
    }

    async fn try_append(self, queue: &dyn DeliveryQueue, from: u64, to: u64, slots: &[u32]) -> Appended {
        let entry = Some(self.entry(from, to, slots)).filter(|_| !slots.is_empty());
        queue.append(self.shard, self.batch(from, to, entry)).await.unwrap()
    }

    async fn append(self, queue: &dyn DeliveryQueue, from: u64, to: u64, slots: &[u32]) {
        let appended = self.try_append(queue, from, to, slots).await;
        assert!(matches!(appended, Appended::Applied { .. }), "{appended:?}");
    }
}

fn event_time_ms(offset: u64) -> i64 {
    10_000 + offset as i64
}

/// Bodies are bytes to the queue: they hold what no text does.
pub(crate) fn body(offset: u64) -> Bytes {
    Bytes::from([format!("{{\"offset\":{offset}}}").as_bytes(), &[0, 0xff, b'\r', b'\n']].concat())
}

const WHOLE: Budget = Budget { spills_max: 1_000, slots_max: 1_000 };

/// What a keeper would do next with the whole log.
async fn plan_all(queue: &dyn DeliveryQueue, budget: Budget) -> Option<Plan> {
    let snapshot = queue.snapshot(SHARD).await.unwrap();
    let tail = queue.tail(SHARD, snapshot.state.position.n, usize::MAX, Duration::ZERO).await.unwrap();
    let slots: Vec<Slot> = (0..200).map(Slot).collect();
    let acked = queue.acked(SHARD, &slots).await.unwrap();
    let base = |slot: Slot| Seq(snapshot.base.get(slot.0 as usize).copied().unwrap_or(0));
    let acked = |slot: Slot| acked.get(slot.0 as usize).copied().unwrap_or(Seq(0));
    plan(snapshot.state.epoch, snapshot.state.position, &tail.entries, base, acked, budget)
}

async fn compact_all(queue: &dyn DeliveryQueue) {
    while let Some(plan) = plan_all(queue, WHOLE).await {
        assert!(queue.compact(SHARD, &plan).await.unwrap(), "nobody else moves the log");
    }
}

fn consumer(name: &str) -> ConsumerName {
    ConsumerName::new(name).unwrap()
}

async fn ack(queue: &dyn DeliveryQueue, slot: u32, name: &str, seq: u64) -> bool {
    let epoch = queue.state(SHARD).await.unwrap().epoch;
    let ack = Ack { slot: Slot(slot), consumer: consumer(name), seq: Seq(seq) };
    queue.ack(SHARD, epoch, &[ack]).await.unwrap()
}

async fn spilled(queue: &dyn DeliveryQueue, slot: u32) -> Vec<u64> {
    let read = queue.read(SHARD, Slot(slot), Seq(1), 1_000).await.unwrap();
    read.records.iter().map(|spill| spill.seq.0).collect()
}

async fn acked(queue: &dyn DeliveryQueue, slot: u32) -> Seq {
    queue.acked(SHARD, &[Slot(slot)]).await.unwrap()[0]
}
