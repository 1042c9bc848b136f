//! Opening, claiming, appending, and following the log.

use std::time::Duration;

use evs_core::{FilterVersion, Offset, Partition, Shard};
use evs_server::ports::DeliveryQueue;
use evs_server::ports::delivery_queue::{Append, Appended, Checkpoint};

use super::{LOG_BYTES_MAX, SHARD, SHARDS, ZERO, claim, compact_all};

const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) async fn a_shard_is_made_once(queue: &dyn DeliveryQueue) {
    assert_eq!(queue.shards(), SHARDS);
    let first = queue.open(Shard(0), FilterVersion(7)).await.unwrap();
    assert_eq!(first.min_version, FilterVersion(7));
    assert_eq!((first.top, first.log_bytes, first.position), (0, 0, Default::default()));
    assert_eq!(queue.open(Shard(0), FilterVersion(9)).await.unwrap(), first, "the epoch stays, and so its version");
    assert_eq!(queue.state(Shard(0)).await.unwrap(), first);
    let other = queue.open(Shard(1), FilterVersion(0)).await.unwrap();
    assert_ne!(other.epoch, first.epoch, "epochs are random");
}

pub(crate) async fn nothing_is_appended_without_a_claim(queue: &dyn DeliveryQueue) {
    let mut owner = claim(queue, SHARD, ZERO).await;
    owner.partition = Partition(1);
    assert_eq!(owner.try_append(queue, 0, 1, &[0]).await, Appended::Fenced);
}

pub(crate) async fn a_claim_fences_the_one_before(queue: &dyn DeliveryQueue) {
    let zombie = claim(queue, SHARD, ZERO).await;
    zombie.append(queue, 0, 5, &[1]).await;
    let epoch = zombie.epoch;
    let next = queue.claim(SHARD, epoch, ZERO).await.unwrap().unwrap();
    assert!(next.owner > zombie.owner);
    assert_eq!(next.next, Some(Offset(5)), "the new owner goes on where the log ends");
    assert_eq!(zombie.try_append(queue, 5, 6, &[1]).await, Appended::Fenced);
    assert_eq!(zombie.try_append(queue, 0, 5, &[1]).await, Appended::Fenced, "even what it has written before");
}

pub(crate) async fn append_answers_in_the_order_of_its_checks(queue: &dyn DeliveryQueue) {
    let zombie = claim(queue, SHARD, ZERO).await;
    let owner = claim(queue, SHARD, ZERO).await;
    assert!(queue.raise(SHARD, owner.epoch, FilterVersion(5)).await.unwrap());
    let entry = |from, to| Some(owner.entry(from, to, &[1]));
    let current = FilterVersion(5);
    let first = Append { version: current, ..owner.batch(0, 10, entry(0, 10)) };
    assert_eq!(queue.append(SHARD, first).await.unwrap(), Appended::Applied { id: Some(1) });
    fill(queue, Partition(9)).await;

    let mut wrong = owner.batch(20, 30, entry(20, 30));
    wrong.epoch.0 ^= 1;
    wrong.owner = zombie.owner;
    assert_eq!(queue.append(SHARD, wrong.clone()).await.unwrap(), Appended::OtherEpoch(owner.epoch));
    wrong.epoch = owner.epoch;
    (wrong.from, wrong.to) = (Offset(5), Offset(10));
    assert_eq!(queue.append(SHARD, wrong.clone()).await.unwrap(), Appended::Fenced);
    wrong.owner = owner.owner;
    assert_eq!(queue.append(SHARD, wrong.clone()).await.unwrap(), Appended::AlreadyApplied);
    wrong.to = Offset(11);
    assert_eq!(queue.append(SHARD, wrong.clone()).await.unwrap(), Appended::Conflict { next: Offset(10) });
    wrong.from = Offset(10);
    assert_eq!(queue.append(SHARD, wrong.clone()).await.unwrap(), Appended::Stale { minimum: current });
    wrong.version = current;
    assert_eq!(queue.append(SHARD, wrong.clone()).await.unwrap(), Appended::Full);
    wrong.entry = None;
    assert_eq!(queue.append(SHARD, wrong).await.unwrap(), Appended::Applied { id: None });
}

pub(crate) async fn a_lost_reply_is_answered_by_already_applied(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    owner.append(queue, 0, 2, &[1]).await;
    assert_eq!(owner.try_append(queue, 0, 2, &[1]).await, Appended::AlreadyApplied);
    owner.append(queue, 2, 4, &[1]).await;
    assert_eq!(owner.try_append(queue, 0, 2, &[1]).await, Appended::AlreadyApplied, "after its successor, too");
    assert_eq!(queue.state(SHARD).await.unwrap().top, 2, "nothing was written twice");
}

pub(crate) async fn a_batch_that_does_not_follow_is_a_conflict(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    owner.append(queue, 100, 110, &[1]).await;
    let conflict = Appended::Conflict { next: Offset(110) };
    assert_eq!(owner.try_append(queue, 111, 120, &[1]).await, conflict, "one is missing");
    assert_eq!(owner.try_append(queue, 105, 120, &[1]).await, conflict, "a part is there already");
    owner.append(queue, 110, 120, &[1]).await;
}

pub(crate) async fn an_older_filter_version_is_stale(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    assert!(queue.raise(SHARD, owner.epoch, FilterVersion(3)).await.unwrap());
    assert!(queue.raise(SHARD, owner.epoch, FilterVersion(2)).await.unwrap());
    let minimum = FilterVersion(3);
    assert_eq!(queue.state(SHARD).await.unwrap().min_version, minimum, "it never falls");
    let at = |version| Append { version: FilterVersion(version), ..owner.batch(0, 1, None) };
    assert_eq!(queue.append(SHARD, at(2)).await.unwrap(), Appended::Stale { minimum }, "without matches, too");
    assert_eq!(queue.append(SHARD, at(3)).await.unwrap(), Appended::Applied { id: None });
    let mut other = owner.epoch;
    other.0 ^= 1;
    assert!(!queue.raise(SHARD, other, FilterVersion(9)).await.unwrap());
    assert_eq!(queue.claim(SHARD, other, ZERO).await.unwrap(), None);
    assert_eq!(queue.state(SHARD).await.unwrap().min_version, minimum);
}

pub(crate) async fn a_full_log_takes_no_entry_until_it_is_compacted(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    let end = fill(queue, Partition(9)).await;
    assert_eq!(owner.try_append(queue, 0, 1, &[1]).await, Appended::Full);
    assert_eq!(owner.try_append(queue, 0, 1, &[]).await, Appended::Applied { id: None }, "it costs nothing");
    compact_all(queue).await;
    assert_eq!(queue.state(SHARD).await.unwrap().log_bytes, 0);
    assert_eq!(owner.try_append(queue, 1, 2, &[1]).await, Appended::Applied { id: Some(end + 1) });
}

/// Appends until the log is full; answers the number of entries.
async fn fill(queue: &dyn DeliveryQueue, partition: Partition) -> u64 {
    let epoch = queue.state(SHARD).await.unwrap().epoch;
    let claim = queue.claim(SHARD, epoch, partition).await.unwrap().unwrap();
    let owner = super::Owner { shard: SHARD, epoch, owner: claim.owner, partition };
    for from in (0..100_000).step_by(200) {
        let entry = owner.entry(from, from + 200, &[5]);
        let append = Append { version: FilterVersion(u64::MAX >> 16), ..owner.batch(from, from + 200, Some(entry)) };
        match queue.append(SHARD, append).await.unwrap() {
            Appended::Applied { .. } => {}
            Appended::Full => {
                let state = queue.state(SHARD).await.unwrap();
                assert!(state.log_bytes >= LOG_BYTES_MAX && state.log_bytes < 2 * LOG_BYTES_MAX, "{state:?}");
                return state.top;
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("the log has no bound");
}

pub(crate) async fn a_batch_without_matches_moves_only_the_checkpoint(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    let before = queue.state(SHARD).await.unwrap();
    assert_eq!(owner.try_append(queue, 0, 50, &[]).await, Appended::Applied { id: None });
    assert_eq!(queue.state(SHARD).await.unwrap(), before);
    let claim = queue.claim(SHARD, owner.epoch, ZERO).await.unwrap().unwrap();
    assert_eq!(claim.next, Some(Offset(50)));
}

pub(crate) async fn partitions_and_shards_have_their_own_checkpoints(queue: &dyn DeliveryQueue) {
    let zero = claim(queue, SHARD, ZERO).await;
    let one = claim(queue, SHARD, Partition(1)).await;
    let other_shard = claim(queue, Shard(1), ZERO).await;
    zero.append(queue, 0, 3, &[1]).await;
    one.append(queue, 40, 41, &[1]).await;
    other_shard.append(queue, 7, 8, &[1]).await;
    let mut known = queue.checkpoints(SHARD).await.unwrap();
    known.sort_unstable_by_key(|checkpoint| checkpoint.partition);
    let covers = |partition, first, next| Checkpoint { partition, first: Offset(first), next: Offset(next) };
    assert_eq!(known, [covers(ZERO, 0, 3), covers(Partition(1), 40, 41)]);
    one.append(queue, 41, 45, &[1]).await;
    let known = queue.checkpoints(SHARD).await.unwrap();
    assert!(known.contains(&covers(Partition(1), 40, 45)), "the first offset stays: {known:?}");
    for (shard, partition, next) in [(SHARD, ZERO, 3), (SHARD, Partition(1), 45), (Shard(1), ZERO, 8)] {
        let epoch = queue.state(shard).await.unwrap().epoch;
        let claim = queue.claim(shard, epoch, partition).await.unwrap().unwrap();
        assert_eq!(claim.next, Some(Offset(next)));
    }
    let epoch = zero.epoch;
    assert_eq!(queue.claim(SHARD, epoch, Partition(2)).await.unwrap().unwrap().next, None, "never seen");
    assert_eq!(queue.state(SHARD).await.unwrap().top, 3);
    assert_eq!(queue.state(Shard(1)).await.unwrap().top, 1);
}

pub(crate) async fn appends_in_flight_keep_their_order(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    let batches = (0..20).map(|n| owner.batch(n * 3, n * 3 + 3, Some(owner.entry(n * 3, n * 3 + 3, &[1, 2]))));
    let mut pending: Vec<Append> = batches.collect();
    // A matcher sends several at once; one that overtakes its predecessor is a conflict and is sent again.
    for round in 0.. {
        assert!(round < 20, "every round moves at least one");
        let answers = futures_util::future::join_all(pending.iter().map(|batch| queue.append(SHARD, batch.clone())));
        let answers = answers.await;
        let done = |answer| matches!(answer, &Appended::Applied { .. } | &Appended::AlreadyApplied);
        let mut answers = answers.iter().map(|answer| done(answer.as_ref().unwrap()));
        pending.retain(|_| !answers.next().unwrap());
        if pending.is_empty() {
            break;
        }
    }
    let tail = queue.tail(SHARD, 0, usize::MAX, Duration::ZERO).await.unwrap();
    let froms: Vec<u64> = tail.entries.iter().map(|(_, entry)| entry.from.0).collect();
    assert_eq!(froms, (0..20).map(|n| n * 3).collect::<Vec<_>>());
}

pub(crate) async fn tail_gives_dense_entries_as_they_were_written(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    for n in 0..10 {
        owner.append(queue, n, n + 1, &[1, 3, 70]).await;
    }
    let tail = queue.tail(SHARD, 4, usize::MAX, Duration::ZERO).await.unwrap();
    assert_eq!(tail.state, queue.state(SHARD).await.unwrap());
    assert_eq!(tail.entries.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [5, 6, 7, 8, 9, 10]);
    for (id, entry) in &tail.entries {
        assert_eq!(**entry, owner.entry(id - 1, *id, &[1, 3, 70]));
    }
    assert!(queue.tail(SHARD, 10, usize::MAX, Duration::ZERO).await.unwrap().entries.is_empty());
}

pub(crate) async fn tail_is_bounded_and_gives_one_at_least(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    for n in 0..30 {
        owner.append(queue, n * 20, n * 20 + 20, &[1]).await;
    }
    let tail = queue.tail(SHARD, 0, 1, Duration::ZERO).await.unwrap();
    assert_eq!(tail.entries.len(), 1);
    let mut after = 0;
    while after < 30 {
        let tail = queue.tail(SHARD, after, 8 * 1024, Duration::ZERO).await.unwrap();
        assert!(!tail.entries.is_empty() && tail.entries.len() < 30, "about 8 KiB, not all of it");
        assert!(tail.entries.iter().map(|(id, _)| *id).eq((after + 1..).take(tail.entries.len())));
        after = tail.entries.last().unwrap().0;
    }
}

pub(crate) async fn tail_waits_for_the_first_entry(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    let waiting = async {
        let started = std::time::Instant::now();
        loop {
            let tail = queue.tail(SHARD, 0, usize::MAX, DEADLINE).await.unwrap();
            if !tail.entries.is_empty() {
                return tail;
            }
            assert!(started.elapsed() < DEADLINE, "it did not come");
        }
    };
    let (tail, ()) = tokio::join!(waiting, owner.append(queue, 0, 1, &[1]));
    assert_eq!((tail.entries.len(), tail.state.top), (1, 1));
    let quiet = queue.tail(SHARD, 1, usize::MAX, Duration::from_millis(20)).await.unwrap();
    assert_eq!((quiet.entries.len(), quiet.state.top), (0, 1), "the state comes without entries, too");
}

pub(crate) async fn a_dropped_tail_loses_nothing(queue: &dyn DeliveryQueue) {
    let owner = claim(queue, SHARD, ZERO).await;
    for n in 0..5 {
        let waiting = queue.tail(SHARD, n, usize::MAX, DEADLINE);
        assert!(tokio::time::timeout(Duration::from_millis(5), waiting).await.is_err());
        owner.append(queue, n, n + 1, &[1]).await;
    }
    let tail = queue.tail(SHARD, 0, usize::MAX, DEADLINE).await.unwrap();
    assert_eq!(tail.entries.len(), 5);
}
