//! 10,000 subscribers that come back at once, each with something that waits.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use evs_core::Shard;
use evs_server::ports::DeliveryQueue as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Scale;
use crate::latency::produce;
use crate::services::{Installation, until};
use crate::sockets::{Seen, follow};

const EVENTS: u64 = 5;

pub(crate) async fn run(scale: Scale) {
    let sockets = scale.of(10_000);
    let installation = Installation::start(1).await;
    let mut lines = String::new();
    for number in 0..sockets {
        writeln!(lines, r#"{{"subscriber_id":"s{number}"}}"#).expect("memory");
    }
    installation.import(lines).await;
    let _matcher = installation.add("matcher").await;
    let (gateway, process) = installation.add("gateway").await;
    installation.active().await;
    println!("\nreconnect: {sockets} sockets at once on one gateway");
    println!("| | seconds until all are caught up | gateway CPU s | deliveries |\n|---|---|---|---|");
    for (name, events) in [("first connection, nothing waits", 0), ("reconnection, five events wait for each", EVENTS)]
    {
        if events > 0 {
            produce(&installation.producer(), &installation.topic, 1_000, events, |_| "any".to_owned()).await;
            let queue = installation.redis.queue().await;
            let matched = async || {
                queue.checkpoints(Shard(0)).await.is_ok_and(|all| all.iter().any(|of| of.next.0 == events))
            };
            until("the events are matched", matched).await;
        }
        let (seen, cpu, started) = (Arc::new(Seen::default()), process.cpu(), Instant::now());
        let mut tasks = JoinSet::new();
        for number in 0..sockets {
            let seen = seen.clone();
            tasks.spawn(async move { follow(gateway, format!("s{number}"), &seen).await });
        }
        until("all are caught up", async || {
            let (caught_up, received) = (seen.caught_up.load(Ordering::Relaxed), seen.received.load(Ordering::Relaxed));
            caught_up == sockets && received == sockets * events
        })
        .await;
        println!(
            "| {name} | {:.1} | {:.1} | {} |",
            started.elapsed().as_secs_f64(),
            (process.cpu() - cpu).as_secs_f64(),
            sockets * events
        );
        tasks.shutdown().await;
    }
}
