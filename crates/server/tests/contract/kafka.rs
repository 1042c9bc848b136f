//! The event log on Kafka, each test on a topic of its own.

use evs_server::backend::kafka::{KafkaLog, KafkaOptions};
use evs_server::ports::EventLog as _;

use crate::event_log::PARTITIONS;
use crate::services::{address, fresh_name};

async fn make_log() -> (KafkaLog, ()) {
    let options = KafkaOptions { partitions: Some(PARTITIONS), ..KafkaOptions::default() };
    (open_log(&fresh_name(), options).await, ())
}

pub(crate) async fn open_log(topic: &str, options: KafkaOptions) -> KafkaLog {
    let url = format!("kafka://{}/{topic}", address("EVS_TEST_KAFKA"));
    let log = KafkaLog::open(&url, options).await.unwrap();
    // A topic that was just made is not known to every connection at once; callers of the port try again, and so do we.
    let started = std::time::Instant::now();
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(50));
    while log.partitions().await.is_err() {
        assert!(started.elapsed() < std::time::Duration::from_secs(30), "the new topic does not appear");
        tick.tick().await;
    }
    log
}

event_log_contract!(make_log);
