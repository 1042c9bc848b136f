//! `POST /tickets`: a credential of seconds that may stand in a URL, for WebSockets of browsers.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use evs_api::error::Problem;
use evs_api::tickets::Ticket;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::guard::Caller;
use super::problem::ApiResult;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(issue))
}

/// Get a ticket
///
/// Good for one connection, as `?ticket=`, within seconds; with the caller's rights to subscribe.
#[utoipa::path(post, path = "/tickets", operation_id = "issue_ticket", tag = "tickets", responses(
    (status = 201, body = Ticket),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn issue(State(api): State<Api>, Caller(subject): Caller) -> ApiResult<(StatusCode, Json<Ticket>)> {
    let (ticket, expires_in_s) = api.app.auth.ticket(&subject)?;
    Ok((StatusCode::CREATED, Json(Ticket { ticket, expires_in_s })))
}
