//! How much matchers take from Kafka at fan-out 10: one and two of them on two partitions, one on one.

use std::fmt::Write as _;
use std::time::Duration;

use evs_core::Shard;
use evs_server::ports::DeliveryQueue as _;
use rdkafka::producer::FutureRecord;
use tokio::time::Instant;

use crate::Scale;
use crate::latency::event;
use crate::services::{Installation, until};

const SUBSCRIBERS: u64 = 10_000;
const GROUPS: u64 = 1_000;

pub(crate) async fn run(scale: Scale) {
    let events = scale.of(300_000);
    println!(
        "\nthroughput: {events} events of 250 B that lie in Kafka, fan-out {}, {SUBSCRIBERS} filters",
        SUBSCRIBERS / GROUPS
    );
    println!(
        "| partitions | matchers | events/s | deliveries/s | CPU s: matchers | Redis | wall |\n|---|---|---|---|---|---|---|"
    );
    for (partitions, matchers) in [(1, 1), (2, 1), (2, 2)] {
        measure(events, partitions, matchers).await;
    }
}

async fn measure(events: u64, partitions: u32, matchers: usize) {
    let installation = Installation::start(partitions).await;
    let mut lines = String::new();
    for number in 0..SUBSCRIBERS {
        writeln!(lines, r#"{{"subscriber_id":"s{number}","event_types":["g{}"]}}"#, number % GROUPS).expect("memory");
    }
    installation.import(lines).await;
    let mut processes = Vec::new();
    for _ in 0..matchers {
        processes.push(installation.add("matcher").await.1);
    }
    installation.active().await;
    let queue = installation.redis.queue().await;
    let done = async || -> u64 {
        let checkpoints = queue.checkpoints(Shard(0)).await.unwrap_or_default();
        checkpoints.iter().map(|of| of.next.0).sum()
    };
    // A first event per partition at least: the partitions are claimed and shared out.
    let warm = 2_000;
    fill(&installation, 0..warm).await;
    until("the matchers are at work", async || done().await == warm).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    processes.iter().for_each(|process| process.signal("-STOP"));
    fill(&installation, warm..warm + events).await;
    let cpu =
        |processes: &[crate::services::Process]| processes.iter().map(crate::services::Process::cpu).sum::<Duration>();
    let (own, redis) = (cpu(&processes), installation.redis.cpu().await);
    let started = Instant::now();
    processes.iter().for_each(|process| process.signal("-CONT"));
    until("all is matched", async || done().await == warm + events).await;
    let wall = started.elapsed().as_secs_f64();
    println!(
        "| {partitions} | {matchers} | {:.0} | {:.0} | {:.1} | {:.1} | {wall:.1} |",
        events as f64 / wall,
        (events * (SUBSCRIBERS / GROUPS)) as f64 / wall,
        (cpu(&processes) - own).as_secs_f64(),
        (installation.redis.cpu().await - redis).as_secs_f64(),
    );
}

async fn fill(installation: &Installation, numbers: std::ops::Range<u64>) {
    let producer = installation.producer();
    let mut deliveries = Vec::new();
    for number in numbers {
        let (body, key) = (event(&format!("g{}", number % GROUPS), number), format!("u{}", number % 9_973));
        let record = FutureRecord::to(&installation.topic).key(&key).payload(&body);
        deliveries.push(producer.send_result(record).map_err(|(error, _)| error).expect("room in the producer"));
    }
    for delivery in deliveries {
        delivery.await.expect("the producer").map_err(|(error, _)| error).expect("Kafka");
    }
}
