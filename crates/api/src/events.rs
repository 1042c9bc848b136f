//! `/events`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Answer of `POST /events`, given only when the events are durable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PublishResponse {
    pub accepted: u64,
    /// `partition:offset` of each event, in the order they were sent.
    pub positions: Vec<String>,
}

/// One line of `GET /events/stream` (SSE) and of `GET /events`: an event of the log, seen by an operator.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LoggedEvent {
    pub position: String,
    /// When the log took it, milliseconds since the Unix epoch.
    pub time_ms: i64,
    #[schema(value_type = Object)]
    pub data: Box<serde_json::value::RawValue>,
}

/// An SSE `drops` event of `GET /events/stream`: the reader was too slow, or the server samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Drops {
    pub dropped: u64,
}
