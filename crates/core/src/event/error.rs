//! Why bytes are not an event, for the producer that sent them and for the dead letter that keeps them.

use thiserror::Error;

use crate::limits::{EVENT_BYTES_MAX, EVENT_DEPTH_MAX};

/// What is wrong with the bytes of an event; offsets count bytes from the start of the trimmed text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EventError {
    #[error("the event is not UTF-8 at byte {offset}: encode it as UTF-8")]
    InvalidUtf8 { offset: usize },

    #[error("the event is not JSON at line {line}, column {column} (byte {offset}): {reason}")]
    InvalidJson { offset: usize, line: usize, column: usize, reason: String },

    #[error("the event is {found}, but must be a JSON object such as {{\"event_type\": \"purchase\"}}")]
    NotAnObject { found: &'static str },

    #[error("the event has {bytes} bytes, more than the {EVENT_BYTES_MAX} allowed: send a reference to large content")]
    TooLarge { bytes: usize },

    #[error("the event nests deeper than {EVENT_DEPTH_MAX} levels at byte {offset}: flatten it")]
    TooDeep { offset: usize },

    #[error("the event has the key {key:?} twice in one object, the second ends at byte {offset}: send each key once")]
    DuplicateKey { key: String, offset: usize },
}

impl EventError {
    /// A name that programs may rely on: it does not change when the sentence does.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidUtf8 { .. } => "invalid_utf8",
            Self::InvalidJson { .. } => "invalid_json",
            Self::NotAnObject { .. } => "not_an_object",
            Self::TooLarge { .. } => "too_large",
            Self::TooDeep { .. } => "too_deep",
            Self::DuplicateKey { .. } => "duplicate_key",
        }
    }

    /// Where in the bytes, if it is at one place.
    #[must_use]
    pub fn offset(&self) -> Option<usize> {
        match self {
            Self::InvalidUtf8 { offset }
            | Self::InvalidJson { offset, .. }
            | Self::TooDeep { offset }
            | Self::DuplicateKey { offset, .. } => Some(*offset),
            Self::NotAnObject { .. } | Self::TooLarge { .. } => None,
        }
    }
}
