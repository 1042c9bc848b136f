//! What a request shows of who asks: a token, or a ticket where tickets are taken.

use axum::http::{HeaderMap, header};
use evs_api::frames::SUBPROTOCOL_BEARER_PREFIX;

use crate::http::problem::{ApiError, ApiResult};

/// Not looked at yet.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    Token(&'a str),
    Ticket(&'a str),
}

impl std::fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token(…)",
            Self::Ticket(_) => "Ticket(…)",
        })
    }
}

impl<'a> Credential<'a> {
    /// Of a REST request: its `Authorization` header.
    ///
    /// # Errors
    /// 401 where there is none, or none of ours.
    pub fn of_request(headers: &'a HeaderMap) -> ApiResult<Self> {
        bearer(headers)?.map(Self::Token).ok_or_else(missing)
    }

    /// Of a WebSocket or SSE connection: `Authorization`, else the subprotocol `evs.bearer.<token>`, else `?ticket=`.
    ///
    /// # Errors
    /// 401 where there is none, or none of ours.
    pub fn of_connection(headers: &'a HeaderMap, ticket: Option<&'a str>) -> ApiResult<Self> {
        let token = bearer(headers)?.or_else(|| offered_token(headers));
        token.map(Self::Token).or(ticket.map(Self::Ticket)).ok_or_else(missing)
    }
}

/// The token of the `Authorization` header, if there is one.
fn bearer(headers: &HeaderMap) -> ApiResult<Option<&str>> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    token.map(Some).ok_or_else(|| ApiError::unauthorized("invalid_token", "Authorization must be `Bearer <token>`"))
}

/// The token among the offered WebSocket subprotocols.
fn offered_token(headers: &HeaderMap) -> Option<&str> {
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    offers.flat_map(|offers| offers.split(',')).find_map(|offer| offer.trim().strip_prefix(SUBPROTOCOL_BEARER_PREFIX))
}

fn missing() -> ApiError {
    ApiError::unauthorized("missing_token", "this needs a token: `Authorization: Bearer <token>`")
}
