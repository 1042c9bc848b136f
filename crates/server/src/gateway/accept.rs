//! The listener's loop and the routes, over plain hyper: a handshake needs no framework, and the socket is ours after.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

use super::ask::{self, Ask};
use super::{Gateway, page, sse, websocket};
use crate::auth::Credential;
use crate::door;
use crate::http::health;
use crate::http::problem::{ApiError, ApiResult};
use crate::limits::{ConnectionGuard, LimitsConfig};

/// A connection above the limit is told so, or may ask how the gateway is, within this time.
const REFUSE_TIMEOUT: Duration = Duration::from_secs(3);

/// After a failed accept, such as one without a file descriptor left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Unacknowledged data so old means that the other side is gone.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// hyper's own minimum.
const MIN_BUF_BYTES: usize = 8192;

/// A connection's place among those that the gateway takes, until a session takes it over.
pub(super) type Place = Arc<Mutex<Option<ConnectionGuard>>>;

/// Accepts until shutdown.
pub(super) async fn run(gateway: &Gateway, listener: TcpListener) {
    let pages = health::router(gateway.app.clone()).merge(page::router()).fallback(unknown);
    while let Some(accepted) = gateway.app.shutdown.run_until_cancelled(listener.accept()).await {
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let place = gateway.app.limits.gateway().enter(address.ip());
        let permit = match place {
            Some(_) => None,
            None => match gateway.app.limits.refuse_at_gateway() {
                Some(permit) => Some(permit),
                None => continue,
            },
        };
        let (gateway_, pages) = (gateway.clone(), pages.clone());
        gateway.tasks.spawn(async move {
            let refused = permit.is_some();
            let serving = connection(gateway_, stream, address, pages, Arc::new(Mutex::new(place)), refused);
            match refused {
                true => _ = tokio::time::timeout(REFUSE_TIMEOUT, serving).await,
                false => serving.await,
            }
            drop(permit);
        });
    }
}

/// `refused`: it is one too many, and gets one answer.
async fn connection(
    gateway: Gateway,
    stream: TcpStream,
    address: SocketAddr,
    pages: Router,
    place: Place,
    refused: bool,
) {
    // A small frame must not wait for the ack of the one before.
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
    let app = gateway.app.clone();
    let service = service_fn(move |request| {
        let (gateway, pages, place) = (gateway.clone(), pages.clone(), place.clone());
        async move { Ok::<_, Infallible>(route(&gateway, pages, address, &place, request).await) }
    });
    let LimitsConfig { header_bytes_max, headers_max, .. } = app.limits.config();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .keep_alive(!refused)
        .header_read_timeout(app.limits.header_timeout())
        .max_buf_size((*header_bytes_max).max(MIN_BUF_BYTES))
        .max_headers(*headers_max);
    let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = app.shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let drain = Duration::from_secs(app.config.drain_s);
            tokio::time::timeout(drain, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%address, %error, "a connection ended early");
    }
}

async fn route(
    gateway: &Gateway,
    pages: Router,
    address: SocketAddr,
    place: &Place,
    request: Request<Incoming>,
) -> Response {
    let peer = address.ip();
    let path = request.uri().path();
    let socket = path.strip_prefix("/ws/").map(ToOwned::to_owned);
    let stream = path.strip_prefix("/sse/").map(ToOwned::to_owned);
    let answered = match (socket, stream) {
        (Some(name), _) => web_socket(gateway, &name, peer, place, request.into_parts().0).await,
        (_, Some(name)) => event_stream(gateway, &name, peer, place, &request.into_parts().0).await,
        (None, None) => {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(address));
            let Ok(answer) = pages.oneshot(request).await;
            Ok(answer)
        }
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

async fn web_socket(
    gateway: &Gateway,
    name: &str,
    peer: IpAddr,
    place: &Place,
    mut head: Parts,
) -> ApiResult<Response> {
    let client = check(gateway, peer, place, &head)?;
    let upgrade = head.extensions.remove::<OnUpgrade>();
    let key = websocket::key(&head.headers)?;
    let upgrade = upgrade.ok_or_else(websocket::of_another_version)?;
    let ask = Ask::read(gateway, name, client, &head).await?;
    websocket::handle(gateway, ask, place, &key, upgrade).await
}

async fn event_stream(gateway: &Gateway, name: &str, peer: IpAddr, place: &Place, head: &Parts) -> ApiResult<Response> {
    let client = check(gateway, peer, place, head)?;
    let ask = Ask::read(gateway, name, client, head).await?;
    sse::handle(gateway, ask, place).await
}

/// What is judged before anything is read from the request but its method and its credential; the address of who asks.
fn check(gateway: &Gateway, peer: IpAddr, place: &Place, head: &Parts) -> ApiResult<IpAddr> {
    if head.method != Method::GET {
        let detail = format!("{} takes GET only", head.uri.path());
        return Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail));
    }
    let client = gateway.app.limits.config().trusted_proxies.client(peer, &head.headers);
    let has_place = match &mut *place.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(guard) => guard.forward(client),
        None => false,
    };
    if !has_place {
        gateway.app.metrics.rate_limited.inc();
        let detail = "this gateway or your address has as many connections as it may have";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "connection_limit", detail).retry_after_s(1));
    }
    let ticket = ask::ticket(&head.uri);
    let shown = Credential::of_connection(&head.headers, ticket.as_deref());
    door::approach(&gateway.app, Some(client), &shown)?;
    gateway.app.auth.check_origin(&head.headers)?;
    Ok(client)
}

async fn unknown(uri: axum::http::Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "unknown_route", format!("there is nothing at {}", uri.path()))
        .with_hint("the gateway has /ws/{subscriber}, /sse/{subscriber}, and a page at /")
}
