//! Events of the event log first, through the subscriber's filters as they are now, then live: for `since=`, and for a
//! cursor of an earlier life of the queue whose deliveries the queue no longer has.
//!
//! The handover: the session's first live delivery was fixed at join, as the one after the top then. The ends of the
//! partitions are read after that, so whatever comes live from beyond them is after the top, and whatever comes live
//! from below them was backfilled and is dropped by its offset. No hole, no double.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use evs_api::frames::CloseCode;
use evs_core::{Cursor, Filter, FilterId, Offset, Partition, SubscriberId, limits};
use tokio::time::timeout;

use super::connection::{Connection, Feed};
use super::encode;
use crate::app::App;
use crate::ports::PortResult;
use crate::ports::event_log::LoggedEvent;
use crate::retry::Backoff;
use crate::spec;

/// Events in one read of the log: matching them takes about a millisecond.
const PAGE_EVENTS: usize = 256;
const PAGE_BYTES: usize = 1024 * 1024;

/// Filters in one read of the store.
const PAGE_FILTERS: usize = 500;

/// A store that has not answered by then is asked again.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Tries at one question before the client is sent away to come back.
const TRIES: usize = 8;

/// The client cannot be served further.
struct Ended;

/// Where to begin in the event log.
#[derive(Clone, Debug)]
pub(super) enum History {
    /// At this time, milliseconds since the Unix epoch.
    Since(i64),
    /// After what this cursor has seen.
    After(Cursor),
}

pub(super) async fn run(app: App, connection: Arc<Connection>, history: History) {
    let ends = match Backfill::begin(&app, &connection, history).await {
        Ok(backfill) => backfill.send(&app, &connection).await,
        Err(Ended) => Err(Ended),
    };
    let mut state = connection.lock();
    match ends {
        Ok(ends) => {
            state.session.raise_to_ends(&ends);
            state.feed = Feed::Window;
            drop(state);
            connection.dispatcher.ready(&connection);
        }
        Err(Ended) => connection.close(&mut state, CloseCode::Internal, app.clock.now_ms()),
    }
}

struct Backfill {
    /// The cursor that was resumed by, brought forward: where an event stream goes on if it breaks.
    cursor: Option<Cursor>,
    filters: Vec<(FilterId, Filter)>,
    parts: Vec<Part>,
}

/// One partition's rest.
struct Part {
    partition: Partition,
    next: Offset,
    /// The handover: live begins here.
    end: Offset,
    events: VecDeque<LoggedEvent>,
}

impl Backfill {
    async fn begin(app: &App, connection: &Connection, history: History) -> Result<Self, Ended> {
        // The ends before the filters: a filter that becomes active in between is asked about what lies below them.
        let ranges = asked(app, || app.log.partitions()).await?;
        let filters = filters(app, &connection.subscriber).await?;
        let mut parts = Vec::new();
        for range in ranges {
            let from = match &history {
                History::Since(since_ms) => asked(app, || app.log.offset_at(range.partition, *since_ms)).await?,
                History::After(cursor) => {
                    let seen = cursor.seen.iter().find(|(partition, _)| *partition == range.partition);
                    seen.map_or(range.low, |(_, seen)| *seen)
                }
            };
            let next = from.clamp(range.low, range.high);
            parts.push(Part { partition: range.partition, next, end: range.high, events: VecDeque::new() });
        }
        let cursor = match history {
            History::Since(_) => None,
            History::After(cursor) => Some(cursor),
        };
        Ok(Self { cursor, filters, parts })
    }

    /// Sends what matches, in the order of time across partitions; answers the ends.
    async fn send(mut self, app: &App, connection: &Arc<Connection>) -> Result<Vec<(Partition, Offset)>, Ended> {
        let mut buffer = Vec::new();
        loop {
            for part in &mut self.parts {
                part.fill(app).await?;
            }
            let oldest = |part: &&mut Part| part.events.front().map_or(i64::MAX, |event| event.time_ms);
            let Some(part) = self.parts.iter_mut().filter(|part| !part.events.is_empty()).min_by_key(oldest) else {
                break;
            };
            let Some(logged) = part.events.pop_front() else { break };
            let value = logged.event.value();
            let matched = self.filters.iter().filter(|(_, filter)| filter.matches_value(&value));
            let matched: Vec<u32> = matched.map(|(id, _)| id.0).collect();
            let wanted = connection.condition.as_ref().is_none_or(|condition| condition.matches_value(&value));
            if !matched.is_empty() && wanted {
                let (at, body) = ((part.partition, logged.offset), logged.event.bytes());
                let cursor = || {
                    let Some(cursor) = &mut self.cursor else { return String::new() };
                    cursor.raise_seen(at.0, Offset(at.1.0 + 1));
                    cursor.to_string()
                };
                encode::put_backfill_event(&mut buffer, connection.format(), at, &matched, body, cursor);
            }
            if buffer.len() >= limits::SOCKET_BUFFER_BYTES_MAX {
                write(connection, &mut buffer).await?;
            }
        }
        write(connection, &mut buffer).await?;
        Ok(self.parts.iter().map(|part| (part.partition, part.end)).collect())
    }
}

impl Part {
    async fn fill(&mut self, app: &App) -> Result<(), Ended> {
        while self.events.is_empty() && self.next < self.end {
            let (partition, next) = (self.partition, self.next);
            let read = asked(app, || app.log.read(partition, next, PAGE_EVENTS, PAGE_BYTES)).await?;
            // A log that answers nothing new has nothing more, whatever it said of its end.
            self.next = if read.next > self.next { read.next } else { self.end };
            let end = self.end;
            self.events.extend(read.events.into_iter().filter(|event| event.offset < end));
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// Waits until the socket has taken what was written before, then writes.
async fn write(connection: &Arc<Connection>, buffer: &mut Vec<u8>) -> Result<(), Ended> {
    let patience = Duration::from_millis(connection.dispatcher.limits.ack_timeout_ms.unsigned_abs());
    loop {
        {
            let mut state = connection.lock();
            if state.ending() {
                return Err(Ended);
            }
            if state.is_flushed() {
                connection.write(&mut state, buffer);
                buffer.clear();
                return Ok(());
            }
        }
        timeout(patience, connection.sink.writable_too()).await.map_err(|_| Ended)?.map_err(|_| Ended)?;
        // The flush task has been woken as well; it goes first.
        tokio::task::yield_now().await;
    }
}

async fn filters(app: &App, subscriber: &SubscriberId) -> Result<Vec<(FilterId, Filter)>, Ended> {
    let (mut filters, mut after) = (Vec::new(), FilterId(0));
    loop {
        let page = asked(app, || app.filters.filters(Some(subscriber), after, PAGE_FILTERS)).await?;
        let Some(last) = page.last() else { return Ok(filters) };
        after = last.id;
        // One that this version cannot read matches nothing here, as it does in the matcher.
        filters.extend(page.iter().filter_map(|record| Some((record.id, spec::compiled(record).ok()?))));
    }
}

async fn asked<T, A>(app: &App, question: impl Fn() -> A) -> Result<T, Ended>
where
    A: Future<Output = PortResult<T>>,
{
    let mut backoff = Backoff::default();
    for _ in 0..TRIES {
        match timeout(ANSWER_WAIT, question()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => tracing::warn!(%error, "a backfill waits for its store"),
            Err(_) => tracing::warn!("a backfill's store does not answer"),
        }
        if !backoff.wait(&app.shutdown).await {
            break;
        }
    }
    Err(Ended)
}
