//! The event log on Kafka, each test on a topic of its own.

use evs_server::backend::kafka::{KafkaLog, KafkaOptions};

use crate::event_log::PARTITIONS;
use crate::services::{address, fresh_name};

async fn make_log() -> (KafkaLog, ()) {
    let url = format!("kafka://{}/{}", address("EVS_TEST_KAFKA"), fresh_name());
    let options = KafkaOptions { partitions: Some(PARTITIONS), ..KafkaOptions::default() };
    (KafkaLog::open(&url, options).await.unwrap(), ())
}

event_log_contract!(make_log);
