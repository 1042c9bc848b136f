//! The delivery queue on a Redis node and on a Redis Cluster, each test under a prefix of its own.

use evs_server::backend::redis::{RedisOptions, RedisQueue};
use evs_server::clock::Clock;

use crate::delivery_queue::{LOG_BYTES_MAX, SHARDS};
use crate::services::{address, fresh_name};

async fn make(variable: &str) -> (RedisQueue, ()) {
    let options = RedisOptions { shards: SHARDS, log_bytes_max: LOG_BYTES_MAX, prefix: fresh_name() };
    (RedisQueue::open(&address(variable), options, Clock::system()).await.unwrap(), ())
}

mod node {
    use super::*;

    async fn make_queue() -> (RedisQueue, ()) {
        make("EVS_TEST_REDIS").await
    }

    delivery_queue_contract!(
        #[ignore = "needs a real Redis: run scripts/test"]
        make_queue
    );
}

mod cluster {
    use super::*;

    async fn make_queue() -> (RedisQueue, ()) {
        make("EVS_TEST_REDIS_CLUSTER").await
    }

    delivery_queue_contract!(
        #[ignore = "needs a real Redis Cluster: run scripts/test"]
        make_queue
    );
}
