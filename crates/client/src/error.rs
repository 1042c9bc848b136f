//! What can go wrong, named for what a caller can do about it.

use std::time::Duration;

use evs_api::Problem;
use evs_api::frames::CloseCode;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server understood and refused; the problem says why.
    #[error("{}", describe(.0))]
    Problem(Box<Problem>),
    /// The token is missing, wrong, expired, or may not do this.
    #[error("{}", describe(.0))]
    Unauthorized(Box<Problem>),
    /// `connected` is false if no connection came about: then the request did not arrive.
    #[error("cannot reach {url}: {cause}")]
    Unreachable { url: String, cause: String, connected: bool },
    #[error("no answer from {url} within {after:?}")]
    Timeout { url: String, after: Duration },
    /// The other side does not speak as agreed: probably another program or a wrong port.
    #[error("{url} did not answer as an evs server does: {detail}")]
    Protocol { url: String, detail: String },
    #[error("{0}")]
    Config(String),
    /// A dry run ends here.
    #[error("not sent: this is a dry run")]
    NotSent,
}

impl Error {
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem(problem) | Self::Unauthorized(problem) => Some(problem.status),
            _ => None,
        }
    }

    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether it is certain that the server never saw the request.
    #[must_use]
    pub fn did_not_arrive(&self) -> bool {
        matches!(self, Self::Unreachable { connected: false, .. } | Self::Config(_) | Self::NotSent)
    }

    /// Whether the same request may succeed later without anyone changing it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } => true,
            // Of a request that is repeated while the server still works on it.
            Self::Problem(problem) if problem.code == "idempotency_key_in_use" => true,
            Self::Problem(problem) => matches!(problem.status, 408 | 425 | 429 | 500..=599),
            Self::Unauthorized(_) | Self::Protocol { .. } | Self::Config(_) | Self::NotSent => false,
        }
    }
}

fn describe(problem: &Problem) -> String {
    let mut text = if problem.detail.is_empty() { problem.title.clone() } else { problem.detail.clone() };
    if text.is_empty() {
        text = format!("the server answered with status {}", problem.status);
    }
    if let Some(hint) = &problem.hint {
        text.push_str("; ");
        text.push_str(hint);
    }
    text
}

/// Why a subscription ended for good. What passes by itself is retried and told as `StreamItem::Disconnected`.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The server refused the connection, or the configuration is wrong.
    #[error(transparent)]
    Refused(#[from] Error),
    /// The server closed the connection and says that coming back is of no use.
    #[error("the server closed the stream: {explanation} (code {code}, {reason})")]
    Closed { code: u16, reason: String, explanation: &'static str },
}

/// What a close code means to a person, and what to do.
#[must_use]
pub fn explain_close(code: u16) -> &'static str {
    const EXPLANATIONS: [(CloseCode, &str); 16] = [
        (CloseCode::GoingAway, "the server is stopping"),
        (CloseCode::TooBig, "a message was larger than the receiver takes"),
        (CloseCode::Internal, "the server had an internal error"),
        (CloseCode::Draining, "the server is draining"),
        (CloseCode::Slow, "events were not acked in time"),
        (CloseCode::NoPong, "the server's pings were not answered"),
        (CloseCode::Resume, "the queue changed; resuming"),
        (CloseCode::TokenExpired, "the token expired"),
        (CloseCode::RateLimited, "too many requests"),
        (CloseCode::Overloaded, "the server is overloaded"),
        (CloseCode::BadRequest, "the server did not understand a request; compare the versions of client and server"),
        (CloseCode::Unauthorized, "the token is missing or wrong; give another one"),
        (CloseCode::Forbidden, "the token does not allow to read this subscriber"),
        (CloseCode::NotFound, "the subscriber was deleted; create a filter for it first"),
        (CloseCode::Superseded, "a newer connection of the same consumer took over; give each its own consumer name"),
        (CloseCode::ConnectionLimit, "too many connections; close some first"),
    ];
    match EXPLANATIONS.iter().find(|(known, _)| *known as u16 == code) {
        Some((_, text)) => text,
        None if code == 1006 => "the connection broke",
        None if CloseCode::reconnects(code) => "the connection was closed",
        None => "the server refuses this stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_read_as_sentences() {
        let mut problem = Problem { status: 503, ..Problem::default() };
        assert_eq!(Error::Problem(problem.clone().into()).to_string(), "the server answered with status 503");
        problem.detail = "the disk is full".to_owned();
        problem.hint = Some("free some space".to_owned());
        let error = Error::Problem(problem.into());
        assert_eq!(error.to_string(), "the disk is full; free some space");
        assert!(error.is_transient());
    }

    #[test]
    fn a_request_that_the_server_still_works_on_is_asked_again() {
        let conflict = |code: &str| {
            let problem = Problem { status: 409, code: code.to_owned(), ..Problem::default() };
            Error::Problem(problem.into()).is_transient()
        };
        assert!(conflict("idempotency_key_in_use"));
        assert!(!conflict("idempotency_key_reused"));
    }

    #[test]
    fn unknown_close_codes_follow_their_range() {
        assert_eq!(explain_close(4444), "the connection was closed");
        assert_eq!(explain_close(4999), "the server refuses this stream");
        assert!(explain_close(4509).contains("newer connection"));
    }
}
