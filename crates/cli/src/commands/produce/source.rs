//! Where events come from.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use evs_core::Event;
use evs_core::limits::EVENT_BYTES_MAX;
use evs_traffic::Traffic;
use evs_traffic::dice::Dice;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};

use super::template::Filled;
use crate::exit::Failure;

/// One line to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) bytes: Bytes,
    /// Records of one key keep their order.
    pub(super) key: u64,
    /// Where it came from, counted from 1.
    pub(super) line: u64,
    /// It is meant to be refused.
    pub(super) malformed: bool,
}

pub(super) enum Source {
    Traffic { traffic: Box<Traffic>, malformed: f64, dice: Dice },
    Template(Box<Filled>),
    Lines { path: PathBuf, reader: Box<dyn AsyncBufRead + Unpin + Send>, line: u64, partial: Vec<u8> },
}

impl Source {
    pub(super) async fn open(path: &Path) -> Result<Self, Failure> {
        let reader: Box<dyn AsyncBufRead + Unpin + Send> = if path == Path::new("-") {
            use std::io::IsTerminal;
            if std::io::stdin().is_terminal() {
                return Err(Failure::usage("standard input is a terminal").hint("pipe NDJSON in, or name a file"));
            }
            Box::new(BufReader::new(tokio::io::stdin()))
        } else {
            let file = tokio::fs::File::open(path).await;
            let file = file.map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
            Box::new(BufReader::with_capacity(256 * 1024, file))
        };
        Ok(Self::Lines { path: path.to_owned(), reader, line: 0, partial: Vec::new() })
    }

    /// The next record; `None` at the end of a file.
    pub(super) async fn next(&mut self, now_ms: i64) -> Result<Option<Record>, Failure> {
        match self {
            Self::Traffic { traffic, malformed, dice } => {
                if *malformed > 0.0 && dice.unit() < *malformed {
                    let bytes = traffic.next_malformed(now_ms).into();
                    return Ok(Some(Record { bytes, key: 0, line: 0, malformed: true }));
                }
                let mut bytes = Vec::with_capacity(512);
                let key = traffic.write_event(now_ms, &mut bytes);
                Ok(Some(Record { bytes: bytes.into(), key, line: 0, malformed: false }))
            }
            Self::Template(filled) => {
                let bytes = Bytes::from(filled.next(now_ms));
                let key = key_of(&bytes);
                Ok(Some(Record { bytes, key, line: 0, malformed: false }))
            }
            Self::Lines { path, reader, line, partial } => loop {
                // A line without an end must not fill the memory; one byte more than the limit shows that it is longer.
                // What was read stays in `partial` if this call is given up half-way.
                let mut limited = reader.take((EVENT_BYTES_MAX + 2 - partial.len()) as u64);
                let read = limited.read_until(b'\n', partial).await;
                let read = read.map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
                if read == 0 && partial.is_empty() {
                    return Ok(None);
                }
                *line += 1;
                let bytes = std::mem::take(partial);
                if bytes.last() != Some(&b'\n') && bytes.len() > EVENT_BYTES_MAX {
                    return Err(Failure::usage(format!(
                        "{} line {line} is longer than an event may be, {EVENT_BYTES_MAX} bytes",
                        path.display()
                    ))
                    .hint("events are separated by newlines (NDJSON); `jq -c .` brings each on one line"));
                }
                let bytes = Bytes::from(bytes);
                let trimmed = bytes.slice_ref(bytes.trim_ascii());
                if trimmed.is_empty() {
                    continue;
                }
                let key = key_of(&trimmed);
                return Ok(Some(Record { bytes: trimmed, key, line: *line, malformed: false }));
            },
        }
    }
}

/// A hash of the user, FNV-1a; what has none, or is no event, is all of one key.
fn key_of(bytes: &Bytes) -> u64 {
    let user = Event::trusted(bytes.clone()).user_id().map(|user| user.into_owned()).unwrap_or_default();
    user.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_the_key() {
        let key = |text: &'static str| key_of(&Bytes::from_static(text.as_bytes()));
        assert_eq!(key(r#"{"user_id":"a","x":1}"#), key(r#"{"x":2,"user_id":"a"}"#));
        assert_ne!(key(r#"{"user_id":"a"}"#), key(r#"{"user_id":"b"}"#));
        assert_eq!(key("not json"), key("{}"));
    }
}
