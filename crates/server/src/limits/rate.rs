//! Requests per second of one key, told in `RateLimit-*` headers.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::http::problem::{ApiError, ApiResult};

/// Checks between clean-ups of keys that are back at rest.
const CLEAN_EVERY: usize = 10_000;

/// A limit per key; `None` where it is off.
#[derive(Debug)]
pub(super) struct RateLimit<K: Hash + Eq + Clone + std::fmt::Debug>(Option<Keyed<K>>);

#[derive(Debug)]
struct Keyed<K: Hash + Eq + Clone> {
    limiter: DefaultKeyedRateLimiter<K, StateInformationMiddleware>,
    clock: DefaultClock,
    burst: u32,
    per_s: u32,
    checks: AtomicUsize,
}

impl<K: Hash + Eq + Clone + std::fmt::Debug> RateLimit<K> {
    pub(super) fn new(per_s: u32) -> Self {
        let Some(rate) = NonZeroU32::new(per_s) else { return Self(None) };
        let burst = rate.saturating_mul(NonZeroU32::MIN.saturating_add(1));
        let limiter = RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)).with_middleware();
        let (burst, checks) = (burst.get(), AtomicUsize::new(0));
        Self(Some(Keyed { limiter, clock: DefaultClock::default(), burst, per_s, checks }))
    }

    /// `who` is for the sentence.
    pub(super) fn check(&self, key: K, who: &str) -> ApiResult<HeaderMap> {
        let Some(keyed) = &self.0 else { return Ok(HeaderMap::new()) };
        if keyed.checks.fetch_add(1, Ordering::Relaxed) % CLEAN_EVERY == CLEAN_EVERY - 1 {
            keyed.limiter.retain_recent();
        }
        match keyed.limiter.check_key(&key) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                Ok(keyed
                    .headers(remaining, u64::from((keyed.burst - remaining.min(keyed.burst)).div_ceil(keyed.per_s))))
            }
            Err(until) => {
                let wait = until.wait_time_from(keyed.clock.now()).as_secs_f64().ceil().max(1.0) as u64;
                let detail = format!("{who} made more than {} requests per second", keyed.per_s);
                let mut error =
                    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).retry_after_s(wait);
                for (name, value) in keyed.headers(0, wait) {
                    if let Some(name) = name {
                        error = error.with_header(name, value);
                    }
                }
                Err(error)
            }
        }
    }
}

impl<K: Hash + Eq + Clone> Keyed<K> {
    fn headers(&self, remaining: u32, reset_s: u64) -> HeaderMap {
        [
            (HeaderName::from_static("ratelimit-limit"), HeaderValue::from(self.burst)),
            (HeaderName::from_static("ratelimit-remaining"), HeaderValue::from(remaining)),
            (HeaderName::from_static("ratelimit-reset"), HeaderValue::from(reset_s)),
        ]
        .into_iter()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_is_told_when_to_come_back() {
        let limit = RateLimit::new(2);
        for left in [3, 2, 1, 0] {
            let headers = limit.check("ann", "ann").unwrap();
            assert_eq!(headers["ratelimit-remaining"], left.to_string());
        }
        let refused = limit.check("ann", "ann").unwrap_err();
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(limit.check("bob", "bob").is_ok());
        assert!(RateLimit::new(0).check("ann", "ann").unwrap().is_empty());
    }
}
