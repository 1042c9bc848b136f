//! The WebSocket handshake: hyper answers 101, then the TCP socket is taken over and spoken to directly.

use std::sync::PoisonError;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::response::Response;
use bytes::Bytes;
use evs_api::frames::SUBPROTOCOL;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::accept::Place;
use super::ask::Ask;
use super::sink::Sink;
use super::{Gateway, Joining, socket};
use crate::http::problem::{ApiError, ApiResult};

/// Between our 101 and the socket in our hands is only hyper's write of it.
const UPGRADE_WAIT: Duration = Duration::from_secs(10);

/// What makes a request a WebSocket handshake; its key.
pub(super) fn key(headers: &HeaderMap) -> ApiResult<HeaderValue> {
    let has = |name: HeaderName, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value: &HeaderValue| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(word))
    };
    if !has(CONNECTION, "upgrade") || !has(UPGRADE, "websocket") {
        let hint = "use a WebSocket client such as websocat, or /sse/{subscriber} for an event stream";
        return Err(upgrade_required("this is a WebSocket endpoint").with_hint(hint));
    }
    if !has(SEC_WEBSOCKET_VERSION, "13") {
        return Err(upgrade_required("only version 13 of the WebSocket protocol is spoken here"));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).cloned();
    key.ok_or_else(|| ApiError::bad_request("bad_request", "Sec-WebSocket-Key is missing"))
}

/// A handshake that cannot become a WebSocket: HTTP/1.0, as proxies speak it that nobody told otherwise.
pub(super) fn of_another_version() -> ApiError {
    let hint = "a proxy between has to speak HTTP/1.1 to the gateway, as nginx does with `proxy_http_version 1.1`";
    upgrade_required("a WebSocket begins with a request of HTTP/1.1").with_hint(hint)
}

fn upgrade_required(detail: &str) -> ApiError {
    ApiError::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail)
        .with_header(UPGRADE, HeaderValue::from_static("websocket"))
        .with_header(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
}

/// Joins before the 101, so that a refusal is a plain answer.
pub(super) async fn handle(
    gateway: &Gateway,
    ask: Ask,
    place: &Place,
    key: &HeaderValue,
    upgrade: OnUpgrade,
) -> ApiResult<Response> {
    ask.identify(place)?;
    let speaks = ask.speaks;
    let mut joining = gateway.join(ask).await?;
    // The place goes over to the session: hyper's part of the connection ends here.
    joining.place = place.lock().unwrap_or_else(PoisonError::into_inner).take();
    gateway.tasks.spawn(take_over(joining, upgrade));
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept.map_err(ApiError::internal)?);
    if speaks {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    Ok(answer)
}

async fn take_over(joining: Joining, upgrade: OnUpgrade) {
    let upgraded = match timeout(UPGRADE_WAIT, upgrade).await {
        Ok(Ok(upgraded)) => upgraded,
        Ok(Err(error)) => return tracing::debug!(%error, "a client went away during its handshake"),
        Err(_) => return tracing::debug!("a client's handshake was not finished in time"),
    };
    let Some((stream, first)) = into_parts(upgraded) else {
        return tracing::error!("an upgraded connection is no TCP socket");
    };
    let connection = joining.connect(Sink::WebSocket(stream), b"");
    // A task of its own: this one's future is larger than an idle socket may be.
    tokio::spawn(socket::read(connection, first));
}

/// The socket, and what the client sent with its handshake. hyper's read buffer owns 8 KiB even when it is empty, so
/// it ends here.
fn into_parts(upgraded: Upgraded) -> Option<(TcpStream, Bytes)> {
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
    let first = Bytes::copy_from_slice(&parts.read_buf);
    drop(parts.read_buf);
    Some((parts.io.into_inner(), first))
}
