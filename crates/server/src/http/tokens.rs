//! `POST /tokens/revoke`: a token that is good no more though it has not expired.

use axum::extract::State;
use axum::http::StatusCode;
use evs_api::error::Problem;
use evs_api::oplog::Level;
use evs_api::tokens::RevokeRequest;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::extract::Json;
use super::guard::Caller;
use super::problem::{ApiError, ApiResult};
use crate::notices::{self, NOTICES_MAX, Notice};

const JTI_BYTES_MAX: usize = 128;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(revoke))
}

/// Revoke a token
///
/// By its `jti`. This instance refuses it at once, the others within two seconds; connections that it opened are
/// closed with 4501. It is kept in the filter store, so a restart does not bring the token back.
#[utoipa::path(post, path = "/tokens/revoke", operation_id = "revoke_token", tag = "tickets",
    request_body = RevokeRequest, responses(
    (status = 204, description = "refused from now on"),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "as many tokens are revoked as can be kept", body = Problem,
        content_type = "application/problem+json")))]
async fn revoke(
    State(api): State<Api>,
    Caller(subject): Caller,
    Json(request): Json<RevokeRequest>,
) -> ApiResult<StatusCode> {
    subject.require_installation()?;
    let app = &api.app;
    let (jti, now_ms) = (request.jti, app.clock.now_ms());
    if !(1..=JTI_BYTES_MAX).contains(&jti.len()) || jti.chars().any(char::is_control) {
        let detail = format!("jti must have 1 to {JTI_BYTES_MAX} bytes and no control characters");
        return Err(ApiError::refused("invalid_jti", detail));
    }
    let told = app.filters.notices(now_ms).await?;
    if told.iter().filter(|(key, _)| Notice::is_revocation(key)).count() >= NOTICES_MAX {
        let detail = format!("{NOTICES_MAX} tokens are revoked already; they go as they expire");
        return Err(ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "too_many_revocations", detail));
    }
    let until_s = app.auth.lifetime_max_s().saturating_add(u64::try_from(now_ms / 1000).unwrap_or_default());
    let until_s = request.exp.map_or(until_s, |exp| exp.saturating_add(app.auth.leeway_s()).min(until_s));
    let until_ms = i64::try_from(until_s).unwrap_or(i64::MAX).saturating_mul(1000);
    notices::announce(app, &Notice::Revoked(jti), Some(until_ms)).await?;
    app.oplog.write(Level::Info, "token_revoked", None, "a token was revoked");
    Ok(StatusCode::NO_CONTENT)
}
