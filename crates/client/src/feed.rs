//! What the server tells by itself: statistics, its log of operations, the event log. Reconnects and resumes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use evs_api::events::{Drops, LoggedEvent};
use evs_api::oplog::LogEntry;
use evs_api::stats::Stats;
use evs_core::Position;
use futures_util::stream::{self, BoxStream, StreamExt};
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::backoff::Backoff;
use crate::http::Call;
use crate::sse::{Sse, SseEvent};
use crate::{Client, Error, FeedEvent};

/// An item of a feed. A feed that ends has told an `Err` last: what would not pass by itself.
#[derive(Debug)]
pub enum Feed<T> {
    Connected,
    Item(T),
    /// It tries again after this time.
    Disconnected {
        error: Error,
        retry_in: Duration,
    },
}

pub type FeedStream<T> = BoxStream<'static, Result<Feed<T>, Error>>;

impl Client {
    /// The statistics, once a second.
    #[must_use]
    pub fn stats_stream(&self) -> FeedStream<Stats> {
        read(self.clone(), StatsSource)
    }

    /// The log of operations, from the entry after `after` or from now on.
    #[must_use]
    pub fn log_stream(&self, after: Option<u64>) -> FeedStream<LogEntry> {
        read(self.clone(), LogSource { after })
    }

    /// The event log as an operator sees it; a slow reader is told of drops. `since` is `10m`, RFC 3339 or `beginning`.
    #[must_use]
    pub fn events_stream(&self, where_: Option<String>, since: Option<String>) -> FeedStream<FeedEvent> {
        read(self.clone(), EventsSource { where_, since, seen: HashMap::new() })
    }
}

/// What differs between the feeds: the request, which resumes, and the meaning of an event.
trait Source: Send + 'static {
    type Item: Send;
    fn call<'c>(&self, client: &'c Client) -> Call<'c>;
    /// `None` for what is not news.
    fn item(&mut self, event: SseEvent) -> Result<Option<Self::Item>, serde_json::Error>;
}

struct StatsSource;

impl Source for StatsSource {
    type Item = Stats;

    fn call<'c>(&self, client: &'c Client) -> Call<'c> {
        client.get(&["stats", "stream"])
    }

    fn item(&mut self, event: SseEvent) -> Result<Option<Stats>, serde_json::Error> {
        parse_if(event.name == "stats", &event.data)
    }
}

struct LogSource {
    after: Option<u64>,
}

impl Source for LogSource {
    type Item = LogEntry;

    fn call<'c>(&self, client: &'c Client) -> Call<'c> {
        client.get(&["log", "stream"]).query_opt("after", self.after)
    }

    fn item(&mut self, event: SseEvent) -> Result<Option<LogEntry>, serde_json::Error> {
        let entry: Option<LogEntry> = parse_if(event.name == "log", &event.data)?;
        if let Some(entry) = &entry {
            self.after = Some(entry.id);
        }
        Ok(entry)
    }
}

struct EventsSource {
    where_: Option<String>,
    since: Option<String>,
    /// The highest offset of each partition, so that what comes again after a reconnect is dropped.
    seen: HashMap<u32, u64>,
}

impl Source for EventsSource {
    type Item = FeedEvent;

    fn call<'c>(&self, client: &'c Client) -> Call<'c> {
        let call = client.get(&["events", "stream"]).query_opt("where", self.where_.as_deref());
        call.query_opt("since", self.since.as_deref())
    }

    fn item(&mut self, event: SseEvent) -> Result<Option<FeedEvent>, serde_json::Error> {
        match event.name.as_str() {
            "event" => {
                let event: LoggedEvent = serde_json::from_str(&event.data)?;
                if let Ok(Position { partition, offset }) = event.position.parse() {
                    if self.seen.get(&partition.0).is_some_and(|seen| *seen >= offset.0) {
                        return Ok(None);
                    }
                    self.seen.insert(partition.0, offset.0);
                }
                // One position does not say where the other partitions stand, but a time does, roughly; what comes
                // twice is dropped above.
                let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(event.time_ms) * 1_000_000);
                if let Some(text) = time.ok().and_then(|time| time.format(&Rfc3339).ok()) {
                    self.since = Some(text);
                }
                Ok(Some(FeedEvent::Event(event)))
            }
            "drops" => serde_json::from_str::<Drops>(&event.data).map(|drops| Some(FeedEvent::Drops(drops))),
            "caught_up" => Ok(Some(FeedEvent::CaughtUp)),
            _ => Ok(None),
        }
    }
}

fn parse_if<T: DeserializeOwned>(is_it: bool, data: &str) -> Result<Option<T>, serde_json::Error> {
    if is_it { serde_json::from_str(data).map(Some) } else { Ok(None) }
}

enum State {
    Waiting(Duration),
    Open(Box<Sse>),
    Ended,
}

fn read<S: Source>(client: Client, source: S) -> FeedStream<S::Item> {
    let start = (client, source, Backoff::default(), State::Waiting(Duration::ZERO));
    stream::unfold(start, |(client, mut source, mut backoff, state)| async move {
        let (item, state) = match state {
            State::Ended => return None,
            State::Waiting(delay) => {
                tokio::time::sleep(delay).await;
                match source.call(&client).header("accept", "text/event-stream").send().await {
                    Ok(answer) => {
                        backoff.connected(Instant::now());
                        (Ok(Feed::Connected), State::Open(Box::new(Sse::new(answer))))
                    }
                    Err(error) => after(error, &mut backoff),
                }
            }
            State::Open(mut sse) => loop {
                let event = match sse.next().await {
                    Ok(event) => event,
                    Err(error) => break after(error, &mut backoff),
                };
                let data_bytes = event.data.len();
                match source.item(event) {
                    Ok(Some(item)) => break (Ok(Feed::Item(item)), State::Open(sse)),
                    Ok(None) => {}
                    Err(error) => {
                        let url = client.config().server_url.to_string();
                        let detail = format!("{error} in an event of {data_bytes} bytes");
                        break (Err(Error::Protocol { url, detail }), State::Ended);
                    }
                }
            },
        };
        Some((item, (client, source, backoff, state)))
    })
    .boxed()
}

fn after<T>(error: Error, backoff: &mut Backoff) -> (Result<Feed<T>, Error>, State) {
    if error.is_transient() {
        let retry_in = backoff.next_delay(Instant::now(), &mut rand::rng());
        (Ok(Feed::Disconnected { error, retry_in }), State::Waiting(retry_in))
    } else {
        (Err(error), State::Ended)
    }
}
