//! What a delivery costs Redis: appends of 200 deliveries, beside an `XADD` per subscriber with copied bodies.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use evs_core::log::EntryBuilder;
use evs_core::{FilterId, FilterVersion, Offset, Partition, Shard};
use evs_server::ports::DeliveryQueue as _;
use evs_server::ports::delivery_queue::{Append, Appended};

use crate::Scale;
use crate::services::Redis;

const SHARD: Shard = Shard(0);
const PARTITION: Partition = Partition(0);
const SUBSCRIBERS: u64 = 10_000;
/// 20 events for ten subscribers each.
const EVENTS: u64 = 20;
const FANOUT: u64 = 10;
const BATCH: u64 = EVENTS * FANOUT;
const ROUNDS: usize = 3;

fn body(number: u64) -> Bytes {
    let head = format!(
        r#"{{"event_id":"e{number}","user_id":"u{}","event_type":"purchase","n":{number},"note":""#,
        number % 997
    );
    Bytes::from(format!("{head:-<248}\"}}"))
}

fn subscriber(delivery: u64) -> u64 {
    // Spread, and all ten of an event different.
    delivery.wrapping_mul(7_919) % SUBSCRIBERS
}

pub(crate) async fn run(scale: Scale) {
    let batches = scale.of(5_000);
    println!(
        "\nredis: {batches} batches of {BATCH} deliveries (20 events of 250 B, fan-out 10), CPU of the whole Redis process"
    );
    println!(
        "| round | evs, us per delivery | XADD per subscriber, us | ratio | evs deliveries/s |\n|---|---|---|---|---|"
    );
    for round in 1..=ROUNDS {
        let (own, took) = ours(batches).await;
        let peer = theirs(batches).await;
        let per = |cpu: Duration| cpu.as_secs_f64() * 1e6 / (batches * BATCH) as f64;
        println!(
            "| {round} | {:.3} | {:.3} | 1 : {:.1} | {:.0} |",
            per(own),
            per(peer),
            per(peer) / per(own),
            (batches * BATCH) as f64 / took.as_secs_f64()
        );
    }
}

async fn ours(batches: u64) -> (Duration, Duration) {
    let redis = Redis::start().await;
    let queue = redis.queue().await;
    let state = queue.open(SHARD, FilterVersion(1)).await.expect("open");
    let claim = queue.claim(SHARD, state.epoch, PARTITION).await.expect("claim").expect("the epoch");
    let (started, cpu) = (std::time::Instant::now(), redis.cpu().await);
    for batch in 0..batches {
        let (from, to) = (Offset(batch * EVENTS), Offset((batch + 1) * EVENTS));
        let mut entry = EntryBuilder::new(state.epoch, PARTITION, from, 1);
        for number in from.0..to.0 {
            entry.event(Offset(number), 1, body(number));
            let mut slots: Vec<u64> = (0..FANOUT).map(|n| subscriber(number * FANOUT + n)).collect();
            slots.sort_unstable();
            for slot in slots {
                entry.route(u32::try_from(slot).expect("small"), [FilterId(1)]);
            }
        }
        let entry = Some(Arc::new(entry.finish(to)));
        let append = Append {
            epoch: state.epoch,
            owner: claim.owner,
            partition: PARTITION,
            from,
            to,
            version: FilterVersion(1),
            entry,
        };
        // What was not answered in time is sent again, as the matcher does.
        let appended = loop {
            if let Ok(appended) = queue.append(SHARD, append.clone()).await {
                break appended;
            }
        };
        assert!(matches!(appended, Appended::Applied { .. } | Appended::AlreadyApplied), "{appended:?}");
    }
    (redis.cpu().await - cpu, started.elapsed())
}

async fn theirs(batches: u64) -> Duration {
    let redis = Redis::start().await;
    let mut connection = redis.connect().await.expect("Redis");
    let cpu = redis.cpu().await;
    for batch in 0..batches {
        let mut pipe = redis::pipe();
        for number in batch * EVENTS..(batch + 1) * EVENTS {
            let body = body(number);
            for n in 0..FANOUT {
                let key = format!("queue:{}", subscriber(number * FANOUT + n));
                pipe.cmd("XADD").arg(key).arg("*").arg("e").arg(&body[..]).ignore();
            }
        }
        pipe.query_async::<()>(&mut connection).await.expect("XADD");
    }
    redis.cpu().await - cpu
}
