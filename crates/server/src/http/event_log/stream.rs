//! `GET /events/stream`: the event log as it grows, for an operator's eyes.
//!
//! A stream holds no queue: it reads the log at its reader's pace. A reader that is too slow is moved to the end and
//! told how many events it did not see; it can look at them with `GET /events`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::response::sse::Event;
use evs_api::error::Problem;
use evs_api::events::Drops;
use evs_core::Position;
use futures_util::stream;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::scan::LogScan;
use super::{Condition, position, since, wire};
use crate::app::App;
use crate::http::extract::Query;
use crate::http::guard::Caller;
use crate::http::problem::{ApiError, ApiResult};
use crate::http::{Api, sse};

/// Between looks at the end of the log. An operator does not see less.
const POLL: Duration = Duration::from_millis(100);

/// After an error of the log.
const RETRY: Duration = Duration::from_secs(1);

/// Offsets that a stream may be behind once it is live.
const BEHIND_MAX: u64 = 20_000;

/// Each reads the log on its own; operators are few.
const STREAMS_MAX: usize = 64;

static STREAMS: AtomicUsize = AtomicUsize::new(0);

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(open))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StreamQuery {
    /// A condition as docs/FILTERS.md describes.
    #[serde(rename = "where")]
    where_: Option<String>,
    /// `10m`, a time as RFC 3339, or `beginning`; by default from now on. `Last-Event-ID` goes before.
    since: Option<String>,
}

/// Follow the event log
///
/// Server-sent events: `event` (an event, its id is its position), `drops` (how many were left out because the reader
/// was too slow), `caught_up` once.
#[utoipa::path(get, path = "/events/stream", operation_id = "follow_events", tag = "events",
    params(StreamQuery, ("last-event-id" = Option<String>, Header, description = "go on after this position")),
    responses((status = 200, description = "server-sent events", body = String, content_type = "text/event-stream"),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn open(
    State(api): State<Api>,
    Caller(subject): Caller,
    Query(query): Query<StreamQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    subject.require(subject.may_operate(), "operate")?;
    let condition = Condition::new(query.where_.as_deref(), &subject, &api.app.auth)?;
    let last = sse::last_event_id(&headers).map(position).transpose()?;
    let since_ms = since(query.since.as_deref(), &api.app)?;
    let place = Place::take()?;
    let scan = match (last, since_ms) {
        (Some(last), _) => after(&api.app, last).await?,
        (None, Some(since_ms)) => LogScan::since(&api.app, since_ms).await?,
        (None, None) => LogScan::newest(&api.app, 0).await?,
    };
    let scan = scan.with_headers();
    let follower = Follower { app: api.app.clone(), scan, condition, caught_up: false, _place: place };
    let events = stream::unfold(follower, async |mut follower| Some((follower.next().await, follower)));
    Ok(sse::answer(&api.app.shutdown, events))
}

/// After one event: exactly in its partition, by its time in the others.
async fn after(app: &App, last: Position) -> ApiResult<LogScan> {
    let time_ms = app.log.read(last.partition, last.offset, 1, 1).await?.events.first().map(|logged| logged.time_ms);
    let mut places =
        vec![Position { partition: last.partition, offset: evs_core::Offset(last.offset.0.saturating_add(1)) }];
    for range in app.log.partitions().await? {
        if range.partition != last.partition {
            let offset = match time_ms {
                Some(time_ms) => app.log.offset_at(range.partition, time_ms).await?,
                None => range.high,
            };
            places.push(Position { partition: range.partition, offset });
        }
    }
    Ok(LogScan::at(app, &places, true).await?)
}

/// One of [`STREAMS_MAX`].
#[derive(Debug)]
struct Place(());

impl Place {
    fn take() -> ApiResult<Self> {
        let taken =
            STREAMS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < STREAMS_MAX).then_some(open + 1));
        match taken {
            Ok(_) => Ok(Self(())),
            Err(_) => {
                let detail = format!("{STREAMS_MAX} operators follow the event log already");
                Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", detail).retry_after_s(10))
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        STREAMS.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Follower {
    app: App,
    scan: LogScan,
    condition: Condition,
    caught_up: bool,
    _place: Place,
}

impl Follower {
    /// What to send next. Waits as long as there is nothing.
    async fn next(&mut self) -> Event {
        loop {
            match self.scan.next().await {
                Ok(Some((partition, logged))) => {
                    if self.condition.holds(&logged.event)
                        && let Ok(event) = wire(partition, &logged)
                    {
                        return sse::event("event", &event).id(event.position);
                    }
                }
                Ok(None) => {
                    if let Some(event) = self.at_end().await {
                        return event;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "an operator's stream cannot read the event log; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn at_end(&mut self) -> Option<Event> {
        if self.caught_up {
            tokio::time::sleep(POLL).await;
        }
        if let Err(error) = self.scan.extend().await {
            tracing::warn!(%error, "an operator's stream cannot read the event log; trying again");
            tokio::time::sleep(RETRY).await;
        }
        if self.caught_up && self.scan.behind() > BEHIND_MAX {
            let dropped = self.scan.skip_to_end();
            self.app.metrics.drops.inc_by(dropped);
            return Some(sse::event("drops", &Drops { dropped }));
        }
        if !self.caught_up && self.scan.behind() == 0 {
            self.caught_up = true;
            return Some(Event::default().event("caught_up").data("{}"));
        }
        None
    }
}
