//! When to try again: exponential with full jitter, so that ten thousand clients do not come back at once.

use std::time::{Duration, Instant};

use rand::Rng;

const BASE: Duration = Duration::from_millis(500);
const CAP: Duration = Duration::from_secs(30);
/// A connection that lasted this long was healthy, and the next failure is a first one.
const HEALTHY: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
    connected_at: Option<Instant>,
}

impl Backoff {
    pub fn connected(&mut self, now: Instant) {
        self.connected_at = Some(now);
    }

    /// How long to wait after a failure or the end of a connection.
    pub fn next_delay(&mut self, now: Instant, rng: &mut impl Rng) -> Duration {
        if self.connected_at.take().is_some_and(|since| now.saturating_duration_since(since) >= HEALTHY) {
            self.failures = 0;
        }
        let ceiling = BASE.saturating_mul(1 << self.failures.min(10)).min(CAP);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(rng.random_range(0.0..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn delays_grow_to_the_cap_and_health_resets_them() {
        let mut rng = SmallRng::seed_from_u64(1);
        let start = Instant::now();
        let mut backoff = Backoff::default();
        let mut longest = Duration::ZERO;
        for failure in 0..100_u32 {
            let delay = backoff.next_delay(start, &mut rng);
            let ceiling = Duration::from_millis(500).saturating_mul(1 << failure.min(20)).min(CAP);
            assert!(delay <= ceiling, "failure {failure}: {delay:?}");
            longest = longest.max(delay);
        }
        assert!(longest > Duration::from_secs(25));
        backoff.connected(start);
        assert!(backoff.next_delay(start + HEALTHY, &mut rng) <= BASE);
    }

    #[test]
    fn a_short_connection_is_not_health() {
        let mut rng = SmallRng::seed_from_u64(2);
        let start = Instant::now();
        let mut backoff = Backoff::default();
        let total: Duration = (0..200)
            .map(|_| {
                backoff.connected(start);
                backoff.next_delay(start + Duration::from_secs(1), &mut rng)
            })
            .sum();
        assert!(total > Duration::from_secs(1_000), "{total:?}");
    }
}
