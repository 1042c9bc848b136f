//! A recorded file as a feed: what `--record` wrote, or plain events, as `W` writes them.
//!
//! The last of everything is kept, so that a screen that is opened later has what was recorded for it.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use evs_api::Page;
use evs_core::filter::Filter;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::recording::Line;
use super::{Ends, Feed};
use crate::clock;
use crate::message::{
    Answer, Connection, EventsQuery, Failure, FailureKind, FeedMessage, Incoming, Message, StreamState, Topic, Wants,
};

/// Events kept for a view that is opened later; a view keeps no more unless it is told to.
const EVENTS_MAX: usize = 5_000;
/// Between plain events, which have no time of their own.
const PLAIN_MS: u64 = 10;

/// # Errors
/// If the file cannot be opened.
pub fn start(path: &Path) -> std::io::Result<Feed> {
    let file = BufReader::new(std::fs::File::open(path)?);
    Ok(Feed::start(|ends| async move {
        // Fails only when the loop is gone.
        let _ =
            Player { ends, wants: Wants::default(), last: Line::default(), events: VecDeque::new() }.run(file).await;
    }))
}

/// The loop is gone.
struct Gone;

struct Player {
    ends: Ends,
    /// What the screen was given last.
    wants: Wants,
    /// The last page of each kind.
    last: Line,
    events: VecDeque<Incoming>,
}

impl Player {
    async fn run(&mut self, file: BufReader<std::fs::File>) -> Result<(), Gone> {
        let start = Instant::now();
        let mut plain = 0;
        self.tell(FeedMessage::Connection(Connection::Connected)).await?;
        for line in file.lines() {
            let Ok(text) = line else { break };
            if text.trim().is_empty() {
                continue;
            }
            let line = match serde_json::from_str::<Line>(&text) {
                Ok(line) => line,
                Err(_) => match RawValue::from_string(text) {
                    Ok(event) => {
                        plain += PLAIN_MS;
                        Line { at_ms: plain, event: Some(event), ..Line::default() }
                    }
                    Err(_) => continue,
                },
            };
            self.wait(Some(start + Duration::from_millis(line.at_ms))).await?;
            self.play(line).await?;
        }
        // The end of the file stays on the screen.
        self.wait(None).await
    }

    /// Until the line is due, or for ever; meanwhile screens are opened, and requests refused.
    async fn wait(&mut self, due: Option<Instant>) -> Result<(), Gone> {
        self.screen().await?;
        loop {
            let due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => return Ok(()),
                changed = self.ends.wants.changed() => {
                    changed.map_err(|_| Gone)?;
                    self.screen().await?;
                }
                asked = self.ends.asks.recv() => {
                    let (number, _) = asked.ok_or(Gone)?;
                    let answer: Result<Answer, Failure> = Err(recording());
                    self.ends.messages.send(Message::Answer(number, answer)).await.map_err(|_| Gone)?;
                }
            }
        }
    }

    async fn tell(&self, message: FeedMessage) -> Result<(), Gone> {
        self.ends.messages.send(Message::Feed(message)).await.map_err(|_| Gone)
    }

    /// What a screen that was just opened needs.
    async fn screen(&mut self) -> Result<(), Gone> {
        let wants = self.ends.wants.borrow_and_update().clone();
        let old = std::mem::replace(&mut self.wants, wants.clone());
        if let (Some(query), true) = (&wants.events, wants.events != old.events) {
            self.ends.mailbox.open(query);
            self.tell(FeedMessage::EventStream(query.clone(), StreamState::Open)).await?;
            for event in &self.events {
                self.show(query, event);
            }
        }
        if wants.detail.is_some() && wants.detail != old.detail {
            self.tell(FeedMessage::Failed(Topic::Detail, recording())).await?;
        }
        let last = &self.last;
        if wants.subscribers != old.subscribers
            && let (Some(query), Some(page)) = (&wants.subscribers, &last.subscribers)
        {
            self.tell(FeedMessage::Subscribers(query.clone(), only(page))).await?;
        }
        if wants.filters != old.filters
            && let (Some(query), Some(page)) = (&wants.filters, &last.filters)
        {
            self.tell(FeedMessage::Filters(query.clone(), only(page))).await?;
        }
        if wants.dead_letters != old.dead_letters
            && let (Some(query), Some(page)) = (&wants.dead_letters, &last.dead_letters)
        {
            self.tell(FeedMessage::DeadLetters(query.clone(), only(page))).await?;
        }
        Ok(())
    }

    async fn play(&mut self, line: Line) -> Result<(), Gone> {
        let Line { at_ms: _, stats, event, log, subscribers, filters, dead_letters, connection } = line;
        if let Some(why) = connection {
            let retrying = |why| Connection::Retrying { attempt: 1, at_ms: clock::now_ms() + 1000, why };
            let connection = if why.is_empty() { Connection::Connected } else { retrying(why) };
            self.tell(FeedMessage::Connection(connection)).await?;
        }
        if let Some(stats) = stats {
            self.tell(FeedMessage::Stats(stats)).await?;
        }
        if let Some(entry) = log {
            self.tell(FeedMessage::Log(vec![entry])).await?;
        }
        if let Some(event) = event {
            let event = incoming(&event);
            if let Some(query) = &self.wants.events {
                self.show(query, &event);
            }
            if self.events.len() >= EVENTS_MAX {
                self.events.pop_front();
            }
            self.events.push_back(event);
        }
        if let Some(page) = subscribers {
            if let Some(query) = &self.wants.subscribers {
                self.tell(FeedMessage::Subscribers(query.clone(), only(&page))).await?;
            }
            self.last.subscribers = Some(page);
        }
        if let Some(page) = filters {
            if let Some(query) = &self.wants.filters {
                self.tell(FeedMessage::Filters(query.clone(), only(&page))).await?;
            }
            self.last.filters = Some(page);
        }
        if let Some(page) = dead_letters {
            if let Some(query) = &self.wants.dead_letters {
                self.tell(FeedMessage::DeadLetters(query.clone(), only(&page))).await?;
            }
            self.last.dead_letters = Some(page);
        }
        Ok(())
    }

    /// A recording does not say whose event it was; a condition is applied.
    fn show(&self, query: &EventsQuery, event: &Incoming) {
        if let Some(condition) = &query.where_ {
            let filter = Filter::new(Vec::new(), Vec::new(), None, Some(condition));
            let value = serde_json::from_str::<serde_json::Value>(&event.json);
            if !matches!((filter, value), (Ok(filter), Ok(value)) if filter.matches_value(&value)) {
                return;
            }
        }
        self.ends.mailbox.put(query, event.clone());
    }
}

fn recording() -> Failure {
    Failure { kind: FailureKind::Unsupported, why: "this is a recording".into(), problem: None }
}

/// There are no other pages in a recording.
fn only<T: Clone>(page: &Page<T>) -> Page<T> {
    Page { next: None, ..page.clone() }
}

/// A line of `GET /events` has its place and time around the event.
fn incoming(event: &RawValue) -> Incoming {
    match serde_json::from_str::<evs_api::events::LoggedEvent>(event.get()) {
        Ok(logged) => logged.into(),
        Err(_) => Incoming { time_ms: clock::now_ms(), json: event.get().into(), ..Incoming::default() },
    }
}
