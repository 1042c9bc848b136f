//! The embedded backends, each on a file of its own.

use std::sync::Arc;

use evs_core::{Event, Offset};
use evs_server::backend::sqlite::{Db, SqliteFilters, SqliteLog, SqliteOptions, SqliteQueue};
use evs_server::clock::Clock;
use evs_server::ports::EventLog;
use evs_server::ports::event_log::LogSignal;
use tempfile::TempDir;

use crate::{delivery_queue, event_log, filter_store};

async fn make_db() -> (Arc<Db>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&SqliteOptions { data_dir: dir.path().to_owned(), fsync: false }).await.unwrap();
    (db, dir)
}

async fn make_queue() -> (SqliteQueue, TempDir) {
    let (db, dir) = make_db().await;
    // This queue keeps no bodies: it points at the event log, which must hold what the tests append.
    let log = SqliteLog::open(db.clone(), Clock::system()).await.unwrap();
    log.append((0..delivery_queue::EVENTS).map(|n| Event::trusted(delivery_queue::body(n))).collect()).await.unwrap();
    let (shards, log_bytes_max) = (delivery_queue::SHARDS, delivery_queue::LOG_BYTES_MAX);
    (SqliteQueue::open(db, Clock::system(), shards, log_bytes_max).await.unwrap(), dir)
}

async fn make_log() -> (SqliteLog, TempDir) {
    let (db, dir) = make_db().await;
    (SqliteLog::open(db, Clock::system()).await.unwrap(), dir)
}

async fn make_filters() -> (SqliteFilters, TempDir) {
    let (db, dir) = make_db().await;
    (SqliteFilters::open(db, Clock::system(), filter_store::SHARDS).await.unwrap(), dir)
}

delivery_queue_contract!(make_queue);
event_log_contract!(make_log);
filter_store_contract!(make_filters);

/// A commit can be read before its end is announced to the consumer: that is no log that was cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_consumer_that_is_ahead_of_the_announced_end_is_not_out_of_range() {
    const WRITERS: u64 = 4;
    const APPENDS: u64 = 1_000;
    let (log, _dir) = make_log().await;
    let mut consumer = log.consumer("one").await.unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let log = log.clone();
        tokio::spawn(async move {
            for number in 0..APPENDS {
                log.append(vec![event_log::event(&format!("user_{writer}"), number)]).await.unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut enough = event_log::events((WRITERS * APPENDS) as usize);
    let batches = event_log::drive(
        &mut *consumer,
        |_| Offset(0),
        |signal| {
            assert!(!matches!(signal, LogSignal::OutOfRange { .. }), "{signal:?}");
            enough(signal)
        },
    )
    .await;
    event_log::assert_consecutive(&batches, |_| Offset(0));
    for writer in writers {
        writer.await.unwrap();
    }
}
