//! The door: a credential is looked at, and what is no good is counted for its address. From an address that fails too
//! often only what was good before is looked at; the rest is refused after a moment, which slows who waits for it.

use std::net::IpAddr;

use axum::http::{HeaderMap, StatusCode};

use crate::app::App;
use crate::auth::{Credential, Subject};
use crate::http::problem::{ApiError, ApiResult};
use crate::limits::Tell;

/// Counts a request before its credential is looked at. What was good before counts apart from what was not, so that a
/// flood does not use up what others of its address have. Answers the headers that tell the caller where it stands.
///
/// # Errors
/// 429 with `Retry-After`.
pub(crate) fn approach(app: &App, client: Option<IpAddr>, shown: &ApiResult<Credential<'_>>) -> ApiResult<HeaderMap> {
    let known = shown.as_ref().is_ok_and(|credential| app.auth.knows(*credential));
    app.limits.check_address(client, known).inspect_err(|_| _ = app.metrics.rate_limited.inc())
}

/// Who shows this credential. `client` is the address that it comes from, `None` where there is no socket.
///
/// # Errors
/// 401 with the reason; 429 where the address fails too often; 503 while the issuer's keys cannot be had.
pub(crate) async fn enter(app: &App, client: Option<IpAddr>, shown: ApiResult<Credential<'_>>) -> ApiResult<Subject> {
    if !app.auth.is_on() {
        return Ok(Subject::anyone());
    }
    if let Some(client) = client
        && let Some(wait_s) = app.limits.failures().closed_s(client)
        && !shown.as_ref().is_ok_and(|credential| app.auth.knows(*credential))
    {
        app.metrics.rate_limited.inc();
        app.limits.failures().hold().await;
        return Err(closed(app, wait_s));
    }
    let entered = match shown {
        Ok(credential) => app.auth.check(credential).await,
        Err(error) => Err(error),
    };
    entered.inspect_err(|error| {
        app.metrics.auth_failures.inc();
        // What is our own fault, such as keys that cannot be fetched, is not counted against anyone.
        if let Some(client) = client
            && error.status() == StatusCode::UNAUTHORIZED
        {
            log(app.limits.failures().count(client, error.code()));
        }
    })
}

/// Tells the log what has not been told of addresses that are quiet now; at the `end` of all.
pub(crate) fn sweep(app: &App, end: bool) {
    log(app.limits.failures().sweep(end));
}

fn log(tells: Vec<Tell>) {
    for Tell { address, code, failed, refused } in tells {
        tracing::warn!(%address, code, failed, refused, "authentication failed");
    }
}

fn closed(app: &App, wait_s: u64) -> ApiError {
    let per_s = app.limits.failures().per_s();
    let detail = format!("more than {per_s} requests per second from this address failed to authenticate");
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_auth_failures", detail)
        .with_hint("a token that was good before is taken; for a new one wait")
        .retry_after_s(wait_s)
}
