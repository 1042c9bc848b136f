//! A method for each REST endpoint of docs/API.md.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use evs_api::Page;
use evs_api::dead_letters::{DeadLetter, ReplayResponse};
use evs_api::events::{Drops, LoggedEvent, PublishResponse};
use evs_api::explain::Explanation;
use evs_api::filters::{Filter, FilterSpec, ImportResponse, TestRequest, TestResponse};
use evs_api::oplog::LogEntry;
use evs_api::stats::Stats;
use evs_api::subscribers::{Subscriber, SubscriberDetail};
use evs_api::tickets::Ticket;
use evs_api::tokens::RevokeRequest;
use futures_util::stream::{self, BoxStream, StreamExt};
use url::Url;

use crate::{Client, Error};

const NDJSON: &str = "application/x-ndjson";

/// A filter as the server has stored it.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    pub filter: Filter,
    /// False if a filter of that name existed and was replaced.
    pub created: bool,
    /// For a later conditional change.
    pub etag: Option<String>,
}

/// Filters.
impl Client {
    /// With `wait`, answers when every live matcher applies the filter, or after that time.
    pub async fn create_filter(&self, spec: &FilterSpec, wait: Option<Duration>) -> Result<Saved, Error> {
        let answer = waiting(self.post(&["filters"]), wait).json(spec).send().await?;
        saved(answer).await
    }

    pub async fn filters(
        &self,
        subscriber: Option<&str>,
        limit: Option<usize>,
        page: Option<&str>,
    ) -> Result<Page<Filter>, Error> {
        let call = self.get(&["filters"]).query_opt("subscriber_id", subscriber);
        call.query_opt("limit", limit).query_opt("page", page).fetch().await
    }

    pub async fn filter(&self, id: u32) -> Result<Option<Saved>, Error> {
        match self.get(&["filters", &id.to_string()]).send().await {
            Ok(answer) => saved(answer).await.map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// With `if_match` (an etag), only if nobody changed it since.
    pub async fn update_filter(
        &self,
        id: u32,
        spec: &FilterSpec,
        if_match: Option<&str>,
        wait: Option<Duration>,
    ) -> Result<Saved, Error> {
        let call = waiting(self.put(&["filters", &id.to_string()]), wait);
        saved(call.header_opt("if-match", if_match).json(spec).send().await?).await
    }

    pub async fn delete_filter(&self, id: u32, if_match: Option<&str>) -> Result<(), Error> {
        self.delete(&["filters", &id.to_string()]).header_opt("if-match", if_match).done().await
    }

    /// `lines` is NDJSON of [`FilterSpec`]; lines with a name can be sent again.
    pub async fn import_filters(&self, lines: impl Into<Bytes>) -> Result<ImportResponse, Error> {
        let call = self.post(&["filters", "import"]).body(NDJSON, lines);
        call.wait_longer(Duration::from_secs(60)).fetch().await
    }

    /// All filters as they come in, without holding them all.
    pub async fn export_filters(
        &self,
        subscriber: Option<&str>,
    ) -> Result<BoxStream<'static, Result<Filter, Error>>, Error> {
        let answer = self.get(&["filters", "export"]).query_opt("subscriber_id", subscriber).send().await?;
        let url = answer.response.url().to_string();
        let state = (answer.response, BytesMut::new(), url, false);
        Ok(stream::unfold(state, |(mut response, mut buffer, url, mut ended)| async move {
            loop {
                if let Some(line) = take_line(&mut buffer, ended) {
                    if line.trim_ascii().is_empty() {
                        continue;
                    }
                    let item = serde_json::from_slice(&line)
                        .map_err(|error| Error::Protocol { url: url.clone(), detail: error.to_string() });
                    return Some((item, (response, buffer, url, ended)));
                }
                if ended {
                    return None;
                }
                match response.chunk().await {
                    Ok(Some(chunk)) => buffer.extend_from_slice(&chunk),
                    Ok(None) => ended = true,
                    Err(error) => {
                        let cause = format!("the connection broke during the export: {}", crate::http::chain(&error));
                        buffer.clear();
                        return Some((
                            Err(Error::Unreachable { url: url.clone(), cause, connected: true }),
                            (response, buffer, url, true),
                        ));
                    }
                }
            }
        })
        .boxed())
    }

    pub async fn test_filter(&self, request: &TestRequest) -> Result<TestResponse, Error> {
        self.post(&["filters", "test"]).changes_nothing().json(request).fetch().await
    }
}

/// Which events of the log to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventsQuery {
    /// `10m`, RFC 3339, or `beginning`.
    pub since: Option<String>,
    /// `partition:offset`.
    pub from: Option<String>,
    pub where_: Option<String>,
    pub limit: Option<usize>,
    pub page: Option<String>,
}

/// What `GET /events/stream` tells.
#[derive(Clone, Debug)]
pub enum FeedEvent {
    Event(LoggedEvent),
    Drops(Drops),
    CaughtUp,
}

/// Events.
impl Client {
    /// One JSON object, an array, or NDJSON, told apart by the first byte and by newlines; answers when they are
    /// durable. With an idempotency key, sending the same again publishes nothing new.
    pub async fn publish(
        &self,
        events: impl Into<Bytes>,
        idempotency_key: Option<&str>,
    ) -> Result<PublishResponse, Error> {
        let events = events.into();
        let text = events.trim_ascii();
        let one_value = text.first() == Some(&b'[') || !text.contains(&b'\n');
        let content_type = if one_value { "application/json" } else { NDJSON };
        let call = self.post(&["events"]).header_opt("idempotency-key", idempotency_key);
        call.body(content_type, events).fetch().await
    }

    pub async fn events(&self, query: &EventsQuery) -> Result<Page<LoggedEvent>, Error> {
        let call = self.get(&["events"]).query_opt("since", query.since.as_deref());
        let call = call.query_opt("from", query.from.as_deref()).query_opt("where", query.where_.as_deref());
        call.query_opt("limit", query.limit).query_opt("page", query.page.as_deref()).fetch().await
    }

    /// `position` is `partition:offset`.
    pub async fn event(&self, position: &str) -> Result<Option<LoggedEvent>, Error> {
        self.get(&["events", position]).find().await
    }

    /// `event` is a position or an event's id.
    pub async fn explain(&self, subscriber: &str, event: &str) -> Result<Explanation, Error> {
        self.get(&["explain"]).query("subscriber", subscriber).query("event", event).fetch().await
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubscriberSort {
    #[default]
    LagEvents,
    LagSeconds,
    Id,
    DeliveredPerSecond,
    Filters,
    State,
    LastAck,
}

impl SubscriberSort {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LagEvents => "lag_events",
            Self::LagSeconds => "lag_s",
            Self::Id => "id",
            Self::DeliveredPerSecond => "delivered_per_s",
            Self::Filters => "filters",
            Self::State => "state",
            Self::LastAck => "last_ack",
        }
    }
}

/// Which subscribers to list, and in which order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribersQuery {
    pub sort: Option<SubscriberSort>,
    /// Largest first if absent, but for ids.
    pub ascending: Option<bool>,
    /// A part of the id.
    pub search: Option<String>,
    /// States with commas between; all if absent.
    pub states: Option<String>,
    pub limit: Option<usize>,
    pub page: Option<String>,
}

/// Where a consumer is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetTo {
    Latest,
    Earliest,
    /// As if everything up to here were acked.
    Seq(u64),
}

impl std::fmt::Display for ResetTo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Earliest => f.write_str("earliest"),
            Self::Seq(seq) => seq.fmt(f),
        }
    }
}

/// Subscribers.
impl Client {
    pub async fn subscribers(&self, query: &SubscribersQuery) -> Result<Page<Subscriber>, Error> {
        let order = query.ascending.map(|ascending| if ascending { "asc" } else { "desc" });
        let call = self.get(&["subscribers"]).query_opt("sort", query.sort.map(SubscriberSort::as_str));
        let call = call.query_opt("order", order).query_opt("q", query.search.as_deref());
        let call = call.query_opt("state", query.states.as_deref());
        call.query_opt("limit", query.limit).query_opt("page", query.page.as_deref()).fetch().await
    }

    pub async fn subscriber(&self, id: &str) -> Result<Option<SubscriberDetail>, Error> {
        self.get(&["subscribers", id]).find().await
    }

    /// Its filters and its queue go.
    pub async fn delete_subscriber(&self, id: &str) -> Result<(), Error> {
        self.delete(&["subscribers", id]).done().await
    }

    pub async fn reset_subscriber(&self, id: &str, consumer: Option<&str>, to: ResetTo) -> Result<(), Error> {
        self.post(&["subscribers", id, "reset"]).query_opt("consumer", consumer).query("to", to).done().await
    }
}

/// Credentials.
impl Client {
    /// A single-use ticket, for a program that can set no header: put it into `?ticket=` of one connection.
    pub async fn ticket(&self) -> Result<Ticket, Error> {
        self.post(&["tickets"]).fetch().await
    }

    /// The token with this `jti` is refused from now on. `exp` is the token's own, where it is known.
    pub async fn revoke_token(&self, jti: &str, exp: Option<u64>) -> Result<(), Error> {
        let request = RevokeRequest { jti: jti.to_owned(), exp };
        self.post(&["tokens", "revoke"]).json(&request).done().await
    }
}

/// Operations.
impl Client {
    pub async fn stats(&self) -> Result<Stats, Error> {
        self.get(&["stats"]).fetch().await
    }

    pub async fn log(&self, after: Option<u64>) -> Result<Page<LogEntry>, Error> {
        self.get(&["log"]).query_opt("after", after).fetch().await
    }

    pub async fn dead_letters(&self, limit: Option<usize>, page: Option<&str>) -> Result<Page<DeadLetter>, Error> {
        self.get(&["dead-letters"]).query_opt("limit", limit).query_opt("page", page).fetch().await
    }

    /// All of them if `ids` is empty.
    pub async fn replay_dead_letters(&self, ids: &[String]) -> Result<ReplayResponse, Error> {
        ids.iter().fold(self.post(&["dead-letters", "replay"]), |call, id| call.query("id", id)).fetch().await
    }

    /// All of them if `ids` is empty.
    pub async fn purge_dead_letters(&self, ids: &[String]) -> Result<(), Error> {
        ids.iter().fold(self.delete(&["dead-letters"]), |call, id| call.query("id", id)).done().await
    }

    /// `path` is `livez`, `readyz`, `version` or `metrics`, of the role at `base`; the answer as text.
    pub async fn probe(&self, base: &Url, path: &str) -> Result<String, Error> {
        self.get_at(base, &[path]).send().await?.text().await
    }

    /// When the server thinks it is, by the `Date` of its answer, as seconds since the Unix epoch.
    pub async fn server_time_s(&self) -> Result<Option<i64>, Error> {
        let answer = self.get(&["livez"]).send().await?;
        let date = answer.response.headers().get("date").and_then(|date| date.to_str().ok()).map(str::to_owned);
        Ok(date.and_then(|date| parse_http_date(&date)))
    }
}

/// `Tue, 24 Nov 2026 08:00:00 GMT`.
fn parse_http_date(text: &str) -> Option<i64> {
    let text = text.strip_suffix(" GMT")?;
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second]"
    );
    Some(time::PrimitiveDateTime::parse(text, format).ok()?.assume_utc().unix_timestamp())
}

fn waiting(call: crate::http::Call<'_>, wait: Option<Duration>) -> crate::http::Call<'_> {
    match wait {
        Some(wait) => {
            call.query("wait", "active").query("timeout", format!("{}s", wait.as_secs().max(1))).wait_longer(wait)
        }
        None => call,
    }
}

async fn saved(answer: crate::http::Answer) -> Result<Saved, Error> {
    let (created, etag) = (answer.is_created(), answer.etag());
    Ok(Saved { filter: answer.json().await?, created, etag })
}

/// The next whole line, without its end; at the end of the input also the last one that has none.
fn take_line(buffer: &mut BytesMut, ended: bool) -> Option<Bytes> {
    match buffer.iter().position(|byte| *byte == b'\n') {
        Some(at) => {
            let mut line = buffer.split_to(at + 1);
            line.truncate(at);
            Some(line.freeze())
        }
        None if ended && !buffer.is_empty() => Some(buffer.split().freeze()),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_a_newline_or_the_input() {
        let mut buffer = BytesMut::from(&b"a\nb"[..]);
        assert_eq!(take_line(&mut buffer, false).as_deref(), Some(&b"a"[..]));
        assert_eq!(take_line(&mut buffer, false), None);
        assert_eq!(take_line(&mut buffer, true).as_deref(), Some(&b"b"[..]));
        assert_eq!(take_line(&mut buffer, true), None);
    }

    #[test]
    fn http_dates() {
        assert_eq!(parse_http_date("Thu, 01 Jan 1970 00:01:00 GMT"), Some(60));
        assert_eq!(parse_http_date("yesterday"), None);
    }
}
