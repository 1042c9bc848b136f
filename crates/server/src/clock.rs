//! The wall clock, asked for and not taken.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds since the Unix epoch; tests give their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
    }

    pub fn new(now_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    #[must_use]
    pub fn now_ms(&self) -> i64 {
        (self.0)()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({})", self.now_ms())
    }
}

/// RFC 3339 in UTC with milliseconds.
#[must_use]
pub fn rfc3339(time_ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time_ms) * 1_000_000);
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| time_ms.to_string())
}

/// `10m`, `1h30m`, `2d` (before now), RFC 3339, or `beginning`; milliseconds since the Unix epoch.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn parse_since(text: &str, now_ms: i64) -> Result<i64, String> {
    if text == "beginning" {
        return Ok(i64::MIN);
    }
    if let Some(span_ms) = parse_duration_ms(text) {
        return Ok(now_ms.saturating_sub(span_ms));
    }
    match OffsetDateTime::parse(text, &Rfc3339) {
        Ok(time) => Ok(i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)),
        Err(_) => Err(format!(
            "{text:?} is no time: use a span before now such as 90s, 10m, 2h or 1d, a time such as \
             2026-11-24T10:00:00Z, or beginning"
        )),
    }
}

/// `250ms`, `90s`, `10m`, `1h30m`, `2d`.
#[must_use]
pub fn parse_duration_ms(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0_i64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit_ms = match &rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit_ms)?)?;
        rest = &rest[letters..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(parse_since("10m", 1_000_000), Ok(400_000));
        assert_eq!(parse_since("1h30m", 10_000_000), Ok(10_000_000 - 5_400_000));
        assert_eq!(parse_since("2026-11-24T10:00:00Z", 0), Ok(1_795_514_400_000));
        assert_eq!(rfc3339(1_795_514_400_000), "2026-11-24T10:00:00Z");
        assert!(parse_since("yesterday", 0).is_err());
        assert!(parse_since("", 0).is_err());
    }
}
