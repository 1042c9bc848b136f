//! `POST /events`: one event, an array or NDJSON, all or nothing, answered when they are durable.

mod batch;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use evs_api::error::Problem;
use evs_api::events::PublishResponse;
use evs_core::Event;
use evs_core::limits::BATCH_BYTES_MAX;
use evs_core::trace::TRACEPARENT;
use sha2::{Digest as _, Sha256};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::extract::{content_type, read_body, require_content_type};
use super::guard::Caller;
use super::idempotency::{self, Answer, Begun};
use super::problem::{ApiError, ApiResult};
use crate::auth::Subject;
use crate::ports::event_log::{BatchKey, Once};
use crate::traces::{Span, SpanKind};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
const NDJSON: [&str; 3] = ["application/x-ndjson", "application/ndjson", "application/jsonl"];

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(publish))
}

/// Publish events
///
/// One JSON object, an array of them, or NDJSON. If one event is refused, none is taken. The answer comes when all
/// are durable, and is the same again for the same `Idempotency-Key` for some minutes.
#[utoipa::path(post, path = "/events", operation_id = "publish_events", tag = "events",
    request_body(description = "an event, an array of events, or NDJSON", content(
        (serde_json::Value = "application/json"), (String = "application/x-ndjson"))),
    params(("idempotency-key" = Option<String>, Header, description = "a key of the client's own, at most 128 bytes")),
    responses((status = 202, description = "durable", body = PublishResponse),
    (status = "4XX", description = "refused, nothing was stored", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "try again with the same Idempotency-Key", body = Problem, content_type = "application/problem+json")))]
async fn publish(State(api): State<Api>, Caller(subject): Caller, request: Request) -> ApiResult<Response> {
    subject.require(subject.may_produce(), "produce")?;
    let (parts, body) = request.into_parts();
    let accepted = ["application/json", NDJSON[0], NDJSON[1], NDJSON[2]];
    require_content_type(&parts.headers, &accepted)?;
    let key = idempotency_key(&parts.headers)?;
    let body = read_body(body, BATCH_BYTES_MAX).await?;
    let lines = content_type(&parts.headers).is_some_and(|given| NDJSON.contains(&given.as_str()));
    let parent = parts.headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()?.parse().ok());
    let span = api.app.traces.span("POST /events", SpanKind::Server, parent, None);
    let Some(key) = key else {
        return Ok(answer(store(&api, &subject, lines, body, None, span).await?.0, false));
    };
    let scope = subject_key(&subject);
    match api.idempotency.begin(scope.clone(), key.clone(), &body) {
        Begun::Known(known) => Ok(answer(known, true)),
        Begun::Running => {
            let detail = "the first request with this Idempotency-Key is not answered yet";
            Err(ApiError::new(StatusCode::CONFLICT, "idempotency_key_in_use", detail).retry_after_s(1))
        }
        Begun::OtherBody => Err(other_body()),
        Begun::Full => {
            let detail = "too many requests with an Idempotency-Key are running";
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail).retry_after_s(1))
        }
        Begun::New(entry) => {
            // A task of its own: a client that goes away now and comes back with its key must find the answer. On
            // failure the entry is dropped, which forgets the key: the next try is a first one again.
            let stored = tokio::spawn(async move {
                let until_ms = api.app.clock.now_ms() + idempotency::KEPT_MS;
                let key = BatchKey { scope, key, body: Sha256::digest(&body).into(), until_ms };
                let (answer, known) = store(&api, &subject, lines, body, Some(key), span).await?;
                Ok::<_, ApiError>((entry.finish(answer), known))
            });
            let (stored, known) = stored.await.map_err(ApiError::internal)??;
            Ok(answer(stored, known))
        }
    }
}

fn other_body() -> ApiError {
    let detail = "this Idempotency-Key was used with another body; use a new key for new events";
    ApiError::refused("idempotency_key_reused", detail)
}

/// A key belongs to the one who chose it.
fn subject_key(subject: &Subject) -> String {
    format!("{}{}", subject.prefix(), subject.name())
}

fn idempotency_key(headers: &HeaderMap) -> ApiResult<Option<String>> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(ApiError::bad_request(
            "invalid_idempotency_key",
            format!("Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters"),
        )),
    }
}

/// Checks all, then appends all; whether a log that keeps keys had it already, from before a restart.
async fn store(
    api: &Api,
    subject: &Subject,
    lines: bool,
    body: Bytes,
    key: Option<BatchKey>,
    mut span: Span,
) -> ApiResult<(Answer, bool)> {
    let events = batch::read(&body, lines).and_then(|events| confined(api, subject, events));
    let events = events.inspect_err(|_| _ = api.app.metrics.events_refused.inc())?;
    let events: Vec<Event> = match span.trace() {
        Some(trace) => events.into_iter().map(|event| event.with_trace(Some(trace))).collect(),
        None => events,
    };
    let accepted = events.len() as u64;
    span.set("evs.events", accepted.cast_signed());
    let (positions, known) = match key.filter(|_| api.app.log.keeps_keys()) {
        Some(key) => match api.app.log.append_once(events, key).await? {
            Once::Written(positions) => (positions, false),
            Once::Known(positions) => (positions, true),
            Once::OtherBody => return Err(other_body()),
        },
        None if events.is_empty() => (Vec::new(), false),
        None => (api.app.log.append(events).await?, false),
    };
    if !known {
        api.app.metrics.events_in.inc_by(accepted);
    }
    let positions = positions.iter().map(ToString::to_string).collect();
    let response = serde_json::to_vec(&PublishResponse { accepted, positions }).map_err(ApiError::internal)?;
    Ok((Answer(response.into()), known))
}

/// A tenant's events say that they are the tenant's; another's name in that field would reach the other.
fn confined(api: &Api, subject: &Subject, events: Vec<Event>) -> ApiResult<Vec<Event>> {
    let Some(tenant) = subject.tenant() else { return Ok(events) };
    let field = api.app.auth.tenant_field();
    let foreign = events.iter().position(|event| event.text(field).as_deref() != Some(tenant.as_str()));
    match foreign {
        None => Ok(events),
        Some(at) => {
            let detail = format!("event {at}: its {field} must be {:?}, the tenant of the token", tenant.as_str());
            Err(ApiError::refused("wrong_tenant", detail).at(format!("/{at}/{field}"), "wrong tenant"))
        }
    }
}

fn answer(Answer(body): Answer, replayed: bool) -> Response {
    let json = HeaderValue::from_static("application/json");
    let mut response = (StatusCode::ACCEPTED, [(header::CONTENT_TYPE, json)], body).into_response();
    if replayed {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    response
}
