//! `/subscribers`: the queues and how far behind they are.

mod admin;
mod detail;
mod table;

use axum::Json;
use axum::extract::State;
use evs_api::Page;
use evs_api::error::Problem;
use evs_api::subscribers::{Subscriber, SubscriberState};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::extract::{Query, bad_page, page_limit};
use super::guard::Caller;
use super::problem::{ApiError, ApiResult};

pub(super) use detail::visible;
pub(super) use table::{Row, Table};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).merge(detail::router()).merge(admin::router())
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Sort {
    #[default]
    LagEvents,
    LagS,
    Id,
    DeliveredPerS,
    Filters,
    State,
    LastAck,
}

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Order {
    Asc,
    Desc,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// `lag_events` by default.
    #[param(inline)]
    sort: Option<Sort>,
    /// By default `asc` for ids, `desc` for everything else.
    #[param(inline)]
    order: Option<Order>,
    /// Only subscribers whose id contains this.
    q: Option<String>,
    /// Only subscribers in one of these states, with commas between: `live,slow,away` are those that were ever read.
    state: Option<String>,
    /// 100 by default, at most 1000.
    limit: Option<usize>,
    /// `next` of the page before.
    page: Option<String>,
}

/// List subscribers
///
/// From a table that is at most some seconds old; a page is a window of the order at that moment.
#[utoipa::path(get, path = "/subscribers", operation_id = "list_subscribers", tag = "subscribers", params(ListQuery), responses(
    (status = 200, body = Page<Subscriber>),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(api): State<Api>,
    Caller(subject): Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<Page<Subscriber>>> {
    subject.require(subject.may_operate(), "operate")?;
    let limit = page_limit(query.limit)?;
    let skip: usize = query.page.map_or(Ok(0), |page| page.parse().map_err(|_| bad_page()))?;
    let rows = api.subscribers.rows(&api.app).await?;
    let prefix = subject.prefix();
    let wanted = query.q.unwrap_or_default();
    let states = query.state.as_deref().map(states).transpose()?;
    let fits = |row: &&Row| {
        states.as_ref().is_none_or(|states| states.contains(&row.state))
            && row.id.as_str().strip_prefix(prefix.as_str()).is_some_and(|id| id.contains(&wanted))
    };
    let mut found: Vec<&Row> = rows.iter().filter(fits).collect();
    let sort = query.sort.unwrap_or_default();
    let descending = match query.order {
        Some(order) => matches!(order, Order::Desc),
        None => !matches!(sort, Sort::Id),
    };
    // A page needs the rows up to its end in order, and no others.
    let end = found.len().min(skip.saturating_add(limit));
    let compare = |left: &&Row, right: &&Row| {
        let order = sort.compare(left, right);
        let order = if descending { order.reverse() } else { order };
        order.then_with(|| left.id.cmp(&right.id))
    };
    if end < found.len() && end > 0 {
        found.select_nth_unstable_by(end - 1, compare);
    }
    let total = found.len();
    found.truncate(end);
    found.sort_unstable_by(compare);
    let page = found.iter().skip(skip).filter_map(|row| row.wire(&subject, &api.app)).collect();
    let next = (end < total).then(|| end.to_string());
    Ok(Json(Page { items: page, next, total: Some(total as u64) }))
}

fn states(text: &str) -> ApiResult<Vec<SubscriberState>> {
    let one = |word: &str| match word {
        "live" => Ok(SubscriberState::Live),
        "slow" => Ok(SubscriberState::Slow),
        "away" => Ok(SubscriberState::Away),
        "new" => Ok(SubscriberState::New),
        _ => Err(ApiError::bad_request("invalid_query", format!("{word:?} is no state: live, slow, away or new"))),
    };
    text.split(',').map(one).collect()
}

impl Sort {
    fn compare(self, left: &Row, right: &Row) -> std::cmp::Ordering {
        match self {
            Self::LagEvents => left.lag().cmp(&right.lag()),
            // The older, the more it lags; what lags not at all comes last.
            Self::LagS => right.oldest_ms.unwrap_or(i64::MAX).cmp(&left.oldest_ms.unwrap_or(i64::MAX)),
            Self::Id => left.id.cmp(&right.id),
            Self::DeliveredPerS => left.delivered_per_s.total_cmp(&right.delivered_per_s),
            Self::Filters => left.filters.cmp(&right.filters),
            Self::State => left.state.cmp(&right.state),
            Self::LastAck => left.last_ack_ms.cmp(&right.last_ack_ms),
        }
    }
}
