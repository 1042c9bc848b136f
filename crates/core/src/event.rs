//! An event: an immutable JSON object whose bytes travel untouched from producer to client.
//!
//! An event is checked once, on the way in ([`Event::parse`]), and only read in part afterwards: because keys are
//! unique at every level, a reader may stop at the first key it looks for and still be exact.

mod error;
mod field;
mod parse;

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::Value;

use crate::Trace;

pub use error::EventError;

/// A JSON object within the limits, with unique keys at every level; its bytes are kept as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    bytes: Bytes,
    trace: Option<Box<Trace>>,
}

impl Event {
    /// Checks bytes from outside in one pass and takes them without copying, less the white space around them.
    ///
    /// An event is UTF-8, strict JSON (no NaN, no Infinity, no number that a double cannot hold), an object of at most
    /// [`EVENT_BYTES_MAX`](crate::limits::EVENT_BYTES_MAX) bytes and
    /// [`EVENT_DEPTH_MAX`](crate::limits::EVENT_DEPTH_MAX) levels, and names no key twice in one object. Keys are
    /// compared as they read, so `"a"` and `"\u0061"` are the same.
    ///
    /// # Errors
    ///
    /// Tells what is wrong, where, and a stable [`EventError::code`].
    pub fn parse(bytes: Bytes) -> Result<Self, EventError> {
        let bytes = parse::trim(&bytes);
        parse::check(&bytes)?;
        Ok(Self::trusted(bytes))
    }

    /// Takes bytes that [`Event::parse`] has accepted before, such as those read back from the event log.
    #[must_use]
    pub fn trusted(bytes: Bytes) -> Self {
        Self { bytes, trace: None }
    }

    /// The same event as part of a trace.
    #[must_use]
    pub fn with_trace(mut self, trace: Option<Trace>) -> Self {
        self.trace = trace.map(Box::new);
        self
    }

    /// The trace that its producer gave it; it is no part of its bytes.
    #[must_use]
    pub fn trace(&self) -> Option<Trace> {
        self.trace.as_deref().copied()
    }

    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes as one line, for formats where a line is a record (NDJSON, SSE).
    ///
    /// JSON allows line breaks between tokens only, never inside a string, so a space in their place changes neither
    /// the meaning nor the length. Nothing is copied when there is none.
    #[must_use]
    pub fn single_line(&self) -> Cow<'_, [u8]> {
        if memchr::memchr2(b'\n', b'\r', &self.bytes).is_none() {
            return Cow::Borrowed(&self.bytes);
        }
        Cow::Owned(self.bytes.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }).collect())
    }

    /// The whole event as a tree: slow, for the oracle, explanations and tests. Null if the bytes were not an event.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    /// A top-level field as text, reading no further than that field: a string's content, or a number as written.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<Cow<'_, str>> {
        field::text(&self.bytes, field)
    }

    /// The producer's own name for the event, if it gave one.
    #[must_use]
    pub fn event_id(&self) -> Option<Cow<'_, str>> {
        self.text("event_id")
    }

    /// Whom the event is about: the key that orders events within a topic.
    #[must_use]
    pub fn user_id(&self) -> Option<Cow<'_, str>> {
        self.text("user_id")
    }
}

#[cfg(test)]
mod tests;
