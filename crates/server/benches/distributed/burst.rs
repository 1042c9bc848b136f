//! An event with 100,000 matches: what others wait meanwhile, and the longest script in Redis.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::JoinSet;

use crate::latency::produce;
use crate::services::{Installation, until};
use crate::sockets::{Seen, follow};
use crate::{Scale, quantiles};

const OTHERS: u64 = 20;
const RATE: u64 = 200;
const SECONDS: u64 = 10;
/// One of so many events is for everybody.
const BURST_EVERY: u64 = 400;

pub(crate) async fn run(scale: Scale) {
    let crowd = scale.of(100_000);
    let installation = Installation::start(1).await;
    let mut lines = String::new();
    for number in 0..crowd {
        writeln!(lines, r#"{{"subscriber_id":"c{number}","event_types":["all"]}}"#).expect("memory");
    }
    for number in 0..OTHERS {
        writeln!(lines, r#"{{"subscriber_id":"s{number}","event_types":["few"]}}"#).expect("memory");
    }
    installation.import(lines).await;
    let _matcher = installation.add("matcher").await;
    let (gateway, _gateway) = installation.add("gateway").await;
    installation.active().await;
    let seen = Arc::new(Seen::default());
    let mut sockets = JoinSet::new();
    for number in 0..OTHERS {
        let seen = seen.clone();
        sockets.spawn(async move { follow(gateway, format!("s{number}"), &seen).await });
    }
    until("all are caught up", async || seen.caught_up.load(Ordering::Relaxed) == OTHERS).await;
    let producer = installation.producer();
    println!(
        "\nburst: {OTHERS} sockets at {RATE} events/s, without and with an event for {crowd} others every two seconds"
    );
    println!("| | p50 ms | p99 ms | longest ms | Redis above 1 ms | longest script ms |\n|---|---|---|---|---|---|");
    for bursts in [false, true] {
        installation.redis.watch_slow().await;
        seen.times.lock().expect("sockets").clear();
        seen.received.store(0, Ordering::Relaxed);
        let count = RATE * SECONDS;
        let is_burst = |n: u64| bursts && n % BURST_EVERY == BURST_EVERY / 2;
        let kind = |n: u64| if is_burst(n) { "all" } else { "few" }.to_owned();
        let times = produce(&producer, &installation.topic, RATE, count, kind).await;
        let wanted = (0..count).filter(|n| !is_burst(*n)).count() as u64 * OTHERS;
        until("all deliveries are there", async || seen.received.load(Ordering::Relaxed) == wanted).await;
        let received = std::mem::take(&mut *seen.times.lock().expect("sockets"));
        let waits = received.iter().map(|(n, at)| at.saturating_sub(times[usize::try_from(*n).expect("small")].1));
        let [p50, p99, longest] = quantiles(waits.collect());
        let (slow, script) = installation.redis.slow().await;
        let name = if bursts { "with bursts" } else { "without" };
        println!("| {name} | {p50:.1} | {p99:.1} | {longest:.1} | {slow} | {script:.1} |");
    }
}
