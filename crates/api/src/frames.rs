//! Frames of the WebSocket protocol `evs.v1.json`: one JSON object in a text message, `t` names its type.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// The subprotocol to offer in `Sec-WebSocket-Protocol`. A client that offers none gets the same frames and is acked
/// as they are sent.
pub const SUBPROTOCOL: &str = "evs.v1.json";

/// A bearer token in `Sec-WebSocket-Protocol`, for browsers: this and the token.
pub const SUBPROTOCOL_BEARER_PREFIX: &str = "evs.bearer.";

/// From the server.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum ServerFrame {
    /// The first frame of a connection.
    Welcome(Welcome),
    Event(EventFrame),
    /// Deliveries `from..=to` will not come, and why; they occupy these numbers.
    Gap(Gap),
    /// All that waited when the connection was made has been sent.
    CaughtUp {
        seq: u64,
        /// A cursor for all of it, as a checkpoint has.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
    },
    /// A cursor that covers the quiet partitions too; at least every few seconds while events flow.
    Checkpoint {
        seq: u64,
        cursor: String,
    },
    /// Answer to an ack that carried `n`.
    Acked {
        seq: u64,
        n: u64,
    },
    Pong {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        n: Option<u64>,
    },
    Error {
        code: String,
        message: String,
    },
    /// The server will close soon; reconnect at a random moment within this time.
    Draining {
        reconnect_within_ms: u64,
    },
    /// A type of a newer server.
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Welcome {
    pub subscriber: String,
    pub consumer: String,
    pub epoch: String,
    /// The first seq that will be sent.
    pub next: u64,
    /// The newest delivery in the queue when the connection was made.
    pub top: u64,
    pub resumed: Resumed,
    /// Unacked events and bytes after which the server stops sending.
    pub window_events: u64,
    pub window_bytes: u64,
    /// The server pings this often; a client that hears nothing for longer than twice this should reconnect.
    pub ping_s: u64,
    /// Where the consumer stands before `next`: a client that dies before its first checkpoint resumes by this. Absent
    /// where events of the log come first, which a resume by it would pass over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    pub server: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resumed {
    /// This consumer is new on this queue.
    New,
    /// Exactly after the cursor, or after the stored position.
    Exact,
    /// Something is missing; a gap frame follows.
    Gap,
    /// The queue's numbers have a new life; what the cursor had seen is left out.
    NewEpoch,
    /// At the end, as asked.
    Latest,
    /// From the event log, as asked by `since`.
    Backfill,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EventFrame {
    /// Absent for events of a backfill, which come from the event log and not from the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The number before this one that was told, where those between were left out on purpose: the client had seen them
    /// before a change of epoch, or its own condition does not want them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// `partition:offset` in the event log. Within an epoch `seq` says all; across epochs this tells what was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// Ids of the subscriber's filters that matched.
    pub filters: Vec<u32>,
    #[schema(value_type = Object)]
    pub data: Box<RawValue>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Gap {
    pub from: u64,
    /// Absent where the number of lost events cannot be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    pub reason: GapReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// Older than the retention, or more than the queue may hold.
    Retention,
    /// Already acked by every consumer.
    Acked,
    /// The store lost it.
    DataLoss,
}

/// From the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum ClientFrame {
    /// All up to `seq` is processed. Store your cursor before you ack.
    Ack {
        seq: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        n: Option<u64>,
    },
    Ping {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        n: Option<u64>,
    },
    /// A new token before the old one expires.
    Refresh { token: String },
    /// A type of a newer client.
    #[serde(other)]
    Unknown,
}

/// Close codes: 4000-4499 reconnect with backoff and resume, 4500-4999 stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum CloseCode {
    GoingAway = 1001,
    TooBig = 1009,
    Internal = 4000,
    Draining = 4001,
    Slow = 4002,
    NoPong = 4003,
    /// The server's view of the queue changed; resume.
    Resume = 4004,
    TokenExpired = 4005,
    RateLimited = 4006,
    Overloaded = 4007,
    BadRequest = 4500,
    Unauthorized = 4501,
    Forbidden = 4503,
    /// The subscriber was deleted.
    NotFound = 4504,
    /// A newer connection of the same consumer took over.
    Superseded = 4509,
    ConnectionLimit = 4510,
}

impl CloseCode {
    /// Every code, in ascending order.
    pub const ALL: [Self; 16] = [
        Self::GoingAway,
        Self::TooBig,
        Self::Internal,
        Self::Draining,
        Self::Slow,
        Self::NoPong,
        Self::Resume,
        Self::TokenExpired,
        Self::RateLimited,
        Self::Overloaded,
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Superseded,
        Self::ConnectionLimit,
    ];

    /// A stable machine word, sent as the close reason.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::GoingAway => "going_away",
            Self::TooBig => "too_big",
            Self::Internal => "internal",
            Self::Draining => "draining",
            Self::Slow => "slow",
            Self::NoPong => "no_pong",
            Self::Resume => "resume",
            Self::TokenExpired => "token_expired",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Superseded => "superseded",
            Self::ConnectionLimit => "connection_limit",
        }
    }

    /// Whether a client should come back after this code.
    #[must_use]
    pub fn reconnects(code: u16) -> bool {
        !(4500..5000).contains(&code) && code != Self::TooBig as u16
    }
}
