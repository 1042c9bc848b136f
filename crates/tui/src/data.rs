//! What the server told, bounded: the part of the model that a pause freezes by keeping a copy.

pub mod history;
pub mod ring;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use evs_api::Page;
use evs_api::dead_letters::DeadLetter;
use evs_api::filters::Filter;
use evs_api::oplog::LogEntry;
use evs_api::stats::{InstanceStats, Stats};
use evs_api::subscribers::{Subscriber, SubscriberDetail};

pub use history::{History, Point};
pub use ring::{EventRing, EventRow};

use crate::message::{Failure, FiltersQuery, SubscribersQuery, Topic};

/// Entries of the operator's log that are kept.
pub const LOG_MAX: usize = 2000;
/// So far back a repeated entry is looked for: more than instances report of the last minute.
const REPEATED_MAX: usize = 256;
/// Instances that went, and for how long they are shown.
const GONE_MAX: usize = 16;
const GONE_MS: i64 = 120_000;
/// What is wrong with an instance that went.
pub const GONE: &str = "reports no more: stopped, killed or cut off";
/// Samples of a row's sparkline.
pub const SPARK_MAX: usize = 30;

/// A copy costs a few thousand reference counts: events and log entries are shared.
#[derive(Clone, Debug, Default)]
pub struct Data {
    pub stats: Option<Arc<Stats>>,
    pub history: History,
    pub subscribers: Rows<SubscribersQuery, Subscriber>,
    /// Delivered per second of the rows in sight, newest last.
    pub sparks: HashMap<String, VecDeque<f64>>,
    pub detail: Option<Arc<SubscriberDetail>>,
    pub detail_filters: Vec<Filter>,
    /// Delivered per second of the subscriber in `detail`.
    pub detail_spark: VecDeque<f64>,
    pub filters: Rows<FiltersQuery, Filter>,
    pub dead_letters: Rows<Option<String>, DeadLetter>,
    pub log: VecDeque<Arc<LogEntry>>,
    pub log_total: u64,
    pub events: EventRing,
    /// What could not be had, by kind of data; cleared when it comes again.
    pub failures: BTreeMap<Topic, Failure>,
}

/// One page of a list, and the question it answers.
#[derive(Clone, Debug)]
pub struct Rows<Q, T> {
    pub query: Q,
    pub items: Vec<T>,
    pub next: Option<String>,
    pub total: Option<u64>,
    /// When it came; none before the first.
    pub at_ms: Option<i64>,
}

impl<Q: Default, T> Default for Rows<Q, T> {
    fn default() -> Self {
        Self { query: Q::default(), items: Vec::new(), next: None, total: None, at_ms: None }
    }
}

impl<Q, T> Rows<Q, T> {
    pub fn put(&mut self, query: Q, page: Page<T>, now_ms: i64) {
        *self = Self { query, items: page.items, next: page.next, total: page.total, at_ms: Some(now_ms) };
    }
}

impl Data {
    pub fn put_stats(&mut self, mut stats: Stats, now_ms: i64) {
        self.history.push(&stats, now_ms);
        self.keep_gone(&mut stats);
        self.stats = Some(Arc::new(stats));
    }

    /// An instance that was killed is left out of the reports soon; it stays in sight for a while, last and unhealthy.
    fn keep_gone(&self, stats: &mut Stats) {
        let Some(before) = &self.stats else { return };
        let since_ms = stats.time_ms - before.time_ms;
        let is_back = |id: &str, now: &Stats| now.instances.iter().any(|i| i.id == id);
        let gone: Vec<_> = before.instances.iter().filter(|i| !is_back(&i.id, stats)).cloned().collect();
        let gone = gone.into_iter().map(|i| InstanceStats {
            healthy: false,
            problem: Some(GONE.to_owned()),
            connections: 0,
            partitions: Vec::new(),
            age_s: i.age_s + since_ms.max(0) as f64 / 1000.0,
            ..i
        });
        stats.instances.extend(gone.filter(|i| i.age_s * 1000.0 < GONE_MS as f64).take(GONE_MAX));
    }

    /// `hold` keeps rows that are still there in their old places, so that nothing jumps under the operator's cursor.
    pub fn put_subscribers(&mut self, query: SubscribersQuery, mut page: Page<Subscriber>, now_ms: i64, hold: bool) {
        let mut sparks = std::mem::take(&mut self.sparks);
        for row in &page.items {
            let mut spark = sparks.remove(&row.id).unwrap_or_default();
            push_spark(&mut spark, row.delivered_per_s);
            self.sparks.insert(row.id.clone(), spark);
        }
        if hold && query == self.subscribers.query {
            let old: HashMap<&str, usize> =
                self.subscribers.items.iter().enumerate().map(|(at, row)| (row.id.as_str(), at)).collect();
            page.items.sort_by_key(|row| old.get(row.id.as_str()).copied().unwrap_or(usize::MAX));
        }
        self.subscribers.put(query, page, now_ms);
    }

    pub fn put_detail(&mut self, detail: SubscriberDetail, filters: Vec<Filter>) {
        if self.detail.as_ref().is_none_or(|old| old.subscriber.id != detail.subscriber.id) {
            self.detail_spark.clear();
        }
        push_spark(&mut self.detail_spark, detail.subscriber.delivered_per_s);
        self.detail = Some(Arc::new(detail));
        self.detail_filters = filters;
    }

    /// Entries come in order of their ids; a reconnect may repeat some, and an API that was started again tells under new
    /// numbers what the other instances still report.
    pub fn put_log(&mut self, entries: Vec<LogEntry>) {
        for entry in entries {
            let told = |old: &Arc<LogEntry>| LogEntry { id: entry.id, ..(**old).clone() } == entry;
            let is_repeated = entry.instance.is_some() && self.log.iter().rev().take(REPEATED_MAX).any(told);
            if self.log.back().is_none_or(|last| last.id < entry.id) && !is_repeated {
                self.log_total += 1;
                self.log.push_back(Arc::new(entry));
            }
        }
        while self.log.len() > LOG_MAX {
            self.log.pop_front();
        }
    }
}

fn push_spark(spark: &mut VecDeque<f64>, value: f64) {
    spark.push_back(value);
    if spark.len() > SPARK_MAX {
        spark.pop_front();
    }
}
