//! One world: its stores, nodes, producers and consumers, what happens to them, and what the checker says.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use evs_client::{Client, Options, StreamItem};
use evs_core::{Event, Shard, SubscriberId};
use evs_server::app::App;
use evs_server::auth::{AuthConfig, Authorizer};
use evs_server::backend::memory::{Image, MemoryFilters, MemoryLog, MemoryQueue};
use evs_server::clock::Clock;
use evs_server::config::Config;
use evs_server::limits::{Limits, LimitsConfig};
use evs_server::matcher::Activity;
use evs_server::metrics::Metrics;
use evs_server::oplog::OpLog;
use evs_server::ports::filter_store::FilterDraft;
use evs_server::ports::{DeliveryQueue as _, EventLog as _, FilterStore as _};
use evs_server::reader::Readers;
use evs_server::{gateway, keeper, matcher};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::application::Application;
use crate::checker::{self, Produced, Received, Verdict, WANTED, Wanted, must};
use crate::faulty::{Counts, FaultyQueue, Mutation};

const PARTITIONS: u32 = 3;
const STEPS: u32 = 30;
/// What one queue keeps where the retention cuts: the sleeper loses more than that, everybody else reads in time.
const CUT_EVENTS_MAX: u64 = 150;
const SETTLE: Duration = Duration::from_secs(60);
/// A mutant may never get there, and one failure is what its test waits for.
const SETTLE_MUTANT: Duration = Duration::from_secs(15);

pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) verdict: Verdict,
    pub(crate) counts: Counts,
    /// What happened, for whoever has to find out why.
    pub(crate) story: Vec<String>,
}

pub(crate) struct World {
    seed: u64,
    dice: SmallRng,
    log: MemoryLog,
    queue: Arc<MemoryQueue>,
    filters: Arc<MemoryFilters>,
    mutation: Option<Mutation>,
    /// In one world of three the retention cuts queues, and nothing is ever filled again: what is filled again beyond
    /// a queue's bound is lost by right, and could not be told from a fault.
    cut: bool,
    counts: Arc<Mutex<Counts>>,
    produced: Vec<Produced>,
    started: Instant,
    story: Vec<String>,
}

struct Subscriber {
    id: String,
    wanted: Vec<Wanted>,
    consumers: Vec<Tail>,
}

/// A consumer under way.
struct Tail {
    name: String,
    received: Arc<Mutex<Received>>,
    task: JoinHandle<()>,
}

/// A process.
struct Node {
    shutdown: CancellationToken,
    frozen: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Node {
    /// SIGTERM: it drains. Inside one process nothing else would close its sockets, so kill -9 of a gateway is left to
    /// the tests with real processes.
    async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            // Its drain has a deadline of its own.
            let _ = timeout(SETTLE, task).await;
        }
    }

    /// As good as kill -9: what it holds is dropped where it stands, nothing is told.
    fn kill(self) {
        for task in &self.tasks {
            task.abort();
        }
        self.shutdown.cancel();
    }
}

impl World {
    pub(crate) async fn run(seed: u64, mutation: Option<Mutation>) -> Outcome {
        let mut dice = SmallRng::seed_from_u64(seed);
        let shards = dice.random_range(1..5);
        let clock = Clock::system();
        let mut world = Self {
            seed,
            log: MemoryLog::new(PARTITIONS, clock.clone()),
            queue: Arc::new(MemoryQueue::new(shards, 64 * 1024, clock.clone(), seed)),
            filters: Arc::new(MemoryFilters::new(shards, clock)),
            mutation,
            cut: seed.is_multiple_of(3),
            counts: Arc::default(),
            produced: Vec::new(),
            started: Instant::now(),
            story: Vec::new(),
            dice,
        };
        let verdict = world.live().await;
        let counts = *world.counts.lock().unwrap();
        Outcome { seed, verdict, counts, story: world.story }
    }

    fn settle(&self) -> Duration {
        if self.mutation.is_some() { SETTLE_MUTANT } else { SETTLE }
    }

    fn tell(&mut self, text: impl Into<String>) {
        self.story.push(format!("{:>6} ms {}", self.started.elapsed().as_millis(), text.into()));
    }

    async fn live(&mut self) -> Verdict {
        let mut matchers = vec![self.matcher(0), self.matcher(1)];
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
        let mut gateway = self.gateway(address).await;
        let client = client(address);
        let mut subscribers = self.subscribe(&client).await;
        let sleeper = self.sleeper(&client).await;
        let mut image: Image = self.queue.image();
        let mut frozen_since = None;
        for step in 0..STEPS {
            self.produce().await;
            sleep(Duration::from_millis(self.dice.random_range(20..250))).await;
            if self.dice.random_bool(0.3) {
                image = self.queue.image();
            }
            if frozen_since.is_some_and(|since| step > since + 4) {
                self.tell("the frozen matcher thaws");
                for matcher in &matchers {
                    matcher.frozen.send_replace(false);
                }
                frozen_since = None;
            }
            match self.dice.random_range(0..24) {
                0 => {
                    self.tell("the queue restarts");
                    self.queue.restart();
                }
                1 if !self.cut => {
                    self.tell("the queue is rolled back");
                    self.queue.roll_back(&image);
                }
                2 if !self.cut && self.dice.random_bool(0.3) => {
                    self.tell("the queue loses everything");
                    self.queue.lose_everything();
                    image = self.queue.image();
                }
                3 | 4 => {
                    self.tell("a matcher freezes, and its group forgets it");
                    matchers[0].frozen.send_replace(true);
                    self.log.forget_members();
                    frozen_since = Some(step);
                }
                5 | 6 => {
                    let which = self.dice.random_range(0..matchers.len());
                    self.tell(format!("matcher {which} is killed, another starts"));
                    matchers.remove(which).kill();
                    matchers.push(self.matcher(u64::from(step) + 2));
                }
                7 | 8 => {
                    self.tell("the gateway stops, another starts");
                    gateway.stop().await;
                    gateway = self.gateway(address).await;
                }
                9 => {
                    let late = self.late_subscriber(&client, step).await;
                    subscribers.push(late);
                }
                10 => {
                    self.tell("the group forgets its members");
                    self.log.forget_members();
                }
                _ => {}
            }
        }
        for matcher in &matchers {
            matcher.frozen.send_replace(false);
        }
        // A keeper's first look is at the retention, so the sleeper's queue is cut now.
        matchers.push(self.matcher(99));
        self.produce().await;
        let verdict = self.judge(&client, subscribers, sleeper).await;
        gateway.kill();
        for matcher in matchers {
            matcher.kill();
        }
        verdict
    }

    fn app(&mut self, number: u64, frozen: watch::Receiver<bool>, shutdown: &CancellationToken) -> App {
        let config = Config {
            hot_s: 1,
            queue_shards: self.queue.shards(),
            queue_events_max: if self.cut { CUT_EVENTS_MAX } else { 100_000 },
            drain_s: 1,
            ..Config::default()
        };
        let clock = Clock::system();
        let seed = self.dice.random();
        let queue: Arc<dyn evs_server::ports::DeliveryQueue> =
            Arc::new(FaultyQueue::new(self.queue.clone(), seed, frozen, self.mutation, self.counts.clone()));
        let (metrics, oplog) = (Arc::new(Metrics::default()), Arc::new(OpLog::new(clock.clone(), "test".into())));
        App {
            readers: Readers::start(&queue, &metrics, &oplog, shutdown),
            auth: Authorizer::new(&AuthConfig::from(&config), clock.clone()).unwrap(),
            limits: Arc::new(Limits::new(LimitsConfig::from(&config))),
            activity: Activity::default(),
            config: Arc::new(config),
            started_ms: clock.now_ms(),
            clock,
            log: Arc::new(self.log.clone()),
            queue,
            filters: self.filters.clone(),
            metrics,
            oplog,
            traces: evs_server::traces::Traces::default(),
            instance: format!("node-{number}").into(),
            shutdown: shutdown.clone(),
        }
    }

    fn matcher(&mut self, number: u64) -> Node {
        let (shutdown, frozen) = (CancellationToken::new(), watch::Sender::new(false));
        let app = self.app(number, frozen.subscribe(), &shutdown);
        let tasks = vec![tokio::spawn(matcher::run(app.clone())), tokio::spawn(keeper::run(app))];
        Node { shutdown, frozen, tasks }
    }

    async fn gateway(&mut self, address: SocketAddr) -> Node {
        let (shutdown, frozen) = (CancellationToken::new(), watch::Sender::new(false));
        let started = Instant::now();
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(error) => assert!(started.elapsed() < SETTLE, "{error}"),
            }
            sleep(Duration::from_millis(5)).await;
        };
        let app = self.app(1_000, frozen.subscribe(), &shutdown);
        let tasks = vec![tokio::spawn(async move { gateway::serve(app, listener).await.unwrap() })];
        Node { shutdown, frozen, tasks }
    }

    /// Makes the filters, and waits until they are active: from then on every event is a must.
    async fn activate(&mut self, id: &str, wanted: &[Wanted]) {
        let draft = |wanted: &Wanted| FilterDraft {
            subscriber: SubscriberId::new(id).unwrap(),
            name: None,
            spec: wanted.spec.to_owned(),
        };
        self.filters.put(wanted.iter().map(draft).collect()).await.unwrap();
        let version = self.filters.version().await.unwrap();
        let started = Instant::now();
        for shard in (0..self.queue.shards()).map(Shard) {
            while self.queue.state(shard).await.unwrap().min_version < version {
                assert!(started.elapsed() < SETTLE, "the filters of {id} never became active");
                sleep(Duration::from_millis(10)).await;
            }
        }
    }

    async fn subscribe(&mut self, client: &Client) -> Vec<Subscriber> {
        let sets: [&[usize]; 4] = [&[0], &[1, 0], &[3], &[4, 2]];
        let mut subscribers = Vec::new();
        for (number, set) in sets.iter().enumerate() {
            let id = format!("sub-{number}");
            let wanted: Vec<Wanted> = set.iter().map(|wanted| WANTED[*wanted]).collect();
            self.activate(&id, &wanted).await;
            let names: &[&str] = if number % 2 == 0 { &["phone", "desk"] } else { &["default"] };
            let consumers = names.iter().map(|name| self.tail(client, &id, name)).collect();
            subscribers.push(Subscriber { id, wanted, consumers });
        }
        subscribers
    }

    /// One that comes while events flow: what was sent before its filter was active may come, and need not.
    async fn late_subscriber(&mut self, client: &Client, step: u32) -> Subscriber {
        let id = format!("late-{step}");
        self.tell(format!("{id} comes"));
        self.filters
            .put(vec![FilterDraft {
                subscriber: SubscriberId::new(&id).unwrap(),
                name: None,
                spec: WANTED[3].spec.to_owned(),
            }])
            .await
            .unwrap();
        let consumers = vec![self.tail(client, &id, "default")];
        // Its musts are none, so only doubled, phantom and disordered ones are found.
        Subscriber { id, wanted: Vec::new(), consumers }
    }

    fn tail(&mut self, client: &Client, id: &str, name: &str) -> Tail {
        let received = Arc::new(Mutex::new(Received::default()));
        let dice = SmallRng::seed_from_u64(self.dice.random());
        let who = (id.to_owned(), name.to_owned(), self.seed);
        let task = tokio::spawn(follow(client.clone(), who, self.cut, received.clone(), dice));
        Tail { name: name.to_owned(), received, task }
    }

    /// A subscriber that connects once, and sleeps until the end.
    async fn sleeper(&mut self, client: &Client) -> Subscriber {
        let wanted = vec![WANTED[3]];
        self.activate("sleeper", &wanted).await;
        let mut deliveries = client.subscribe("sleeper", Options::default()).unwrap();
        let connected = async { while !matches!(deliveries.next().await, Some(Ok(StreamItem::Connected(_)))) {} };
        timeout(SETTLE, connected).await.expect("the sleeper connects");
        deliveries.close().await;
        Subscriber { id: "sleeper".to_owned(), wanted, consumers: Vec::new() }
    }

    async fn produce(&mut self) {
        let first = self.produced.len() as u64;
        let batch: Vec<Produced> = (first..first + self.dice.random_range(1..15))
            .map(|id| {
                let key = format!("k{}", self.dice.random_range(0..5));
                let kind = ["purchase", "click", "login", "view"][self.dice.random_range(0..4)];
                let tier = ["free", "basic", "premium", "enterprise"][self.dice.random_range(0..4)];
                let amount = f64::from(self.dice.random_range(0..20_000_u32)) / 100.0;
                let event = json!({
                    "event_id": format!("e-{id}"), "user_id": key, "key": key, "n": id,
                    "event_type": kind, "user_tier": tier, "amount": amount,
                });
                Produced { id, key, event, acknowledged: true }
            })
            .collect();
        let events = batch.iter().map(|event| Event::trusted(Bytes::from(event.event.to_string()))).collect();
        self.log.append(events).await.unwrap();
        self.produced.extend(batch);
    }

    async fn judge(&mut self, client: &Client, subscribers: Vec<Subscriber>, sleeper: Subscriber) -> Verdict {
        let mut verdict = Verdict::default();
        let deadline = Instant::now() + self.settle();
        for subscriber in &subscribers {
            let must = must(&self.produced, &subscriber.wanted);
            for consumer in &subscriber.consumers {
                loop {
                    let Received { ids, cut, .. } = consumer.received.lock().unwrap().clone();
                    let ids: HashSet<u64> = ids.into_iter().collect();
                    let missing = must.iter().filter(|id| !ids.contains(id)).count() as u64;
                    // A mutant may never get there: then there is no need to wait for the others.
                    if missing <= cut || Instant::now() > deadline {
                        break;
                    }
                    sleep(Duration::from_millis(20)).await;
                }
            }
        }
        self.wake(client, &sleeper, &mut verdict).await;
        for subscriber in subscribers {
            for consumer in subscriber.consumers {
                consumer.task.abort();
                let name = format!("{}/{}", subscriber.id, consumer.name);
                let received = consumer.received.lock().unwrap().clone();
                if subscriber.wanted.is_empty() {
                    let may: Vec<Produced> =
                        self.produced.iter().map(|event| Produced { acknowledged: false, ..event.clone() }).collect();
                    checker::check(&mut verdict, &name, &may, &[WANTED[3]], &received);
                } else {
                    checker::check(&mut verdict, &name, &self.produced, &subscriber.wanted, &received);
                }
            }
        }
        self.tell(format!("judged: {} delivered", verdict.delivered));
        verdict
    }

    /// The sleeper wakes: what it does not get must be covered by the gaps that it is told.
    async fn wake(&mut self, client: &Client, sleeper: &Subscriber, verdict: &mut Verdict) {
        let must = must(&self.produced, &sleeper.wanted);
        let mut deliveries = client.subscribe(&sleeper.id, Options::default()).unwrap();
        let (mut ids, mut told) = (HashSet::new(), 0_u64);
        let deadline = tokio::time::Instant::now() + self.settle();
        let missing = |ids: &HashSet<u64>| must.iter().filter(|id| !ids.contains(id)).count() as u64;
        while missing(&ids) > told {
            let Ok(item) = tokio::time::timeout_at(deadline, deliveries.next()).await else { break };
            match item {
                Some(Ok(StreamItem::Event(delivery))) => {
                    let event: Value = serde_json::from_str(delivery.data.get()).unwrap();
                    if !ids.insert(event["n"].as_u64().unwrap()) {
                        verdict.doubled += 1;
                        verdict.examples.push(format!("the sleeper got {} twice", event["n"]));
                    }
                    deliveries.ack(&delivery);
                }
                Some(Ok(StreamItem::Gap(gap))) => {
                    told += gap.to.map_or(u64::MAX / 2, |to| to + 1 - gap.from);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            }
        }
        let missing = missing(&ids);
        self.tell(format!("the sleeper got {} of {}, {told} were told as lost", ids.len(), must.len()));
        if missing > told {
            verdict.lost += missing - told;
            verdict.examples.push(format!("the sleeper misses {missing}, and was told of {told}"));
        }
    }
}

fn client(address: SocketAddr) -> Client {
    let address = format!("http://{address}");
    Client::new(evs_client::Config::new(&address).unwrap().with_gateway(&address).unwrap()).unwrap()
}

/// Follows one queue; now and then dies and comes back with the cursor that it stored.
async fn follow(
    client: Client,
    (id, name, seed): (String, String, u64),
    cut: bool,
    received: Arc<Mutex<Received>>,
    mut dice: SmallRng,
) {
    let mut application = Application { cut, cursor: None };
    loop {
        let options =
            Options { consumer: Some(name.clone()), cursor: application.cursor.clone(), ..Options::default() };
        let Ok(mut deliveries) = client.subscribe(&id, options) else { return };
        for _ in 0..dice.random_range(10..200_u32) {
            let item = match deliveries.next().await {
                Some(Ok(item)) => item,
                ended => {
                    println!("world {seed}, {id}/{name}: {ended:?}");
                    sleep(Duration::from_millis(50)).await;
                    break;
                }
            };
            if std::env::var("EVS_SIMULATION_TRACE").is_ok()
                && !matches!(item, StreamItem::Event(_) | StreamItem::Checkpoint { .. })
            {
                println!("world {seed}, {id}/{name}: {item:?}");
            }
            application.handle(&item, &deliveries, &received);
        }
    }
}
