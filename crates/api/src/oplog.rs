//! `GET /log` and `GET /log/stream` (SSE): what happened that an operator wants to know.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogEntry {
    /// Dense in one life of the process, and above those of its lives before; give it as `Last-Event-ID` to resume.
    pub id: u64,
    pub time_ms: i64,
    pub level: Level,
    /// `connected`, `disconnected`, `superseded`, `slow`, `gap`, `epoch`, `dead_letter`, `filter_created`,
    /// `filter_updated`, `filter_deleted`, `dependency_lost`, `dependency_back`, `started`, `draining`, `rebalance`
    /// (partitions of the log went from one matcher to another), `instance_lost` (reports no more), `log_cut` (an
    /// instance wrote more than the others learn).
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriber: Option<String>,
    /// Where it happened; absent if it is about the installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    pub message: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    #[default]
    Info,
    Warn,
    Error,
}
