//! Where a consumer stands, as opaque text that a client stores and gives back.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use crate::log::DecodeError;
use crate::{Epoch, Offset, Partition, Seq, Shard, Slot};

const VERSION: u8 = 1;

/// A position in one queue. It names the slot, so that a subscriber that was deleted and made again is another queue
/// (rule 18), and per partition how far the client has seen, so that it still dedupes after an epoch change (rule 31).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub shard: Shard,
    pub slot: Slot,
    pub epoch: Epoch,
    /// The last delivery seen; 0 before the first.
    pub seq: Seq,
    /// Per partition the offset after the last one that was delivered, deduped or told as a gap; may be empty.
    pub seen: Vec<(Partition, Offset)>,
}

impl Cursor {
    /// Everything of `partition` before `to` was seen.
    pub fn raise_seen(&mut self, partition: Partition, to: Offset) {
        raise_seen(&mut self.seen, partition, to);
    }
}

/// Raises one partition of what a client has seen; never lowers.
pub fn raise_seen(seen: &mut Vec<(Partition, Offset)>, partition: Partition, to: Offset) {
    match seen.iter_mut().find(|(of, _)| *of == partition) {
        Some((_, seen)) => *seen = (*seen).max(to),
        None => seen.push((partition, to)),
    }
}

/// The text is not a cursor that this server gave out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this server: {0}")]
pub struct ParseCursorError(&'static str);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::log::codec_put as put;
        let mut bytes = vec![VERSION];
        put(&mut bytes, u64::from(self.shard.0));
        put(&mut bytes, u64::from(self.slot.0));
        bytes.extend_from_slice(&self.epoch.0.to_be_bytes());
        put(&mut bytes, self.seq.0);
        put(&mut bytes, self.seen.len() as u64);
        for (partition, offset) in &self.seen {
            put(&mut bytes, u64::from(partition.0));
            put(&mut bytes, offset.0);
        }
        let check = checksum(&bytes);
        bytes.extend_from_slice(&check);
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > 4096 {
            return Err(ParseCursorError("it is too long"));
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ParseCursorError("it is not base64url"))?;
        let (body, check) = bytes.split_last_chunk::<4>().ok_or(ParseCursorError("it is too short"))?;
        if checksum(body) != *check {
            return Err(ParseCursorError("it is cut short or changed"));
        }
        read(body).map_err(|_| ParseCursorError("it is of another version"))
    }
}

fn read(body: &[u8]) -> Result<Cursor, DecodeError> {
    let mut input = crate::log::CodecInput(Bytes::copy_from_slice(body));
    match input.byte()? {
        VERSION => {}
        other => return Err(DecodeError::Version(other)),
    }
    let shard = u16::try_from(input.varint()?).map_err(|_| DecodeError::Damaged("shard"))?;
    let slot = input.u32("slot")?;
    let epoch = input.u64_be()?;
    let seq = input.varint()?;
    let mut seen = Vec::new();
    for _ in 0..input.varint()? {
        seen.push((Partition(input.u32("partition")?), Offset(input.varint()?)));
    }
    Ok(Cursor { shard: Shard(shard), slot: Slot(slot), epoch: Epoch(epoch), seq: Seq(seq), seen })
}

/// FNV-1a, 32 bits: tells a cursor that was cut or mistyped from one that is whole. It is no signature: a cursor
/// grants nothing, the subscriber in the URL and the token do.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_text_and_refuses_damage() {
        let cursor = Cursor {
            shard: Shard(3),
            slot: Slot(70_000),
            epoch: Epoch(u64::MAX),
            seq: Seq(1 << 40),
            seen: vec![(Partition(0), Offset(9)), (Partition(7), Offset(1 << 50))],
        };
        let text = cursor.to_string();
        assert_eq!(text.parse(), Ok(cursor));
        for at in 0..text.len() {
            assert!(text[..at].parse::<Cursor>().is_err(), "cut at {at}");
        }
        let mut changed = text.into_bytes();
        changed[8] = if changed[8] == b'A' { b'B' } else { b'A' };
        assert!(String::from_utf8(changed).unwrap().parse::<Cursor>().is_err());
    }
}
