//! The steps of the delivery queue as calls of scripts.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use evs_core::limits::SUBSCRIBER_CONSUMERS_MAX;
use evs_core::log::compact::Plan;
use evs_core::log::{Entry, FoldPosition};
use evs_core::{ConsumerName, Epoch, FilterVersion, Offset, Partition, Seq, Shard, Slot};
use redis::{Cmd, Value};

use super::fold::{BASE_BYTES, PIECE_GAP, Piece, counters};
use super::record::{StreamEntry, damaged, pack, spilled, value};
use super::scripts::{Digests, Script};
use super::{BLOCK_MAX, RedisQueue, asks_for_contact, port_error};
use crate::ports::delivery_queue::{
    Ack, Append, Appended, Attached, Checkpoint, Claim, ConsumerState, DeliveryQueue, Expired, Present, QueueRead,
    Retention, ShardState, Snapshot, Standing, Start, Tail, Turns,
};
use crate::ports::{PortError, PortResult};

/// Stands for "acked by all, for ever" in a slot's record.
pub(super) const TOMBSTONE: u64 = (1 << 48) - 1;
/// Largest number that a script handles exactly.
const NUMBER_MAX: u64 = 1 << 53;
/// Acks of one call: about a millisecond of Redis.
const ACKS_MAX: usize = 250;
/// Bytes of a slot in `acked`.
pub(super) const RECORD_BYTES: usize = 22;
/// Entries of one read, when nothing is known of their size.
const ENTRIES_MAX: u64 = 1_000;
/// Slots of the `acked` string that one list looks at in one go.
const WINDOW_SLOTS: usize = 4_096;
/// Spilled records of one read.
const RECORDS_MAX: usize = 256;

/// A shard's state as every script begins with it.
pub(super) struct State {
    pub(super) state: ShardState,
    /// Entries up to here were written in an earlier epoch, of which this one goes on.
    inherited: u64,
}

pub(super) fn number(value: u64) -> u64 {
    value.min(NUMBER_MAX)
}

pub(super) fn parse<T: std::str::FromStr>(text: &str) -> PortResult<T> {
    text.parse().map_err(|_| damaged(&format!("a number that is none: {text:?}")))
}

pub(super) fn state_of(fields: &[String]) -> PortResult<State> {
    let [epoch, n, m, a, top, bytes, version, _, inherited, _] = fields else {
        return Err(damaged("a shard lacks a field"));
    };
    let epoch = epoch.parse().map_err(|_| damaged("an epoch that is none"))?;
    let position = FoldPosition { n: parse(n)?, m: parse(m)?, a: parse(a)? };
    let min_version = FilterVersion(parse(version)?);
    let state = ShardState { epoch, position, top: parse(top)?, log_bytes: parse(bytes)?, min_version };
    Ok(State { state, inherited: parse(inherited)? })
}

fn acked_of(acked: u64) -> Seq {
    Seq(if acked == TOMBSTONE { u64::MAX } else { acked })
}

impl RedisQueue {
    /// Takes note of a state, and notices a log that ends before what was seen of it.
    async fn noted(&self, shard: Shard, state: State) -> PortResult<State> {
        let Some(seen) = self.note(shard, state.state.epoch, state.state.top)? else { return Ok(state) };
        // An older answer may have been overtaken by a newer one: only what is asked after `seen` was seen can judge.
        let fresh = self.fresh_state(shard).await?;
        if fresh.state.epoch != state.state.epoch || fresh.state.top >= seen {
            self.note(shard, fresh.state.epoch, fresh.state.top)?;
            return Ok(fresh);
        }
        tracing::error!(%shard, top = fresh.state.top, seen, "the delivery log ends before what was seen of it: a new epoch");
        let digests = self.digests(shard).await?;
        self.make_contact(shard, Some(&digests), Some(fresh.state.epoch)).await?;
        self.fresh_state(shard).await
    }

    /// Remembers the newest top of an epoch; answers it where the given one is older.
    fn note(&self, shard: Shard, epoch: Epoch, top: u64) -> PortResult<Option<u64>> {
        let mut seen = self.contact_of(shard)?.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match &mut *seen {
            Some((own, newest)) if *own == epoch => {
                let before = *newest;
                *newest = before.max(top);
                Some(before).filter(|before| top < *before)
            }
            seen => {
                *seen = Some((epoch, top));
                None
            }
        })
    }

    async fn fresh_state(&self, shard: Shard) -> PortResult<State> {
        let answer = self.call(&self.reads, shard, Script::State, |_| {}).await?;
        state_of(&value::<Vec<String>>(answer)?)
    }

    /// Moves consumers: `None` for the epoch is any.
    async fn move_to(&self, shard: Shard, epoch: Option<Epoch>, back: bool, acks: &[Ack]) -> PortResult<bool> {
        let now_ms = self.clock.now_ms().max(0);
        let answer = self
            .call(&self.reads, shard, Script::Move, |command| {
                command.arg(epoch.map(|epoch| epoch.to_string()).unwrap_or_default()).arg(u8::from(back)).arg(now_ms);
                for ack in acks {
                    command.arg(ack.slot.0).arg(ack.consumer.as_str()).arg(number(ack.seq.0));
                }
            })
            .await?;
        Ok(value::<u64>(answer)? == 1)
    }

    fn entries(&self, state: &State, answer: Value, bytes_max: usize) -> PortResult<Vec<(u64, Arc<Entry>)>> {
        let streams: Option<Vec<(String, Vec<StreamEntry>)>> = value(answer)?;
        let mut entries = Vec::new();
        let mut bytes = 0;
        for (id, fields) in streams.into_iter().flatten().flat_map(|(_, entries)| entries) {
            let id: u64 = parse(id.strip_prefix("0-").unwrap_or_default())?;
            let body = fields.into_iter().nth(1).unwrap_or_default();
            let mut entry = Entry::decode(Bytes::from(body)).map_err(|error| damaged(&error.to_string()))?;
            if id <= state.inherited {
                entry.epoch = state.state.epoch;
            }
            bytes += entry.size_bytes();
            if !entries.is_empty() && bytes > bytes_max {
                break;
            }
            entries.push((id, Arc::new(entry)));
        }
        Ok(entries)
    }

    /// Standings of slots, in their order.
    async fn standings_of(&self, shard: Shard, slots: &[Slot]) -> PortResult<Vec<Standing>> {
        type Row = (u64, i64, u64, u64, u64, Vec<StreamEntry>);
        if slots.is_empty() {
            return Ok(Vec::new());
        }
        let answer = self
            .call(&self.reads, shard, Script::Standings, |command| {
                for slot in slots {
                    command.arg(slot.0);
                }
            })
            .await?;
        let rows = slots.iter().zip(value::<Vec<Row>>(answer)?);
        let standings = rows.map(|(slot, (acked, last_ack_ms, flags, lost, base, first))| {
            let removed = acked == TOMBSTONE;
            let floor = acked.max(lost);
            let mut oldest_spilled_ms = None;
            for entry in first {
                let oldest = spilled(*slot, entry)?.1.into_iter().find(|spill| spill.seq.0 > floor);
                oldest_spilled_ms = oldest.map(|spill| spill.time_ms);
            }
            Ok(Standing {
                slot: *slot,
                acked: acked_of(acked),
                lost: Seq(lost),
                removed,
                last_ack_ms: Some(last_ack_ms).filter(|time_ms| *time_ms > 0),
                oldest_spilled_ms,
                spilled: base.saturating_sub(floor),
                has_consumer: flags & 4 != 0,
            })
        });
        standings.collect()
    }
}

#[async_trait]
impl DeliveryQueue for RedisQueue {
    fn shards(&self) -> u16 {
        self.options.shards
    }

    async fn open(&self, shard: Shard, version: FilterVersion) -> PortResult<ShardState> {
        let answer = self.call(&self.writes, shard, Script::Open, |command| {
            command.arg(number(version.0));
        });
        let state = state_of(&value::<Vec<String>>(answer.await?)?)?;
        Ok(self.noted(shard, state).await?.state)
    }

    async fn state(&self, shard: Shard) -> PortResult<ShardState> {
        let state = self.fresh_state(shard).await?;
        Ok(self.noted(shard, state).await?.state)
    }

    async fn renew(&self, shard: Shard, epoch: Epoch) -> PortResult<()> {
        let digests = self.digests(shard).await?;
        self.make_contact(shard, Some(&digests), Some(epoch)).await.map(drop)
    }

    async fn raise(&self, shard: Shard, epoch: Epoch, version: FilterVersion) -> PortResult<bool> {
        let answer = self.call(&self.writes, shard, Script::Raise, |command| {
            command.arg(epoch.to_string()).arg(number(version.0));
        });
        Ok(value::<u64>(answer.await?)? == 1)
    }

    async fn claim(&self, shard: Shard, epoch: Epoch, partition: Partition) -> PortResult<Option<Claim>> {
        let answer = self.call(&self.writes, shard, Script::Claim, |command| {
            command.arg(epoch.to_string()).arg(partition.0);
        });
        let parts: Vec<Option<u64>> = value(answer.await?)?;
        Ok(match parts[..] {
            // A trailing nothing ends the answer of a script.
            [Some(1), Some(owner)] => Some(Claim { owner, next: None }),
            [Some(1), Some(owner), next] => Some(Claim { owner, next: next.map(Offset) }),
            _ => None,
        })
    }

    async fn append(&self, shard: Shard, append: Append) -> PortResult<Appended> {
        let slots = append.entry.as_ref().map_or(0, |entry| entry.slots());
        let entry = append.entry.as_ref().map(|entry| entry.encode(true)).unwrap_or_default();
        let answer = self.call(&self.writes, shard, Script::Append, |command| {
            command.arg(append.epoch.to_string()).arg(append.owner).arg(append.partition.0);
            command.arg(append.from.0).arg(append.to.0).arg(number(append.version.0));
            command.arg(number(self.options.log_bytes_max)).arg(&entry[..]).arg(slots);
        });
        let parts: Vec<String> = value(answer.await?)?;
        let word = |at: usize| parts.get(at).map_or("", String::as_str);
        Ok(match word(0) {
            "epoch" => Appended::OtherEpoch(word(1).parse().map_err(|_| damaged("an epoch that is none"))?),
            "fenced" => Appended::Fenced,
            "already" => Appended::AlreadyApplied,
            "conflict" => Appended::Conflict { next: Offset(parse(word(1))?) },
            "stale" => Appended::Stale { minimum: FilterVersion(parse(word(1))?) },
            "full" => Appended::Full,
            "applied" => {
                let id = Some(parse(word(1))?).filter(|id| *id > 0);
                if let Some(id) = id {
                    self.note(shard, append.epoch, id)?;
                }
                Appended::Applied { id }
            }
            other => return Err(damaged(&format!("an append answered {other:?}"))),
        })
    }

    async fn snapshot(&self, shard: Shard) -> PortResult<Snapshot> {
        let build = |digests: &Digests| {
            let mut pipe = redis::pipe();
            pipe.atomic().add_command(self.command(shard, digests, Script::State));
            pipe.cmd("GET").arg(self.key(shard, "base"));
            pipe
        };
        let answers = self.run(&self.reads, shard, build).await?;
        let [state, base] = <[Value; 2]>::try_from(answers).map_err(|_| damaged("a snapshot lacks a part"))?;
        let state = state_of(&value::<Vec<String>>(state)?)?;
        let base: Option<Vec<u8>> = value(base)?;
        Ok(Snapshot { state: state.state, base: counters(&base.unwrap_or_default()).collect() })
    }

    async fn tail(&self, shard: Shard, after: u64, bytes_max: usize, wait: Duration) -> PortResult<Tail> {
        // A read that does not wait must not queue behind one that does.
        let contact = self.contact_of(shard)?;
        let (link, wait) = if wait.is_zero() { (&self.reads, wait) } else { (&contact.tail, wait.min(BLOCK_MAX)) };
        let known = self.digests(shard).await?;
        let average = {
            let seen = contact.entry_bytes.load(std::sync::atomic::Ordering::Relaxed).max(1);
            (bytes_max as u64 / seen).clamp(1, ENTRIES_MAX)
        };
        let mut pipe = redis::pipe();
        pipe.cmd("XREAD").arg("COUNT").arg(average);
        if !wait.is_zero() {
            pipe.arg("BLOCK").arg(wait.as_millis().max(1) as u64);
        }
        pipe.arg("STREAMS").arg(self.key(shard, "log")).arg(format!("0-{after}"));
        // Redis takes this up when the blocked read is done, so the state is never older than the entries.
        pipe.add_command(self.command(shard, &known, Script::State));
        match link.run(&pipe).await {
            Ok(answers) => {
                let [entries, state] = <[Value; 2]>::try_from(answers).map_err(|_| damaged("a tail lacks a part"))?;
                let raw = state_of(&value::<Vec<String>>(state)?)?;
                let (epoch, live) = (raw.state.epoch, raw.state.top - raw.state.position.n.min(raw.state.top));
                let mean = raw.state.log_bytes.checked_div(live).unwrap_or(1);
                contact.entry_bytes.store(mean, std::sync::atomic::Ordering::Relaxed);
                let state = self.noted(shard, raw).await?;
                // Entries of a life that has just ended are of no use to anybody.
                let same = state.state.epoch == epoch;
                let entries = if same { self.entries(&state, entries, bytes_max)? } else { Vec::new() };
                Ok(Tail { state: state.state, entries })
            }
            Err(error) if asks_for_contact(&error) => {
                self.make_contact(shard, Some(&known), None).await?;
                Ok(Tail { state: self.state(shard).await?, entries: Vec::new() })
            }
            Err(error) => Err(port_error(error)),
        }
    }

    async fn compact(&self, shard: Shard, plan: &Plan) -> PortResult<bool> {
        let pieces = Piece::cut(&plan.bases);
        let build = |digests: &Digests| {
            let mut pipe = redis::pipe();
            pipe.atomic().add_command(self.command(shard, digests, Script::State));
            for piece in &pieces {
                let end = (piece.last as usize + 1) * BASE_BYTES - 1;
                pipe.cmd("GETRANGE").arg(self.key(shard, "base")).arg(piece.offset()).arg(end);
            }
            pipe
        };
        let mut old = self.run(&self.writes, shard, build).await?.into_iter();
        let state = state_of(&value::<Vec<String>>(old.next().unwrap_or_default())?)?;
        // The pieces are right only at the planned position, which the script compares again.
        if state.state.epoch != plan.epoch || state.state.position != plan.at {
            return Ok(false);
        }
        let old = old.map(value::<Vec<u8>>).collect::<PortResult<Vec<_>>>()?;
        let new: Vec<(usize, Vec<u8>)> =
            pieces.iter().zip(old).map(|(piece, old)| (piece.offset(), piece.bytes(old))).collect();
        let records = pack(&plan.spills);
        let position = |command: &mut Cmd, at: FoldPosition| {
            command.arg(at.n).arg(at.m).arg(at.a);
        };
        let answer = self.call(&self.writes, shard, Script::Compact, |command| {
            command.arg(plan.epoch.to_string());
            position(command, plan.at);
            position(command, plan.to);
            command.arg(new.len());
            for (offset, bytes) in &new {
                command.arg(*offset).arg(&bytes[..]);
            }
            for record in &records {
                command.arg(record.slot.0).arg(record.last.0).arg(record.body_bytes).arg(&record.bytes[..]);
            }
        });
        Ok(value::<u64>(answer.await?)? == 1)
    }

    async fn attach(&self, shard: Shard, slot: Slot, consumer: &ConsumerName, start: Start) -> PortResult<Attached> {
        type Answer = (Vec<String>, u64, u64, u64, String, u64, u64, u64, u64);
        let (mode, at) = match start {
            Start::Earliest => ("e", 0),
            Start::At(seq) => ("a", number(seq.0)),
            Start::Observe => ("o", 0),
        };
        let now_ms = self.clock.now_ms().max(0);
        let answer = self.call(&self.reads, shard, Script::Attach, |command| {
            command.arg(slot.0).arg(consumer.as_str()).arg(mode).arg(at).arg(now_ms);
            command.arg(SUBSCRIBER_CONSUMERS_MAX);
        });
        let (state, removed, new, row, row_epoch, acked, lost, base, full) = value::<Answer>(answer.await?)?;
        let state = state_of(&state)?;
        let row_epoch = row_epoch.parse().map_err(|_| damaged("an epoch that is none"))?;
        Ok(Attached {
            state: self.noted(shard, state).await?.state,
            removed: removed == 1,
            full: full == 1,
            new: new == 1,
            row: Seq(row),
            row_epoch,
            acked: acked_of(acked),
            lost: Seq(lost),
            base: Seq(base),
        })
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn take_turn(&self, shard: Shard, slot: Slot, consumer: &ConsumerName) -> PortResult<u64> {
        self.new_turn(shard, slot, consumer).await
    }

    async fn turns(&self, shard: Shard, after: u64, max: usize) -> PortResult<Turns> {
        self.turns_after(shard, after, max).await
    }

    async fn tell_presence(&self, shard: Shard, gateway: &str, present: &[Present]) -> PortResult<()> {
        self.store_presence(shard, gateway, present).await
    }

    async fn presence(&self, shard: Shard, own: &str) -> PortResult<Vec<Present>> {
        self.presence_but(shard, own).await
    }

    async fn read(&self, shard: Shard, slot: Slot, from: Seq, max: usize) -> PortResult<QueueRead> {
        type Answer = (Vec<String>, u64, u64, u64, Vec<StreamEntry>);
        let answer = self.call(&self.reads, shard, Script::Read, |command| {
            command.arg(slot.0).arg(number(from.0)).arg(max.clamp(1, RECORDS_MAX));
        });
        let (state, acked, lost, base, entries) = value::<Answer>(answer.await?)?;
        // A record stays until its last delivery is acked; what is acked or lost of it is hidden here.
        let first = from.0.max(acked.max(lost) + 1);
        let mut records = Vec::new();
        for entry in entries {
            records.extend(spilled(slot, entry)?.1.into_iter().filter(|spill| spill.seq.0 >= first));
        }
        records.truncate(max);
        Ok(QueueRead {
            state: state_of(&state)?.state,
            removed: acked == TOMBSTONE,
            base: Seq(base),
            acked: acked_of(acked),
            lost: Seq(lost),
            records,
        })
    }

    async fn ack(&self, shard: Shard, epoch: Epoch, acks: &[Ack]) -> PortResult<bool> {
        if acks.is_empty() {
            return Ok(self.state(shard).await?.epoch == epoch);
        }
        for acks in acks.chunks(ACKS_MAX) {
            if !self.move_to(shard, Some(epoch), false, acks).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn reset(&self, shard: Shard, slot: Slot, consumer: &ConsumerName, to: Seq) -> PortResult<()> {
        let ack = Ack { slot, consumer: consumer.clone(), seq: to };
        self.move_to(shard, None, true, &[ack]).await.map(|_| ())
    }

    async fn remove(&self, shard: Shard, slot: Slot) -> PortResult<()> {
        let answer = self.call(&self.reads, shard, Script::Remove, |command| {
            command.arg(slot.0);
        });
        answer.await.map(|_| ())
    }

    async fn slots(&self, shard: Shard) -> PortResult<u32> {
        let mut pipe = redis::pipe();
        pipe.cmd("STRLEN").arg(self.key(shard, "acked")).cmd("HGET").arg(self.key(shard, "meta")).arg("slots");
        let answers = self.reads.run(&pipe).await.map_err(port_error)?;
        let [acked, routed] = <[Value; 2]>::try_from(answers).map_err(|_| damaged("a count lacks a part"))?;
        let attached = value::<usize>(acked)?.div_ceil(RECORD_BYTES);
        let routed = value::<Option<u32>>(routed)?.unwrap_or(0);
        Ok(u32::try_from(attached).unwrap_or(u32::MAX).max(routed))
    }

    async fn acked(&self, shard: Shard, slots: &[Slot]) -> PortResult<Vec<Seq>> {
        let mut sorted: Vec<u32> = slots.iter().map(|slot| slot.0).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let runs: Vec<&[u32]> = sorted.chunk_by(|left, right| right - left <= PIECE_GAP).collect();
        let mut pipe = redis::pipe();
        for run in &runs {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let (start, end) = (*first as usize * RECORD_BYTES, (*last as usize + 1) * RECORD_BYTES - 1);
            pipe.cmd("GETRANGE").arg(self.key(shard, "acked")).arg(start).arg(end);
        }
        let answers = if runs.is_empty() { Vec::new() } else { self.reads.run(&pipe).await.map_err(port_error)? };
        let mut known: HashMap<u32, u64> = HashMap::with_capacity(sorted.len());
        for (run, answer) in runs.iter().zip(answers) {
            let bytes: Vec<u8> = value(answer)?;
            let first = run.first().copied().unwrap_or(0);
            for slot in *run {
                let at = (slot - first) as usize * RECORD_BYTES;
                known.insert(
                    *slot,
                    bytes.get(at..at + BASE_BYTES).and_then(|bytes| counters(bytes).next()).unwrap_or(0),
                );
            }
        }
        Ok(slots.iter().map(|slot| acked_of(known.get(&slot.0).copied().unwrap_or(0))).collect())
    }

    async fn standings(&self, shard: Shard, after: Option<Slot>, max: usize) -> PortResult<Vec<Standing>> {
        let mut from = after.map_or(0, |slot| slot.0.saturating_add(1));
        let mut slots: Vec<Slot> = Vec::new();
        while slots.len() < max {
            let start = from as usize * RECORD_BYTES;
            let end = start + WINDOW_SLOTS * RECORD_BYTES - 1;
            let upto = u64::from(from) + WINDOW_SLOTS as u64;
            let mut pipe = redis::pipe();
            pipe.cmd("GETRANGE").arg(self.key(shard, "acked")).arg(start).arg(end);
            pipe.cmd("STRLEN").arg(self.key(shard, "acked"));
            pipe.cmd("ZRANGEBYSCORE").arg(self.key(shard, "spilled")).arg(from).arg(format!("({upto}"));
            pipe.cmd("ZREVRANGE").arg(self.key(shard, "spilled")).arg(0).arg(0);
            let answers = self.reads.run(&pipe).await.map_err(port_error)?;
            let [records, len, spilled, last] =
                <[Value; 4]>::try_from(answers).map_err(|_| damaged("a list lacks a part"))?;
            let records: Vec<u8> = value(records)?;
            let some =
                records.chunks(RECORD_BYTES).zip(from..).filter(|(record, _)| record.iter().any(|byte| *byte != 0));
            let mut found: Vec<u32> = some.map(|(_, slot)| slot).collect();
            found.extend(value::<Vec<u32>>(spilled)?);
            found.sort_unstable();
            found.dedup();
            slots.extend(found.into_iter().map(Slot));
            let end = (value::<u64>(len)? / RECORD_BYTES as u64)
                .max(value::<Vec<u64>>(last)?.first().map_or(0, |slot| slot + 1));
            match u32::try_from(upto) {
                Ok(next) if upto < end => from = next,
                _ => break,
            }
        }
        slots.truncate(max);
        self.standings_of(shard, &slots).await
    }

    async fn checkpoints(&self, shard: Shard) -> PortResult<Vec<Checkpoint>> {
        let answer = self.call(&self.reads, shard, Script::Checkpoints, |_| {});
        let rows: Vec<(u32, u64, u64)> = value(answer.await?)?;
        let of_row = |(partition, first, next)| Checkpoint {
            partition: Partition(partition),
            first: Offset(first),
            next: Offset(next),
        };
        Ok(rows.into_iter().map(of_row).collect())
    }

    async fn consumers(&self, shard: Shard, slot: Slot) -> PortResult<Vec<ConsumerState>> {
        let answer = self.call(&self.reads, shard, Script::Consumers, |command| {
            command.arg(slot.0);
        });
        let rows: Vec<(String, u64, String, i64)> = value(answer.await?)?;
        let states = rows.into_iter().map(|(name, acked, epoch, last_ack_ms)| {
            Ok(ConsumerState {
                name: ConsumerName::new(&name).map_err(|error| damaged(&error.to_string()))?,
                acked: Seq(acked),
                epoch: epoch.parse().map_err(|_| damaged("an epoch that is none"))?,
                last_ack_ms: Some(last_ack_ms).filter(|time_ms| *time_ms > 0),
            })
        });
        let mut states = states.collect::<Result<Vec<_>, PortError>>()?;
        states.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(states)
    }

    async fn expire(&self, shard: Shard, retention: &Retention) -> PortResult<Vec<Expired>> {
        self.forget_consumers(shard, retention).await?;
        self.expire_deliveries(shard, retention).await
    }
}
