//! How tests wait: they ask again and again, and no longer than a deadline.

use std::time::{Duration, Instant};

/// Until `ask` has an answer; `told` makes the failure out of the last refusal.
pub(crate) async fn poll<T, E>(
    deadline: Duration,
    mut ask: impl AsyncFnMut() -> Result<T, E>,
    told: impl FnOnce(E) -> String,
) -> T {
    let end = Instant::now() + deadline;
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    loop {
        tick.tick().await;
        match ask().await {
            Ok(answer) => return answer,
            Err(refusal) if Instant::now() > end => panic!("{}", told(refusal)),
            Err(_) => {}
        }
    }
}
