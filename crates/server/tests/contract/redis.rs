//! The delivery queue on a Redis node and on a Redis Cluster, each test under a prefix of its own.

use evs_server::backend::redis::{RedisOptions, RedisQueue};
use evs_server::clock::Clock;

use crate::delivery_queue::{LOG_BYTES_MAX, SHARDS};
use crate::same_answers::{self, Fault};
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

    delivery_queue_contract!(make_queue);
}

mod cluster {
    use super::*;

    async fn make_queue() -> (RedisQueue, ()) {
        make("EVS_TEST_REDIS_CLUSTER").await
    }

    delivery_queue_contract!(make_queue);
}

/// A restart is told by the name of the process in `meta` and by scripts that are not known; everything else that a
/// restart does is done by the tests that restart a server of their own.
async fn hurt(url: &str, prefix: &str, fault: Fault) {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut pipe = redis::pipe();
    match fault {
        Fault::Restart => {
            pipe.cmd("HSET").arg(format!("{{{prefix}:0}}:meta")).arg("run").arg("another").ignore();
            pipe.cmd("SCRIPT").arg("FLUSH").ignore();
        }
        Fault::Loss => {
            let pattern = format!("{{{prefix}:0}}:*");
            let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(&mut connection).await.unwrap();
            for key in keys {
                pipe.cmd("DEL").arg(key).ignore();
            }
        }
    }
    pipe.query_async::<()>(&mut connection).await.unwrap();
}

#[tokio::test]
async fn random_commands_get_the_answers_of_the_model() {
    let url = address("EVS_TEST_REDIS");
    let number =
        |variable: &str, default| std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let first: u64 = number("EVS_TEST_SEED", 1);
    for seed in first..first + number("EVS_TEST_SEEDS", 4) {
        let options = RedisOptions { shards: SHARDS, log_bytes_max: LOG_BYTES_MAX, prefix: fresh_name() };
        let clock = same_answers::clock();
        let queue = RedisQueue::open(&url, options.clone(), clock.0.clone()).await.unwrap();
        same_answers::run(&queue, clock, seed, 300, async |fault| hurt(&url, &options.prefix, fault).await).await;
    }
}
