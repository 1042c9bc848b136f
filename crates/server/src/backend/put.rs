//! What putting filters makes of those that are there, for the stores that read what drafts name, and write what came
//! of it, in a few statements for all of them.

use std::collections::{BTreeMap, HashMap};

use evs_core::limits::SUBSCRIBER_FILTERS_MAX;
use evs_core::{ConsumerName, FilterId, FilterVersion, SubscriberId};

use crate::ports::PortError;
use crate::ports::filter_store::{FilterDraft, FilterRecord, Put, PutOutcome, StoreError, SubscriberRecord};

/// What a store has, as far as drafts name it, and what it has after [`Putting::put`].
pub(super) struct Putting {
    pub(super) now_ms: i64,
    pub(super) version: u64,
    pub(super) last_id: u64,
    /// Those of all drafts.
    pub(super) subscribers: HashMap<SubscriberId, SubscriberRecord>,
    pub(super) by_name: HashMap<(SubscriberId, ConsumerName), FilterRecord>,
}

impl Putting {
    /// Each draft in turn, as if it were alone.
    pub(super) fn put(&mut self, drafts: Vec<FilterDraft>) -> Result<Vec<Put>, StoreError> {
        drafts.into_iter().map(|draft| self.put_one(draft)).collect()
    }

    fn put_one(&mut self, draft: FilterDraft) -> Result<Put, StoreError> {
        let key = draft.name.clone().map(|name| (draft.subscriber.clone(), name));
        let there = key.as_ref().and_then(|key| self.by_name.get(key)).cloned();
        let (record, outcome) = match there {
            Some(record) if record.spec == draft.spec => return Ok(Put { record, outcome: PutOutcome::Unchanged }),
            Some(record) => {
                let (version, updated_ms) = (self.bump(), self.now_ms);
                (FilterRecord { spec: draft.spec, version, updated_ms, ..record }, PutOutcome::Updated)
            }
            None => (self.create(draft)?, PutOutcome::Created),
        };
        if let Some(key) = key {
            self.by_name.insert(key, record.clone());
        }
        Ok(Put { record, outcome })
    }

    fn create(&mut self, draft: FilterDraft) -> Result<FilterRecord, StoreError> {
        let subscriber = self.subscribers.get_mut(&draft.subscriber).ok_or_else(|| damaged("a subscriber is gone"))?;
        if subscriber.filters as usize >= SUBSCRIBER_FILTERS_MAX {
            return Err(StoreError::TooManyFilters { max: SUBSCRIBER_FILTERS_MAX });
        }
        subscriber.filters += 1;
        let (shard, slot) = (subscriber.shard, subscriber.slot);
        self.last_id += 1;
        Ok(FilterRecord {
            id: FilterId(u32::try_from(self.last_id).map_err(|_| damaged("there are no more filter ids"))?),
            subscriber: draft.subscriber,
            shard,
            slot,
            name: draft.name,
            spec: draft.spec,
            version: self.bump(),
            created_ms: self.now_ms,
            updated_ms: self.now_ms,
        })
    }

    fn bump(&mut self) -> FilterVersion {
        self.version += 1;
        FilterVersion(self.version)
    }
}

fn damaged(cause: &str) -> PortError {
    PortError::Damaged { what: "the filter store", cause: cause.to_owned() }
}

/// What is to be written: of a filter that was put twice only its last form.
pub(super) fn changed(puts: &[Put]) -> Vec<&FilterRecord> {
    let changed = puts.iter().filter(|put| put.outcome != PutOutcome::Unchanged);
    let last: BTreeMap<FilterId, &FilterRecord> = changed.map(|put| (put.record.id, &put.record)).collect();
    last.into_values().collect()
}
