//! The check of incoming bytes: one pass of a streaming reader that builds nothing but a list of keys.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use serde_json::Deserializer;
use serde_json::de::StrRead;

use super::EventError;
use crate::limits::{EVENT_BYTES_MAX, EVENT_DEPTH_MAX};

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

/// Objects with more keys than this are checked by a hash set: comparing each with each would let a hostile event of
/// a hundred thousand keys hold a core for seconds.
const SCANNED_KEYS_MAX: usize = 32;

/// The bytes less the white space that JSON allows around a value.
pub(super) fn trim(bytes: &Bytes) -> Bytes {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let start = bytes.iter().position(|byte| !blank(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    bytes.slice(start..end)
}

pub(super) fn check(bytes: &[u8]) -> Result<(), EventError> {
    if bytes.len() > EVENT_BYTES_MAX {
        return Err(EventError::TooLarge { bytes: bytes.len() });
    }
    let text = std::str::from_utf8(bytes).map_err(|e| EventError::InvalidUtf8 { offset: e.valid_up_to() })?;
    if let Some(found) = other_value(bytes) {
        return Err(EventError::NotAnObject { found });
    }
    let mut state = State { keys: Vec::new(), violation: None };
    let mut reader = Deserializer::from_str(text);
    match read(&mut state, &mut reader) {
        Ok(()) => Ok(()),
        Err(error) => Err(explain(state.violation, &error, text)),
    }
}

fn read<'de>(state: &mut State<'de>, reader: &mut Deserializer<StrRead<'de>>) -> Result<(), serde_json::Error> {
    Element { state, depth: 1 }.deserialize(&mut *reader)?;
    reader.end()
}

/// What a text that does not open an object begins, when it plainly is another JSON value.
fn other_value(bytes: &[u8]) -> Option<&'static str> {
    match bytes.first()? {
        b'[' => Some("a list"),
        b'"' => Some("a string"),
        b'-' | b'0'..=b'9' => Some("a number"),
        _ => match bytes {
            b"true" | b"false" => Some("a boolean"),
            b"null" => Some("null"),
            _ => None,
        },
    }
}

fn explain(violation: Option<Violation>, error: &serde_json::Error, text: &str) -> EventError {
    let (line, column) = (error.line(), error.column());
    let offset = offset(text, line, column);
    match violation {
        Some(Violation::TooDeep) => EventError::TooDeep { offset },
        Some(Violation::DuplicateKey(key)) => EventError::DuplicateKey { key, offset },
        None => {
            let mut reason = error.to_string();
            // The reader appends the place, which the error already tells in its own words.
            if let Some(end) = reason.rfind(" at line ") {
                reason.truncate(end);
            }
            EventError::InvalidJson { offset, line, column, reason }
        }
    }
}

/// The byte at a line and column as the reader counts them: both from 1, columns in bytes.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let line_start = match line.checked_sub(2) {
        None => 0,
        Some(breaks) => memchr::memchr_iter(b'\n', text.as_bytes()).nth(breaks).map_or(text.len(), |at| at + 1),
    };
    (line_start + column.saturating_sub(1)).min(text.len())
}

/// The rules that are ours and not JSON's.
enum Violation {
    TooDeep,
    DuplicateKey(String),
}

struct State<'de> {
    /// The keys of all open objects, innermost last: one allocation serves the whole event.
    keys: Vec<Cow<'de, str>>,
    violation: Option<Violation>,
}

/// Any value inside the event, and the event itself.
struct Element<'s, 'de> {
    state: &'s mut State<'de>,
    /// The depth this value has if it is an object or a list; the event's is 1.
    depth: usize,
}

impl Element<'_, '_> {
    fn check_depth<E: Error>(&mut self) -> Result<(), E> {
        if self.depth <= EVENT_DEPTH_MAX {
            return Ok(());
        }
        self.state.violation = Some(Violation::TooDeep);
        Err(E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Element<'_, 'de> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        self.check_depth()?;
        while list.next_element_seed(Element { state: self.state, depth: self.depth + 1 })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.check_depth()?;
        let first = self.state.keys.len();
        let mut many: Option<HashSet<Cow<'de, str>>> = None;
        while let Some(key) = map.next_key_seed(Key)? {
            let state = &mut *self.state;
            let duplicate = match &many {
                Some(seen) => seen.contains(&key),
                None => state.keys[first..].contains(&key),
            };
            if duplicate {
                state.violation = Some(Violation::DuplicateKey(key.into_owned()));
                return Err(A::Error::custom("duplicate key"));
            }
            if let Some(seen) = &mut many {
                seen.insert(key);
            } else if state.keys.len() - first == SCANNED_KEYS_MAX {
                many = Some(state.keys.drain(first..).chain([key]).collect());
            } else {
                state.keys.push(key);
            }
            map.next_value_seed(Element { state, depth: self.depth + 1 })?;
        }
        self.state.keys.truncate(first);
        Ok(())
    }
}

/// A key as it reads: borrowed from the event unless an escape had to be undone.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}
