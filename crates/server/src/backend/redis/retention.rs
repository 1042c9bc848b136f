//! What the retention takes, a bounded piece at a time: a hand goes round the slots.

use std::sync::atomic::Ordering;

use evs_core::log::compact::Spill;
use evs_core::{Seq, Shard, Slot};

use super::queue::{RECORD_BYTES, TOMBSTONE};
use super::record::{StreamEntry, damaged, spilled, value};
use super::scripts::Script;
use super::{RedisQueue, port_error};
use crate::ports::PortResult;
use crate::ports::delivery_queue::{Expired, Retention};

/// Queues that one call looks at, and how many records of each.
const QUEUES_MAX: u32 = 50;
const RECORDS_MAX: usize = 8;
/// Slots whose consumers one call looks at, and how many of them it may change.
const WINDOW_SLOTS: u32 = 16_384;
const FORGET_MAX: usize = 500;
/// Slots of one call: each may have a thousand.
const FORGET_SLOTS_MAX: usize = 20;

impl RedisQueue {
    /// Looks at the next queues that hold spilled deliveries, and drops of each what is beyond the retention.
    pub(super) async fn expire_deliveries(&self, shard: Shard, retention: &Retention) -> PortResult<Vec<Expired>> {
        type Row = (u32, u64, u64, u64, Vec<StreamEntry>, u64);
        let hand = &self.contact_of(shard)?.queues_hand;
        let after = hand.load(Ordering::Relaxed);
        let answer = self.call(&self.reads, shard, Script::Old, |command| {
            // The first slot is 0, so the hand starts before it.
            command.arg(i64::from(after) - 1).arg(QUEUES_MAX).arg(RECORDS_MAX);
        });
        let rows: Vec<Row> = value(answer.await?)?;
        let mut next = if rows.len() < QUEUES_MAX as usize { 0 } else { rows.last().map_or(0, |row| row.0 + 1) };
        let mut drops: Vec<(u32, u64)> = Vec::new();
        for (slot, acked, lost, base, first, total) in rows {
            if acked == TOMBSTONE || first.is_empty() {
                continue;
            }
            let floor = acked.max(lost);
            let more = first.len() == RECORDS_MAX;
            let records = first.into_iter().map(|entry| spilled(Slot(slot), entry)).collect::<PortResult<Vec<_>>>()?;
            let size = |spills: &[Spill]| spills.iter().map(|spill| spill.body.len() as u64).sum::<u64>();
            let before = records.first().map_or(0, |(upto, spills)| upto.saturating_sub(size(spills)));
            let mut left = Left { events: base - floor.min(base), bytes: total.saturating_sub(before) };
            let mut drop = None;
            let mut all = true;
            for spill in records.iter().flat_map(|(_, spills)| spills) {
                if spill.seq.0 <= floor {
                    left.bytes -= spill.body.len() as u64;
                    continue;
                }
                if left.within(retention) && spill.time_ms >= retention.before_ms {
                    all = false;
                    break;
                }
                left = Left { events: left.events.saturating_sub(1), bytes: left.bytes - spill.body.len() as u64 };
                drop = Some(spill.seq.0);
            }
            drops.extend(drop.map(|to| (slot, to)));
            if all && more {
                // This queue is not done: the next call begins with it.
                next = slot;
                break;
            }
        }
        hand.store(next, Ordering::Relaxed);
        if drops.is_empty() {
            return Ok(Vec::new());
        }
        let answer = self.call(&self.writes, shard, Script::Expire, |command| {
            for (slot, to) in &drops {
                command.arg(*slot).arg(*to);
            }
        });
        let dropped: Vec<(u32, u64, u64)> = value(answer.await?)?;
        let expired = |(slot, from, to)| Expired { slot: Slot(slot), from: Seq(from), to: Seq(to) };
        Ok(dropped.into_iter().map(expired).collect())
    }

    /// Looks at the next slots' consumers, and removes those that were not seen for the retention time.
    pub(super) async fn forget_consumers(&self, shard: Shard, retention: &Retention) -> PortResult<()> {
        let hand = &self.contact_of(shard)?.consumers_hand;
        let from = hand.load(Ordering::Relaxed);
        let start = from as usize * RECORD_BYTES;
        let mut pipe = redis::pipe();
        pipe.cmd("GETRANGE").arg(self.key(shard, "acked")).arg(start);
        pipe.arg(start + WINDOW_SLOTS as usize * RECORD_BYTES - 1);
        let answer = self.reads.run(&pipe).await.map_err(port_error)?.pop().unwrap_or_default();
        let bytes: Vec<u8> = value(answer)?;
        let mut idle: Vec<u32> = Vec::new();
        for (record, slot) in bytes.chunks_exact(RECORD_BYTES).zip(from..) {
            let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, seen @ .., high, low] = record else {
                return Err(damaged("a slot's record is short"));
            };
            let seen_ms = seen.iter().fold(0_i64, |value, byte| value << 8 | i64::from(*byte));
            let flags = u16::from_be_bytes([*high, *low]);
            if (flags & 1 != 0 && seen_ms < retention.consumers_before_ms) || flags & 2 != 0 {
                idle.push(slot);
            }
        }
        let whole = bytes.len() == WINDOW_SLOTS as usize * RECORD_BYTES;
        let next = match idle.get(FORGET_MAX) {
            Some(slot) => *slot,
            None if whole => from.saturating_add(WINDOW_SLOTS),
            None => 0,
        };
        idle.truncate(FORGET_MAX);
        hand.store(next, Ordering::Relaxed);
        if idle.is_empty() {
            return Ok(());
        }
        let before_ms = retention.consumers_before_ms.clamp(0, 1 << 48);
        for slots in idle.chunks(FORGET_SLOTS_MAX) {
            let answer = self.call(&self.writes, shard, Script::Forget, |command| {
                command.arg(before_ms);
                for slot in slots {
                    command.arg(*slot);
                }
            });
            answer.await?;
        }
        Ok(())
    }
}

/// What a queue holds from some delivery on.
#[derive(Clone, Copy)]
struct Left {
    events: u64,
    bytes: u64,
}

impl Left {
    fn within(self, retention: &Retention) -> bool {
        self.events <= retention.events_max && self.bytes <= retention.bytes_max
    }
}
