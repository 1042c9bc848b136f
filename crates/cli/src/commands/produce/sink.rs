//! Where events go to.

use super::Patience;
use super::rest::Rest;
use super::source::Record;
use crate::exit::Failure;

pub(super) enum Sink {
    Rest(Rest),
    #[cfg(feature = "kafka")]
    Kafka(super::kafka::Kafka),
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) accepted: u64,
    /// Of the records that were meant to be refused.
    pub(super) refused_as_meant: u64,
    /// Each with its reason.
    pub(super) refused: Vec<(Record, String)>,
    /// Attempts that failed and were made again.
    pub(super) retries: u64,
    /// Those attempts by the word for their cause, such as `storage_full`.
    pub(super) retried_for: std::collections::BTreeMap<String, u64>,
    /// With a failure: no attempt reached the server, so the rest certainly did not arrive.
    pub(super) not_arrived: bool,
    /// Why the rest of the batch was given up.
    pub(super) failure: Option<Failure>,
}

impl Sink {
    /// Sends a batch and waits until it is durable, refused or given up.
    pub(super) async fn send(&self, batch: Vec<Record>, patience: Patience) -> Outcome {
        match self {
            Self::Rest(rest) => rest.send(batch, patience).await,
            #[cfg(feature = "kafka")]
            Self::Kafka(kafka) => kafka.send(batch, patience.later).await,
        }
    }
}
