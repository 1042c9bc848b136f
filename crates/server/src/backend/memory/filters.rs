//! The filter store as plain collections.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use evs_core::limits::SUBSCRIBER_FILTERS_MAX;
use evs_core::{FilterId, FilterVersion, Shard, Slot, SubscriberId};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::ports::PortResult;
use crate::ports::filter_store::{
    FilterChange, FilterDraft, FilterRecord, FilterStore, INSTANCE_TTL_S, InstanceReport, Put, PutOutcome, StoreError,
    SubscriberRecord, next_history,
};

/// The filter store in memory.
#[derive(Debug)]
pub struct MemoryFilters {
    inner: Mutex<Inner>,
    changed: Notify,
    shards: u16,
    clock: Clock,
}

#[derive(Clone, Debug, Default)]
struct Inner {
    version: u64,
    ids_given: u32,
    /// Per shard the slots given so far; they are never given again.
    slots_given: BTreeMap<Shard, u32>,
    subscribers: BTreeMap<SubscriberId, SubscriberRecord>,
    filters: BTreeMap<FilterId, FilterRecord>,
    removed: BTreeMap<FilterId, FilterVersion>,
    reports: BTreeMap<String, (i64, InstanceReport)>,
    notices: BTreeMap<String, i64>,
}

impl MemoryFilters {
    #[must_use]
    pub fn new(shards: u16, clock: Clock) -> Self {
        Self { inner: Mutex::new(Inner::default()), changed: Notify::new(), shards, clock }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All or nothing: works on a copy that takes the place of the state only where `change` succeeds.
    fn transaction<T>(&self, change: impl FnOnce(&mut Inner) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut inner = self.lock();
        let mut copy = inner.clone();
        let answer = change(&mut copy)?;
        *inner = copy;
        drop(inner);
        self.changed.notify_waiters();
        Ok(answer)
    }
}

impl Inner {
    fn bump(&mut self) -> FilterVersion {
        self.version += 1;
        FilterVersion(self.version)
    }

    fn subscriber(&mut self, id: &SubscriberId, shards: u16, now_ms: i64) -> SubscriberRecord {
        if let Some(record) = self.subscribers.get(id) {
            return record.clone();
        }
        let shard = id.shard(shards);
        let given = self.slots_given.entry(shard).or_default();
        let record = SubscriberRecord { id: id.clone(), shard, slot: Slot(*given), filters: 0, created_ms: now_ms };
        *given += 1;
        self.subscribers.insert(id.clone(), record.clone());
        record
    }

    fn put(&mut self, draft: FilterDraft, shards: u16, now_ms: i64) -> Result<Put, StoreError> {
        let subscriber = self.subscriber(&draft.subscriber, shards, now_ms);
        let same_name = |record: &&FilterRecord| record.subscriber == draft.subscriber && record.name == draft.name;
        let there = draft.name.as_ref().and_then(|_| self.filters.values().find(same_name).cloned());
        let (record, outcome) = match there {
            Some(record) if record.spec == draft.spec => (record, PutOutcome::Unchanged),
            Some(record) => {
                let changed = FilterRecord { spec: draft.spec, version: self.bump(), updated_ms: now_ms, ..record };
                (changed, PutOutcome::Updated)
            }
            None => {
                if subscriber.filters as usize >= SUBSCRIBER_FILTERS_MAX {
                    return Err(StoreError::TooManyFilters { max: SUBSCRIBER_FILTERS_MAX });
                }
                self.ids_given += 1;
                let record = FilterRecord {
                    id: FilterId(self.ids_given),
                    subscriber: draft.subscriber,
                    shard: subscriber.shard,
                    slot: subscriber.slot,
                    name: draft.name,
                    spec: draft.spec,
                    version: self.bump(),
                    created_ms: now_ms,
                    updated_ms: now_ms,
                };
                if let Some(subscriber) = self.subscribers.get_mut(&record.subscriber) {
                    subscriber.filters += 1;
                }
                (record, PutOutcome::Created)
            }
        };
        self.filters.insert(record.id, record.clone());
        Ok(Put { record, outcome })
    }

    fn remove(&mut self, id: FilterId) -> Option<FilterRecord> {
        let record = self.filters.remove(&id)?;
        let version = self.bump();
        self.removed.insert(id, version);
        if let Some(subscriber) = self.subscribers.get_mut(&record.subscriber) {
            subscriber.filters -= 1;
        }
        Some(record)
    }
}

fn check(record: &FilterRecord, expected: Option<FilterVersion>) -> Result<(), StoreError> {
    match expected {
        Some(expected) if expected != record.version => Err(StoreError::Changed { actual: record.version }),
        _ => Ok(()),
    }
}

#[async_trait]
impl FilterStore for MemoryFilters {
    async fn put(&self, drafts: Vec<FilterDraft>) -> Result<Vec<Put>, StoreError> {
        let now_ms = self.clock.now_ms();
        self.transaction(|inner| drafts.into_iter().map(|draft| inner.put(draft, self.shards, now_ms)).collect())
    }

    async fn update(
        &self,
        id: FilterId,
        draft: FilterDraft,
        expected: Option<FilterVersion>,
    ) -> Result<Option<FilterRecord>, StoreError> {
        let now_ms = self.clock.now_ms();
        self.transaction(|inner| {
            let Some(record) = inner.filters.get(&id).cloned() else { return Ok(None) };
            if record.subscriber != draft.subscriber {
                return Err(StoreError::OtherSubscriber);
            }
            check(&record, expected)?;
            let taken = |other: &FilterRecord| {
                other.id != id && other.subscriber == draft.subscriber && other.name == draft.name
            };
            if draft.name.is_some() && inner.filters.values().any(taken) {
                return Err(StoreError::NameTaken);
            }
            if record.name == draft.name && record.spec == draft.spec {
                return Ok(Some(record));
            }
            let version = inner.bump();
            let changed = FilterRecord { name: draft.name, spec: draft.spec, version, updated_ms: now_ms, ..record };
            inner.filters.insert(id, changed.clone());
            Ok(Some(changed))
        })
    }

    async fn delete(&self, id: FilterId, expected: Option<FilterVersion>) -> Result<Option<FilterRecord>, StoreError> {
        self.transaction(|inner| {
            let Some(record) = inner.filters.get(&id) else { return Ok(None) };
            check(record, expected)?;
            Ok(inner.remove(id))
        })
    }

    async fn delete_subscriber(&self, id: &SubscriberId) -> Result<Option<SubscriberRecord>, StoreError> {
        self.transaction(|inner| {
            let Some(record) = inner.subscribers.get(id).cloned() else { return Ok(None) };
            let of_it = inner.filters.values().filter(|filter| filter.subscriber == *id);
            for filter in of_it.map(|filter| filter.id).collect::<Vec<_>>() {
                inner.remove(filter);
            }
            inner.subscribers.remove(id);
            Ok(Some(record))
        })
    }

    async fn filter(&self, id: FilterId) -> PortResult<Option<FilterRecord>> {
        Ok(self.lock().filters.get(&id).cloned())
    }

    async fn filters(
        &self,
        subscriber: Option<&SubscriberId>,
        after: FilterId,
        max: usize,
    ) -> PortResult<Vec<FilterRecord>> {
        let inner = self.lock();
        let later = inner.filters.values().filter(|record| record.id > after);
        let of_it = later.filter(|record| subscriber.is_none_or(|subscriber| record.subscriber == *subscriber));
        Ok(of_it.take(max).cloned().collect())
    }

    async fn subscriber(&self, id: &SubscriberId) -> PortResult<Option<SubscriberRecord>> {
        Ok(self.lock().subscribers.get(id).cloned())
    }

    async fn subscribers(&self, after: Option<&SubscriberId>, max: usize) -> PortResult<Vec<SubscriberRecord>> {
        let inner = self.lock();
        let later = inner.subscribers.values().filter(|record| after.is_none_or(|after| record.id > *after));
        Ok(later.take(max).cloned().collect())
    }

    async fn at_slots(&self, shard: Shard, slots: &[Slot]) -> PortResult<Vec<(Slot, SubscriberId)>> {
        let inner = self.lock();
        let there = inner.subscribers.values().filter(|record| record.shard == shard && slots.contains(&record.slot));
        Ok(there.map(|record| (record.slot, record.id.clone())).collect())
    }

    async fn version(&self) -> PortResult<FilterVersion> {
        Ok(FilterVersion(self.lock().version))
    }

    async fn changes_since(&self, version: FilterVersion, max: usize) -> PortResult<Vec<FilterChange>> {
        let inner = self.lock();
        let puts = inner.filters.values().cloned().map(FilterChange::Put);
        let removals = inner.removed.iter().map(|(id, version)| FilterChange::Removed { id: *id, version: *version });
        let mut changes: Vec<_> = puts.chain(removals).filter(|change| change.version() > version).collect();
        changes.sort_by_key(FilterChange::version);
        changes.truncate(max);
        Ok(changes)
    }

    async fn changed(&self, version: FilterVersion, wait: Duration) {
        let changed = self.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if self.lock().version <= version.0 {
            // A timeout is as good an answer as a change: the caller looks in either case.
            let _ = tokio::time::timeout(wait, changed).await;
        }
    }

    async fn keep_above(&self, shard: Shard, slots: u32, version: FilterVersion) -> Result<(), StoreError> {
        self.transaction(|inner| {
            let given = inner.slots_given.entry(shard).or_default();
            *given = slots.max(*given);
            if inner.version < version.0 {
                inner.version = next_history(version).0;
            }
            Ok(())
        })
    }

    async fn announce(&self, key: &str, until_ms: i64) -> PortResult<()> {
        let mut inner = self.lock();
        let end = inner.notices.entry(key.to_owned()).or_insert(until_ms);
        *end = until_ms.max(*end);
        Ok(())
    }

    async fn notices(&self, now_ms: i64) -> PortResult<Vec<(String, i64)>> {
        let mut inner = self.lock();
        inner.notices.retain(|_, until_ms| *until_ms > now_ms);
        Ok(inner.notices.iter().map(|(key, until_ms)| (key.clone(), *until_ms)).collect())
    }

    async fn report(&self, report: InstanceReport) -> PortResult<()> {
        let now_ms = self.clock.now_ms();
        self.lock().reports.insert(report.id.clone(), (now_ms, report));
        Ok(())
    }

    async fn reports(&self) -> PortResult<Vec<InstanceReport>> {
        let now_ms = self.clock.now_ms();
        let inner = self.lock();
        let aged = inner
            .reports
            .values()
            .map(|(at_ms, report)| InstanceReport { age_s: (now_ms - at_ms).max(0) as f64 / 1000.0, ..report.clone() });
        Ok(aged.filter(|report| report.age_s < INSTANCE_TTL_S).collect())
    }
}
