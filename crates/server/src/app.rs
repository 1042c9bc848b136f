//! What every role of one process shares.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::auth::Authorizer;
use crate::clock::Clock;
use crate::config::Config;
use crate::limits::Limits;
use crate::matcher::Activity;
use crate::metrics::Metrics;
use crate::oplog::OpLog;
use crate::ports::{DeliveryQueue, EventLog, FilterStore};
use crate::reader::Readers;
use crate::traces::Traces;

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
    /// Who may do what.
    pub auth: Authorizer,
    /// What one caller may use.
    pub limits: Arc<Limits>,
    /// What the matcher of this process has counted per filter.
    pub activity: Activity,
    pub metrics: Arc<Metrics>,
    pub oplog: Arc<OpLog>,
    /// Where spans go, if anywhere.
    pub traces: Traces,
    /// A name of this process, new at each start.
    pub instance: Arc<str>,
    pub started_ms: i64,
    /// Cancelled on SIGTERM: sockets are told, intake ends, the roles drain.
    pub shutdown: CancellationToken,
}
