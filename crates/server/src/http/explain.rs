//! `GET /explain`: why a subscriber did or did not get an event, and what became of it.

mod trail;

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use evs_api::error::Problem;
use evs_api::explain::{Clause, Explanation, FilterExplanation};
use evs_api::filters::FilterFields;
use evs_core::filter::{self, Outcome};
use evs_core::limits::SUBSCRIBER_FILTERS_MAX;
use evs_core::{FilterId, Position};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::event_log::scan::LogScan;
use super::event_log::{Condition, read_at};
use super::extract::Query;
use super::filters::own_fields;
use super::guard::Caller;
use super::problem::{ApiError, ApiResult};
use super::subscribers::visible;
use crate::auth::{Subject, subscriber_id};
use crate::ports::event_log::LoggedEvent;
use crate::spec;

/// Newest events of each partition that an event id is looked for in; older ones must be named by their position.
const SEARCH_EVENTS_MAX: u64 = 100_000;
const SEARCH_TIME: Duration = Duration::from_secs(3);

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(get))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExplainQuery {
    subscriber: String,
    /// `partition:offset`, or the `event_id` of a recent event.
    event: String,
}

/// Explain a delivery
#[utoipa::path(get, path = "/explain", operation_id = "explain", tag = "subscribers", params(ExplainQuery), responses(
    (status = 200, body = Explanation),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn get(
    State(api): State<Api>,
    Caller(subject): Caller,
    Query(query): Query<ExplainQuery>,
) -> ApiResult<Json<Explanation>> {
    let id = subscriber_id(&query.subscriber)?;
    // Explaining shows parts of the event, so it takes the right to read it.
    let may = |subject: &Subject, id: &_| subject.may_operate() || subject.may_subscribe(id);
    let record = visible(&api, &subject, &id, may).await?;
    let (position, logged) = match query.event.parse::<Position>() {
        Ok(position) => (position, read_at(&api.app, &subject, position).await?),
        Err(_) => search(&api, &subject, &query.event).await?,
    };
    let event = logged.event.value();
    let mut filters = Vec::new();
    let mut newest_change_ms = record.created_ms;
    for stored in api.app.filters.filters(Some(&record.id), FilterId(0), SUBSCRIBER_FILTERS_MAX).await? {
        newest_change_ms = newest_change_ms.max(stored.updated_ms);
        let FilterFields { event_types, user_tiers, min_amount, where_, .. } =
            own_fields(&stored, &subject, &api.app.auth);
        let filter = spec::filter(&event_types, &user_tiers, min_amount.as_ref(), where_.as_deref())
            .map_err(|error| ApiError::internal(format!("filter {} cannot be read: {error}", stored.id)))?;
        filters.push(wire(stored.id, filter.explain_value(&event)));
    }
    let matching: Vec<u32> = filters.iter().filter(|filter| filter.matched).map(|filter| filter.id).collect();
    let seen = trail::Seen { position, time_ms: logged.time_ms, matching: &matching, newest_change_ms };
    Ok(Json(Explanation {
        subscriber: id.to_string(),
        position: position.to_string(),
        event_id: logged.event.event_id().map(std::borrow::Cow::into_owned),
        matched: !matching.is_empty(),
        trail: trail::follow(&api, &record, &seen).await?,
        filters,
    }))
}

fn wire(id: FilterId, explanation: filter::Explanation) -> FilterExplanation {
    let filter::Explanation { matches, clauses } = explanation;
    let clause = |clause: filter::Clause| {
        let filter::Clause { field: _, text, outcome, seen } = clause;
        let mut saw: Vec<String> = seen
            .into_iter()
            .map(|filter::Seen { path, value }| match value {
                Some(value) => format!("{path} = {value}"),
                None => format!("{path} is absent"),
            })
            .collect();
        let outcome = match outcome {
            Outcome::True => "true",
            Outcome::False => "false",
            Outcome::Error(error) => {
                saw.push(error.to_string());
                "error"
            }
        };
        Clause { text, outcome: outcome.to_owned(), saw: (!saw.is_empty()).then(|| saw.join("; ")) }
    };
    FilterExplanation { id: id.0, matched: matches, clauses: clauses.into_iter().map(clause).collect() }
}

/// The newest event of that id.
async fn search(api: &Api, subject: &Subject, event_id: &str) -> ApiResult<(Position, LoggedEvent)> {
    let condition = Condition::new(None, subject, &api.app.auth)?;
    let mut scan = LogScan::newest(&api.app, SEARCH_EVENTS_MAX).await?;
    let deadline = Instant::now() + SEARCH_TIME;
    let mut found = None;
    while Instant::now() < deadline {
        let Some((partition, logged)) = scan.next().await? else { break };
        if logged.event.event_id().as_deref() == Some(event_id) && condition.holds(&logged.event) {
            found = Some((Position { partition, offset: logged.offset }, logged));
        }
    }
    found.ok_or_else(|| {
        let detail =
            format!("none of the newest {SEARCH_EVENTS_MAX} events of a partition has the event_id {event_id:?}");
        ApiError::new(StatusCode::NOT_FOUND, "unknown_event", detail)
            .with_hint("name an older event by its position, partition:offset, which POST /events answered")
    })
}
