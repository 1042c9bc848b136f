//! Server-sent events: where a client goes on; and for operators streams that are bounded, kept alive, and ended when the
//! server stops.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

/// Shorter than the idle limit of common proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The id after which a client goes on. An empty one is none: it has received none yet, and what its address says counts.
/// What is no text is no id that we gave.
#[must_use]
pub fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get("last-event-id")?.to_str().unwrap_or("?");
    (!id.is_empty()).then_some(id)
}

/// Answers with `events`, until they end or the server stops. Proxies are asked not to hold them back.
pub fn answer(shutdown: &CancellationToken, events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let events = events.take_until(shutdown.clone().cancelled_owned()).map(Ok::<_, Infallible>);
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    ([("x-accel-buffering", "no")], sse).into_response()
}

/// An event of a type, with JSON as its data.
pub fn event(name: &str, data: &impl Serialize) -> Event {
    match serde_json::to_string(data) {
        Ok(json) => Event::default().event(name).data(json),
        // Our own types always serialize; a reader ignores comments.
        Err(error) => Event::default().comment(error.to_string().replace(['\r', '\n'], " ")),
    }
}
