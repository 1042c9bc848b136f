//! The embedded backends, each on a file of its own.

use std::sync::Arc;

use evs_core::Event;
use evs_server::backend::sqlite::{Db, SqliteFilters, SqliteLog, SqliteOptions, SqliteQueue};
use evs_server::clock::Clock;
use evs_server::ports::EventLog;
use tempfile::TempDir;

use crate::{delivery_queue, filter_store};

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
