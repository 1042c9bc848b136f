//! What a client asks for: the path, the query and the headers of its request, checked.

use evs_api::error::FieldError;
use evs_api::frames::{SUBPROTOCOL, SUBPROTOCOL_BEARER_PREFIX};
use evs_core::{ConsumerName, Cursor, Filter, SubscriberId};
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName, SEC_WEBSOCKET_PROTOCOL};
use hyper::http::request::Parts;

use super::answer::Refusal;
use super::resume::Begin;
use super::session::Acking;
use crate::clock::parse_since;

#[derive(Debug)]
pub(super) struct Ask {
    pub(super) subscriber: SubscriberId,
    /// `None` observes.
    pub(super) consumer: Option<ConsumerName>,
    pub(super) begin: Begin,
    /// Backfill from the event log from then on, milliseconds since the Unix epoch.
    pub(super) since_ms: Option<i64>,
    pub(super) condition: Option<Box<Filter>>,
    /// The client speaks our subprotocol, so it acks.
    pub(super) speaks: bool,
}

const QUERY: &str = "consumer, cursor, from, since, where, observe";

impl Ask {
    pub(super) fn read(subscriber: &str, head: &Parts, now_ms: i64) -> Result<Self, Refusal> {
        let subscriber = percent_decoded(subscriber);
        let subscriber = SubscriberId::new(&subscriber)
            .map_err(|error| bad(format!("the subscriber's id {subscriber:?} {error}")))?;
        let mut ask = Self {
            subscriber,
            consumer: Some(ConsumerName::default_consumer()),
            begin: Begin::Stored,
            since_ms: None,
            condition: None,
            speaks: offers(&head.headers, SUBPROTOCOL),
        };
        let mut observe = false;
        let mut from = None;
        let mut cursor = head.headers.get(HeaderName::from_static("last-event-id")).map(|value| {
            // What is no text is no cursor either.
            value.to_str().unwrap_or("?").to_owned()
        });
        let query = head.uri.query().unwrap_or_default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "consumer" => {
                    let consumer = ConsumerName::new(&value);
                    ask.consumer = Some(consumer.map_err(|error| bad(format!("consumer {value:?} {error}")))?);
                }
                "cursor" if value.is_empty() => {}
                "cursor" => drop(cursor.get_or_insert(value.into_owned())),
                "from" => match &*value {
                    "latest" => from = Some(Begin::Latest),
                    "earliest" => from = Some(Begin::Earliest),
                    _ => return Err(bad(format!("from={value} is neither latest nor earliest"))),
                },
                "since" => ask.since_ms = Some(parse_since(&value, now_ms).map_err(bad)?),
                "where" => ask.condition = Some(Box::new(condition(&value)?)),
                "observe" => match &*value {
                    "true" | "1" | "" => observe = true,
                    "false" | "0" => observe = false,
                    _ => return Err(bad(format!("observe={value} is neither true nor false"))),
                },
                // For the authentication of the connection, which is not this function's.
                "ticket" | "token" => {}
                _ => {
                    let refusal = bad(format!("{name:?} is not known here"));
                    return Err(refusal.hint(format!("the query takes {QUERY}")));
                }
            }
        }
        if observe {
            ask.consumer = None;
        }
        // A cursor is the client's own word, so it goes before the general `from`.
        ask.begin = match (cursor, from) {
            (Some(text), _) if !text.is_empty() => Begin::After(parse_cursor(&text)?),
            (_, Some(from)) => from,
            _ => Begin::Stored,
        };
        Ok(ask)
    }

    pub(super) fn acking(&self) -> Acking {
        match (&self.consumer, self.speaks) {
            (None, _) => Acking::Never,
            (Some(_), true) => Acking::Client,
            (Some(_), false) => Acking::OnSend,
        }
    }

    pub(super) fn observes(&self) -> bool {
        self.consumer.is_none()
    }
}

/// The bearer token that a browser offers as a subprotocol.
pub(super) fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut offered = offered.flat_map(|value| value.split(',')).map(str::trim);
    debug_assert!(!protocol.starts_with(SUBPROTOCOL_BEARER_PREFIX), "a token is no protocol");
    offered.any(|offer| offer == protocol)
}

fn parse_cursor(text: &str) -> Result<Cursor, Refusal> {
    text.parse().map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, "invalid_cursor", format!("{error}"))
            .hint("connect without a cursor to resume at the consumer's own position")
    })
}

fn condition(text: &str) -> Result<Filter, Refusal> {
    Filter::new(Vec::new(), Vec::new(), None, Some(text)).map_err(|error| {
        let refusal = Refusal::new(StatusCode::BAD_REQUEST, "invalid_where", error.to_string());
        match error {
            evs_core::filter::FilterError::Where(error) => refusal.error(FieldError {
                pointer: "/where".to_owned(),
                detail: error.message,
                span: Some([error.span.start, error.span.end]),
                hint: error.hint,
            }),
            _ => refusal,
        }
    })
}

fn bad(detail: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad_request", detail)
}

/// A path segment as text: `%40` is `@`. What is no UTF-8 fails the name check that follows.
fn percent_decoded(segment: &str) -> String {
    if !segment.contains('%') {
        return segment.to_owned();
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = |byte: u8| (byte as char).to_digit(16);
        match (first, after) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push((hex(*high).unwrap_or(0) * 16 + hex(*low).unwrap_or(0)) as u8);
                rest = after;
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(uri: &str) -> Result<Ask, String> {
        let (head, ()) = hyper::Request::get(uri).body(()).unwrap().into_parts();
        let subscriber = head.uri.path().rsplit('/').next().unwrap().to_owned();
        Ask::read(&subscriber, &head, 1_000_000).map_err(|refusal| format!("{refusal:?}"))
    }

    #[test]
    fn reads_what_is_documented_and_names_what_is_not() {
        let plain = ask("/ws/user%401").unwrap();
        assert_eq!((plain.subscriber.as_str(), plain.begin, plain.speaks), ("user@1", Begin::Stored, false));
        let full = ask("/ws/u?consumer=phone&from=latest&since=10m&where=amount%20%3E%201").unwrap();
        assert_eq!(full.consumer.unwrap().as_str(), "phone");
        assert_eq!((full.begin, full.since_ms, full.condition.is_some()), (Begin::Latest, Some(400_000), true));
        assert!(ask("/ws/u?observe=true").unwrap().observes());
        for (uri, word) in [
            ("/ws/a%2Fb", "not allowed"),
            ("/ws/u?cursor=nonsense", "invalid_cursor"),
            ("/ws/u?from=now", "latest nor earliest"),
            ("/ws/u?where=amount%20%3E", "invalid_where"),
            ("/ws/u?consumr=phone", "the query takes"),
            ("/ws/u?since=yesterday", "is no time"),
            ("/ws/u?observe=maybe", "neither true nor false"),
        ] {
            assert!(ask(uri).unwrap_err().contains(word), "{uri}");
        }
    }
}
