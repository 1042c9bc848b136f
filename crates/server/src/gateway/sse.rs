//! Server-sent events: the same session, whose sink is the body of a response.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Either;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::sync::mpsc;

use super::Gateway;
use super::answer::{Answer, Refusal};
use super::ask::Ask;
use super::connection::Connection;
use super::sink::Sink;

/// Writes that wait for hyper; with one more in the socket's buffer the session is behind.
const WRITES_MAX: usize = 1;

/// The body of an event stream. Dropping it, whoever does, ends the session.
#[derive(Debug)]
pub(super) struct EventStream {
    writes: mpsc::Receiver<Bytes>,
    connection: Arc<Connection>,
}

impl EventStream {
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.writes.poll_recv(cx)
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.connection.leave();
    }
}

pub(super) async fn handle(gateway: &Gateway, ask: Ask) -> Result<Answer, Refusal> {
    let joining = gateway.join(ask).await?;
    let (sender, writes) = mpsc::channel(WRITES_MAX);
    // The first bytes are in the channel before anything else can be.
    let retry = Bytes::from_static(b"retry: 1000\n\n");
    let connection = joining.connect(Sink::EventStream(Mutex::new(Some(sender))), &retry);
    let mut answer = Response::new(Either::Right(EventStream { writes, connection }));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Tells nginx not to collect the stream.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(answer)
}
