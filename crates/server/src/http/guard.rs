//! What every request passes before its handler: rate limits, the token, and a deadline for the answer.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::{ApiError, ApiResult};
use crate::app::App;
use crate::auth::{Credential, Subject};
use crate::door;

/// The one who asks; the guard has put it there.
#[derive(Clone, Debug)]
pub struct Caller(pub Subject);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| ApiError::internal("a route is not behind the guard"))
    }
}

/// Authenticates and limits; the handler finds its [`Caller`].
pub async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let address = client(&app, request.extensions(), request.headers());
    let (subject, headers) = match admit(&app, address, request.headers()).await {
        Ok(admitted) => admitted,
        Err(error) => return error.into_response(),
    };
    request.extensions_mut().insert(Caller(subject));
    let deadline = deadline(&app, &request);
    let mut response = match tokio::time::timeout(deadline, next.run(request)).await {
        Ok(response) => response,
        Err(_) => late(deadline).into_response(),
    };
    response.headers_mut().extend(headers);
    response
}

/// Who asks, and the headers that tell it where it stands.
async fn admit(app: &App, address: Option<IpAddr>, headers: &HeaderMap) -> ApiResult<(Subject, HeaderMap)> {
    let shown = Credential::of_request(headers);
    // Before the token is looked at: checking signatures is what a flood would make us pay for.
    let by_address = door::approach(app, address, &shown)?;
    // A page of this very server, or one that CORS allows; a token stands for itself.
    if !app.auth.is_on() && !crate::limits::is_cors_origin(app.limits.config(), headers) {
        app.auth.check_origin(headers)?;
    }
    let subject = door::enter(app, address, shown).await?;
    if !subject.is_authenticated() {
        return Ok((subject, by_address));
    }
    let by_subject = app.limits.check_subject(&subject).inspect_err(|_| _ = app.metrics.rate_limited.inc())?;
    Ok((subject, by_subject))
}

/// The address of who asks; none where the router is called without a socket.
pub fn client(app: &App, extensions: &Extensions, headers: &HeaderMap) -> Option<IpAddr> {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip();
    Some(app.limits.config().trusted_proxies.client(peer, headers))
}

/// An import takes as long as its body is; it has a deadline for each read instead.
fn deadline(app: &App, request: &Request) -> Duration {
    let seconds = match request.uri().path() {
        "/filters/import" => app.limits.config().import_timeout_s,
        _ => app.limits.config().request_timeout_s,
    };
    Duration::from_secs(seconds)
}

fn late(deadline: Duration) -> ApiError {
    let detail = format!("there was no answer within {} s; it is not known whether it was done", deadline.as_secs());
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", detail).retry_after_s(1)
}
