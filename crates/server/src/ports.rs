//! What the server needs from the outside: three ports, because there are three borders of atomicity.
//!
//! The [`EventLog`] has order, the [`FilterStore`] has transactions over filters and their version, the
//! [`DeliveryQueue`] moves checkpoint, deliveries, acks and compaction in single steps. Embedded, all three share one
//! SQLite file; distributed they are Kafka, PostgreSQL and Redis; no caller can tell. A port is the minimum that a
//! backend must give, and each method is one atomic step.

pub mod delivery_queue;
pub mod event_log;
pub mod filter_store;

pub use delivery_queue::DeliveryQueue;
pub use event_log::EventLog;
pub use filter_store::FilterStore;

/// Why a backend did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// It cannot be reached or is not able to now: nothing is known of what happened to a write; try again, with
    /// the identical call.
    #[error("{what} is not available: {cause}")]
    Unavailable { what: &'static str, cause: String },
    /// There is no room: nothing was written; hold back and try again.
    #[error("{what} is full: {cause}")]
    Full { what: &'static str, cause: String },
    /// What is stored cannot be understood; a person must look.
    #[error("{what} holds something that this version cannot read: {cause}")]
    Damaged { what: &'static str, cause: String },
}

pub type PortResult<T> = Result<T, PortError>;
