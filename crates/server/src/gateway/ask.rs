//! What a client asks for: the path, the query and the headers of its request, checked.

use std::net::IpAddr;
use std::sync::PoisonError;

use axum::http::header::{HeaderMap, SEC_WEBSOCKET_PROTOCOL};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use evs_api::frames::SUBPROTOCOL;
use evs_core::{ConsumerName, Cursor, Filter, SubscriberId};

use super::Gateway;
use super::accept::Place;
use super::resume::Begin;
use super::session::Acking;
use crate::auth::{self, Credential, Subject};
use crate::clock::parse_since;
use crate::door;
use crate::http::problem::{ApiError, ApiResult, bad_filter, bad_name};
use crate::http::sse::last_event_id;

#[derive(Debug)]
pub(super) struct Ask {
    /// The address of who asks.
    pub(super) client: IpAddr,
    pub(super) subject: Subject,
    /// As the client calls it.
    pub(super) subscriber: SubscriberId,
    /// As the installation calls it.
    pub(super) internal: SubscriberId,
    pub(super) wish: Wish,
    /// The client speaks our subprotocol, so it acks.
    pub(super) speaks: bool,
}

/// The query of the request.
#[derive(Debug)]
pub(super) struct Wish {
    /// `None` observes.
    pub(super) consumer: Option<ConsumerName>,
    pub(super) begin: Begin,
    /// Backfill from the event log from then on, milliseconds since the Unix epoch.
    pub(super) since_ms: Option<i64>,
    pub(super) condition: Option<Box<Filter>>,
}

const QUERY: &str = "consumer, cursor, from, since, where, observe, ticket";

impl Ask {
    /// Authenticates, authorizes, and reads what is asked for, in this order.
    pub(super) async fn read(gateway: &Gateway, name: &str, client: IpAddr, head: &Parts) -> ApiResult<Self> {
        let app = &gateway.app;
        let wish = Wish::read(&head.uri, &head.headers, app.clock.now_ms());
        // A request that cannot be read is answered only to those who may ask.
        let ticket = ticket(&head.uri);
        let shown = Credential::of_connection(&head.headers, ticket.as_deref());
        let subject = door::enter(app, Some(client), shown).await?;
        let subscriber = auth::subscriber_id(&percent_decoded(name))?;
        let internal = app.auth.authorize_subscribe(&subject, &subscriber)?;
        Ok(Self { client, subject, subscriber, internal, wish: wish?, speaks: offers(&head.headers, SUBPROTOCOL) })
    }

    /// Counts the connection for its subject.
    pub(super) fn identify(&self, place: &Place) -> ApiResult<()> {
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(guard) = place.as_mut().filter(|_| self.subject.is_authenticated()) else { return Ok(()) };
        if guard.identify(self.subject.name()) {
            return Ok(());
        }
        let detail = "this token's subject has as many connections as it may have";
        Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "connection_limit", detail).retry_after_s(1))
    }

    pub(super) fn acking(&self) -> Acking {
        match (&self.wish.consumer, self.speaks) {
            (None, _) => Acking::Never,
            (Some(_), true) => Acking::Client,
            (Some(_), false) => Acking::OnSend,
        }
    }

    pub(super) fn observes(&self) -> bool {
        self.wish.consumer.is_none()
    }
}

impl Wish {
    fn read(uri: &Uri, headers: &HeaderMap, now_ms: i64) -> ApiResult<Self> {
        let mut wish = Self {
            consumer: Some(ConsumerName::default_consumer()),
            begin: Begin::Stored,
            since_ms: None,
            condition: None,
        };
        let (mut observe, mut from) = (false, None);
        let mut cursor = last_event_id(headers).map(str::to_owned);
        for (name, value) in url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            match &*name {
                "consumer" => {
                    let consumer = ConsumerName::new(&value);
                    wish.consumer = Some(consumer.map_err(|error| bad_name("consumer", None, &error))?);
                }
                "cursor" if value.is_empty() => {}
                "cursor" => _ = cursor.get_or_insert(value.into_owned()),
                "from" => match &*value {
                    "latest" => from = Some(Begin::Latest),
                    "earliest" => from = Some(Begin::Earliest),
                    _ => return Err(bad(format!("from={value} is neither latest nor earliest"))),
                },
                "since" => wish.since_ms = Some(parse_since(&value, now_ms).map_err(bad)?),
                "where" => wish.condition = Some(Box::new(condition(&value)?)),
                "observe" => match &*value {
                    "true" | "1" | "" => observe = true,
                    "false" | "0" => observe = false,
                    _ => return Err(bad(format!("observe={value} is neither true nor false"))),
                },
                // Looked at before anything else.
                "ticket" => {}
                _ => {
                    let hint = format!("the query takes {QUERY}");
                    return Err(bad(format!("{name:?} is not known here")).with_hint(hint));
                }
            }
        }
        if observe {
            wish.consumer = None;
        }
        // A cursor is the client's own word, so it goes before the general `from`.
        wish.begin = match (cursor, from) {
            (Some(text), _) => Begin::After(parse_cursor(&text)?),
            (_, Some(from)) => from,
            _ => Begin::Stored,
        };
        if matches!(wish.begin, Begin::After(_)) {
            // An event source repeats its address when it comes back: the past was told up to its cursor.
            wish.since_ms = None;
        }
        Ok(wish)
    }
}

/// The ticket of a query, whatever else is in it.
pub(super) fn ticket(uri: &Uri) -> Option<String> {
    let query = uri.query()?;
    url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "ticket").map(|(_, value)| value.into())
}

/// Whether the client offers a subprotocol.
fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut offered = offered.flat_map(|value| value.split(',')).map(str::trim);
    offered.any(|offer| offer == protocol)
}

fn parse_cursor(text: &str) -> ApiResult<Cursor> {
    text.parse().map_err(|error| {
        ApiError::bad_request("invalid_cursor", format!("{error}"))
            .with_hint("connect without a cursor to resume at the consumer's own position")
    })
}

fn condition(text: &str) -> ApiResult<Filter> {
    Filter::new(Vec::new(), Vec::new(), None, Some(text)).map_err(|error| bad_filter(&error, Some(text)))
}

fn bad(detail: impl Into<String>) -> ApiError {
    ApiError::bad_request("bad_request", detail)
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

    fn wish(uri: &str) -> Result<Wish, String> {
        Wish::read(&uri.parse().unwrap(), &HeaderMap::new(), 1_000_000).map_err(|error| {
            let problem = error.problem();
            format!("{} {} {:?}", problem.code, problem.detail, problem.hint)
        })
    }

    #[test]
    fn reads_what_is_documented_and_names_what_is_not() {
        assert_eq!(wish("/ws/u").unwrap().begin, Begin::Stored);
        let full = wish("/ws/u?consumer=phone&from=latest&since=10m&where=amount%20%3E%201").unwrap();
        assert_eq!(full.consumer.unwrap().as_str(), "phone");
        assert_eq!((full.begin, full.since_ms, full.condition.is_some()), (Begin::Latest, Some(400_000), true));
        assert_eq!(wish("/ws/u?observe=true").unwrap().consumer, None);
        for (uri, word) in [
            ("/ws/u?cursor=nonsense", "invalid_cursor"),
            ("/ws/u?from=now", "latest nor earliest"),
            ("/ws/u?where=amount%20%3E", "invalid_where"),
            ("/ws/u?consumr=phone", "the query takes"),
            ("/ws/u?consumer=a%2Fb", "invalid_name"),
            ("/ws/u?since=yesterday", "is no time"),
            ("/ws/u?observe=maybe", "neither true nor false"),
        ] {
            assert!(wish(uri).unwrap_err().contains(word), "{uri}");
        }
    }

    #[test]
    fn path_segments_are_decoded() {
        assert_eq!(percent_decoded("user%401"), "user@1");
        assert_eq!(percent_decoded("100%"), "100%");
        assert_eq!(percent_decoded("%zz%4"), "%zz%4");
    }
}
