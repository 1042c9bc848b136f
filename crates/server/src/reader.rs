//! One reader per shard follows the delivery log, folds it, and wakes or feeds the sessions of this process.

/// The readers of all shards.
#[derive(Clone, Debug)]
pub struct Readers {}
