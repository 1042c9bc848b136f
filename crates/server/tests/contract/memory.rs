//! The model itself keeps the contract.

use evs_server::backend::memory::{MemoryFilters, MemoryLog, MemoryQueue};
use evs_server::clock::Clock;

use crate::{delivery_queue, event_log, filter_store};

async fn make_queue() -> (MemoryQueue, ()) {
    (MemoryQueue::new(delivery_queue::SHARDS, delivery_queue::LOG_BYTES_MAX, Clock::system(), 1), ())
}

async fn make_log() -> (MemoryLog, ()) {
    (MemoryLog::new(event_log::PARTITIONS, Clock::system()), ())
}

async fn make_filters() -> (MemoryFilters, ()) {
    (MemoryFilters::new(filter_store::SHARDS, Clock::system()), ())
}

delivery_queue_contract!(make_queue);
event_log_contract!(make_log);
filter_store_contract!(make_filters);
