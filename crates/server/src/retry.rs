//! Exponential backoff with full jitter, for every call to the outside.

use std::time::Duration;

use rand::Rng as _;
use tokio_util::sync::CancellationToken;

const FIRST_MS: u64 = 20;
const MAX_MS: u64 = 5_000;

/// How long to wait before the next try: random between nothing and twice as much each time, up to five seconds.
#[derive(Debug)]
pub struct Backoff {
    ceiling_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { ceiling_ms: FIRST_MS }
    }
}

impl Backoff {
    /// Waits. `false`: the process is stopping, give up.
    pub async fn wait(&mut self, shutdown: &CancellationToken) -> bool {
        let wait_ms = rand::rng().random_range(0..=self.ceiling_ms);
        self.ceiling_ms = (self.ceiling_ms * 2).min(MAX_MS);
        tokio::select! {
            () = shutdown.cancelled() => false,
            () = tokio::time::sleep(Duration::from_millis(wait_ms)) => true,
        }
    }
}
