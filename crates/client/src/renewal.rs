//! When an open stream brings a new token: before the old one ends, so that it need not reconnect.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;

use crate::Token;

/// Between looks for a new token where the old one is about to end.
const LOOK_EVERY_MIN: Duration = Duration::from_secs(1);

/// The token that the connection was opened or last refreshed with.
pub(crate) struct Renewal {
    source: Token,
    text: String,
    due: Option<Instant>,
}

impl Renewal {
    /// `None` where there is no token, or none whose end can be read: then the server closes, and a reconnect reads anew.
    pub(crate) fn new(source: Option<&Token>) -> Option<Self> {
        let source = source?.clone();
        let text = source.read().ok()?;
        let due = Some(Instant::now() + next_look(left(&text)?));
        Some(Self { source, text, due })
    }

    /// When to look for a new token.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The new token, if there is one by now.
    pub(crate) fn look(&mut self) -> Option<String> {
        let found = self.source.read().ok().filter(|text| *text != self.text);
        if let Some(text) = &found {
            self.text.clone_from(text);
        }
        self.due = left(&self.text).map(|left| Instant::now() + next_look(left));
        found
    }
}

/// After four fifths of what is left, and ever more often towards the end.
fn next_look(left: Duration) -> Duration {
    (left / 5 * 4).max(LOOK_EVERY_MIN)
}

/// How long the token is good, by its own word, which only the server can check.
fn left(token: &str) -> Option<Duration> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    let end = UNIX_EPOCH.checked_add(Duration::from_secs(claims["exp"].as_u64()?))?;
    Some(end.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_read_from_the_token() {
        let token = |claims: &str| format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims));
        assert!(left(&token("{\"exp\":4000000000}")).is_some_and(|left| left > Duration::from_secs(1_000_000)));
        assert_eq!(left(&token("{\"exp\":1}")), Some(Duration::ZERO));
        for none in ["", "opaque", "a.b.c", &token("{}"), &token("{\"exp\":\"soon\"}")] {
            assert_eq!(left(none), None, "{none}");
        }
        assert_eq!(next_look(Duration::from_secs(100)), Duration::from_secs(80));
        assert_eq!(next_look(Duration::ZERO), LOOK_EVERY_MIN);
    }
}
