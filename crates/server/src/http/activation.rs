//! Up to which version filters are active: what every queue shard has been raised to.
//!
//! Matchers raise the shards as soon as all that are alive have applied a change. From then on no append that was
//! matched against older filters is accepted, so every event that the log acknowledges later is matched against it.

use std::time::Duration;

use evs_core::{FilterVersion, Shard};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::app::App;
use crate::ports::PortResult;

/// Between looks while somebody waits; a look this young serves everybody, so a thousand waiting cost one.
const POLL: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
pub(super) struct Activation(Mutex<Option<(Instant, FilterVersion)>>);

impl Activation {
    /// Filters up to this version are active.
    pub(super) async fn version(&self, app: &App) -> PortResult<FilterVersion> {
        let mut seen = self.0.lock().await;
        if let Some((at, version)) = *seen
            && at.elapsed() < POLL
        {
            return Ok(version);
        }
        let mut lowest = FilterVersion(u64::MAX);
        for shard in (0..app.queue.shards()).map(Shard) {
            lowest = lowest.min(app.queue.state(shard).await?.min_version);
        }
        *seen = Some((Instant::now(), lowest));
        Ok(lowest)
    }

    /// Waits until filters up to `version` are active, or the timeout is over; answers how far they are.
    pub(super) async fn wait(&self, app: &App, version: FilterVersion, timeout: Duration) -> PortResult<FilterVersion> {
        let deadline = Instant::now() + timeout;
        loop {
            let active = self.version(app).await?;
            if active >= version || Instant::now() >= deadline {
                return Ok(active);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
