//! A recording: NDJSON, each line `{"at_ms": 0, "stats": {...}}` with any of `stats`, `event`, `log`, `subscribers`,
//! `filters`, `dead_letters`, `connection`. `--record` writes it, `--replay` reads it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use evs_api::Page;
use evs_api::dead_letters::DeadLetter;
use evs_api::events::LoggedEvent;
use evs_api::filters::Filter;
use evs_api::oplog::LogEntry;
use evs_api::stats::Stats;
use evs_api::subscribers::Subscriber;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::message::{Connection, FeedMessage, Incoming};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// When, since the start of the file.
    pub at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<Box<Stats>>,
    /// As `GET /events` gives it, or the event alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogEntry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscribers: Option<Page<Subscriber>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<Page<Filter>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<Page<DeadLetter>>,
    /// Why the connection is lost; empty when it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
}

/// Writes what the dashboard gets, as it gets it.
#[derive(Debug)]
pub struct Recorder {
    out: BufWriter<File>,
    start_ms: i64,
}

impl Recorder {
    /// # Errors
    /// If the file is there already or cannot be made: a recording is not written over.
    pub fn new(path: &Path, now_ms: i64) -> std::io::Result<Self> {
        Ok(Self { out: BufWriter::new(File::create_new(path)?), start_ms: now_ms })
    }

    /// # Errors
    /// If it cannot be written.
    pub fn put(&mut self, message: &FeedMessage, now_ms: i64) -> std::io::Result<()> {
        let at_ms = u64::try_from(now_ms - self.start_ms).unwrap_or(0);
        let mut line = Line { at_ms, ..Line::default() };
        match message {
            FeedMessage::Connection(connection) => {
                line.connection = Some(match connection {
                    Connection::Connecting | Connection::Connected => String::new(),
                    Connection::Retrying { why, .. } | Connection::Refused { why, .. } => why.clone(),
                });
            }
            FeedMessage::Stats(stats) => line.stats = Some(stats.clone()),
            FeedMessage::Subscribers(_, page) => line.subscribers = Some(page.clone()),
            FeedMessage::Filters(_, page) => line.filters = Some(page.clone()),
            FeedMessage::DeadLetters(_, page) => line.dead_letters = Some(page.clone()),
            FeedMessage::Log(entries) => {
                for entry in entries {
                    self.write(&Line { at_ms, log: Some(entry.clone()), ..Line::default() })?;
                }
                return Ok(());
            }
            FeedMessage::Events(_, events) => {
                for event in events {
                    self.write(&Line { at_ms, event: raw(event), ..Line::default() })?;
                }
                return Ok(());
            }
            FeedMessage::Detail(..)
            | FeedMessage::Dropped(..)
            | FeedMessage::EventStream(..)
            | FeedMessage::Failed(..) => return Ok(()),
        }
        self.write(&line)
    }

    fn write(&mut self, line: &Line) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.out, line)?;
        self.out.write_all(b"\n")
    }

    /// # Errors
    /// If it cannot be written.
    pub fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

fn raw(event: &Incoming) -> Option<Box<RawValue>> {
    let data = RawValue::from_string(event.json.to_string()).ok()?;
    match &event.position {
        Some(position) => {
            let (headers, headers_left_out) =
                event.headers.as_ref().map(|it| (it.headers.clone(), it.left_out)).unwrap_or_default();
            let logged =
                LoggedEvent { position: position.clone(), time_ms: event.time_ms, data, headers, headers_left_out };
            serde_json::value::to_raw_value(&logged).ok()
        }
        None => Some(data),
    }
}
