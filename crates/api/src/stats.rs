//! `/stats`, and the same as SSE on `/stats/stream` once a second.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The state of the installation. Totals are sums over the live instances, each since it started; the other instances'
/// part of them is up to two seconds old.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    /// Milliseconds since the Unix epoch, by the server's clock.
    pub time_ms: i64,
    pub uptime_s: f64,
    pub version: String,
    /// `embedded` or `distributed`.
    pub mode: String,
    /// Kafka topic that the events lie in; absent where the event log is embedded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Taken by the API; what other producers wrote to the log is not among them.
    pub events_in_total: u64,
    pub events_matched_total: u64,
    pub deliveries_total: u64,
    pub deliveries_sent_total: u64,
    pub acks_total: u64,
    /// Growth of the event log, whoever writes to it.
    pub events_in_per_s: f64,
    pub deliveries_per_s: f64,
    pub deliveries_sent_per_s: f64,
    /// From the log's acknowledgement to the socket write, of the slowest gateway.
    pub latency: Latency,
    pub connections: u64,
    pub subscribers: u64,
    /// Those whose oldest delivery that is not acked has waited for more than five seconds.
    pub subscribers_behind: u64,
    pub filters: u64,
    pub filter_version: u64,
    pub gaps_total: u64,
    pub dropped_total: u64,
    pub dead_letters_total: u64,
    pub index: IndexStats,
    pub partitions: Vec<PartitionStats>,
    pub shards: Vec<ShardStats>,
    pub instances: Vec<InstanceStats>,
    /// Why some of these numbers are not of now, in words for an operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Latency {
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub samples: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct IndexStats {
    pub filters: u64,
    /// Distinct filters.
    pub classes: u64,
    pub unindexable_filters: u64,
    pub candidates_per_match: f64,
    pub memory_bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PartitionStats {
    pub partition: u32,
    /// Oldest offset kept.
    pub low: u64,
    /// The next offset to be written.
    pub high: u64,
    /// The next offset to be matched.
    pub matched: u64,
    pub lag: u64,
    /// The matcher that works on it, by its instance's id; absent while nobody does, as during a rebalance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ShardStats {
    pub shard: u16,
    pub epoch: String,
    /// Entries in the log.
    pub entries: u64,
    pub log_bytes: u64,
    /// Deliveries in queues that are not acked.
    pub depth: u64,
    pub min_filter_version: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InstanceStats {
    pub id: String,
    /// `api`, `matcher`, `gateway`; an instance may have several.
    pub roles: Vec<String>,
    pub healthy: bool,
    /// What is wrong, if it is not healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    pub filter_version: u64,
    pub connections: u64,
    pub uptime_s: f64,
    /// Age of this report.
    pub age_s: f64,
    /// Partitions of the event log that this matcher works on, in order; empty for other roles.
    #[serde(default)]
    pub partitions: Vec<u32>,
    /// How often the log's consumer group gave this matcher partitions or took some, since it started. 0 where the log
    /// has no group, as when it is embedded.
    #[serde(default)]
    pub rebalances: u64,
    /// When it did so last, milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rebalance_ms: Option<i64>,
}
