//! Records of any producer read as events, and dead letters as records.

use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use evs_core::trace::TRACEPARENT;
use evs_core::{Event, Offset, Position, Trace};
use rdkafka::Message;
use rdkafka::message::{Header, Headers, OwnedHeaders};

use super::partition_of;
use crate::ports::event_log::{self, DeadLetter, HEADER_BYTES_MAX, HEADER_NAME_MAX, HEADERS_MAX, LoggedEvent};

const REASON: &str = "evs-reason";
const DETAIL: &str = "evs-detail";
const TIME: &str = "evs-time-ms";

pub(super) fn offset_of(record: &impl Message) -> Offset {
    Offset(record.offset().max(0).unsigned_abs())
}

fn position_of(record: &impl Message) -> Position {
    Position { partition: partition_of(record.partition()), offset: offset_of(record) }
}

/// The record's value as it is, whatever its key and headers: a bare object, the data of a CloudEvent in binary mode, or
/// a whole CloudEvent in structured mode. A record that is none of these becomes a dead letter.
#[expect(clippy::result_large_err, reason = "a dead letter is rare, and owns what it must keep")]
pub(super) fn read(record: &impl Message) -> Result<LoggedEvent, DeadLetter> {
    let payload = Bytes::copy_from_slice(record.payload().unwrap_or_default());
    let time_ms = record.timestamp().to_millis().unwrap_or(0);
    let letter = |reason: &str, detail: String, payload| DeadLetter {
        id: String::new(),
        reason: reason.to_owned(),
        detail,
        position: position_of(record),
        time_ms,
        payload,
    };
    if record.payload().is_none() {
        return Err(letter("no_value", "the record has no value".to_owned(), payload));
    }
    match Event::parse(payload.clone()) {
        Ok(event) => {
            let event = event.with_trace(trace(record));
            Ok(LoggedEvent { offset: offset_of(record), time_ms, event, headers: None })
        }
        Err(error) => Err(letter(error.code(), error.to_string(), payload)),
    }
}

/// A header by its number. `None`: there is none, or its name is no UTF-8, which the client library answers by a panic;
/// a record must not be able to end the thread that reads it.
fn header(headers: &impl Headers, number: usize) -> Option<Header<'_, &[u8]>> {
    std::panic::catch_unwind(AssertUnwindSafe(|| headers.try_get(number))).ok().flatten()
}

/// The trace that the record's producer gave it.
fn trace(record: &impl Message) -> Option<Trace> {
    let headers = record.headers()?;
    let mut all = (0..headers.count()).filter_map(|number| header(headers, number));
    let header = all.find(|header| header.key.eq_ignore_ascii_case(TRACEPARENT))?;
    std::str::from_utf8(header.value?).ok()?.parse().ok()
}

/// The headers as an operator is shown them, within their bounds.
pub(super) fn headers(record: &impl Message) -> Option<Box<event_log::Headers>> {
    let headers = record.headers()?;
    let told = (0..headers.count().min(HEADERS_MAX)).filter_map(|number| header(headers, number));
    let headers_told: Vec<event_log::Header> = told
        .map(|Header { key, value }| event_log::Header {
            name: key.chars().take(HEADER_NAME_MAX).collect(),
            value: value.map(|value| Bytes::copy_from_slice(&value[..value.len().min(HEADER_BYTES_MAX)])),
            len: value.map_or(0, <[u8]>::len),
        })
        .collect();
    let left_out = u32::try_from(headers.count() - headers_told.len()).unwrap_or(u32::MAX);
    Some(Box::new(event_log::Headers { headers: headers_told, left_out }))
}

pub(super) fn trace_header(trace: Trace) -> OwnedHeaders {
    OwnedHeaders::new().insert(Header { key: TRACEPARENT, value: Some(&trace.to_string()) })
}

/// The key of a dead letter, which is its id: where its record lies.
pub(super) fn letter_key(letter: &DeadLetter) -> String {
    letter.position.to_string()
}

pub(super) fn letter_headers(letter: &DeadLetter) -> OwnedHeaders {
    OwnedHeaders::new()
        .insert(Header { key: REASON, value: Some(&letter.reason) })
        .insert(Header { key: DETAIL, value: Some(&letter.detail) })
        .insert(Header { key: TIME, value: Some(&letter.time_ms.to_string()) })
}

/// A record of the dead-letter topic: its id, and the letter unless it was removed. `None`: not one of ours.
pub(super) fn letter(record: &impl Message) -> Option<(String, Option<DeadLetter>)> {
    let id = std::str::from_utf8(record.key()?).ok()?.to_owned();
    let position = id.parse().ok()?;
    let Some(payload) = record.payload() else { return Some((id, None)) };
    let header = |name: &str| -> Option<String> {
        let headers = record.headers()?;
        let value = headers.iter().find(|header| header.key == name)?.value?;
        Some(String::from_utf8_lossy(value).into_owned())
    };
    let letter = DeadLetter {
        id: id.clone(),
        reason: header(REASON).unwrap_or_else(|| "unknown".to_owned()),
        detail: header(DETAIL).unwrap_or_default(),
        position,
        time_ms: header(TIME).and_then(|text| text.parse().ok()).unwrap_or(0),
        payload: Bytes::copy_from_slice(payload),
    };
    Some((id, Some(letter)))
}
