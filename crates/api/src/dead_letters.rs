//! `/dead-letters`: records that could not be read as events.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    pub id: String,
    /// A stable word, such as `invalid_json`.
    pub reason: String,
    pub detail: String,
    /// Where it came from, `partition:offset`.
    pub position: String,
    pub time_ms: i64,
    /// The bytes as they came, base64.
    pub payload_base64: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReplayResponse {
    pub replayed: u64,
    pub failed: u64,
}
