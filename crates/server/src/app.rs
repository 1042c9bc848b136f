//! What every role of one process shares.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::oplog::OpLog;
use crate::ports::{DeliveryQueue, EventLog, FilterStore};
use crate::reader::Readers;

/// The backends, chosen once in `backend.rs`, and the process's own state. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    pub config: Arc<Config>,
    pub clock: Clock,
    pub log: Arc<dyn EventLog>,
    pub queue: Arc<dyn DeliveryQueue>,
    pub filters: Arc<dyn FilterStore>,
    /// One reader per shard: the fold and the hot window.
    pub readers: Readers,
    pub metrics: Arc<Metrics>,
    pub oplog: Arc<OpLog>,
    /// A name of this process, new at each start.
    pub instance: Arc<str>,
    pub started_ms: i64,
    /// Cancelled on SIGTERM: sockets are told, intake ends, the roles drain.
    pub shutdown: CancellationToken,
}
