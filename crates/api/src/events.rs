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
    /// The headers of its Kafka record, in their order: the first 32. Embedded, the `traceparent` that it came with, as
    /// long as it is in memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<EventHeader>,
    /// How many headers it has besides those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub headers_left_out: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A header of an event's record. A name may come more than once. A header without a value has neither `value` nor
/// `value_base64`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventHeader {
    /// Up to 128 characters of it.
    pub name: String,
    /// The value, if it is UTF-8: up to 512 bytes of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The same in base64, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    /// Bytes of the whole value, where only a part of it is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_from_bytes: Option<u64>,
}

/// An SSE `drops` event of `GET /events/stream`: the reader was too slow, or the server samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Drops {
    pub dropped: u64,
}
