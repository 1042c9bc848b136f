//! Where a consumer stands, as opaque text.

/// Subscriber, epoch, seq, and per partition the highest offset seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {}
