//! `GET /subscribers/{id}`: one queue, with its consumers, as it is now.

use axum::Json;
use axum::extract::State;
use evs_api::error::Problem;
use evs_api::subscribers::{Consumer, SubscriberDetail};
use evs_core::limits::SUBSCRIBER_FILTERS_MAX;
use evs_core::{Cursor, FilterId, Seq, Slot, SubscriberId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::table::{Row, oldest_ms};
use crate::auth::{Subject, no_such_subscriber, subscriber_id};
use crate::http::Api;
use crate::http::extract::Segment;
use crate::http::guard::Caller;
use crate::http::problem::{ApiError, ApiResult};
use crate::ports::delivery_queue::{ConsumerState, Standing};
use crate::ports::filter_store::SubscriberRecord;
use evs_api::subscribers::SubscriberState;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(get))
}

/// Read a subscriber
#[utoipa::path(get, path = "/subscribers/{id}", operation_id = "get_subscriber", tag = "subscribers",
    params(("id" = String, Path, description = "the subscriber")), responses(
    (status = 200, body = SubscriberDetail),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn get(
    State(api): State<Api>,
    Caller(subject): Caller,
    Segment(text): Segment,
) -> ApiResult<Json<SubscriberDetail>> {
    let record = visible(&api, &subject, &subscriber_id(&text)?, Subject::may_see).await?;
    let app = &api.app;
    let (shard, slot) = (record.shard, record.slot);
    let state = app.queue.state(shard).await?;
    let standing = standing(&api, &record).await?;
    let consumers = app.queue.consumers(shard, slot).await?;
    let filters = app.filters.filters(Some(&record.id), FilterId(0), SUBSCRIBER_FILTERS_MAX).await?;
    let presence = app.readers.attached().presence(shard, slot);
    let top = app.readers.shard(shard).with_window(|window| window.top(slot)).unwrap_or_default();
    // The rate is measured between two looks, which only the table has.
    let rows = api.subscribers.rows(app).await?;
    let known = rows.iter().find(|row| row.id == record.id);
    // At another process's gateway, as far as the table has heard.
    let elsewhere = known.filter(|row| presence.is_none() && row.connections > 0);
    let state_word = match (&presence, standing) {
        _ if elsewhere.is_some() => elsewhere.map_or(SubscriberState::Away, |row| row.state),
        (Some(presence), _) if presence.live => SubscriberState::Live,
        (Some(_), _) => SubscriberState::Slow,
        (None, Some(standing)) if standing.has_consumer => SubscriberState::Away,
        (None, _) => SubscriberState::New,
    };
    let (acked, lost) = standing.map_or_else(Default::default, |standing| (standing.acked, standing.lost));
    let mut row = Row {
        id: record.id.clone(),
        shard,
        slot,
        filters: u32::try_from(filters.len()).unwrap_or(u32::MAX),
        state: state_word,
        connections: elsewhere
            .map_or_else(|| presence.as_ref().map_or(0, |presence| presence.connections), |row| row.connections),
        top,
        acked,
        oldest_ms: standing.and_then(|standing| standing.oldest_spilled_ms),
        delivered_per_s: known.map_or(0.0, |row| row.delivered_per_s),
        last_ack_ms: standing.and_then(|standing| standing.last_ack_ms),
        lost,
        spilled: standing.map_or(0, |standing| standing.spilled),
    };
    if row.lag() > 0 && row.oldest_ms.is_none() {
        row.oldest_ms = oldest_ms(app, shard, slot, acked.max(lost));
    }
    let consumer = |consumer: ConsumerState| {
        let ConsumerState { name, acked, epoch, last_ack_ms } = consumer;
        let connected = presence.as_ref().is_some_and(|presence| presence.consumers.contains(&name));
        let cursor = Cursor { shard, slot, epoch, seq: acked, seen: Vec::new() }.to_string();
        let lag_events = top.0.saturating_sub(acked.0.max(lost.0));
        Consumer { name: name.to_string(), acked: acked.0, lag_events, connected, cursor, last_ack_ms }
    };
    let wire = row.wire(&subject, app);
    Ok(Json(SubscriberDetail {
        subscriber: wire.ok_or_else(|| ApiError::internal("a visible subscriber has no name"))?,
        epoch: state.epoch.to_string(),
        consumers: consumers.into_iter().map(consumer).collect(),
        filter_ids: filters.iter().map(|filter| filter.id.0).collect(),
        spilled: row.spilled,
    }))
}

/// The subscriber that the caller calls `id`, if the caller may do this with it; else it is as if it were not there.
pub(in crate::http) async fn visible(
    api: &Api,
    subject: &Subject,
    id: &SubscriberId,
    may: impl FnOnce(&Subject, &SubscriberId) -> bool,
) -> ApiResult<SubscriberRecord> {
    if !may(subject, id) {
        return Err(no_such_subscriber(id));
    }
    api.app.filters.subscriber(&subject.internal(id)?).await?.ok_or_else(|| no_such_subscriber(id))
}

/// What the queue says of one slot.
pub(in crate::http) async fn standing(api: &Api, record: &SubscriberRecord) -> ApiResult<Option<Standing>> {
    let after = record.slot.0.checked_sub(1).map(Slot);
    let next = api.app.queue.standings(record.shard, after, 1).await?.pop();
    Ok(next.filter(|standing| standing.slot == record.slot))
}

/// The newest seq of a subscriber's queue.
pub(in crate::http) fn top(api: &Api, record: &SubscriberRecord) -> Option<Seq> {
    api.app.readers.shard(record.shard).with_window(|window| window.top(record.slot))
}
