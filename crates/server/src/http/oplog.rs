//! `/log`: what happened that an operator wants to know.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use evs_api::Page;
use evs_api::error::Problem;
use evs_api::oplog::LogEntry;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Query, page_limit};
use super::guard::Caller;
use super::problem::{ApiError, ApiResult};
use super::{Api, sse};

/// Entries handed to a stream at once.
const CHUNK: usize = 256;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(follow))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LogQuery {
    /// Only entries with a greater id.
    after: Option<u64>,
    /// 100 by default, at most 1000: the newest of them.
    limit: Option<usize>,
}

/// List the newest log entries, oldest first
#[utoipa::path(get, path = "/log", operation_id = "list_log", tag = "operations", params(LogQuery), responses(
    (status = 200, body = Page<LogEntry>),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(api): State<Api>,
    Caller(subject): Caller,
    Query(query): Query<LogQuery>,
) -> ApiResult<Json<Page<LogEntry>>> {
    subject.require_installation()?;
    let items = api.app.oplog.after(query.after.unwrap_or_default(), page_limit(query.limit)?);
    Ok(Json(Page { items, next: None, total: None }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FollowQuery {
    /// Only entries with a greater id; `Last-Event-ID` goes before. By default from now on.
    after: Option<u64>,
}

/// Follow the log
///
/// Server-sent events: `log`, whose id is the entry's.
#[utoipa::path(get, path = "/log/stream", operation_id = "follow_log", tag = "operations",
    params(FollowQuery, ("last-event-id" = Option<u64>, Header, description = "go on after this id")),
    responses((status = 200, description = "server-sent events", body = String, content_type = "text/event-stream"),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn follow(
    State(api): State<Api>,
    Caller(subject): Caller,
    Query(query): Query<FollowQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    subject.require_installation()?;
    let invalid = |_| ApiError::bad_request("invalid_last_event_id", "Last-Event-ID must be the id of a log entry");
    let last = sse::last_event_id(&headers).map(|id| id.parse().map_err(invalid)).transpose()?;
    let watch = api.app.oplog.watch();
    let after = last.or(query.after).unwrap_or_else(|| *watch.borrow());
    let oplog = api.app.oplog.clone();
    let chunks = stream::unfold((oplog, watch, after), async |(oplog, mut watch, after)| {
        loop {
            watch.borrow_and_update();
            let entries = oplog.after(after, CHUNK);
            if let Some(last) = entries.last() {
                let next = last.id;
                return Some((entries, (oplog, watch, next)));
            }
            watch.changed().await.ok()?;
        }
    });
    let events = chunks.flat_map(stream::iter).map(|entry| sse::event("log", &entry).id(entry.id.to_string()));
    Ok(sse::answer(&api.app.shutdown, events))
}
