//! The contract of `EventLog`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use evs_core::{Epoch, Event, Offset, Partition, Position, Trace};
use evs_server::ports::EventLog;
use evs_server::ports::event_log::{BatchKey, Committed, DeadLetter, LogBatch, LogConsumer, LogSignal, Once};

/// Every backend is made with so many partitions, or with as many as it can have.
pub(crate) const PARTITIONS: u32 = 3;

/// How long a real group may take to hand its partitions over.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
const WAIT: Duration = Duration::from_millis(200);

/// Lists every test of the contract for the backend that `$make` makes; each with the attribute, if there is one.
macro_rules! event_log_contract {
    ($make:ident) => {
        event_log_contract!(#[cfg(all())] $make);
    };
    (#[$attribute:meta] $make:ident) => {
        event_log_contract! { $make # [$attribute]:
            events_of_a_user_keep_their_order
            bytes_travel_untouched
            read_gives_pages
            partitions_tell_what_they_hold
            offsets_are_found_by_time
            a_consumer_reads_from_where_it_is_told
            nothing_is_read_before_start
            an_offset_out_of_range_is_told
            a_released_partition_comes_back
            consumers_share_the_partitions
            commits_are_taken
            dead_letters_are_kept
            a_key_is_taken_once_where_keys_are_kept
        }
    };
    ($make:ident $hash:tt $attribute:tt: $($test:ident)*) => {
        mod event_log_contract {
            $(
                #[tokio::test]
                $hash $attribute
                async fn $test() {
                    let (log, _guard) = super::$make().await;
                    crate::event_log::$test(&log).await;
                }
            )*
        }
    };
}

pub(crate) fn event(user: &str, number: u64) -> Event {
    let text = format!(r#"{{"event_id":"{user}-{number}","user_id":"{user}", "n": {number} }}"#);
    Event::trusted(Bytes::from(text))
}

/// Appends `count` events of many users and answers where they went.
async fn fill(log: &dyn EventLog, count: u64) -> Vec<Position> {
    let events = (0..count).map(|n| event(&format!("user_{}", n % 17), n)).collect();
    log.append(events).await.unwrap()
}

async fn partitions(log: &dyn EventLog) -> Vec<Partition> {
    log.partitions().await.unwrap().iter().map(|range| range.partition).collect()
}

pub(crate) async fn events_of_a_user_keep_their_order(log: &dyn EventLog) {
    let mut by_user: BTreeMap<u64, Vec<Position>> = BTreeMap::new();
    for round in 0..4 {
        let positions = fill(log, 34).await;
        assert_eq!(positions.len(), 34, "one for each, in their order (round {round})");
        for (n, position) in (0..).zip(positions) {
            by_user.entry(n % 17).or_default().push(position);
        }
    }
    for positions in by_user.values() {
        assert!(positions.iter().all(|position| position.partition == positions[0].partition));
        assert!(positions.is_sorted_by(|left, right| left.offset < right.offset));
    }
    assert_eq!(log.append(Vec::new()).await.unwrap(), []);
}

pub(crate) async fn bytes_travel_untouched(log: &dyn EventLog) {
    let odd = r#"{ "user_id":"a","z" : 1.00,"a":1e40, "text":"\u00e4 \/ é 漢"  }"#;
    let trace = Trace { trace_id: [5; 16], span_id: [6; 8] };
    let event = Event::trusted(Bytes::from(odd)).with_trace(Some(trace));
    let position = log.append(vec![event]).await.unwrap()[0];
    let read = log.read(position.partition, position.offset, 1, 1).await.unwrap();
    assert_eq!((read.events[0].offset, read.events[0].event.bytes()), (position.offset, &Bytes::from(odd)));
    assert_eq!(read.events[0].event.trace(), Some(trace), "beside the bytes");
}

pub(crate) async fn read_gives_pages(log: &dyn EventLog) {
    fill(log, 120).await;
    let mut seen = BTreeSet::new();
    for range in log.partitions().await.unwrap() {
        let mut from = range.low;
        while from < range.high {
            let read = log.read(range.partition, from, 7, usize::MAX).await.unwrap();
            assert!(!read.events.is_empty() && read.events.len() <= 7);
            assert!(read.events[0].offset >= from && read.next > from);
            assert_eq!(read.low, range.low);
            seen.extend(read.events.iter().map(|logged| (range.partition, logged.offset)));
            from = read.next;
        }
        let end = log.read(range.partition, range.high, 7, usize::MAX).await.unwrap();
        assert_eq!((end.events.len(), end.next), (0, range.high));
    }
    assert_eq!(seen.len(), 120);
    let range = log.partitions().await.unwrap()[0];
    assert_eq!(log.read(range.partition, range.low, 100, 1).await.unwrap().events.len(), 1, "one at the least");
    let some = log.read(range.partition, range.low, 1_000, 150).await.unwrap().events.len();
    assert!((1..=4).contains(&some), "about 150 bytes, not {some} events");
}

pub(crate) async fn partitions_tell_what_they_hold(log: &dyn EventLog) {
    let before = log.partitions().await.unwrap();
    assert!(!before.is_empty() && before.iter().all(|range| range.low == range.high));
    fill(log, 50).await;
    let after = log.partitions().await.unwrap();
    let held: u64 = after.iter().map(|range| range.high.0 - range.low.0).sum();
    assert_eq!((after.len(), held), (before.len(), 50));
}

pub(crate) async fn offsets_are_found_by_time(log: &dyn EventLog) {
    let first = log.append(vec![event("a", 1)]).await.unwrap()[0];
    let read = log.read(first.partition, first.offset, 1, 1).await.unwrap();
    let time_ms = read.events[0].time_ms;
    assert_eq!(log.offset_at(first.partition, i64::MIN).await.unwrap(), first.offset);
    assert_eq!(log.offset_at(first.partition, time_ms).await.unwrap(), first.offset);
    let end = Offset(first.offset.0 + 1);
    assert_eq!(log.offset_at(first.partition, time_ms + 1).await.unwrap(), end, "nothing is so new");
    assert_eq!(log.offset_at(first.partition, time_ms + 3_600_000).await.unwrap(), end);
}

/// Answers `Assigned` with `start` where `from` knows the partition, and collects batches until `done`.
pub(crate) async fn drive(
    consumer: &mut dyn LogConsumer,
    from: impl Fn(Partition) -> Offset,
    mut done: impl FnMut(&LogSignal) -> bool,
) -> Vec<LogBatch> {
    let started = Instant::now();
    let mut batches: Vec<LogBatch> = Vec::new();
    loop {
        assert!(
            started.elapsed() < DEADLINE,
            "it did not come; {} batches did, the last {:?}",
            batches.len(),
            batches.last().map(|batch| (batch.from, batch.to))
        );
        let signal = consumer.next(WAIT).await.unwrap();
        let enough = done(&signal);
        match signal {
            LogSignal::Assigned(partition) => consumer.start(partition, from(partition)).await.unwrap(),
            LogSignal::Batch(batch) => batches.push(batch),
            _ => {}
        }
        if enough {
            return batches;
        }
    }
}

/// Done once so many events came.
pub(crate) fn events(mut wanted: usize) -> impl FnMut(&LogSignal) -> bool {
    move |signal| {
        if let LogSignal::Batch(batch) = signal {
            wanted = wanted.saturating_sub(batch.events.len());
        }
        wanted == 0
    }
}

/// Checks that the batches of each partition follow one another from `from` on.
pub(crate) fn assert_consecutive(batches: &[LogBatch], from: impl Fn(Partition) -> Offset) {
    let mut next: BTreeMap<Partition, Offset> = BTreeMap::new();
    for batch in batches {
        let expected = next.get(&batch.partition).copied().unwrap_or_else(|| from(batch.partition));
        assert_eq!(batch.from, expected, "{}", batch.partition);
        assert!(batch.to > batch.from);
        assert!(batch.events.iter().all(|logged| logged.offset >= batch.from && logged.offset < batch.to));
        assert!(batch.events.is_sorted_by(|left, right| left.offset < right.offset));
        next.insert(batch.partition, batch.to);
    }
}

pub(crate) async fn a_consumer_reads_from_where_it_is_told(log: &dyn EventLog) {
    fill(log, 170).await;
    let ranges = log.partitions().await.unwrap();
    let middle = |partition: Partition| {
        let range = ranges.iter().find(|range| range.partition == partition).unwrap();
        Offset((range.low.0 + range.high.0) / 2)
    };
    let wanted: u64 = ranges.iter().map(|range| range.high.0 - middle(range.partition).0).sum();
    let mut consumer = log.consumer("one").await.unwrap();
    let mut batches = drive(&mut *consumer, middle, events(wanted as usize)).await;
    assert_consecutive(&batches, middle);
    let live = log.append(vec![event("user_3", 1_000)]).await.unwrap()[0];
    batches.extend(drive(&mut *consumer, middle, events(1)).await);
    assert_consecutive(&batches, middle);
    let last = batches.last().unwrap();
    assert_eq!((last.partition, last.events[0].offset), (live.partition, live.offset));
    assert_eq!(last.events[0].event, event("user_3", 1_000));
}

pub(crate) async fn nothing_is_read_before_start(log: &dyn EventLog) {
    fill(log, 30).await;
    let all = partitions(log).await;
    let mut consumer = log.consumer("one").await.unwrap();
    let started = Instant::now();
    let mut assigned = BTreeSet::new();
    let mut idle = 0;
    while idle < 3 {
        assert!(started.elapsed() < DEADLINE);
        match consumer.next(WAIT).await.unwrap() {
            LogSignal::Assigned(partition) => assert!(assigned.insert(partition)),
            LogSignal::Idle => idle += usize::from(assigned.len() == all.len()),
            LogSignal::Rebalanced => assert!(assigned.is_empty(), "it is told before what it means"),
            other => panic!("{other:?}"),
        }
    }
    for partition in all {
        consumer.start(partition, Offset(0)).await.unwrap();
    }
    assert_consecutive(&drive(&mut *consumer, |_| Offset(0), events(30)).await, |_| Offset(0));
}

pub(crate) async fn an_offset_out_of_range_is_told(log: &dyn EventLog) {
    fill(log, 30).await;
    let range = log.partitions().await.unwrap()[0];
    let beyond = Offset(range.high.0 + 5);
    let mut consumer = log.consumer("one").await.unwrap();
    let from = |partition| if partition == range.partition { beyond } else { Offset(0) };
    let mut told = None;
    drive(&mut *consumer, from, |signal| {
        if let LogSignal::OutOfRange { partition, want, low, high } = signal {
            told = Some((*partition, *want, *low, *high));
        }
        told.is_some()
    })
    .await;
    assert_eq!(told, Some((range.partition, beyond, range.low, range.high)));
    consumer.start(range.partition, range.high).await.unwrap();
    let there = (0..).map(|n| event(&format!("user_{n}"), n)).take(40).collect();
    let positions = log.append(there).await.unwrap();
    let wanted = positions.iter().filter(|position| position.partition == range.partition).count();
    let mut seen = 0;
    drive(&mut *consumer, from, |signal| {
        if let LogSignal::Batch(batch) = signal
            && batch.partition == range.partition
        {
            seen += batch.events.len();
        }
        seen >= wanted
    })
    .await;
    assert_eq!(seen, wanted, "it goes on where it is told next");
}

pub(crate) async fn a_released_partition_comes_back(log: &dyn EventLog) {
    fill(log, 60).await;
    let all = partitions(log).await;
    let mut consumer = log.consumer("one").await.unwrap();
    drive(&mut *consumer, |_| Offset(0), events(60)).await;
    consumer.release(all[0]).await.unwrap();
    let mut back = false;
    let batches = drive(
        &mut *consumer,
        |_| Offset(0),
        |signal| {
            back |= matches!(signal, LogSignal::Assigned(partition) if *partition == all[0]);
            back && matches!(signal, LogSignal::Batch(_))
        },
    )
    .await;
    assert!(batches.iter().all(|batch| batch.partition == all[0]), "the others went on from where they were");
    assert_consecutive(&batches, |_| Offset(0));
}

pub(crate) async fn consumers_share_the_partitions(log: &dyn EventLog) {
    fill(log, 60).await;
    let all: BTreeSet<Partition> = partitions(log).await.into_iter().collect();
    let mut held: [BTreeSet<Partition>; 2] = Default::default();
    let mut first = log.consumer("one").await.unwrap();
    let started = Instant::now();
    while held[0] != all {
        assert!(started.elapsed() < DEADLINE, "the first gets all: {held:?}");
        follow(&mut *first, &mut held[0]).await;
    }
    let mut second = log.consumer("two").await.unwrap();
    let fair = |held: &[BTreeSet<Partition>; 2]| {
        // A log of one partition has nothing to share.
        all.len() == 1 || held.iter().all(|held| !held.is_empty())
    };
    while !fair(&held) || held[0].len() + held[1].len() != all.len() {
        assert!(started.elapsed() < DEADLINE, "they share: {held:?}");
        follow(&mut *first, &mut held[0]).await;
        follow(&mut *second, &mut held[1]).await;
        assert!(held[0].is_disjoint(&held[1]), "{held:?}");
    }
    drop(first);
    while held[1] != all {
        assert!(started.elapsed() < DEADLINE, "the second gets all: {held:?}");
        follow(&mut *second, &mut held[1]).await;
    }
}

async fn follow(consumer: &mut dyn LogConsumer, held: &mut BTreeSet<Partition>) {
    match consumer.next(WAIT).await.unwrap() {
        LogSignal::Assigned(partition) => {
            held.insert(partition);
            consumer.start(partition, Offset(0)).await.unwrap();
        }
        LogSignal::Revoked(partition) => {
            held.remove(&partition);
        }
        LogSignal::Batch(batch) => assert!(held.contains(&batch.partition), "nothing comes of what was revoked"),
        LogSignal::Idle | LogSignal::Rebalanced | LogSignal::OutOfRange { .. } => {}
    }
}

pub(crate) async fn commits_are_taken(log: &dyn EventLog) {
    fill(log, 30).await;
    let mut consumer = log.consumer("one").await.unwrap();
    let batches = drive(&mut *consumer, |_| Offset(0), events(30)).await;
    let epochs = vec![Epoch(5), Epoch(6)];
    let mut last = BTreeMap::new();
    for batch in &batches {
        let progress = Committed { next: batch.to, epochs: epochs.clone() };
        last.insert(batch.partition, progress.clone());
        consumer.commit(batch.partition, progress).await.unwrap();
    }
    let deadline = Instant::now() + DEADLINE;
    for (partition, progress) in last {
        // Backends without a witness of their own say nothing; the others may take a moment.
        while let Some(told) = log.committed(partition).await.unwrap().filter(|told| *told != progress) {
            assert!(Instant::now() < deadline, "{told:?} instead of {progress:?}");
            tokio::task::yield_now().await;
        }
    }
}

pub(crate) async fn dead_letters_are_kept(log: &dyn EventLog) {
    assert!(log.dead_letters(0, 10).await.unwrap().is_empty());
    let letter = |n: u64| DeadLetter {
        id: String::new(),
        reason: "not_json".into(),
        detail: format!("number {n} ü"),
        position: Position { partition: Partition(1), offset: Offset(n) },
        time_ms: 1_000 + n as i64,
        payload: Bytes::from(vec![0xff, 0, n as u8]),
    };
    for n in 0..5 {
        log.bury(letter(n)).await.unwrap();
    }
    let listed = log.dead_letters(0, 10).await.unwrap();
    let offsets: Vec<u64> = listed.iter().map(|letter| letter.position.offset.0).collect();
    assert_eq!(offsets, [4, 3, 2, 1, 0], "newest first");
    let bare = DeadLetter { id: String::new(), ..listed[1].clone() };
    assert_eq!(format!("{bare:?}"), format!("{:?}", letter(3)), "byte for byte");
    let ids: BTreeSet<&str> = listed.iter().map(|letter| letter.id.as_str()).collect();
    assert!(ids.len() == 5 && !ids.contains(""));
    let page = log.dead_letters(1, 2).await.unwrap();
    assert_eq!(page.iter().map(|letter| &letter.id).collect::<Vec<_>>(), [&listed[1].id, &listed[2].id]);
    assert_eq!(log.remove_dead_letters(&[listed[0].id.clone(), listed[3].id.clone()]).await.unwrap(), 2);
    let left: Vec<String> = log.dead_letters(0, 10).await.unwrap().into_iter().map(|letter| letter.id).collect();
    assert_eq!(left, [&*listed[1].id, &*listed[2].id, &*listed[4].id]);
    assert_eq!(log.remove_dead_letters(&[]).await.unwrap(), 3);
    assert!(log.dead_letters(0, 10).await.unwrap().is_empty());
}

pub(crate) async fn a_key_is_taken_once_where_keys_are_kept(log: &dyn EventLog) {
    let batch = |scope: &str, body: u8, until_ms: i64| {
        let key = BatchKey { scope: scope.to_owned(), key: "k".to_owned(), body: [body; 32], until_ms };
        log.append_once(vec![event("a", 1), event("a", 2)], key)
    };
    let held = async || log.partitions().await.unwrap().iter().map(|range| range.high.0 - range.low.0).sum::<u64>();
    let Once::Written(first) = batch("ann", 1, i64::MAX).await.unwrap() else { panic!("a new key") };
    assert_eq!((first.len(), held().await), (2, 2));
    if !log.keeps_keys() {
        return;
    }
    assert_eq!(batch("ann", 1, i64::MAX).await.unwrap(), Once::Known(first));
    assert_eq!(batch("ann", 2, i64::MAX).await.unwrap(), Once::OtherBody);
    assert_eq!(held().await, 2, "nothing is written twice");
    // Another's key is another key; one that is over is none.
    assert!(matches!(batch("bob", 2, 0).await.unwrap(), Once::Written(_)));
    assert!(matches!(batch("bob", 1, i64::MAX).await.unwrap(), Once::Written(_)));
    assert_eq!(held().await, 6);
}
