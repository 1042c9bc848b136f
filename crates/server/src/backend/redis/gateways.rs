//! What gateways tell each other by way of a shard: which connection of a consumer is the newest, and who is connected.

use evs_core::{ConsumerName, Shard, Slot};

use super::RedisQueue;
use super::queue::{number, parse, state_of};
use super::record::{damaged, value};
use super::scripts::Script;
use crate::ports::PortResult;
use crate::ports::delivery_queue::{PRESENCE_TTL_S, Present, TURNS_KEPT, Turn, Turns};

/// A slot, and twice its connections, and one more if they are live.
const PRESENT_BYTES: usize = 8;
/// Turns of one read.
const TURNS_MAX: usize = 1_000;

impl RedisQueue {
    pub(super) async fn new_turn(&self, shard: Shard, slot: Slot, consumer: &ConsumerName) -> PortResult<u64> {
        let answer = self.call(&self.reads, shard, Script::Turn, |command| {
            command.arg(slot.0).arg(consumer.as_str()).arg(TURNS_KEPT);
        });
        value(answer.await?)
    }

    pub(super) async fn turns_after(&self, shard: Shard, after: u64, max: usize) -> PortResult<Turns> {
        type Answer = (Vec<String>, u64, Vec<(String, Vec<String>)>);
        let answer = self.call(&self.reads, shard, Script::Turns, |command| {
            command.arg(number(after)).arg(max.clamp(1, TURNS_MAX));
        });
        let (state, forgotten, entries) = value::<Answer>(answer.await?)?;
        let taken = entries.into_iter().map(|(id, fields)| {
            let number = parse(id.strip_prefix("0-").unwrap_or_default())?;
            let [_, slot, _, consumer] = &fields[..] else { return Err(damaged("a turn lacks a field")) };
            let consumer = ConsumerName::new(consumer).map_err(|error| damaged(&error.to_string()))?;
            Ok(Turn { number, slot: Slot(parse(slot)?), consumer })
        });
        Ok(Turns { epoch: state_of(&state)?.state.epoch, forgotten, taken: taken.collect::<PortResult<_>>()? })
    }

    pub(super) async fn store_presence(&self, shard: Shard, gateway: &str, present: &[Present]) -> PortResult<()> {
        let mut bytes = Vec::with_capacity(present.len() * PRESENT_BYTES);
        for Present { slot, connections, live } in present {
            bytes.extend_from_slice(&slot.0.to_be_bytes());
            bytes.extend_from_slice(&(connections << 1 | u32::from(*live)).to_be_bytes());
        }
        let answer = self.call(&self.writes, shard, Script::Present, |command| {
            command.arg(gateway).arg(&bytes[..]).arg(PRESENCE_TTL_S);
        });
        answer.await.map(drop)
    }

    pub(super) async fn presence_but(&self, shard: Shard, own: &str) -> PortResult<Vec<Present>> {
        let answer = self.call(&self.reads, shard, Script::Here, |command| {
            command.arg(own);
        });
        let gateways: Vec<Vec<u8>> = value(answer.await?)?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |value: u32, byte| value << 8 | u32::from(*byte));
        let present = gateways.iter().flat_map(|bytes| bytes.chunks_exact(PRESENT_BYTES)).map(|bytes| {
            let (slot, count) = bytes.split_at(PRESENT_BYTES / 2);
            let count = number(count);
            Present { slot: Slot(number(slot)), connections: count >> 1, live: count & 1 == 1 }
        });
        Ok(present.collect())
    }
}
