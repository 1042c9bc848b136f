//! Frames to bytes: deliveries are copied into the buffer once and never parsed; all else goes through serde.

use evs_api::frames::ServerFrame;
use evs_core::{Offset, Partition};

use super::wire;

/// How a connection is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Text frames of WebSocket.
    WebSocket,
    /// Server-sent events.
    EventStream,
}

/// A delivery; `cursor` is the id of a server-sent event.
pub(super) fn put_event(
    out: &mut Vec<u8>,
    format: Format,
    (seq, after): (u64, Option<u64>),
    at: (Partition, Offset),
    filters: &[u32],
    body: &[u8],
    cursor: impl FnOnce() -> String,
) {
    let mut head = Head::default();
    head.text(br#"{"t":"event","seq":"#);
    head.number(seq);
    if let Some(after) = after {
        head.text(br#","after":"#);
        head.number(after);
    }
    head.text(b",");
    put_envelope(out, format, head, at, filters, body, cursor);
}

/// An event of a backfill, which has no seq. `cursor` may be empty.
pub(super) fn put_backfill_event(
    out: &mut Vec<u8>,
    format: Format,
    at: (Partition, Offset),
    filters: &[u32],
    body: &[u8],
    cursor: impl FnOnce() -> String,
) {
    let mut head = Head::default();
    head.text(br#"{"t":"event","#);
    put_envelope(out, format, head, at, filters, body, cursor);
}

fn put_envelope(
    out: &mut Vec<u8>,
    format: Format,
    mut head: Head,
    (partition, offset): (Partition, Offset),
    filters: &[u32],
    body: &[u8],
    cursor: impl FnOnce() -> String,
) {
    head.text(br#""position":""#);
    head.number(u64::from(partition.0));
    head.text(b":");
    head.number(offset.0);
    head.text(br#"","filters":["#);
    for (index, filter) in filters.iter().enumerate() {
        if index > 0 {
            head.text(b",");
        }
        head.number(u64::from(*filter));
    }
    head.text(br#"],"data":"#);
    let head = head.bytes();
    match format {
        Format::WebSocket => {
            wire::put_text_header(out, head.len() + body.len() + 1);
            out.extend_from_slice(head);
            out.extend_from_slice(body);
            out.push(b'}');
        }
        Format::EventStream => {
            out.extend_from_slice(b"event: event\n");
            let cursor = cursor();
            if !cursor.is_empty() {
                out.extend_from_slice(b"id: ");
                out.extend_from_slice(cursor.as_bytes());
                out.push(b'\n');
            }
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(head);
            // A line end within JSON is white space; in an event stream it ends the field.
            out.extend(body.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
            out.extend_from_slice(b"}\n\n");
        }
    }
}

/// Any other frame; a server-sent event has the frame's type as its name, and `cursor` as its id where given.
pub(super) fn put_frame(out: &mut Vec<u8>, format: Format, frame: &ServerFrame, cursor: Option<&str>) {
    // Frames have string keys and plain values only: they always serialize.
    let json = serde_json::to_vec(frame).unwrap_or_default();
    match format {
        Format::WebSocket => {
            wire::put_text_header(out, json.len());
            out.extend_from_slice(&json);
        }
        Format::EventStream => {
            out.extend_from_slice(b"event: ");
            out.extend_from_slice(name(frame).as_bytes());
            if let Some(cursor) = cursor {
                out.extend_from_slice(b"\nid: ");
                out.extend_from_slice(cursor.as_bytes());
            }
            out.extend_from_slice(b"\ndata: ");
            out.extend_from_slice(&json);
            out.extend_from_slice(b"\n\n");
        }
    }
}

fn name(frame: &ServerFrame) -> &'static str {
    match frame {
        ServerFrame::Welcome(_) => "welcome",
        ServerFrame::Event(_) => "event",
        ServerFrame::Gap(_) => "gap",
        ServerFrame::CaughtUp { .. } => "caught_up",
        ServerFrame::Checkpoint { .. } => "checkpoint",
        ServerFrame::Acked { .. } => "acked",
        ServerFrame::Pong { .. } => "pong",
        ServerFrame::Error { .. } => "error",
        ServerFrame::Draining { .. } => "draining",
        ServerFrame::Unknown => "unknown",
    }
}

/// The head of an event frame: on the stack unless a subscriber has very many matching filters.
#[derive(Default)]
struct Head(smallvec::SmallVec<[u8; 128]>);

impl Head {
    fn text(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
    }

    fn number(&mut self, mut number: u64) {
        let mut digits = [0_u8; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.0.extend_from_slice(&digits[at..]);
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(format: Format, seq: u64, filters: &[u32], body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_event(
            &mut out,
            format,
            (seq, Some(5).filter(|_| seq == 7)),
            (Partition(3), Offset(88)),
            filters,
            body,
            || "cur".into(),
        );
        out
    }

    #[test]
    fn an_event_frame_is_what_the_wire_type_reads() {
        let bytes = event(Format::WebSocket, 1_234_567, &[3, 40], b"{\"a\":1}");
        assert_eq!(&bytes[2..], br#"{"t":"event","seq":1234567,"position":"3:88","filters":[3,40],"data":{"a":1}}"#);
        assert_eq!(usize::from(bytes[1]), bytes.len() - 2);
        let text = std::str::from_utf8(&bytes[2..]).unwrap();
        let ServerFrame::Event(frame) = evs_client::frames::parse(text).unwrap() else { panic!("an event") };
        assert_eq!((frame.seq, frame.data.get()), (Some(1_234_567), "{\"a\":1}"));
        let large = event(Format::WebSocket, 0, &[], &[b' '; 70_000]);
        assert_eq!(u64::from_be_bytes(large[2..10].try_into().unwrap()), large.len() as u64 - 10);
    }

    #[test]
    fn a_server_sent_event_is_one_line() {
        let text = String::from_utf8(event(Format::EventStream, 7, &[1], b"{\r\n\"a\":1}")).unwrap();
        assert_eq!(
            text,
            "event: event\nid: cur\ndata: {\"t\":\"event\",\"seq\":7,\"after\":5,\"position\":\"3:88\",\"filters\":[1],\"data\":{  \"a\":1}}\n\n"
        );
        let mut out = Vec::new();
        put_frame(&mut out, Format::EventStream, &ServerFrame::CaughtUp { seq: 7, cursor: None }, Some("cur"));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "event: caught_up\nid: cur\ndata: {\"t\":\"caught_up\",\"seq\":7}\n\n"
        );
    }
}
