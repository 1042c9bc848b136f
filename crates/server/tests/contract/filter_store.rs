//! The contract of `FilterStore`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use evs_api::filters::FilterActivity;
use evs_api::oplog::LogEntry;
use evs_core::limits::SUBSCRIBER_FILTERS_MAX;
use evs_core::{ConsumerName, FilterId, FilterVersion, Slot, SubscriberId};
use evs_server::ports::FilterStore;
use evs_server::ports::filter_store::{
    Assignment, Counts, FilterChange, FilterDraft, FilterRecord, InstanceReport, Put, PutOutcome, StoreError,
    same_history,
};

/// Every backend is made for so many shards.
pub(crate) const SHARDS: u16 = 4;

/// Lists every test of the contract for the backend that `$make` makes; each with the attribute, if there is one.
macro_rules! filter_store_contract {
    ($make:ident) => {
        filter_store_contract!(#[cfg(all())] $make);
    };
    (#[$attribute:meta] $make:ident) => {
        filter_store_contract! { $make # [$attribute]:
            filters_are_created_with_dense_versions
            put_by_name_is_idempotent
            put_is_all_or_nothing
            a_batch_is_as_its_drafts_one_by_one
            names_belong_to_one_subscriber
            update_replaces_what_was_expected
            delete_removes_what_was_expected
            slots_are_dense_and_never_given_twice
            a_restored_store_gives_nothing_twice
            changes_come_in_order_and_none_is_missed
            concurrent_writers_leave_no_hole
            lists_are_paged
            a_change_wakes
            reports_are_listed
            notices_last_until_their_end
        }
    };
    ($make:ident $hash:tt $attribute:tt: $($test:ident)*) => {
        mod filter_store_contract {
            $(
                #[tokio::test]
                $hash $attribute
                async fn $test() {
                    let (store, _guard) = super::$make().await;
                    crate::filter_store::$test(&store).await;
                }
            )*
        }
    };
}

fn subscriber(text: &str) -> SubscriberId {
    SubscriberId::new(text).unwrap()
}

fn draft(of: &str, name: Option<&str>, spec: &str) -> FilterDraft {
    let name = name.map(|name| ConsumerName::new(name).unwrap());
    FilterDraft { subscriber: subscriber(of), name, spec: spec.to_owned() }
}

async fn put_one(store: &dyn FilterStore, draft: FilterDraft) -> FilterRecord {
    store.put(vec![draft]).await.unwrap().remove(0).record
}

pub(crate) async fn filters_are_created_with_dense_versions(store: &dyn FilterStore) {
    assert_eq!(store.version().await.unwrap(), FilterVersion(0));
    let drafts = vec![draft("a", None, "{}"), draft("b", Some("x"), r#"{"min_amount":1}"#), draft("a", None, "{}")];
    let puts = store.put(drafts.clone()).await.unwrap();
    for (put, draft) in puts.iter().zip(&drafts) {
        assert_eq!(put.outcome, PutOutcome::Created);
        let record = &put.record;
        assert_eq!((&record.subscriber, &record.name, &record.spec), (&draft.subscriber, &draft.name, &draft.spec));
        assert_eq!(record.shard, draft.subscriber.shard(SHARDS));
        assert_eq!(store.filter(record.id).await.unwrap().as_ref(), Some(record));
        assert!(record.created_ms > 1_600_000_000_000 && record.updated_ms == record.created_ms);
    }
    let versions: BTreeSet<u64> = puts.iter().map(|put| put.record.version.0).collect();
    assert!(versions.into_iter().eq(1..=3), "one for each change");
    assert_eq!(store.version().await.unwrap(), FilterVersion(3));
    assert_eq!(puts[0].record.slot, puts[2].record.slot, "one subscriber, one slot");
    assert_ne!(puts[0].record.id, puts[2].record.id, "filters without a name are never the same");
    assert_eq!(store.subscriber(&subscriber("a")).await.unwrap().unwrap().filters, 2);
    assert_eq!(store.filter(FilterId(9_999)).await.unwrap(), None);
    assert_eq!(store.subscriber(&subscriber("nobody")).await.unwrap(), None);
    assert!(store.put(Vec::new()).await.unwrap().is_empty());
}

pub(crate) async fn put_by_name_is_idempotent(store: &dyn FilterStore) {
    let first = put_one(store, draft("a", Some("x"), "1")).await;
    let again = store.put(vec![draft("a", Some("x"), "1")]).await.unwrap().remove(0);
    assert_eq!((again.outcome, &again.record), (PutOutcome::Unchanged, &first));
    assert_eq!(store.version().await.unwrap(), first.version, "nothing has changed");
    let updated = store.put(vec![draft("a", Some("x"), "2")]).await.unwrap().remove(0);
    assert_eq!(updated.outcome, PutOutcome::Updated);
    assert_eq!((updated.record.id, updated.record.created_ms), (first.id, first.created_ms));
    assert_eq!((updated.record.spec.as_str(), updated.record.version), ("2", FilterVersion(2)));
    let twice = store.put(vec![draft("a", Some("y"), "1"), draft("a", Some("y"), "2")]).await.unwrap();
    assert_eq!([twice[0].outcome, twice[1].outcome], [PutOutcome::Created, PutOutcome::Updated], "in their order");
    assert_eq!(twice[0].record.id, twice[1].record.id);
    assert_eq!(store.filter(twice[0].record.id).await.unwrap().unwrap().spec, "2");
    assert_eq!(store.subscriber(&subscriber("a")).await.unwrap().unwrap().filters, 2);
}

pub(crate) async fn put_is_all_or_nothing(store: &dyn FilterStore) {
    let full = (0..SUBSCRIBER_FILTERS_MAX).map(|_| draft("full", None, "{}")).collect();
    assert_eq!(store.put(full).await.unwrap().len(), SUBSCRIBER_FILTERS_MAX);
    let before = store.version().await.unwrap();
    let mixed = vec![draft("new", None, "{}"), draft("full", None, "{}")];
    let refused = store.put(mixed).await;
    assert!(matches!(refused, Err(StoreError::TooManyFilters { max: SUBSCRIBER_FILTERS_MAX })), "{refused:?}");
    assert_eq!(store.version().await.unwrap(), before);
    assert_eq!(store.subscriber(&subscriber("new")).await.unwrap(), None);
    let one = store.filters(Some(&subscriber("full")), FilterId(0), 1).await.unwrap().remove(0);
    store.delete(one.id, None).await.unwrap().unwrap();
    put_one(store, draft("full", None, "{}")).await;
}

pub(crate) async fn a_batch_is_as_its_drafts_one_by_one(store: &dyn FilterStore) {
    let mut state = 7_u64;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let names = [None, Some("x"), Some("y")];
    let specs = ["{}", r#"{"where":"a == \"\\\"\" || b == 'ü🦀\u0000'"}"#, r#"{"min_amount":1e300}"#];
    let mut ids = BTreeSet::new();
    for _ in 0..20 {
        let picks: Vec<_> = (0..=below(12)).map(|_| (below(4), names[below(3)], specs[below(3)])).collect();
        let drafts = |twin: &str| -> Vec<FilterDraft> {
            picks.iter().map(|(who, name, spec)| draft(&format!("{twin}{who}"), *name, spec)).collect()
        };
        let before = store.version().await.unwrap().0;
        let batch = store.put(drafts("batch-")).await.unwrap();
        let between = store.version().await.unwrap().0;
        let mut alone = Vec::new();
        for draft in drafts("alone-") {
            alone.extend(store.put(vec![draft]).await.unwrap());
        }
        assert_eq!(store.version().await.unwrap().0 - between, between - before, "as many changes");
        for (one, other) in batch.iter().zip(&alone) {
            let told = |put: &Put| (put.record.name.clone(), put.record.spec.clone(), put.outcome);
            assert_eq!(told(one), told(other));
        }
        for put in batch.iter().chain(&alone) {
            let is_new = ids.insert(put.record.id);
            assert_eq!(is_new, put.outcome == PutOutcome::Created, "an id is given once");
        }
        for put in &batch {
            let last = batch.iter().rfind(|other| other.record.id == put.record.id).unwrap();
            assert_eq!(store.filter(put.record.id).await.unwrap().unwrap(), last.record);
        }
        // Both lose their last one, which may have the newest id of all.
        for puts in [&alone, &batch] {
            store.delete(puts.last().unwrap().record.id, None).await.unwrap().unwrap();
        }
    }
}

pub(crate) async fn names_belong_to_one_subscriber(store: &dyn FilterStore) {
    let a = put_one(store, draft("a", Some("x"), "1")).await;
    let b = put_one(store, draft("b", Some("x"), "1")).await;
    assert_ne!(a.id, b.id);
    let other = put_one(store, draft("a", Some("y"), "1")).await;
    let taken = store.update(other.id, draft("a", Some("x"), "1"), None).await;
    assert!(matches!(taken, Err(StoreError::NameTaken)), "{taken:?}");
    let moved = store.update(other.id, draft("b", Some("y"), "1"), None).await;
    assert!(matches!(moved, Err(StoreError::OtherSubscriber)), "{moved:?}");
    assert_eq!(store.filter(other.id).await.unwrap().unwrap(), other, "nothing has changed");
    store.delete(a.id, None).await.unwrap().unwrap();
    let renamed = store.update(other.id, draft("a", Some("x"), "1"), None).await.unwrap().unwrap();
    assert_eq!(renamed.name.unwrap().as_str(), "x", "a name is free again once its filter is gone");
}

pub(crate) async fn update_replaces_what_was_expected(store: &dyn FilterStore) {
    let first = put_one(store, draft("a", Some("x"), "1")).await;
    let second = store.update(first.id, draft("a", None, "2"), Some(first.version)).await.unwrap().unwrap();
    assert_eq!((second.id, second.version.0, second.name.clone()), (first.id, first.version.0 + 1, None));
    assert_eq!(store.filter(first.id).await.unwrap().unwrap(), second);
    let late = store.update(first.id, draft("a", None, "3"), Some(first.version)).await;
    assert!(matches!(late, Err(StoreError::Changed { actual }) if actual == second.version), "{late:?}");
    let forced = store.update(first.id, draft("a", None, "3"), None).await.unwrap().unwrap();
    assert_eq!(forced.spec, "3");
    assert_eq!(store.update(FilterId(9_999), draft("a", None, "3"), None).await.unwrap(), None);
}

pub(crate) async fn delete_removes_what_was_expected(store: &dyn FilterStore) {
    let record = put_one(store, draft("a", Some("x"), "1")).await;
    let wrong = FilterVersion(record.version.0 + 7);
    let refused = store.delete(record.id, Some(wrong)).await;
    assert!(matches!(refused, Err(StoreError::Changed { actual }) if actual == record.version), "{refused:?}");
    assert_eq!(store.delete(record.id, Some(record.version)).await.unwrap().unwrap().id, record.id);
    assert_eq!(store.delete(record.id, None).await.unwrap(), None);
    assert_eq!(store.filter(record.id).await.unwrap(), None);
    assert_eq!(store.version().await.unwrap(), FilterVersion(record.version.0 + 1));
    let left = store.subscriber(&subscriber("a")).await.unwrap().unwrap();
    assert_eq!((left.filters, left.slot), (0, record.slot), "the queue outlives its last filter");
    assert_eq!(put_one(store, draft("a", None, "2")).await.slot, record.slot);
}

pub(crate) async fn slots_are_dense_and_never_given_twice(store: &dyn FilterStore) {
    let drafts = (0..40).map(|n| draft(&format!("s{n}"), None, "{}")).collect();
    let puts = store.put(drafts).await.unwrap();
    let mut given = BTreeSet::new();
    for put in &puts {
        assert!(given.insert((put.record.shard, put.record.slot)));
    }
    for (shard, slot) in &given {
        assert!(slot.0 == 0 || given.contains(&(*shard, evs_core::Slot(slot.0 - 1))), "dense in {shard}");
    }
    let version = store.version().await.unwrap();
    let gone = store.delete_subscriber(&subscriber("s7")).await.unwrap().unwrap();
    assert_eq!((gone.slot, gone.filters), (puts[7].record.slot, 1));
    assert_eq!(store.delete_subscriber(&subscriber("s7")).await.unwrap(), None);
    assert_eq!(store.subscriber(&subscriber("s7")).await.unwrap(), None);
    assert_eq!(store.filter(puts[7].record.id).await.unwrap(), None);
    assert_eq!(store.version().await.unwrap(), FilterVersion(version.0 + 1), "its one filter was removed");
    let again = put_one(store, draft("s7", None, "{}")).await;
    assert!(given.insert((again.shard, again.slot)), "another life, another slot");
    assert!(puts.iter().all(|put| put.record.id != again.id), "ids are not given twice, either");
}

pub(crate) async fn a_restored_store_gives_nothing_twice(store: &dyn FilterStore) {
    let first = put_one(store, draft("first", None, "{}")).await;
    let shard = first.shard;
    store.keep_above(shard, 1, FilterVersion(1)).await.unwrap();
    assert_eq!(store.version().await.unwrap(), FilterVersion(1), "it knows of all that");
    let mut others = (0..).map(|n| format!("other{n}")).filter(|id| subscriber(id).shard(SHARDS) == shard);
    store.keep_above(shard, 7, FilterVersion(1)).await.unwrap();
    let next = put_one(store, draft(&others.next().unwrap(), None, "{}")).await;
    assert_eq!((next.slot, next.version), (evs_core::Slot(7), FilterVersion(2)));
    store.keep_above(shard, 3, FilterVersion(40)).await.unwrap();
    let began = store.version().await.unwrap();
    assert!(began.0 > 40 && !same_history(began, FilterVersion(40)), "{began}");
    store.keep_above(shard, 3, FilterVersion(40)).await.unwrap();
    assert_eq!(store.version().await.unwrap(), began, "told once");
    let last = put_one(store, draft(&others.next().unwrap(), None, "{}")).await;
    assert_eq!((last.slot, last.version), (evs_core::Slot(8), FilterVersion(began.0 + 1)));
    let all: Vec<_> = changes(store, FilterVersion(0), 2).await.iter().map(FilterChange::version).collect();
    assert_eq!(all, [FilterVersion(1), FilterVersion(2), last.version], "a follower that begins anew finds all");
}

async fn changes(store: &dyn FilterStore, mut since: FilterVersion, page: usize) -> Vec<FilterChange> {
    let mut all = Vec::new();
    loop {
        let changes = store.changes_since(since, page).await.unwrap();
        assert!(changes.len() <= page);
        let Some(last) = changes.last() else { return all };
        since = last.version();
        all.extend(changes);
    }
}

pub(crate) async fn changes_come_in_order_and_none_is_missed(store: &dyn FilterStore) {
    let drafts = (0..30).map(|n| draft(&format!("s{}", n % 7), None, &n.to_string())).collect();
    let records: Vec<FilterRecord> = store.put(drafts).await.unwrap().into_iter().map(|put| put.record).collect();
    let middle = store.version().await.unwrap();
    let updated = store.update(records[3].id, draft("s3", None, "new"), None).await.unwrap().unwrap();
    store.delete(records[5].id, None).await.unwrap().unwrap();
    store.delete_subscriber(&subscriber("s6")).await.unwrap().unwrap();
    let since = changes(store, middle, 100).await;
    assert_eq!(since[0], FilterChange::Put(updated));
    let removed = |change: &FilterChange| match change {
        FilterChange::Removed { id, .. } => Some(*id),
        FilterChange::Put(_) => None,
    };
    let of_s6 = records.iter().filter(|record| record.subscriber == subscriber("s6")).map(|record| record.id);
    let gone: BTreeSet<FilterId> = of_s6.chain([records[5].id]).collect();
    assert_eq!(since[1..].iter().filter_map(removed).collect::<BTreeSet<_>>(), gone);
    let all = changes(store, FilterVersion(0), 7).await;
    assert!(all.is_sorted_by_key(FilterChange::version));
    assert_eq!(all, changes(store, FilterVersion(0), 1_000).await, "pages make the whole");
    assert_eq!(all.last().unwrap().version(), store.version().await.unwrap());
    for change in &all {
        match change {
            FilterChange::Put(record) => assert_eq!(store.filter(record.id).await.unwrap().as_ref(), Some(record)),
            FilterChange::Removed { id, .. } => assert!(gone.contains(id)),
        }
    }
    assert_eq!(all.len(), 30, "what was created and removed appears once");
    assert!(store.changes_since(store.version().await.unwrap(), 10).await.unwrap().is_empty());
}

pub(crate) async fn concurrent_writers_leave_no_hole(store: &dyn FilterStore) {
    let write = async |writer: usize| {
        for n in 0..10 {
            let drafts = (0..3).map(|k| draft(&format!("s{}", (writer + k) % 5), None, &n.to_string())).collect();
            store.put(drafts).await.unwrap();
        }
    };
    let follow = async {
        // A reader that goes on from the last version it saw must see every one.
        let (mut seen, started) = (0, Instant::now());
        while seen < 180 {
            assert!(started.elapsed() < Duration::from_secs(60), "{seen} of 180");
            for change in store.changes_since(FilterVersion(seen), 50).await.unwrap() {
                seen += 1;
                assert_eq!(change.version().0, seen, "none is missed");
            }
            store.changed(FilterVersion(seen), Duration::from_millis(50)).await;
        }
    };
    tokio::join!(write(0), write(1), write(2), write(3), write(4), write(5), follow);
    assert_eq!(store.version().await.unwrap(), FilterVersion(180));
}

pub(crate) async fn lists_are_paged(store: &dyn FilterStore) {
    let drafts = (0..25).map(|n| draft(&format!("s{}", n % 6), None, &n.to_string())).collect();
    let mut records: Vec<FilterRecord> = store.put(drafts).await.unwrap().into_iter().map(|put| put.record).collect();
    records.sort_by_key(|record| record.id);
    let (mut paged, mut after) = (Vec::new(), FilterId(0));
    while let Some(last) = {
        let page = store.filters(None, after, 4).await.unwrap();
        let last = page.last().map(|record| record.id);
        paged.extend(page);
        last
    } {
        after = last;
    }
    assert_eq!(paged, records);
    let of_one = store.filters(Some(&subscriber("s2")), FilterId(0), 100).await.unwrap();
    assert_eq!(
        of_one,
        records.iter().filter(|record| record.subscriber == subscriber("s2")).cloned().collect::<Vec<_>>()
    );
    let all = store.subscribers(None, 100).await.unwrap();
    let names: Vec<&str> = all.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(names, ["s0", "s1", "s2", "s3", "s4", "s5"]);
    assert_eq!(store.subscribers(Some(&subscriber("s2")), 2).await.unwrap(), all[3..5]);
    assert_eq!(store.subscriber(&subscriber("s4")).await.unwrap().unwrap(), all[4]);
    for record in &all {
        // Another shard may have the same slot; nobody has the last.
        let mut found = store.at_slots(record.shard, &[record.slot, Slot(1_000_000)]).await.unwrap();
        assert_eq!(found.pop(), Some((record.slot, record.id.clone())));
        assert_eq!(found, []);
    }
}

pub(crate) async fn a_change_wakes(store: &dyn FilterStore) {
    let started = Instant::now();
    store.changed(FilterVersion(0), Duration::from_millis(10)).await;
    assert!(started.elapsed() < Duration::from_secs(5), "the wait has an end");
    let wait = Duration::from_secs(30);
    let waiting = async {
        while store.version().await.unwrap() == FilterVersion(0) {
            store.changed(FilterVersion(0), wait).await;
        }
    };
    let writing = put_one(store, draft("a", None, "{}"));
    tokio::join!(waiting, writing);
    store.changed(FilterVersion(0), wait).await;
    assert!(started.elapsed() < wait, "a newer version is told at once");
}

pub(crate) async fn reports_are_listed(store: &dyn FilterStore) {
    assert!(store.reports().await.unwrap().is_empty());
    let report = |id: &str, filter_version| InstanceReport {
        id: id.to_owned(),
        roles: vec!["matcher".to_owned(), "api".to_owned()],
        filter_version,
        connections: 3,
        uptime_s: 1.5,
        problem: Some("redis is away".to_owned()),
        counts: Counts { events_in: 7, deliveries_per_s: 0.5, ..Counts::default() },
        assignment: Assignment { partitions: vec![0, 3], rebalances: 2, last_rebalance_ms: Some(9) },
        log: vec![LogEntry { id: 4, instance: Some(id.to_owned()), ..LogEntry::default() }],
        asked: vec![1, 2],
        counted: vec![(3, FilterActivity { matched_total: 9, matched_per_s: 0.5, last_match_ms: Some(8) })],
        age_s: 0.0,
    };
    for (id, version) in [("a", 1), ("b", 2), ("a", 5)] {
        store.report(report(id, version)).await.unwrap();
    }
    let mut reports = store.reports().await.unwrap();
    reports.sort_by(|left, right| left.id.cmp(&right.id));
    assert!(reports.iter().all(|report| report.age_s >= 0.0 && report.age_s < 6.0));
    let reports: Vec<InstanceReport> =
        reports.into_iter().map(|report| InstanceReport { age_s: 0.0, ..report }).collect();
    assert_eq!(reports, [report("a", 5), report("b", 2)], "the newest of each");
}

pub(crate) async fn notices_last_until_their_end(store: &dyn FilterStore) {
    let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let (soon, later) = (now_ms + 60_000, now_ms + 120_000);
    store.announce("revoked:a", soon).await.unwrap();
    store.announce("revoked:b", later).await.unwrap();
    // Told again: the later end holds, whatever the order.
    store.announce("revoked:a", later).await.unwrap();
    store.announce("revoked:a", soon).await.unwrap();
    store.announce("gone:1:2", now_ms - 1).await.unwrap();
    let told = |pairs: &[(&str, i64)]| pairs.iter().map(|(key, end)| ((*key).to_owned(), *end)).collect::<Vec<_>>();
    assert_eq!(store.notices(now_ms).await.unwrap(), told(&[("revoked:a", later), ("revoked:b", later)]));
    assert_eq!(store.notices(later).await.unwrap(), []);
}
