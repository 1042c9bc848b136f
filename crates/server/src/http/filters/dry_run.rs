//! `POST /filters/test`: what a filter would have matched in recent traffic; nothing is stored.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Json as JsonAnswer;
use axum::extract::State;
use evs_api::error::Problem;
use evs_api::filters::{Sample, TestRequest, TestResponse};
use evs_core::Filter;
use evs_core::filter::eval;
use tokio::time::Instant;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::unseen::Unseen;
use crate::http::Api;
use crate::http::event_log::scan::LogScan;
use crate::http::event_log::{Condition, place, raw, since};
use crate::http::extract::Json;
use crate::http::guard::Caller;
use crate::http::problem::{ApiError, ApiResult, bad_filter};
use crate::spec;

const SINCE_DEFAULT: &str = "10m";
const SAMPLES_DEFAULT: u32 = 10;
const SAMPLES_MAX: u32 = 100;

/// Bounds of one dry run: it is a look, and shares the machine with the matcher.
const SCAN_EVENTS_MAX: u64 = 500_000;
const SCAN_TIME: Duration = Duration::from_secs(5);

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(test))
}

/// Try a filter on recent events
#[utoipa::path(post, path = "/filters/test", operation_id = "test_filter", tag = "filters", request_body = TestRequest, responses(
    (status = 200, body = TestResponse),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn test(
    State(api): State<Api>,
    Caller(subject): Caller,
    Json(request): Json<TestRequest>,
) -> ApiResult<JsonAnswer<TestResponse>> {
    subject.require(subject.may_operate() || subject.may_filter_any(), "operate or filters:any")?;
    let TestRequest { event_types, user_tiers, min_amount, where_, since: since_text, samples } = request;
    let wanted = samples.unwrap_or(SAMPLES_DEFAULT);
    if wanted > SAMPLES_MAX {
        let detail = format!("samples: {wanted} is more than the {SAMPLES_MAX} allowed");
        return Err(ApiError::refused("invalid_filter", detail).at("/samples", "too many"));
    }
    let filter = spec::filter(&event_types, &user_tiers, min_amount.as_ref(), where_.as_deref())
        .map_err(|error| bad_filter(&error, where_.as_deref()))?;
    let since_ms = since(Some(since_text.as_deref().unwrap_or(SINCE_DEFAULT)), &api.app)?.unwrap_or(i64::MIN);
    // Of the events that the caller may see; others do not even count.
    let seen = Condition::new(None, &subject, &api.app.auth)?;
    let scan = LogScan::since(&api.app, since_ms).await?;
    run(scan, &filter, &seen, wanted as usize).await.map(JsonAnswer)
}

async fn run(mut scan: LogScan, filter: &Filter, seen: &Condition, wanted: usize) -> ApiResult<TestResponse> {
    let deadline = Instant::now() + SCAN_TIME;
    let (mut scanned, mut matched) = (0, 0);
    let condition = filter.condition();
    let mut unseen = Unseen::new(&condition);
    let mut times: Option<(i64, i64)> = None;
    let mut samples = VecDeque::with_capacity(wanted);
    while scanned < SCAN_EVENTS_MAX && Instant::now() < deadline {
        let Some((partition, logged)) = scan.next().await? else { break };
        if !seen.holds(&logged.event) {
            continue;
        }
        scanned += 1;
        let value = logged.event.value();
        unseen.look(&value);
        let (first_ms, _) = times.unwrap_or((logged.time_ms, 0));
        times = Some((first_ms, logged.time_ms));
        if eval(&condition, &value).is_true() {
            matched += 1;
            if samples.len() == wanted {
                samples.pop_front();
            }
            if wanted > 0 {
                samples.push_back((partition, logged));
            }
        }
    }
    let span_s = times.map_or(0.0, |(first_ms, last_ms)| (last_ms - first_ms).max(0) as f64 / 1000.0);
    let samples = samples.iter().map(|(partition, logged)| {
        let position = place(*partition, logged.offset);
        Ok(Sample { position, time_ms: logged.time_ms, data: raw(&logged.event)? })
    });
    let warnings = [super::admission::warning(filter), unseen.warning().filter(|_| scanned > 0)];
    let warning = warnings.into_iter().flatten().reduce(|first, second| format!("{first}; {second}"));
    Ok(TestResponse {
        canonical: condition.to_string(),
        scanned,
        matched,
        matched_per_s: if span_s > 0.0 { f64::from(u32::try_from(matched).unwrap_or(u32::MAX)) / span_s } else { 0.0 },
        span_s,
        truncated: !scan.is_done(),
        warning,
        samples: samples.collect::<ApiResult<_>>()?,
    })
}
