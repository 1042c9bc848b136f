//! The delivery log: its entries, their fold into sequence numbers, and what is spilled when they leave it.
//!
//! A shard's log is a list of [`Entry`]s with dense ids 1, 2, 3… An entry holds the matched events of one batch of one
//! partition once, and packed **routes**: which slot gets which event, because of which filters. A delivery's
//! [`Seq`](crate::Seq) is implied: it is the number of the slot's routes so far. The **fold** counts them; its value at
//! the point up to which the log was trimmed is the **base**. A reader starts from the base and replays what follows
//! into a [`Window`]. [`compact`] decides how entries leave: what is acked is only counted, the rest is spilled into
//! the subscriber's own queue.

mod codec;
pub mod compact;
mod entry;
mod window;

pub use codec::DecodeError;
pub(crate) use codec::{Input as CodecInput, put as codec_put};
pub use entry::{Entry, EntryBuilder, EntryEvent, Route};
pub use window::{Found, Place, Window, WindowError};

/// How far the log is folded into the base: entries `..=n` are folded and trimmed, entries `n+1..=m` are folded for
/// slots below `a` (rule 2). At rest `m == n` and `a == 0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoldPosition {
    pub n: u64,
    pub m: u64,
    pub a: u32,
}

impl FoldPosition {
    /// Whether the base counts this route already.
    #[must_use]
    pub fn covers(&self, entry: u64, slot: u32) -> bool {
        entry <= self.n || (entry <= self.m && slot < self.a)
    }
}
