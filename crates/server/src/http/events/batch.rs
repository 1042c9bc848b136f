//! Splits a body into events without copying them, and says which one is wrong and why.

use std::fmt;

use bytes::Bytes;
use evs_api::error::FieldError;
use evs_core::Event;
use evs_core::event::EventError;
use evs_core::limits::BATCH_EVENTS_MAX;
use serde::Deserializer as _;
use serde::de::{SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::http::problem::{ApiError, ApiResult};

/// Bad events named in one answer; who sends more has the same mistake in all.
const ERRORS_MAX: usize = 10;

/// Every event of the body, or the reason why none is taken.
///
/// # Errors
/// The first mistake in the sentence, further ones in `errors`, each with a pointer such as `/17`.
pub(super) fn read(body: &Bytes, lines: bool) -> ApiResult<Vec<Event>> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    match (lines, first) {
        (_, None) => Err(ApiError::bad_request("empty_body", "the body is empty, but must hold events")),
        (true, Some(_)) => {
            let numbered = body.split(|byte| *byte == b'\n').enumerate();
            let items = numbered.filter(|(_, line)| !line.iter().all(u8::is_ascii_whitespace));
            check(items.map(|(at, line)| (at, format!("line {}", at + 1), body.slice_ref(line))))
        }
        (false, Some(b'[')) => {
            let items = split_array(body)?;
            check(items.into_iter().enumerate().map(|(at, item)| (at, format!("event {at}"), item)))
        }
        (false, Some(_)) => Ok(vec![Event::parse(body.clone())?]),
    }
}

fn check(items: impl Iterator<Item = (usize, String, Bytes)>) -> ApiResult<Vec<Event>> {
    let mut events = Vec::new();
    let mut first: Option<(String, EventError)> = None;
    let mut errors = Vec::new();
    for (at, place, bytes) in items {
        if events.len() + errors.len() == BATCH_EVENTS_MAX {
            let detail = format!("the batch has more than the {BATCH_EVENTS_MAX} events allowed; send it in parts");
            return Err(ApiError::too_large("too_many_events", detail));
        }
        match Event::parse(bytes) {
            Ok(event) => events.push(event),
            Err(error) => {
                let detail = format!("{place}: {error}");
                errors.push(FieldError { pointer: format!("/{at}"), detail, ..Default::default() });
                first.get_or_insert((place, error));
                if errors.len() == ERRORS_MAX {
                    break;
                }
            }
        }
    }
    match first {
        None => Ok(events),
        Some((place, error)) => Err(ApiError::from(error)
            .within("", &place)
            .with_errors(errors)
            .with_hint("nothing of this batch was stored; mend it and send all of it again")),
    }
}

/// The elements of a JSON array, each a slice of the body.
fn split_array(body: &Bytes) -> ApiResult<Vec<Bytes>> {
    if let Err(error) = std::str::from_utf8(body) {
        return Err(EventError::InvalidUtf8 { offset: error.valid_up_to() }.into());
    }
    let mut items: Vec<&RawValue> = Vec::new();
    let mut json = serde_json::Deserializer::from_slice(body);
    let whole = json.deserialize_seq(Elements(&mut items)).and_then(|()| json.end());
    match whole {
        Ok(()) => Ok(items.into_iter().map(|item| body.slice_ref(item.get().as_bytes())).collect()),
        Err(error) => {
            let at = items.len();
            let detail = format!("event {at}: the batch is not JSON here: {error}");
            Err(ApiError::bad_request("invalid_json", detail).at(format!("/{at}"), error.to_string()))
        }
    }
}

/// Keeps the elements read so far outside, so that an error can be counted.
struct Elements<'a, 'de>(&'a mut Vec<&'de RawValue>);

impl<'de> Visitor<'de> for Elements<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element()? {
            self.0.push(element);
            // The check that follows tells the limit; here only memory is kept in bounds.
            if self.0.len() > BATCH_EVENTS_MAX {
                while elements.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;

    fn error(body: &str, lines: bool) -> ApiError {
        read(&Bytes::copy_from_slice(body.as_bytes()), lines).unwrap_err()
    }

    #[test]
    fn every_form_is_read_byte_for_byte() {
        let read = |body: &'static str, lines| -> Vec<Bytes> {
            read(&Bytes::from_static(body.as_bytes()), lines)
                .unwrap()
                .iter()
                .map(|event| event.bytes().clone())
                .collect()
        };
        assert_eq!(read(r#" {"a" : 1} "#, false), [r#"{"a" : 1}"#]);
        assert_eq!(read(r#"[{"a":1}, {"b" :2}]"#, false), [r#"{"a":1}"#, r#"{"b" :2}"#]);
        assert_eq!(read("{\"a\":1}\r\n\n{\"b\":2}\n", true), [r#"{"a":1}"#, r#"{"b":2}"#]);
        assert!(read("[]", false).is_empty());
    }

    #[test]
    fn the_bad_one_is_named() {
        let refused = error(r#"[{"a":1},{"a":1,"a":2},7]"#, false);
        assert_eq!((refused.status(), refused.code()), (StatusCode::UNPROCESSABLE_ENTITY, "duplicate_key"));
        assert!(refused.detail().starts_with("event 1: "), "{refused}");
        let pointers: Vec<_> = refused.errors().iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/1", "/2"]);

        let refused = error("{\"a\":1}\n\n{\"a\":NaN}\n", true);
        assert_eq!((refused.status(), refused.code()), (StatusCode::BAD_REQUEST, "invalid_json"));
        assert!(refused.detail().starts_with("line 3: "), "{refused}");

        let refused = error(r#"[{"a":1},{"a":]"#, false);
        assert_eq!(refused.code(), "invalid_json");
        assert!(refused.detail().starts_with("event 1: "), "{refused}");

        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(evs_core::limits::EVENT_BYTES_MAX));
        assert_eq!(error(&large, false).status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(error(" \n", false).code(), "empty_body");
        let many = "{}\n".repeat(BATCH_EVENTS_MAX + 1);
        assert_eq!(error(&many, true).code(), "too_many_events");
        let many = format!("[{}{{}}]", "{},".repeat(BATCH_EVENTS_MAX));
        assert_eq!(error(&many, false).code(), "too_many_events");
    }
}
