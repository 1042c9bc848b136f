//! 1,000 events/s, fan-out 10: from Kafka's acknowledgement, and from the producer, to the socket.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::services::{Installation, until};
use crate::sockets::{Seen, follow};
use crate::{Scale, now_us, quantiles};

const RATE: u64 = 1_000;
const GROUPS: u64 = 10;
const FANOUT: u64 = 10;

pub(crate) fn event(kind: &str, number: u64) -> String {
    let head = format!(
        r#"{{"event_id":"e{number}","user_id":"u{}","event_type":"{kind}","n":{number},"note":""#,
        number % 9_973
    );
    format!("{head:-<248}\"}}")
}

/// Sends at a steady rate; answers when each was sent and when it was acknowledged, by number.
pub(crate) async fn produce(
    producer: &FutureProducer,
    topic: &str,
    rate: u64,
    count: u64,
    kind: impl Fn(u64) -> String,
) -> Vec<(u64, u64)> {
    let acked: Arc<Vec<AtomicU64>> = Arc::new((0..count).map(|_| AtomicU64::new(0)).collect());
    let mut sent = Vec::new();
    let (started, mut under_way) = (Instant::now(), JoinSet::new());
    for number in 0..count {
        tokio::time::sleep_until(
            started
                + Duration::from_secs(1) * u32::try_from(number).expect("small") / u32::try_from(rate).expect("small"),
        )
        .await;
        let (body, key) = (event(&kind(number), number), format!("u{}", number % 9_973));
        sent.push(now_us());
        let delivery = producer.send_result(FutureRecord::to(topic).key(&key).payload(&body));
        let delivery = delivery.map_err(|(error, _)| error).expect("room in the producer");
        let acked = acked.clone();
        under_way.spawn(async move {
            delivery.await.expect("the producer").map_err(|(error, _)| error).expect("Kafka");
            acked[usize::try_from(number).expect("small")].store(now_us(), Ordering::Relaxed);
        });
    }
    while under_way.join_next().await.is_some() {}
    sent.into_iter().zip(acked.iter().map(|at| at.load(Ordering::Relaxed))).collect()
}

pub(crate) async fn run(scale: Scale) {
    let installation = Installation::start(4).await;
    let mut lines = String::new();
    for number in 0..GROUPS * FANOUT {
        writeln!(lines, r#"{{"subscriber_id":"s{number}","event_types":["g{}"]}}"#, number % GROUPS).expect("memory");
    }
    installation.import(lines).await;
    let (_, matcher) = installation.add("matcher").await;
    let (gateway, process) = installation.add("gateway").await;
    installation.active().await;
    let seen = Arc::new(Seen::default());
    let mut sockets = JoinSet::new();
    for number in 0..GROUPS * FANOUT {
        let seen = seen.clone();
        sockets.spawn(async move { follow(gateway, format!("s{number}"), &seen).await });
    }
    until("all are caught up", async || seen.caught_up.load(Ordering::Relaxed) == GROUPS * FANOUT).await;
    let producer = installation.producer();
    // The first second is for warming up.
    for (count, warming) in [(RATE, true), (RATE * scale.of(15), false)] {
        seen.times.lock().expect("sockets").clear();
        seen.received.store(0, Ordering::Relaxed);
        let cpu = (matcher.cpu(), process.cpu(), installation.redis.cpu().await);
        let started = Instant::now();
        let times = produce(&producer, &installation.topic, RATE, count, |n| format!("g{}", n % GROUPS)).await;
        until("all deliveries are there", async || seen.received.load(Ordering::Relaxed) == count * FANOUT).await;
        if warming {
            continue;
        }
        let received = std::mem::take(&mut *seen.times.lock().expect("sockets"));
        let since = |of: fn(&(u64, u64)) -> u64| {
            let all = received.iter().map(|(n, at)| at.saturating_sub(of(&times[usize::try_from(*n).expect("small")])));
            quantiles(all.collect())
        };
        let (ack, send) = (since(|(_, acked)| *acked), since(|(sent, _)| *sent));
        let kafka = quantiles(times.iter().map(|(sent, acked)| acked - sent).collect());
        let share =
            |now: Duration, before: Duration| (now - before).as_secs_f64() * 100.0 / started.elapsed().as_secs_f64();
        println!("\nlatency: {count} events at {RATE}/s, fan-out {FANOUT}, {} deliveries", count * FANOUT);
        println!("| from | p50 ms | p99 ms | longest ms |\n|---|---|---|---|");
        for (name, [p50, p99, longest]) in
            [("Kafka's ack to the socket", ack), ("the send to the socket", send), ("the send to Kafka's ack", kafka)]
        {
            println!("| {name} | {p50:.1} | {p99:.1} | {longest:.1} |");
        }
        println!(
            "CPU of one core: matcher {:.0} %, gateway {:.0} %, Redis {:.0} %",
            share(matcher.cpu(), cpu.0),
            share(process.cpu(), cpu.1),
            share(installation.redis.cpu().await, cpu.2)
        );
    }
}
