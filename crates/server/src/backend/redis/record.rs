//! The stored form of spilled deliveries, and the reading of answers.
//!
//! A record holds consecutive deliveries of one slot, because the first delivery in its own record is the dear one. Its
//! stream id is the last of their seqs, so a range from any of them finds it. Version 1: `1`, then LEB128 varints: how
//! many deliveries, and for each: seq, partition, offset, time (zigzag), number of filters, filters, body length, body.

use bytes::{Buf, BufMut, Bytes};
use evs_core::log::compact::Spill;
use evs_core::{Offset, Partition, Seq, Slot};
use redis::{FromRedisValue, Value};

use super::WHAT;
use crate::ports::{PortError, PortResult};

const VERSION: u8 = 1;
/// Deliveries of one record: past this, another record costs little in proportion.
const DELIVERIES_MAX: usize = 64;
/// Bodies of one record; a reader that wants the last of them must read all.
const BYTES_MAX: usize = 32 * 1024;

/// A record as it is written.
pub(super) struct Packed {
    pub(super) slot: Slot,
    pub(super) last: Seq,
    pub(super) body_bytes: usize,
    pub(super) bytes: Vec<u8>,
}

/// Packs spills, which are sorted by slot and seq.
pub(super) fn pack(spills: &[Spill]) -> Vec<Packed> {
    let mut packed = Vec::new();
    for of_slot in spills.chunk_by(|left, right| left.slot == right.slot) {
        let mut rest = of_slot;
        while !rest.is_empty() {
            let mut body_bytes = 0;
            let fits = rest.iter().take(DELIVERIES_MAX).take_while(|spill| {
                body_bytes += spill.body.len();
                body_bytes <= BYTES_MAX
            });
            let (record, later) = rest.split_at(fits.count().max(1));
            packed.push(pack_one(record));
            rest = later;
        }
    }
    packed
}

fn pack_one(spills: &[Spill]) -> Packed {
    let body_bytes = spills.iter().map(|spill| spill.body.len()).sum();
    let mut bytes = Vec::with_capacity(body_bytes + spills.len() * 24);
    bytes.put_u8(VERSION);
    put(&mut bytes, spills.len() as u64);
    for spill in spills {
        put(&mut bytes, spill.seq.0);
        put(&mut bytes, u64::from(spill.partition.0));
        put(&mut bytes, spill.offset.0);
        put(&mut bytes, ((spill.time_ms << 1) ^ (spill.time_ms >> 63)) as u64);
        put(&mut bytes, spill.filters.len() as u64);
        for filter in &spill.filters {
            put(&mut bytes, u64::from(*filter));
        }
        put(&mut bytes, spill.body.len() as u64);
        bytes.put_slice(&spill.body);
    }
    let last = spills.last().map_or((Slot(0), Seq(0)), |spill| (spill.slot, spill.seq));
    Packed { slot: last.0, last: last.1, body_bytes, bytes }
}

/// The deliveries of a record, oldest first.
pub(super) fn unpack(slot: Slot, bytes: Bytes) -> PortResult<Vec<Spill>> {
    unpacked(slot, bytes).ok_or_else(|| damaged("a spilled delivery is damaged, or of a newer version"))
}

fn unpacked(slot: Slot, mut bytes: Bytes) -> Option<Vec<Spill>> {
    if bytes.try_get_u8().ok()? != VERSION {
        return None;
    }
    let count = get(&mut bytes)?;
    let mut spills = Vec::new();
    for _ in 0..count {
        let seq = Seq(get(&mut bytes)?);
        let partition = Partition(u32::try_from(get(&mut bytes)?).ok()?);
        let offset = Offset(get(&mut bytes)?);
        let time = get(&mut bytes)?;
        let time_ms = ((time >> 1) as i64) ^ -((time & 1) as i64);
        let mut filters = Vec::new();
        for _ in 0..get(&mut bytes)? {
            filters.push(u32::try_from(get(&mut bytes)?).ok()?);
        }
        let len = usize::try_from(get(&mut bytes)?).ok()?;
        if len > bytes.remaining() {
            return None;
        }
        spills.push(Spill { slot, seq, partition, offset, time_ms, filters, body: bytes.split_to(len) });
    }
    Some(spills)
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn get(bytes: &mut Bytes) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.try_get_u8().ok()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// A stream entry as Redis gives it: its id and its fields.
pub(super) type StreamEntry = (String, Vec<Vec<u8>>);

/// A spilled record read back: how many body bytes were ever spilled up to its end, and its deliveries.
pub(super) fn spilled(slot: Slot, entry: StreamEntry) -> PortResult<(u64, Vec<Spill>)> {
    let mut fields = entry.1.into_iter().skip(1).step_by(2);
    let (Some(total), Some(bytes)) = (fields.next(), fields.next()) else {
        return Err(damaged("a spilled record lacks a field"));
    };
    let total = std::str::from_utf8(&total).ok().and_then(|text| text.parse().ok());
    Ok((total.ok_or_else(|| damaged("a spilled record lacks its total"))?, unpack(slot, bytes.into())?))
}

/// An answer as what it should be.
pub(super) fn value<T: FromRedisValue>(answer: Value) -> PortResult<T> {
    redis::from_redis_value(answer).map_err(|error| damaged(&error.to_string()))
}

pub(super) fn damaged(cause: &str) -> PortError {
    PortError::Damaged { what: WHAT, cause: cause.to_owned() }
}
