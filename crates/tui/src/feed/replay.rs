//! A recorded file as a feed: NDJSON, each line `{"at_ms": 0, "stats": {...}}` with any of `stats`, `event`, `log`,
//! `subscribers`, `filters`, `dead_letters`, `connection`; or plain events, as `W` writes them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use evs_api::Page;
use evs_api::dead_letters::DeadLetter;
use evs_api::filters::Filter;
use evs_api::oplog::LogEntry;
use evs_api::stats::Stats;
use evs_api::subscribers::Subscriber;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Ends, Feed};
use crate::clock;
use crate::message::{Answer, Connection, Failure, FailureKind, FeedMessage, Incoming, Message, StreamState, Wants};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// When, since the start of the file.
    at_ms: u64,
    #[serde(default)]
    stats: Option<Box<Stats>>,
    #[serde(default)]
    event: Option<Box<RawValue>>,
    #[serde(default)]
    log: Option<LogEntry>,
    #[serde(default)]
    subscribers: Option<Page<Subscriber>>,
    #[serde(default)]
    filters: Option<Page<Filter>>,
    #[serde(default)]
    dead_letters: Option<Page<DeadLetter>>,
    /// Why the connection is lost; empty when it is back.
    #[serde(default)]
    connection: Option<String>,
}

/// # Errors
/// If the file cannot be opened.
pub fn start(path: &Path) -> std::io::Result<Feed> {
    let file = BufReader::new(std::fs::File::open(path)?);
    Ok(Feed::start(|ends| run(file, ends)))
}

async fn run(file: BufReader<std::fs::File>, mut ends: Ends) {
    let start = tokio::time::Instant::now();
    let mut plain = 0;
    let mut opened = None;
    let mut out = vec![FeedMessage::Connection(Connection::Connected)];
    for line in file.lines() {
        let Ok(text) = line else { break };
        if text.trim().is_empty() {
            continue;
        }
        let line: Line = match serde_json::from_str(&text) {
            Ok(line) => line,
            Err(_) => {
                // A plain event: a hundred a second.
                plain += 10;
                match RawValue::from_string(text) {
                    Ok(event) => Line { event: Some(event), ..empty(plain) },
                    Err(_) => continue,
                }
            }
        };
        wait(start + Duration::from_millis(line.at_ms), &mut ends).await;
        let wants = ends.wants.borrow().clone();
        if wants.events != opened {
            opened.clone_from(&wants.events);
            if let Some(query) = &opened {
                ends.mailbox.open(query);
                out.push(FeedMessage::EventStream(query.clone(), StreamState::Open));
            }
        }
        messages(line, &wants, &ends, &mut out);
        for message in out.drain(..) {
            if ends.messages.send(Message::Feed(message)).await.is_err() {
                return;
            }
        }
    }
    // The end of the file stays on the screen.
    loop {
        let Some((number, _)) = ends.asks.recv().await else { return };
        if refuse(number, &ends).await.is_err() {
            return;
        }
    }
}

/// Until the line is due; a file answers no requests.
async fn wait(due: tokio::time::Instant, ends: &mut Ends) {
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(due) => return,
            asked = ends.asks.recv() => match asked {
                Some((number, _)) => if refuse(number, ends).await.is_err() { return },
                None => return,
            },
        }
    }
}

async fn refuse(number: u64, ends: &Ends) -> Result<(), ()> {
    let failure = Failure { kind: FailureKind::Unsupported, why: "this is a recording".into(), problem: None };
    let answer: Result<Answer, Failure> = Err(failure);
    ends.messages.send(Message::Answer(number, answer)).await.map_err(|_| ())
}

fn empty(at_ms: u64) -> Line {
    Line {
        at_ms,
        stats: None,
        event: None,
        log: None,
        subscribers: None,
        filters: None,
        dead_letters: None,
        connection: None,
    }
}

fn messages(line: Line, wants: &Wants, ends: &Ends, out: &mut Vec<FeedMessage>) {
    let Line { at_ms: _, stats, event, log, subscribers, filters, dead_letters, connection } = line;
    if let Some(why) = connection {
        out.push(FeedMessage::Connection(if why.is_empty() {
            Connection::Connected
        } else {
            Connection::Retrying { attempt: 1, at_ms: clock::now_ms() + 1000, why }
        }));
    }
    if let Some(stats) = stats {
        out.push(FeedMessage::Stats(stats));
    }
    if let (Some(event), Some(query)) = (event, &wants.events) {
        let json = event.get();
        let mut incoming = Incoming { time_ms: clock::now_ms(), json: json.into(), ..Incoming::default() };
        // A line of `GET /events` has its place and time around the event.
        if let Ok(logged) = serde_json::from_str::<evs_api::events::LoggedEvent>(json) {
            incoming.position = Some(logged.position);
            incoming.time_ms = logged.time_ms;
            incoming.json = logged.data.get().into();
        }
        ends.mailbox.put(query, incoming);
    }
    if let Some(entry) = log {
        out.push(FeedMessage::Log(vec![entry]));
    }
    if let (Some(page), Some(query)) = (subscribers, &wants.subscribers) {
        out.push(FeedMessage::Subscribers(query.clone(), page));
    }
    if let (Some(page), Some(query)) = (filters, &wants.filters) {
        out.push(FeedMessage::Filters(query.clone(), page));
    }
    if let (Some(page), Some(query)) = (dead_letters, &wants.dead_letters) {
        out.push(FeedMessage::DeadLetters(query.clone(), page));
    }
}
