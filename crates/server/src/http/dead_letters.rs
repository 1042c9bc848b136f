//! `/dead-letters`: records that could not be read as events; look at them, put them back, or drop them.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evs_api::Page;
use evs_api::dead_letters::{DeadLetter as WireLetter, ReplayResponse};
use evs_api::error::Problem;
use evs_api::oplog::Level;
use evs_core::Event;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::extract::{PAGE_MAX, Query, bad_page, page_limit};
use super::guard::Caller;
use super::problem::{ApiError, ApiResult};
use crate::ports::event_log::DeadLetter;

/// Ids of one request: they stand in the URL.
const IDS_MAX: usize = 500;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, purge)).routes(routes!(replay))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// 100 by default, at most 1000.
    limit: Option<usize>,
    /// `next` of the page before.
    page: Option<String>,
}

/// List dead letters, newest first
#[utoipa::path(get, path = "/dead-letters", operation_id = "list_dead_letters", tag = "dead letters", params(ListQuery), responses(
    (status = 200, body = Page<WireLetter>),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(api): State<Api>,
    Caller(subject): Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<Page<WireLetter>>> {
    subject.require_installation()?;
    let limit = page_limit(query.limit)?;
    let skip = query.page.map_or(Ok(0), |page| page.parse().map_err(|_| bad_page()))?;
    let mut letters = api.app.log.dead_letters(skip, limit + 1).await?;
    let more = letters.len() > limit;
    letters.truncate(limit);
    let items = letters.into_iter().map(wire).collect();
    Ok(Json(Page { items, next: more.then(|| (skip + limit).to_string()), total: None }))
}

fn wire(letter: DeadLetter) -> WireLetter {
    let DeadLetter { id, reason, detail, position, time_ms, payload } = letter;
    WireLetter { id, reason, detail, position: position.to_string(), time_ms, payload_base64: STANDARD.encode(payload) }
}

/// Put dead letters back into the event log
///
/// Those that are events by now are appended and removed; the others stay and count as failed. A letter may be
/// appended twice if the server stops between the two.
#[utoipa::path(post, path = "/dead-letters/replay", operation_id = "replay_dead_letters", tag = "dead letters",
    params(("id" = Option<Vec<String>>, Query, description = "repeated; absent: all")), responses(
    (status = 200, body = ReplayResponse),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn replay(
    State(api): State<Api>,
    Caller(subject): Caller,
    RawQuery(query): RawQuery,
) -> ApiResult<Json<ReplayResponse>> {
    subject.require_installation()?;
    let ids = ids(query.as_deref())?;
    let mut done = ReplayResponse::default();
    // Letters that stay are skipped; those that are removed move the next ones up.
    let mut skip = 0;
    loop {
        let letters = api.app.log.dead_letters(skip, PAGE_MAX).await?;
        if letters.is_empty() {
            break;
        }
        let mut removed = Vec::new();
        let mut events = Vec::new();
        for letter in letters {
            let wanted = ids.is_empty() || ids.contains(&letter.id);
            match Event::parse(letter.payload).ok().filter(|_| wanted) {
                Some(event) => {
                    events.push(event);
                    removed.push(letter.id);
                }
                None => {
                    skip += 1;
                    done.failed += u64::from(wanted);
                }
            }
        }
        if !events.is_empty() {
            api.app.log.append(events).await?;
            done.replayed += api.app.log.remove_dead_letters(&removed).await?;
        }
    }
    let message = format!("{} dead letters put back, {} are still no events", done.replayed, done.failed);
    api.app.oplog.write(Level::Info, "dead_letter", None, message);
    Ok(Json(done))
}

/// Drop dead letters
#[utoipa::path(delete, path = "/dead-letters", operation_id = "purge_dead_letters", tag = "dead letters",
    params(("id" = Option<Vec<String>>, Query, description = "repeated; absent: all")), responses(
    (status = 204, description = "gone"),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn purge(State(api): State<Api>, Caller(subject): Caller, RawQuery(query): RawQuery) -> ApiResult<StatusCode> {
    subject.require_installation()?;
    let removed = api.app.log.remove_dead_letters(&ids(query.as_deref())?).await?;
    api.app.oplog.write(Level::Info, "dead_letter", None, format!("{removed} dead letters dropped"));
    Ok(StatusCode::NO_CONTENT)
}

fn ids(query: Option<&str>) -> ApiResult<Vec<String>> {
    let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let ids = pairs.map(|(name, value)| match (&*name, value) {
        ("id", value) if !value.is_empty() => Ok(value.into_owned()),
        ("id", _) => Err(ApiError::bad_request("invalid_query", "id: must not be empty")),
        (other, _) => {
            Err(ApiError::bad_request("invalid_query", format!("query: unknown parameter `{other}`, expected `id`")))
        }
    });
    let ids = ids.collect::<ApiResult<Vec<String>>>()?;
    if ids.len() > IDS_MAX {
        return Err(ApiError::bad_request("invalid_query", format!("id: at most {IDS_MAX} in one request")));
    }
    Ok(ids)
}
