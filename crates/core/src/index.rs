//! Finds the filters that match an event, at a cost that follows the matches and not the filters.
//!
//! A filter becomes a *formula* in negation normal form ([`formula`]). A *cover* of it ([`cover`], chosen by [`plan`]) names the *keys*
//! under which it is found: a value, a prefix, an interval, or a pair of them. Filters of one key lie in *clusters*,
//! one for each *layout* of columns ([`chunk`]): an *order* by a bound, so that a binary search finds those an event
//! satisfies; a second bound and *gates* ([`gates`]), compared without branches; and *code* ([`program`]) for what is
//! left. An event is read once ([`extract`]), its values become *symbols* ([`symbols`]) if any filter names them, and
//! only clusters of its keys are looked at ([`snapshot`]). One writer ([`writer`], which puts filters in by [`placing`])
//! changes lists of blocks of its own and publishes them together ([`blocks`]); readers never wait.

mod admission;
mod blocks;
mod catalog;
mod chunk;
mod clusters;
mod cover;
mod encode;
mod extract;
mod fields;
mod formula;
mod gates;
mod layouts;
mod lexicon;
mod number;
mod order;
mod paged;
mod pipeline;
mod places;
mod placing;
mod plan;
mod pool;
#[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "a prefetch; see there why it is sound"))]
mod prefetch;
mod program;
mod rekey;
mod scan;
mod search;
mod snapshot;
mod symbols;
mod table;
mod usage;
mod writer;

#[cfg(test)]
#[expect(clippy::duplicate_mod, reason = "each of the included tests has the oracle")]
mod small;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub use admission::{Admission, Indexability, admission};
pub use pipeline::Pipeline;
pub use snapshot::{Scratch, Snapshot};
pub use writer::MatchIndex;

use crate::{FilterId, Shard, Slot};

/// A bound of the index. Unit tests and the fuzzer make it small, so that a few filters reach what lies beyond it.
const fn bound(usual: usize, in_tests: usize) -> usize {
    if cfg!(any(test, fuzzing)) { in_tests } else { usual }
}

/// Whose queue a match goes to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Target {
    pub shard: Shard,
    pub slot: Slot,
}

/// One filter that matches, ordered as the delivery log's routes are: by shard, slot and filter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Match {
    pub target: Target,
    pub filter: FilterId,
}

/// What `/stats` tells of the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IndexStats {
    pub filters: usize,
    /// Filters that are evaluated on their own; equal ones count once.
    pub classes: usize,
    /// Filters that are candidates of every event, because nothing they ask for can be looked up.
    pub unindexable_filters: usize,
    pub memory_bytes: usize,
}

/// A reader's handle: always the newest published snapshot, for about a nanosecond.
#[derive(Clone, Debug)]
pub struct IndexReader {
    cache: arc_swap::Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
}

impl IndexReader {
    fn new(published: Arc<ArcSwap<Snapshot>>) -> Self {
        Self { cache: arc_swap::Cache::new(published) }
    }

    pub fn snapshot(&mut self) -> &Arc<Snapshot> {
        self.cache.load()
    }
}
