//! Waits between retries: exponential with full jitter, so that many who lost the same thing do not return at once.

use std::time::Duration;

/// Doubles from `first` to `longest`; each wait is a random part of the present bound.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    bound: Duration,
}

impl Backoff {
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, bound: first }
    }

    /// After a success.
    pub fn reset(&mut self) {
        self.bound = self.first;
    }

    /// How long to wait now; at least a millisecond, so that a loop never spins.
    pub fn next(&mut self) -> Duration {
        let wait = self.bound.mul_f64(rand::random::<f64>()).max(Duration::from_millis(1));
        self.bound = (self.bound * 2).min(self.longest);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_bound_and_starts_again() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut backoff = Backoff::new(first, longest);
        assert!(backoff.next() <= first);
        for _ in 0..20 {
            assert!(backoff.next() <= longest);
        }
        backoff.reset();
        assert!(backoff.next() <= first);
    }
}
