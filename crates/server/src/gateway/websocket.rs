//! The WebSocket handshake: hyper answers 101, then the TCP socket is taken over and spoken to directly.

use std::time::Duration;

use bytes::Bytes;
use evs_api::frames::SUBPROTOCOL;
use http_body_util::{Either, Full};
use hyper::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::answer::{Answer, Refusal};
use super::ask::Ask;
use super::sink::Sink;
use super::{Gateway, Joining, socket};

/// Between our 101 and the socket in our hands is only hyper's write of it.
const UPGRADE_WAIT: Duration = Duration::from_secs(10);

/// What makes a request a WebSocket handshake; its key.
pub(super) fn key(headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let has = |name, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value: &HeaderValue| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(word))
    };
    if !has(CONNECTION, "upgrade") || !has(UPGRADE, "websocket") {
        let refusal = Refusal::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", "this is a WebSocket endpoint");
        return Err(refusal.hint("use a WebSocket client such as websocat, or /sse/{subscriber} for an event stream"));
    }
    if !has(SEC_WEBSOCKET_VERSION, "13") {
        let detail = "only version 13 of the WebSocket protocol is spoken here";
        return Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).cloned();
    key.ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "bad_request", "Sec-WebSocket-Key is missing"))
}

/// Joins before the 101, so that a refusal is a plain answer.
pub(super) async fn handle(
    gateway: &Gateway,
    ask: Ask,
    key: &HeaderValue,
    upgrade: OnUpgrade,
) -> Result<Answer, Refusal> {
    let speaks = ask.speaks;
    let joining = gateway.join(ask).await?;
    gateway.tasks.spawn(take_over(joining, upgrade));
    let mut answer = Response::new(Either::Left(Full::new(Bytes::new())));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept.map_err(|error| Refusal::unavailable(error.to_string()))?);
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
