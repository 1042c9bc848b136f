//! `/events` for operators: what the event log holds, and what comes in now.

mod headers;
pub(super) mod scan;
mod stream;

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use evs_api::Page;
use evs_api::error::Problem;
use evs_api::events::LoggedEvent as WireEvent;
use evs_core::filter::ast::Expr;
use evs_core::filter::{FilterError, eval, parse_where};
use evs_core::limits::EVENT_BYTES_MAX;
use evs_core::{Event, Offset, Partition, Position};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::extract::{Query, Segment, bad_page, page_limit};
use super::filters::tenancy;
use super::guard::Caller;
use super::problem::{ApiError, ApiResult, bad_filter};
use crate::app::App;
use crate::auth::{Authorizer, Subject};
use crate::clock::parse_since;
use crate::ports::event_log::LoggedEvent;
use scan::LogScan;

/// Events looked at for one page; the page ends early and names the next.
const SCAN_EVENTS_MAX: usize = 200_000;
const SCAN_TIME: Duration = Duration::from_secs(2);

/// How far back a condition looks when nothing else is said.
const RECENT_MS: i64 = 10 * 60 * 1000;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get)).merge(stream::router())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// `10m`, a time as RFC 3339, or `beginning`. By default the newest events, or with `where` those of 10 minutes.
    since: Option<String>,
    /// `partition:offset`: only this partition, from there on.
    from: Option<String>,
    /// A condition as docs/FILTERS.md describes.
    #[serde(rename = "where")]
    where_: Option<String>,
    /// 100 by default, at most 1000.
    limit: Option<usize>,
    /// `next` of the page before.
    page: Option<String>,
}

/// List events, oldest first
#[utoipa::path(get, path = "/events", operation_id = "list_events", tag = "events", params(ListQuery), responses(
    (status = 200, body = Page<WireEvent>),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(api): State<Api>,
    Caller(subject): Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<Page<WireEvent>>> {
    subject.require(subject.may_operate(), "operate")?;
    let limit = page_limit(query.limit)?;
    let condition = Condition::new(query.where_.as_deref(), &subject, &api.app.auth)?;
    let mut scan = start(&api.app, &query, limit).await?.with_headers();
    let deadline = Instant::now() + SCAN_TIME;
    let mut items = Vec::new();
    let mut scanned = 0;
    while items.len() < limit && scanned < SCAN_EVENTS_MAX && Instant::now() < deadline {
        let Some((partition, logged)) = scan.next().await? else { break };
        scanned += 1;
        if condition.holds(&logged.event) {
            items.push(wire(partition, &logged)?);
        }
    }
    let next = (!scan.is_done()).then(|| scan.bookmark());
    Ok(Json(Page { items, next, total: None }))
}

async fn start(app: &App, query: &ListQuery, limit: usize) -> ApiResult<LogScan> {
    if let Some(page) = &query.page {
        let places = scan::parse_bookmark(page).ok_or_else(bad_page)?;
        return Ok(LogScan::at(app, &places, false).await?);
    }
    if let Some(from) = &query.from {
        return Ok(LogScan::at(app, &[position(from)?], true).await?);
    }
    match since(query.since.as_deref(), app)? {
        Some(since_ms) => Ok(LogScan::since(app, since_ms).await?),
        None if query.where_.is_some() => Ok(LogScan::since(app, app.clock.now_ms() - RECENT_MS).await?),
        None => Ok(LogScan::newest(app, limit as u64).await?),
    }
}

/// Read one event
#[utoipa::path(get, path = "/events/{position}", operation_id = "get_event", tag = "events",
    params(("position" = String, Path, description = "`partition:offset`")), responses(
    (status = 200, body = WireEvent),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn get(State(api): State<Api>, Caller(subject): Caller, Segment(text): Segment) -> ApiResult<Json<WireEvent>> {
    subject.require(subject.may_operate(), "operate")?;
    let position = position(&text)?;
    let logged = read_at(&api.app, &subject, position).await?;
    wire(position.partition, &logged).map(Json)
}

/// The event at a position; another tenant's is as if it were not there.
pub(super) async fn read_at(app: &App, subject: &Subject, position: Position) -> ApiResult<LoggedEvent> {
    let Position { partition, offset } = position;
    let partitions = app.log.partitions().await?;
    let range = partitions.iter().find(|range| range.partition == partition);
    let gone = || {
        ApiError::new(axum::http::StatusCode::NOT_FOUND, "unknown_event", format!("there is no event at {position}"))
    };
    let range = range.ok_or_else(gone)?;
    if offset < range.low {
        let detail = format!("the log keeps partition {partition} from {} on; {position} is older", range.low);
        return Err(ApiError::new(axum::http::StatusCode::NOT_FOUND, "event_expired", detail));
    }
    if offset >= range.high {
        return Err(gone());
    }
    let read = app.log.read_with_headers(partition, offset, 1, EVENT_BYTES_MAX).await?;
    let logged = read.events.into_iter().next().filter(|logged| logged.offset == offset).ok_or_else(gone)?;
    if Condition::new(None, subject, &app.auth)?.holds(&logged.event) { Ok(logged) } else { Err(gone()) }
}

/// What a caller wants to see, of what it may see.
#[derive(Debug)]
pub(super) struct Condition(Option<Expr>);

impl Condition {
    pub(super) fn new(where_: Option<&str>, subject: &Subject, auth: &Authorizer) -> ApiResult<Self> {
        let parse = |text: &str| parse_where(text).map_err(|error| bad_filter(&FilterError::Where(error), Some(text)));
        let own = where_.map(parse).transpose()?;
        match subject.tenant() {
            None => Ok(Self(own)),
            Some(tenant) => parse(&tenancy::confine(auth.tenant_field(), tenant, where_)).map(|expr| Self(Some(expr))),
        }
    }

    pub(super) fn holds(&self, event: &Event) -> bool {
        self.0.as_ref().is_none_or(|expr| eval(expr, &event.value()).is_true())
    }
}

pub(super) fn position(text: &str) -> ApiResult<Position> {
    text.parse().map_err(|error| ApiError::bad_request("invalid_position", format!("{text:?}: {error}")))
}

/// Milliseconds since the Unix epoch.
pub(super) fn since(text: Option<&str>, app: &App) -> ApiResult<Option<i64>> {
    text.map(|text| parse_since(text, app.clock.now_ms()))
        .transpose()
        .map_err(|detail| ApiError::bad_request("invalid_since", format!("since: {detail}")))
}

pub(super) fn wire(partition: Partition, logged: &LoggedEvent) -> ApiResult<WireEvent> {
    let position = place(partition, logged.offset);
    let (headers, headers_left_out) = headers::wire(logged);
    Ok(WireEvent { position, time_ms: logged.time_ms, data: raw(&logged.event)?, headers, headers_left_out })
}

pub(super) fn place(partition: Partition, offset: Offset) -> String {
    Position { partition, offset }.to_string()
}

/// The event's own bytes, in one line.
pub(super) fn raw(event: &Event) -> ApiResult<Box<RawValue>> {
    let text = String::from_utf8(event.single_line().into_owned()).map_err(ApiError::internal)?;
    RawValue::from_string(text).map_err(ApiError::internal)
}
