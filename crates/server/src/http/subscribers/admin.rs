//! `DELETE /subscribers/{id}` and `POST /subscribers/{id}/reset`.

use axum::extract::State;
use axum::http::StatusCode;
use evs_api::error::Problem;
use evs_api::oplog::Level;
use evs_core::{ConsumerName, Seq};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::detail::{top, visible};
use crate::auth::{Subject, no_such_subscriber, subscriber_id};
use crate::http::Api;
use crate::http::extract::{Query, Segment};
use crate::http::guard::Caller;
use crate::http::health::not_ready;
use crate::http::problem::{ApiError, ApiResult, bad_name};
use crate::notices::{self, Notice};
use crate::ports::PortResult;

/// Tries of the second half of a deletion.
const REMOVE_ATTEMPTS: u32 = 3;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(delete)).routes(routes!(reset))
}

/// Delete a subscriber
///
/// Its filters and its queue go, with what it has not read.
#[utoipa::path(delete, path = "/subscribers/{id}", operation_id = "delete_subscriber", tag = "subscribers",
    params(("id" = String, Path, description = "the subscriber")), responses(
    (status = 204, description = "gone"),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn delete(State(api): State<Api>, Caller(subject): Caller, Segment(text): Segment) -> ApiResult<StatusCode> {
    let id = subscriber_id(&text)?;
    let record = visible(&api, &subject, &id, |subject, id| subject.may_filter(id) || subject.may_operate()).await?;
    // A task of its own: a caller that goes away must not leave half of it.
    let deletion = tokio::spawn(async move {
        let deleted = api.app.filters.delete_subscriber(&record.id).await?;
        let record = deleted.ok_or_else(|| no_such_subscriber(&id))?;
        remove_queue(&api, &record).await?;
        let gone = Notice::Gone { shard: record.shard, slot: record.slot };
        notices::announce(&api.app, &gone, None).await?;
        api.app.oplog.write(Level::Info, "filter_deleted", Some(record.id.as_str()), "the subscriber was deleted");
        Ok(StatusCode::NO_CONTENT)
    });
    deletion.await.map_err(ApiError::internal)?
}

/// The filters are gone already, so nothing new comes; the queue must go too, or it stays until somebody sweeps.
async fn remove_queue(api: &Api, record: &crate::ports::filter_store::SubscriberRecord) -> PortResult<()> {
    let mut attempt = 1;
    loop {
        match api.app.queue.remove(record.shard, record.slot).await {
            Ok(()) => return Ok(()),
            Err(error) if attempt < REMOVE_ATTEMPTS => {
                tracing::warn!(%error, subscriber = %record.id, "the queue could not be removed; trying again");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ResetQuery {
    /// `default` by default.
    consumer: Option<String>,
    /// `latest`, `earliest`, or the seq of the last delivery that counts as read.
    to: String,
}

/// Move a consumer
///
/// Forth, to skip deliveries, or back to what is still kept. The consumer's connections end with 4004 and resume there:
/// those of this instance within a second, those of others within three; an ack of theirs meanwhile counts.
#[utoipa::path(post, path = "/subscribers/{id}/reset", operation_id = "reset_consumer", tag = "subscribers",
    params(("id" = String, Path, description = "the subscriber"), ResetQuery), responses(
    (status = 204, description = "moved"),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn reset(
    State(api): State<Api>,
    Caller(subject): Caller,
    Segment(text): Segment,
    Query(query): Query<ResetQuery>,
) -> ApiResult<StatusCode> {
    let may = |subject: &Subject, id: &_| subject.may_operate() || subject.may_subscribe(id);
    let record = visible(&api, &subject, &subscriber_id(&text)?, may).await?;
    let consumer = match query.consumer.as_deref() {
        None => ConsumerName::default_consumer(),
        Some(name) => ConsumerName::new(name).map_err(|error| bad_name("consumer", None, &error))?,
    };
    let top = top(&api, &record).ok_or_else(|| not_ready("the reader of the delivery log"))?;
    let to = match query.to.as_str() {
        "latest" => top,
        "earliest" => Seq(0),
        number => {
            let seq = number.parse().map(Seq).map_err(|_| {
                ApiError::bad_request("invalid_query", format!("to: {number:?} is neither latest, earliest nor a seq"))
            })?;
            if seq > top {
                return Err(ApiError::refused(
                    "beyond_the_end",
                    format!("to: {seq} is beyond the newest delivery, {top}"),
                ));
            }
            seq
        }
    };
    let known = api.app.queue.consumers(record.shard, record.slot).await?;
    if known.iter().all(|known| known.name != consumer) {
        let detail = format!("there is no consumer {consumer}; a consumer is made by its first connection");
        return Err(ApiError::new(StatusCode::NOT_FOUND, "unknown_consumer", detail));
    }
    // Its connections end, here at once and elsewhere soon, and come back to the new position. What they ack meanwhile
    // would undo the move, so it is not stored; those that connect during the move begin anew as well.
    let (shard, slot, nonce) = (record.shard, record.slot, rand::random());
    let moved = Notice::Moved { shard, slot, nonce, consumer: consumer.clone() };
    notices::end(&api.app, &moved);
    api.app.queue.reset(shard, slot, &consumer, to).await?;
    notices::announce(&api.app, &moved, None).await?;
    let message = format!("consumer {consumer} was moved to {to}");
    api.app.oplog.write(Level::Info, "gap", Some(record.id.as_str()), message);
    Ok(StatusCode::NO_CONTENT)
}
