//! Listens for changes, and wakes whoever waits for one.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::retry::Backoff;

/// The channel; its payload is the new version.
pub(super) const CHANNEL: &str = "evs_filters";
/// A half-open connection hears nothing for ever, so the listener is made anew after this quiet time.
const QUIET_MAX: Duration = Duration::from_secs(60);

/// The newest version that was heard of, and how often something may have been missed.
#[derive(Clone, Debug)]
pub(super) struct Wake(watch::Sender<(u64, u64)>);

impl Default for Wake {
    fn default() -> Self {
        Self(watch::Sender::new((0, 0)))
    }
}

impl Wake {
    pub(super) fn heard(&self, version: u64) {
        self.0.send_if_modified(|heard| {
            let newer = version > heard.0;
            heard.0 = heard.0.max(version);
            newer
        });
    }

    fn missed(&self) {
        self.0.send_modify(|heard| heard.1 += 1);
    }

    /// Until a version beyond `version` was heard of, or something may have been missed, or `wait` is over.
    pub(super) async fn wait(&self, version: u64, wait: Duration) {
        let mut heard = self.0.subscribe();
        let missed = heard.borrow().1;
        let newer = heard.wait_for(|heard| heard.0 > version || heard.1 != missed);
        // The end of the wait is as good as a change: the caller looks in either case.
        let _ = tokio::time::timeout(wait, newer).await;
    }
}

/// Runs until it is aborted.
pub(super) async fn listen(connect: PgConnectOptions, wake: Wake) {
    let never = CancellationToken::new();
    let mut backoff = Backoff::default();
    loop {
        match hear(&connect, &wake).await {
            Ok(()) => backoff = Backoff::default(),
            Err(error) => tracing::debug!(%error, "cannot listen for filter changes; polling goes on"),
        }
        wake.missed();
        backoff.wait(&never).await;
    }
}

/// Listens on one connection until it is lost or was quiet for long.
async fn hear(connect: &PgConnectOptions, wake: &Wake) -> sqlx::Result<()> {
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_secs(5));
    let pool = pool.connect_lazy_with(connect.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(CHANNEL).await?;
    // Whatever was notified before this moment was missed.
    wake.missed();
    loop {
        match tokio::time::timeout(QUIET_MAX, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => match notification.payload().parse() {
                Ok(version) => wake.heard(version),
                Err(_) => wake.missed(),
            },
            Ok(Ok(None)) | Err(_) => return Ok(()),
            Ok(Err(error)) => return Err(error),
        }
    }
}
