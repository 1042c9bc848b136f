//! The promise, from outside, against real Kafka, Redis and PostgreSQL and several server processes of each role, while
//! they are killed, stopped and restarted.
//!
//! `EVS_CAMPAIGN_SEED` and `EVS_CAMPAIGN_MINUTES` make it another and a longer one.

#[path = "../simulation/application.rs"]
mod application;
#[path = "../crash/checker.rs"]
mod checker;
mod fleet;
#[path = "../support/poll.rs"]
mod poll;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use application::Application;
use checker::{Produced, Received, Verdict, WANTED, Wanted, must};
use evs_client::api::filters::FilterSpec;
use evs_client::{Client, Options, StreamItem};
use fleet::Fleet;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(90);
const BURSTS: u64 = 12;
const BURST_EVENTS: u64 = 500;

/// What happens to the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    KillMatcher,
    KillGateway,
    KillApi,
    /// Stopped for longer than its session with the group, then awake again: a zombie.
    StopMatcher,
    RestartRedis,
    FlushRedis,
    RestartKafka,
    RestartPostgres,
    AddMatcher,
    RemoveMatcher,
    /// Every process in turn, with SIGTERM.
    RollingRestart,
}

const SHORT: [Fault; 9] = [
    Fault::KillMatcher,
    Fault::KillGateway,
    Fault::StopMatcher,
    Fault::RestartRedis,
    Fault::KillApi,
    Fault::FlushRedis,
    Fault::RestartKafka,
    Fault::RestartPostgres,
    Fault::RollingRestart,
];
const ANY: [Fault; 13] = [
    Fault::KillMatcher,
    Fault::KillMatcher,
    Fault::KillGateway,
    Fault::KillGateway,
    Fault::KillApi,
    Fault::StopMatcher,
    Fault::RestartRedis,
    Fault::FlushRedis,
    Fault::RestartKafka,
    Fault::RestartPostgres,
    Fault::AddMatcher,
    Fault::RemoveMatcher,
    Fault::RollingRestart,
];

#[tokio::test(flavor = "multi_thread")]
async fn faults_lose_nothing_and_double_nothing() {
    let seed = number("EVS_CAMPAIGN_SEED").unwrap_or(1);
    let mut dice = StdRng::seed_from_u64(seed);
    let mut fleet = Fleet::start().await;
    let subscribers = subscribe(&fleet, &mut dice).await;
    let flow = Flow::default();
    let producer = tokio::spawn(produce(fleet.client(), StdRng::seed_from_u64(seed + 1), flow.clone()));
    let started = Instant::now();
    match number("EVS_CAMPAIGN_MINUTES") {
        None => {
            for fault in SHORT {
                suffer(&mut fleet, fault, &flow, &mut dice).await;
            }
        }
        Some(minutes) => {
            while started.elapsed() < Duration::from_secs(minutes * 60) {
                let fault = ANY[dice.random_range(0..ANY.len())];
                suffer(&mut fleet, fault, &flow, &mut dice).await;
            }
        }
    }
    flow.more_events(50).await;
    flow.stop.cancel();
    producer.await.unwrap();
    let produced: Vec<Produced> = std::mem::take(&mut *flow.produced.lock().unwrap());
    let verdict = judge(&produced, subscribers).await;
    let counters = fleet.counters().await;
    println!(
        "seed {seed}: {} events, {} deliveries, {} faults in {:.0} s; {counters:?}",
        produced.len(),
        verdict.delivered,
        fleet.faults,
        started.elapsed().as_secs_f64()
    );
    assert!(verdict.is_clean(), "seed {seed}: {verdict:#?}\n{}", fleet.last_words());
    assert!(counters.fenced > 0, "no zombie was fenced: {counters:?}");
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// One fault, with events flowing before and after it.
async fn suffer(fleet: &mut Fleet, fault: Fault, flow: &Flow, dice: &mut StdRng) {
    flow.more_events(dice.random_range(20..300)).await;
    println!("{:?} after {} events", fault, flow.acknowledged.load(Ordering::Relaxed));
    fleet.faults += 1;
    match fault {
        Fault::KillMatcher => fleet.restart("matcher", dice).await,
        Fault::KillGateway => fleet.restart("gateway", dice).await,
        Fault::KillApi => fleet.restart("api", dice).await,
        Fault::StopMatcher => {
            fleet.all_matchers_work().await;
            // It is stopped with an append on its way and more batches behind it, so that it wakes with work in hand.
            fleet.hold_redis_writes().await;
            flow.bursts.store(BURSTS, Ordering::Relaxed);
            until("half of the bursts are taken", || flow.bursts.load(Ordering::Relaxed) <= BURSTS / 2).await;
            let stopped = fleet.stop_a_matcher(dice);
            // The group gives its partitions away, and others go on with them.
            fleet.all_is_matched().await;
            fleet.let_go_on(stopped);
            flow.more_events(20).await;
        }
        Fault::RestartRedis => fleet.restart_redis().await,
        Fault::FlushRedis => fleet.flush_redis().await,
        Fault::RestartKafka => fleet.restart_service("kafka").await,
        Fault::RestartPostgres => fleet.restart_service("postgres").await,
        Fault::AddMatcher => fleet.add_matcher().await,
        Fault::RemoveMatcher => fleet.remove_matcher(dice).await,
        Fault::RollingRestart => fleet.rolling_restart().await,
    }
}

/// What the producer and the campaign know of each other.
#[derive(Clone, Default)]
struct Flow {
    stop: CancellationToken,
    produced: Arc<Mutex<Vec<Produced>>>,
    acknowledged: Arc<AtomicU64>,
    /// So many of the next batches are large, and follow at once.
    bursts: Arc<AtomicU64>,
}

impl Flow {
    async fn more_events(&self, count: u64) {
        let target = self.acknowledged.load(Ordering::Relaxed) + count;
        until("events are taken", || self.acknowledged.load(Ordering::Relaxed) >= target).await;
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let ask = async || condition().then_some(()).ok_or(());
    poll::poll(DEADLINE, ask, |()| format!("waited in vain until {what}")).await;
}

struct Subscriber {
    id: String,
    wanted: Vec<Wanted>,
    consumers: Vec<(String, Arc<Mutex<Received>>, JoinHandle<()>)>,
}

async fn subscribe(fleet: &Fleet, dice: &mut StdRng) -> Vec<Subscriber> {
    let sets: [&[usize]; 5] = [&[0], &[1, 0], &[2], &[3], &[4, 2]];
    let mut subscribers = Vec::new();
    for (number, set) in sets.iter().enumerate() {
        let id = format!("sub-{number}");
        for wanted in *set {
            let mut spec: Value = serde_json::from_str(WANTED[*wanted].spec).unwrap();
            spec["subscriber_id"] = id.clone().into();
            let spec: FilterSpec = serde_json::from_value(spec).unwrap();
            let saved = fleet.client().create_filter(&spec, Some(Duration::from_secs(30))).await.unwrap();
            assert_eq!(saved.filter.status, evs_client::api::filters::FilterStatus::Active);
        }
        let names: &[&str] = if number % 2 == 0 { &["phone", "desk"] } else { &["default"] };
        let consumers = names.iter().map(|name| {
            let received = Arc::new(Mutex::new(Received::default()));
            let clients = fleet.clients();
            let dice = StdRng::seed_from_u64(dice.random());
            let task = tokio::spawn(follow(clients, id.clone(), (*name).to_owned(), received.clone(), dice));
            ((*name).to_owned(), received, task)
        });
        let consumers = consumers.collect();
        subscribers.push(Subscriber { id, wanted: set.iter().map(|wanted| WANTED[*wanted]).collect(), consumers });
    }
    subscribers
}

/// Follows one queue; now and then dies and comes back at another gateway with the cursor that it stored.
async fn follow(clients: Vec<Client>, id: String, name: String, received: Arc<Mutex<Received>>, mut dice: StdRng) {
    let mut application = Application::default();
    loop {
        let client = &clients[dice.random_range(0..clients.len())];
        let options =
            Options { consumer: Some(name.clone()), cursor: application.cursor.clone(), ..Options::default() };
        let Ok(mut deliveries) = client.subscribe(&id, options) else { return };
        for _ in 0..dice.random_range(20..600_u32) {
            let Some(Ok(item)) = deliveries.next().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                break;
            };
            application.handle(&item, &deliveries, &received);
            if matches!(item, StreamItem::Disconnected { .. }) {
                // The gateway is dead; another may not be.
                break;
            }
        }
    }
}

async fn produce(client: Client, mut dice: StdRng, flow: Flow) {
    let mut next = 0;
    while !flow.stop.is_cancelled() {
        let burst = flow.bursts.load(Ordering::Relaxed) > 0;
        let count = if burst { BURST_EVENTS } else { dice.random_range(1..20_u64) };
        let batch: Vec<Produced> = (next..next + count)
            .map(|id| {
                let key = format!("k{}", dice.random_range(0..20));
                let kind = ["purchase", "click", "login", "view"][dice.random_range(0..4)];
                let tier = ["free", "basic", "premium", "enterprise"][dice.random_range(0..4)];
                let amount = f64::from(dice.random_range(0..20_000_u32)) / 100.0;
                let event = json!({
                    "event_id": format!("e-{id}"), "user_id": key, "key": key, "n": id,
                    "event_type": kind, "user_tier": tier, "amount": amount,
                });
                Produced { id, key, event, acknowledged: false }
            })
            .collect();
        next += count;
        let lines: Vec<String> = batch.iter().map(|event| event.event.to_string()).collect();
        let taken = client.publish(lines.join("\n"), None).await.is_ok_and(|answer| answer.accepted == count);
        flow.acknowledged.fetch_add(if taken { count } else { 0 }, Ordering::Relaxed);
        // What was not acknowledged may be there; it is not sent again, so it may arrive once.
        flow.produced.lock().unwrap().extend(batch.into_iter().map(|event| Produced { acknowledged: taken, ..event }));
        if burst {
            flow.bursts.fetch_sub(1, Ordering::Relaxed);
        } else {
            tokio::time::sleep(Duration::from_millis(if taken { 30 } else { 200 })).await;
        }
    }
}

async fn judge(produced: &[Produced], subscribers: Vec<Subscriber>) -> Verdict {
    let mut verdict = Verdict::default();
    for subscriber in subscribers {
        let must = must(produced, &subscriber.wanted);
        for (name, received, task) in subscriber.consumers {
            // As long as something comes there is hope, however much a busy machine is behind.
            let (mut had, mut came) = (0, Instant::now());
            let mut tick = tokio::time::interval(Duration::from_millis(200));
            loop {
                tick.tick().await;
                let ids: HashSet<u64> = received.lock().unwrap().ids.iter().copied().collect();
                if ids.len() > had {
                    (had, came) = (ids.len(), Instant::now());
                }
                if must.iter().all(|id| ids.contains(id)) || came.elapsed() > DEADLINE {
                    break;
                }
            }
            task.abort();
            let name = format!("{}/{name}", subscriber.id);
            checker::check(&mut verdict, &name, produced, &subscriber.wanted, &received.lock().unwrap());
        }
    }
    verdict
}
