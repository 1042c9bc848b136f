//! The base string: how many of a slot's routes are folded, and the pieces of it that a compaction writes.

use evs_core::{Seq, Slot};

/// Bytes of a slot in `base`.
pub(super) const BASE_BYTES: usize = 6;
/// Changed slots that lie no further apart are written as one piece of the base.
pub(super) const PIECE_GAP: u32 = 64;

/// The counters of a base string.
pub(super) fn counters(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks_exact(BASE_BYTES).map(|bytes| bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// A run of the base string that one `SETRANGE` writes: the first slot, and the new counters of some of its slots.
pub(super) struct Piece<'a> {
    first: u32,
    pub(super) last: u32,
    changed: &'a [(Slot, Seq)],
}

impl Piece<'_> {
    pub(super) fn cut(bases: &[(Slot, Seq)]) -> Vec<Piece<'_>> {
        let near = |left: &(Slot, Seq), right: &(Slot, Seq)| right.0.0 - left.0.0 <= PIECE_GAP;
        let piece =
            |changed: &'_ [(Slot, Seq)]| -> Option<(u32, u32)> { Some((changed.first()?.0.0, changed.last()?.0.0)) };
        bases
            .chunk_by(near)
            .filter_map(|changed| piece(changed).map(|(first, last)| Piece { first, last, changed }))
            .collect()
    }

    pub(super) fn offset(&self) -> usize {
        self.first as usize * BASE_BYTES
    }

    /// The bytes to write, where `old` is what is there now.
    pub(super) fn bytes(&self, mut old: Vec<u8>) -> Vec<u8> {
        old.resize((self.last - self.first + 1) as usize * BASE_BYTES, 0);
        for (slot, seq) in self.changed {
            let at = (slot.0 - self.first) as usize * BASE_BYTES;
            old[at..at + BASE_BYTES].copy_from_slice(&seq.0.to_be_bytes()[8 - BASE_BYTES..]);
        }
        old
    }
}
