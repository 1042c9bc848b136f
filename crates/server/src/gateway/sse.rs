//! Server-sent events: the same session, whose sink is the body of a response.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::HeaderName;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::mpsc;

use super::Gateway;
use super::accept::Place;
use super::ask::Ask;
use super::connection::Connection;
use super::sink::Sink;
use crate::http::problem::ApiResult;

/// Writes that wait for hyper; with one more in the socket's buffer the session is behind.
const WRITES_MAX: usize = 1;

/// The body of an event stream. Dropping it, whoever does, ends the session.
#[derive(Debug)]
struct EventStream {
    writes: mpsc::Receiver<Bytes>,
    connection: Arc<Connection>,
}

impl hyper::body::Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.get_mut().writes.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.connection.leave();
    }
}

pub(super) async fn handle(gateway: &Gateway, ask: Ask, place: &Place) -> ApiResult<Response> {
    ask.identify(place)?;
    // The place stays with the HTTP connection, which lives as long as the stream.
    let joining = gateway.join(ask).await?;
    let (sender, writes) = mpsc::channel(WRITES_MAX);
    // The first bytes are in the channel before anything else can be.
    let retry = Bytes::from_static(b"retry: 1000\n\n");
    let connection = joining.connect(Sink::EventStream(Mutex::new(Some(sender))), &retry);
    let mut answer = Response::new(Body::new(EventStream { writes, connection }));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Tells nginx not to collect the stream.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(answer)
}
