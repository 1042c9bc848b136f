//! An event: an immutable JSON object whose bytes travel untouched from producer to client.

use bytes::Bytes;

/// A JSON object within the limits, with unique keys at every level; its bytes are kept as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    bytes: Bytes,
}

impl Event {
    /// Takes bytes that [`Event::parse`] has accepted before, such as those read back from the event log.
    #[must_use]
    pub fn trusted(bytes: Bytes) -> Self {
        Self { bytes }
    }

    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}
