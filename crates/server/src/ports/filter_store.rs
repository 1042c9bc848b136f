//! Filters, the subscribers that they make, and the version that counts every change.

use async_trait::async_trait;
use evs_api::filters::FilterActivity;
use evs_api::stats::{IndexStats, Latency};
use evs_core::{ConsumerName, FilterId, FilterVersion, Shard, Slot, SubscriberId};

use super::{PortError, PortResult};

/// # Contract
///
/// Every change bumps one `version` in its own transaction, so that versions are dense in commit order and
/// `changes_since` misses none. A subscriber gets its shard and a slot that was never given before in the transaction
/// that creates its first filter, and keeps both until it is deleted.
#[async_trait]
pub trait FilterStore: Send + Sync + std::fmt::Debug {
    /// Creates, or replaces where the subscriber has a filter of that name; all or nothing. Answers in the same order.
    async fn put(&self, drafts: Vec<FilterDraft>) -> Result<Vec<Put>, StoreError>;

    /// Replaces a filter; only if it still has version `expected`, where that is given.
    async fn update(
        &self,
        id: FilterId,
        draft: FilterDraft,
        expected: Option<FilterVersion>,
    ) -> Result<Option<FilterRecord>, StoreError>;

    /// `Ok(None)` where there is none.
    async fn delete(&self, id: FilterId, expected: Option<FilterVersion>) -> Result<Option<FilterRecord>, StoreError>;

    /// Removes the subscriber and its filters. Its slot is never given again. `Ok(None)` where there is none.
    async fn delete_subscriber(&self, id: &SubscriberId) -> Result<Option<SubscriberRecord>, StoreError>;

    async fn filter(&self, id: FilterId) -> PortResult<Option<FilterRecord>>;

    /// By id, those after `after`, of one subscriber if given.
    async fn filters(
        &self,
        subscriber: Option<&SubscriberId>,
        after: FilterId,
        max: usize,
    ) -> PortResult<Vec<FilterRecord>>;

    async fn subscriber(&self, id: &SubscriberId) -> PortResult<Option<SubscriberRecord>>;

    /// By id, those after `after`.
    async fn subscribers(&self, after: Option<&SubscriberId>, max: usize) -> PortResult<Vec<SubscriberRecord>>;

    /// The subscribers that have these slots of a shard; slots that nobody has, or whose subscriber was deleted, are
    /// left out.
    async fn at_slots(&self, shard: Shard, slots: &[Slot]) -> PortResult<Vec<(Slot, SubscriberId)>>;

    async fn version(&self) -> PortResult<FilterVersion>;

    /// Told what the delivery queue has seen, a store that was restored from a backup gives nothing twice: the next
    /// subscriber of `shard` gets a slot of at least `slots`, and where the version is below `version` a new history
    /// begins.
    async fn keep_above(&self, shard: Shard, slots: u32, version: FilterVersion) -> Result<(), StoreError>;

    /// What changed after `version`, in order of version, at most `max`; what was created and removed since appears
    /// only as removed.
    async fn changes_since(&self, version: FilterVersion, max: usize) -> PortResult<Vec<FilterChange>>;

    /// Waits until the store may have a newer version than `version`, or for `wait`: a wake-up, not a promise.
    async fn changed(&self, version: FilterVersion, wait: std::time::Duration);

    /// Tells every instance something until `until_ms`; told again, it lasts as long as the later one. What is over may
    /// be forgotten.
    async fn announce(&self, key: &str, until_ms: i64) -> PortResult<()>;

    /// What is told at `now_ms`, with its end.
    async fn notices(&self, now_ms: i64) -> PortResult<Vec<(String, i64)>>;

    /// An instance's sign of life, and what a matcher has applied. Reports older than [`INSTANCE_TTL_S`] are not live.
    async fn report(&self, report: InstanceReport) -> PortResult<()>;

    /// The reports that are live.
    async fn reports(&self) -> PortResult<Vec<InstanceReport>>;
}

/// An instance that has not reported for so long counts as dead.
pub const INSTANCE_TTL_S: f64 = 6.0;

/// The upper half of a version counts how often the store was restored from a backup: whoever followed another history
/// has to load all filters anew.
const HISTORY_BITS: u32 = 32;

/// Whether changes lead from one version to the other.
#[must_use]
pub fn same_history(one: FilterVersion, other: FilterVersion) -> bool {
    one.0 >> HISTORY_BITS == other.0 >> HISTORY_BITS
}

/// The first version of the history after that of `version`.
#[must_use]
pub fn next_history(version: FilterVersion) -> FilterVersion {
    FilterVersion(((version.0 >> HISTORY_BITS) + 1) << HISTORY_BITS)
}

/// A filter as it should become. Its `where` was parsed and its limits checked.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterDraft {
    pub subscriber: SubscriberId,
    pub name: Option<ConsumerName>,
    /// The JSON of [`evs_api::filters::FilterFields`] without subscriber and name: the stored form, additive.
    pub spec: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FilterRecord {
    pub id: FilterId,
    pub subscriber: SubscriberId,
    pub shard: Shard,
    pub slot: Slot,
    pub name: Option<ConsumerName>,
    pub spec: String,
    pub version: FilterVersion,
    pub created_ms: i64,
    pub updated_ms: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Put {
    pub record: FilterRecord,
    pub outcome: PutOutcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    Created,
    Updated,
    /// The same filter was there; its version did not change.
    Unchanged,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SubscriberRecord {
    pub id: SubscriberId,
    pub shard: Shard,
    pub slot: Slot,
    pub filters: u32,
    pub created_ms: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum FilterChange {
    Put(FilterRecord),
    Removed { id: FilterId, version: FilterVersion },
}

impl FilterChange {
    #[must_use]
    pub fn version(&self) -> FilterVersion {
        match self {
            Self::Put(record) => record.version,
            Self::Removed { version, .. } => *version,
        }
    }
}

/// What one process has counted since it started, and how fast it does now.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Counts {
    pub events_in: u64,
    pub events_matched: u64,
    pub deliveries: u64,
    pub deliveries_sent: u64,
    pub acks: u64,
    pub gaps: u64,
    pub dropped: u64,
    pub dead_letters: u64,
    pub deliveries_per_s: f64,
    pub deliveries_sent_per_s: f64,
    pub latency: Latency,
    /// Empty where there is no matcher.
    pub index: IndexStats,
}

impl Counts {
    /// Both together: counts are sums, latencies those of the slower one, the index that of the larger one, because all
    /// matchers hold the same filters.
    #[must_use]
    pub fn with(self, other: &Self) -> Self {
        let slower = if self.latency.p99_ms < other.latency.p99_ms { other.latency } else { self.latency };
        Self {
            events_in: self.events_in + other.events_in,
            events_matched: self.events_matched + other.events_matched,
            deliveries: self.deliveries + other.deliveries,
            deliveries_sent: self.deliveries_sent + other.deliveries_sent,
            acks: self.acks + other.acks,
            gaps: self.gaps + other.gaps,
            dropped: self.dropped + other.dropped,
            dead_letters: self.dead_letters + other.dead_letters,
            deliveries_per_s: self.deliveries_per_s + other.deliveries_per_s,
            deliveries_sent_per_s: self.deliveries_sent_per_s + other.deliveries_sent_per_s,
            latency: slower,
            index: if self.index.filters < other.index.filters { other.index } else { self.index },
        }
    }
}

/// What a matcher has of the event log.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Assignment {
    /// Partitions that it works on, in order.
    pub partitions: Vec<u32>,
    /// How often the log's group gave it partitions or took some.
    pub rebalances: u64,
    pub last_rebalance_ms: Option<i64>,
}

/// One instance's sign of life.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct InstanceReport {
    pub id: String,
    pub roles: Vec<String>,
    pub filter_version: u64,
    pub connections: u64,
    pub uptime_s: f64,
    pub problem: Option<String>,
    #[serde(default)]
    pub counts: Counts,
    /// Empty where there is no matcher.
    #[serde(default)]
    pub assignment: Assignment,
    /// The newest entries of its operator's log, with numbers of their own from 1 on; empty beside a matcher's name.
    #[serde(default)]
    pub log: Vec<evs_api::oplog::LogEntry>,
    /// Filters whose matches somebody wants to know there.
    #[serde(default)]
    pub asked: Vec<u32>,
    /// What its matcher has counted for filters that others asked for.
    #[serde(default)]
    pub counted: Vec<(u32, FilterActivity)>,
    /// Set by the store.
    #[serde(default)]
    pub age_s: f64,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It was changed meanwhile.
    #[error("the filter has version {actual}, not the expected one")]
    Changed { actual: FilterVersion },
    #[error("the subscriber would have more than {max} filters")]
    TooManyFilters { max: usize },
    #[error("another filter of this subscriber has that name")]
    NameTaken,
    #[error("a filter cannot move to another subscriber; create it there and delete it here")]
    OtherSubscriber,
    #[error(transparent)]
    Port(#[from] PortError),
}
