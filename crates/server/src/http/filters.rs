//! `/filters`: create, read, change, delete; in bulk; and a dry run on recent events.

mod admission;
mod bulk;
mod dry_run;
mod spec;
pub(in crate::http) mod tenancy;
mod unseen;

use std::time::Duration;

use axum::Json as JsonAnswer;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use evs_api::Page;
use evs_api::error::Problem;
use evs_api::filters::Filter;
use evs_api::oplog::Level;
use evs_core::{FilterId, FilterVersion, SubscriberId};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::extract::{Json, Query, Segment};
use super::guard::Caller;
use super::problem::{ApiError, ApiResult};
use crate::auth::{Subject, no_such_subscriber};
use crate::clock::parse_duration_ms;
use crate::ports::filter_store::{FilterRecord, PutOutcome};
use spec::FilterBody;

pub(super) use spec::own_fields;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, delete))
        .merge(bulk::router())
        .merge(dry_run::router())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WaitQuery {
    /// `active`: answer when the filter is active, or with status `pending` when the timeout is over.
    #[param(example = "active")]
    wait: Option<String>,
    /// How long to wait: `10s` by default, at most `60s`.
    timeout: Option<String>,
}

const WAIT_DEFAULT: Duration = Duration::from_secs(10);
const WAIT_MAX: Duration = Duration::from_secs(60);

impl WaitQuery {
    /// How long to wait, if at all.
    fn duration(&self) -> ApiResult<Option<Duration>> {
        let timeout = match &self.timeout {
            None => WAIT_DEFAULT,
            Some(text) => {
                let ms = parse_duration_ms(text).and_then(|ms| u64::try_from(ms).ok()).ok_or_else(|| {
                    ApiError::bad_request(
                        "invalid_query",
                        format!("timeout: {text:?} is no duration such as 500ms or 10s"),
                    )
                })?;
                Duration::from_millis(ms).min(WAIT_MAX)
            }
        };
        match self.wait.as_deref() {
            None => Ok(None),
            Some("active") => Ok(Some(timeout)),
            Some(other) => {
                Err(ApiError::bad_request("invalid_query", format!("wait: {other:?} is not known; use wait=active")))
            }
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only filters of this subscriber.
    subscriber_id: Option<String>,
    /// 100 by default, at most 1000.
    limit: Option<usize>,
    /// `next` of the page before.
    page: Option<String>,
}

/// Create a filter
///
/// Makes its subscriber too, if there is none. Where the subscriber has a filter of that name, it is replaced.
#[utoipa::path(post, path = "/filters", operation_id = "create_filter", tag = "filters", params(WaitQuery), request_body = FilterBody, responses(
    (status = 201, description = "created", body = Filter), (status = 200, description = "the name existed", body = Filter),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "try again", body = Problem, content_type = "application/problem+json")))]
async fn create(
    State(api): State<Api>,
    Caller(subject): Caller,
    Query(wait): Query<WaitQuery>,
    Json(body): Json<FilterBody>,
) -> ApiResult<Response> {
    let wait = wait.duration()?;
    let draft = body.draft(&subject, &api.app, None)?;
    let put =
        api.app.filters.put(vec![draft]).await?.pop().ok_or_else(|| ApiError::internal("put answered nothing"))?;
    let (status, kind) = match put.outcome {
        PutOutcome::Created => (StatusCode::CREATED, Some("filter_created")),
        PutOutcome::Updated => (StatusCode::OK, Some("filter_updated")),
        PutOutcome::Unchanged => (StatusCode::OK, None),
    };
    if let Some(kind) = kind {
        note(&api, kind, &put.record);
    }
    let mut response = changed(&api, &subject, &put.record, wait).await?;
    if status == StatusCode::CREATED
        && let Ok(location) = HeaderValue::try_from(format!("/filters/{}", put.record.id))
    {
        response.headers_mut().insert(header::LOCATION, location);
    }
    *response.status_mut() = status;
    Ok(response)
}

/// List filters, by id
#[utoipa::path(get, path = "/filters", operation_id = "list_filters", tag = "filters", params(ListQuery), responses(
    (status = 200, body = Page<Filter>),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(api): State<Api>,
    Caller(subject): Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<JsonAnswer<Page<Filter>>> {
    let limit = super::extract::page_limit(query.limit)?;
    let after = match query.page.as_deref() {
        None => FilterId(0),
        Some(page) => page.parse().map(FilterId).map_err(|_| super::extract::bad_page())?,
    };
    let Some(owner) = visible_owner(&subject, query.subscriber_id.as_deref())? else {
        return list_tenant(&api, &subject, after, limit).await;
    };
    let records = api.app.filters.filters(owner.as_ref(), after, limit + 1).await?;
    page(&api, &subject, records, limit).await.map(JsonAnswer)
}

/// Whose filters the caller lists, in the installation's names: `Some(None)` is everybody's, `None` a whole tenant's.
fn visible_owner(subject: &Subject, asked: Option<&str>) -> ApiResult<Option<Option<SubscriberId>>> {
    let all = subject.may_filter_any() || subject.may_operate();
    let owner = match (spec::queried(asked)?, all, subject.id()) {
        (Some(owner), _, _) if subject.may_see(&owner) => owner,
        (Some(owner), _, _) => return Err(no_such_subscriber(&owner)),
        (None, true, _) => return Ok(subject.tenant().is_none().then_some(None)),
        (None, false, Some(id)) => {
            let owner = crate::auth::subscriber_id(id)?;
            subject.require(subject.may_see(&owner), "filters:own, filters:any or operate")?;
            owner
        }
        (None, false, None) => return Err(ApiError::forbidden("the token has no scope for filters")),
    };
    Ok(Some(Some(subject.internal(&owner)?)))
}

/// A tenant's filters lie between others', so whole pages are read and what is not the tenant's is left out.
async fn list_tenant(
    api: &Api,
    subject: &Subject,
    mut after: FilterId,
    limit: usize,
) -> ApiResult<JsonAnswer<Page<Filter>>> {
    let mut found = Vec::new();
    loop {
        let records = api.app.filters.filters(None, after, super::extract::PAGE_MAX).await?;
        let Some(last) = records.last() else { break };
        after = last.id;
        let whole = records.len() == super::extract::PAGE_MAX;
        found.extend(records.into_iter().filter(|record| subject.external(&record.subscriber).is_some()));
        if found.len() > limit || !whole {
            break;
        }
    }
    page(api, subject, found, limit).await.map(JsonAnswer)
}

/// The first `limit` of `records`; if there are more, the page names the next one.
async fn page(api: &Api, subject: &Subject, mut records: Vec<FilterRecord>, limit: usize) -> ApiResult<Page<Filter>> {
    let more = records.len() > limit;
    records.truncate(limit);
    let next = records.last().filter(|_| more).map(|record| record.id.to_string());
    let active = api.activation.version(&api.app).await?;
    let mut items = Vec::with_capacity(records.len());
    api.app.activity.look_at(records.iter().map(|record| record.id), api.app.clock.now_ms());
    for record in &records {
        items.extend(spec::wire(record, active, subject, &api.app));
    }
    Ok(Page { items, next, total: None })
}

/// Read a filter
#[utoipa::path(get, path = "/filters/{id}", operation_id = "get_filter", tag = "filters", params(("id" = u32, Path, description = "the filter")), responses(
    (status = 200, body = Filter, headers(("etag" = String, description = "give it as If-Match"))),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn get(State(api): State<Api>, Caller(subject): Caller, id: Segment) -> ApiResult<Response> {
    let record = visible(&api, &subject, filter_id(&id)?, Subject::may_see).await?;
    answer(&api, &subject, &record, api.activation.version(&api.app).await?)
}

/// Replace a filter
#[utoipa::path(put, path = "/filters/{id}", operation_id = "update_filter", tag = "filters", request_body = FilterBody,
    params(("id" = u32, Path, description = "the filter"), WaitQuery, ("if-match" = Option<String>, Header, description = "the ETag that was read")),
    responses((status = 200, body = Filter),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn update(
    State(api): State<Api>,
    Caller(subject): Caller,
    id: Segment,
    Query(wait): Query<WaitQuery>,
    headers: HeaderMap,
    Json(body): Json<FilterBody>,
) -> ApiResult<Response> {
    let wait = wait.duration()?;
    let expected = if_match(&headers)?;
    let id = filter_id(&id)?;
    let present = visible(&api, &subject, id, Subject::may_filter).await?;
    let owner = subject.external(&present.subscriber).ok_or_else(|| no_such_filter(id))?;
    let draft = body.draft(&subject, &api.app, Some(&owner))?;
    let record = api.app.filters.update(id, draft, expected).await?.ok_or_else(|| no_such_filter(id))?;
    note(&api, "filter_updated", &record);
    changed(&api, &subject, &record, wait).await
}

/// Delete a filter
///
/// What is in the subscriber's queue already stays.
#[utoipa::path(delete, path = "/filters/{id}", operation_id = "delete_filter", tag = "filters",
    params(("id" = u32, Path, description = "the filter"), ("if-match" = Option<String>, Header, description = "the ETag that was read")),
    responses((status = 204, description = "gone"),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn delete(
    State(api): State<Api>,
    Caller(subject): Caller,
    id: Segment,
    headers: HeaderMap,
) -> ApiResult<StatusCode> {
    let expected = if_match(&headers)?;
    let id = filter_id(&id)?;
    visible(&api, &subject, id, Subject::may_filter).await?;
    let record = api.app.filters.delete(id, expected).await?.ok_or_else(|| no_such_filter(id))?;
    note(&api, "filter_deleted", &record);
    Ok(StatusCode::NO_CONTENT)
}

fn filter_id(Segment(text): &Segment) -> ApiResult<FilterId> {
    text.parse()
        .map(FilterId)
        .map_err(|_| ApiError::bad_request("invalid_path", format!("{text:?} is no filter id, which is a number")))
}

fn no_such_filter(id: FilterId) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "unknown_filter", format!("there is no filter {id}"))
}

/// The filter, if the caller may do this with filters of its subscriber; else it is as if it were not there.
async fn visible(
    api: &Api,
    subject: &Subject,
    id: FilterId,
    may: fn(&Subject, &SubscriberId) -> bool,
) -> ApiResult<FilterRecord> {
    let record = api.app.filters.filter(id).await?.ok_or_else(|| no_such_filter(id))?;
    let seen = subject.external(&record.subscriber).is_some_and(|owner| may(subject, &owner));
    if seen { Ok(record) } else { Err(no_such_filter(id)) }
}

/// The answer after a change: with `wait`, as soon as it is active or the wait is over.
async fn changed(api: &Api, subject: &Subject, record: &FilterRecord, wait: Option<Duration>) -> ApiResult<Response> {
    let active = match wait {
        Some(timeout) => api.activation.wait(&api.app, record.version, timeout).await?,
        None => api.activation.version(&api.app).await?,
    };
    answer(api, subject, record, active)
}

fn answer(api: &Api, subject: &Subject, record: &FilterRecord, active: FilterVersion) -> ApiResult<Response> {
    api.app.activity.look_at([record.id].into_iter(), api.app.clock.now_ms());
    let filter = spec::wire(record, active, subject, &api.app).ok_or_else(|| no_such_filter(record.id))?;
    let mut response = JsonAnswer(filter).into_response();
    if let Ok(etag) = HeaderValue::try_from(format!("\"{}\"", record.version)) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

/// `"17"`, also unquoted or weak; `*` and absence expect nothing.
fn if_match(headers: &HeaderMap) -> ApiResult<Option<FilterVersion>> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let version = text.strip_prefix("W/").unwrap_or(text).trim_matches('"').parse().map(FilterVersion);
    version.map(Some).map_err(|_| {
        ApiError::bad_request("invalid_if_match", format!("If-Match: {text:?} is no ETag of a filter, such as \"17\""))
    })
}

fn note(api: &Api, kind: &str, record: &FilterRecord) {
    let done = kind.trim_start_matches("filter_");
    let message = format!("filter {} {done}, version {}", record.id, record.version);
    api.app.oplog.write(Level::Info, kind, Some(record.subscriber.as_str()), message);
}
