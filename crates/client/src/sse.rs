//! Reads server-sent events from an HTTP answer.

use std::time::Duration;

use bytes::BytesMut;

use crate::Error;
use crate::http::{Answer, chain};

/// The server sends a comment at least every 15 s; four of them missing is a dead connection.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The largest event of the log, and its envelope.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SseEvent {
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

/// The part that only parses.
#[derive(Debug, Default)]
struct Parser {
    buffer: BytesMut,
    scanned: usize,
    event: SseEvent,
    has_data: bool,
}

impl Parser {
    fn next(&mut self) -> Option<SseEvent> {
        loop {
            let at = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n');
            let Some(at) = at else {
                self.scanned = self.buffer.len();
                return None;
            };
            let line = self.buffer.split_to(self.scanned + at + 1);
            self.scanned = 0;
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if std::mem::take(&mut self.has_data) {
                    return Some(event);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.event.name),
                "id" => self.event.id = Some(value.to_owned()),
                "data" => {
                    if std::mem::replace(&mut self.has_data, true) {
                        self.event.data.push('\n');
                    }
                    self.event.data.push_str(value);
                }
                // Comments, `retry`, and what a newer server may send.
                _ => {}
            }
        }
    }
}

/// An open event stream.
#[derive(Debug)]
pub(crate) struct Sse {
    response: reqwest::Response,
    parser: Parser,
}

impl Sse {
    pub(crate) fn new(answer: Answer) -> Self {
        Self { response: answer.response, parser: Parser::default() }
    }

    /// The next event, or why there is none.
    pub(crate) async fn next(&mut self) -> Result<SseEvent, Error> {
        let url = self.response.url().to_string();
        loop {
            if let Some(event) = self.parser.next() {
                return Ok(event);
            }
            if self.parser.buffer.len() + self.parser.event.data.len() > EVENT_BYTES_MAX {
                return Err(Error::Protocol { url, detail: format!("an event larger than {EVENT_BYTES_MAX} bytes") });
            }
            match tokio::time::timeout(SILENCE_MAX, self.response.chunk()).await {
                Ok(Ok(Some(chunk))) => self.parser.buffer.extend_from_slice(&chunk),
                Ok(Ok(None)) => {
                    let cause = "the server ended the stream".to_owned();
                    return Err(Error::Unreachable { url, cause, connected: true });
                }
                Ok(Err(error)) => return Err(Error::Unreachable { url, cause: chain(&error), connected: true }),
                Err(_) => return Err(Error::Timeout { url, after: SILENCE_MAX }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(chunks: &[&str]) -> Vec<SseEvent> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for chunk in chunks {
            parser.buffer.extend_from_slice(chunk.as_bytes());
            while let Some(event) = parser.next() {
                events.push(event);
            }
        }
        events
    }

    #[test]
    fn events_may_come_in_any_pieces() {
        let text = ": hello\r\nevent: stats\nid: 7\ndata: {\"a\":\ndata:1}\n\ndata: x\n\nevent: none\n\n";
        let want = [
            SseEvent { name: "stats".into(), id: Some("7".into()), data: "{\"a\":\n1}".into() },
            SseEvent { name: String::new(), id: None, data: "x".into() },
        ];
        assert_eq!(parse(&[text]), want);
        let pieces: Vec<String> = text.chars().map(String::from).collect();
        assert_eq!(parse(&pieces.iter().map(String::as_str).collect::<Vec<_>>()), want);
    }
}
