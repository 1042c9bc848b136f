//! Produces, tails and kills: a campaign against a real server process, judged by the outside checker.

#[path = "checker.rs"]
mod checker;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use checker::{Produced, Received, Verdict, WANTED, Wanted, must};
use evs_client::api::filters::FilterSpec;
use evs_client::{Client, Config, Options, StreamItem};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// What to do to the server.
#[derive(Clone, Debug)]
pub(crate) struct Campaign {
    pub server: PathBuf,
    pub seed: u64,
    pub kills: u32,
    /// Acknowledged events between two kills, at random up to this.
    pub events_per_life_max: u64,
    pub verbose: bool,
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Report {
    pub verdict: Verdict,
    pub acknowledged: u64,
    pub unanswered: u64,
    pub kills: u32,
    pub reconnects: u64,
    pub consumer_restarts: u64,
    pub seconds: f64,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { verdict, acknowledged, unanswered, kills, reconnects, consumer_restarts, seconds } = self;
        writeln!(
            f,
            "{kills} kills in {seconds:.0} s; {acknowledged} events acknowledged, {unanswered} without an answer; \
             {reconnects} reconnects, {consumer_restarts} restarts of consumers"
        )?;
        writeln!(
            f,
            "must arrive {}, arrived {}: lost {}, doubled {}, phantom {}, out of order {}",
            verdict.must, verdict.delivered, verdict.lost, verdict.doubled, verdict.phantom, verdict.disordered
        )?;
        verdict.examples.iter().try_for_each(|example| writeln!(f, "  {example}"))
    }
}

/// A folder and ports for one server process after the other.
pub(crate) struct Lab {
    campaign: Campaign,
    folder: tempfile::TempDir,
    ports: [u16; 3],
    pub(crate) client: Client,
}

/// A subscriber with its filters, and a consumer's log.
struct Subscriber {
    id: String,
    wanted: Vec<Wanted>,
    consumers: Vec<(String, Arc<Mutex<Received>>)>,
}

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Runs a campaign to its end.
pub(crate) async fn run(campaign: Campaign) -> anyhow::Result<Report> {
    let started = Instant::now();
    let mut dice = StdRng::seed_from_u64(campaign.seed);
    let lab = Arc::new(Lab::new(campaign)?);
    let mut server = lab.start_server().await?;
    let subscribers = lab.make_filters().await?;

    let stop_consumers = CancellationToken::new();
    let reconnects = Arc::new(AtomicU64::new(0));
    let restarts = Arc::new(AtomicU64::new(0));
    let mut consumers = Vec::new();
    for subscriber in &subscribers {
        for (name, received) in &subscriber.consumers {
            let tail = Tail {
                lab: lab.clone(),
                subscriber: subscriber.id.clone(),
                consumer: name.clone(),
                received: received.clone(),
                reconnects: reconnects.clone(),
                restarts: restarts.clone(),
                dice: StdRng::seed_from_u64(dice.random()),
                stop: stop_consumers.clone(),
            };
            consumers.push(tokio::spawn(tail.run()));
        }
    }
    let stop_producer = CancellationToken::new();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let produced = Arc::new(Mutex::new(Vec::new()));
    let producer = tokio::spawn(produce(
        lab.clone(),
        StdRng::seed_from_u64(dice.random()),
        produced.clone(),
        acknowledged.clone(),
        stop_producer.clone(),
    ));

    for kill in 1..=lab.campaign.kills {
        let target = acknowledged.load(Ordering::Relaxed) + dice.random_range(1..=lab.campaign.events_per_life_max);
        until("the server takes events", || acknowledged.load(Ordering::Relaxed) >= target).await?;
        server.start_kill()?;
        server.wait().await?;
        server = lab.start_server().await?;
        if lab.campaign.verbose {
            eprintln!("kill {kill}: {} events acknowledged", acknowledged.load(Ordering::Relaxed));
        }
    }
    let target = acknowledged.load(Ordering::Relaxed) + 10;
    until("the server takes events at the end", || acknowledged.load(Ordering::Relaxed) >= target).await?;
    stop_producer.cancel();
    producer.await??;
    let produced = std::mem::take(&mut *produced.lock().unwrap());

    // The quiet period: everything acknowledged must arrive.
    for subscriber in &subscribers {
        let must = must(&produced, &subscriber.wanted);
        for (name, received) in &subscriber.consumers {
            let all_here = || {
                let received = received.lock().unwrap();
                let ids: std::collections::HashSet<u64> = received.ids.iter().copied().collect();
                must.iter().all(|id| ids.contains(id))
            };
            if until("every acknowledged event arrives", all_here).await.is_err() {
                eprintln!("{} as {name} still lacks events at the deadline", subscriber.id);
            }
        }
    }
    stop_consumers.cancel();
    for consumer in consumers {
        consumer.await??;
    }
    server.start_kill()?;
    server.wait().await?;

    let mut verdict = Verdict::default();
    for subscriber in &subscribers {
        for (name, received) in &subscriber.consumers {
            let name = format!("{}/{name}", subscriber.id);
            checker::check(&mut verdict, &name, &produced, &subscriber.wanted, &received.lock().unwrap());
        }
    }
    Ok(Report {
        verdict,
        acknowledged: produced.iter().filter(|event| event.acknowledged).count() as u64,
        unanswered: produced.iter().filter(|event| !event.acknowledged).count() as u64,
        kills: lab.campaign.kills,
        reconnects: reconnects.load(Ordering::Relaxed),
        consumer_restarts: restarts.load(Ordering::Relaxed),
        seconds: started.elapsed().as_secs_f64(),
    })
}

impl Lab {
    pub(crate) fn new(campaign: Campaign) -> anyhow::Result<Self> {
        let ports = free_ports()?;
        let config = Config::new(&format!("http://127.0.0.1:{}", ports[0]))?
            .with_gateway(&format!("http://127.0.0.1:{}", ports[2]))?;
        Ok(Self { folder: tempfile::tempdir()?, client: Client::new(config)?, ports, campaign })
    }

    /// A small hot window, so that compaction and spills happen all the time.
    pub(crate) async fn start_server(&self) -> anyhow::Result<Child> {
        let [api, matcher, gateway] = self.ports.map(|port| format!("127.0.0.1:{port}"));
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log"))?;
        let child = Command::new(&self.campaign.server)
            .args(["--data-dir".as_ref(), self.folder.path().join("data").as_os_str()])
            .args(["--api-addr", &api, "--matcher-addr", &matcher, "--gateway-addr", &gateway])
            .args(["--hot-s", "1", "--queue-shards", "3", "--drain-s", "2"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.campaign.server.display()))?;
        let base = self.client.config().server_url.clone();
        let deadline = Instant::now() + DEADLINE;
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while self.client.probe(&base, "readyz").await.is_err() {
            if Instant::now() > deadline {
                bail!("the server did not become ready:\n{}", tail_of(&self.folder.path().join("log")));
            }
            tick.tick().await;
        }
        Ok(child)
    }

    async fn make_filters(&self) -> anyhow::Result<Vec<Subscriber>> {
        let sets: [&[usize]; 5] = [&[0], &[1, 0], &[2], &[3], &[4, 2]];
        let mut subscribers = Vec::new();
        for (number, set) in sets.iter().enumerate() {
            let id = format!("sub-{number}");
            for wanted in *set {
                let mut spec: Value = serde_json::from_str(WANTED[*wanted].spec)?;
                spec["subscriber_id"] = id.clone().into();
                let spec: FilterSpec = serde_json::from_value(spec)?;
                let saved = self.client.create_filter(&spec, Some(Duration::from_secs(10))).await?;
                anyhow::ensure!(
                    saved.filter.status == evs_client::api::filters::FilterStatus::Active,
                    "filter {} did not become active",
                    saved.filter.id
                );
            }
            let names = if number % 2 == 0 { vec!["phone", "desk"] } else { vec!["default"] };
            subscribers.push(Subscriber {
                id,
                wanted: set.iter().map(|wanted| WANTED[*wanted]).collect(),
                consumers: names.into_iter().map(|name| (name.to_owned(), Arc::default())).collect(),
            });
        }
        Ok(subscribers)
    }
}

/// One consumer: stores its cursor with each event, acks, and now and then dies and comes back with what it stored.
struct Tail {
    lab: Arc<Lab>,
    subscriber: String,
    consumer: String,
    received: Arc<Mutex<Received>>,
    reconnects: Arc<AtomicU64>,
    restarts: Arc<AtomicU64>,
    dice: StdRng,
    stop: CancellationToken,
}

impl Tail {
    async fn run(mut self) -> anyhow::Result<()> {
        let mut cursor: Option<String> = None;
        loop {
            let options =
                Options { consumer: Some(self.consumer.clone()), cursor: cursor.clone(), ..Options::default() };
            let mut deliveries = self.lab.client.subscribe(&self.subscriber, options)?;
            let mut left = self.dice.random_range(20..600_u32);
            // One restart in two is a crash of the consumer: nothing is flushed, the stored cursor is all there is.
            while left > 0 {
                let item = tokio::select! {
                    () = self.stop.cancelled() => return Ok(()),
                    item = deliveries.next() => item,
                };
                match item {
                    Some(Ok(StreamItem::Event(delivery))) => {
                        left -= 1;
                        let event: Value = serde_json::from_str(delivery.data.get())?;
                        let id = event["n"].as_u64().context("an event without its number")?;
                        // The effect and the cursor are stored in one step, then acked: DESIGN's order.
                        self.received.lock().unwrap().ids.push(id);
                        cursor = deliveries.cursor();
                        deliveries.ack(&delivery);
                    }
                    Some(Ok(StreamItem::Gap(gap))) => {
                        self.received.lock().unwrap().gaps.push(format!("{gap:?}"));
                        cursor = deliveries.cursor();
                    }
                    Some(Ok(StreamItem::Disconnected { .. })) => {
                        self.reconnects.fetch_add(1, Ordering::Relaxed);
                    }
                    Some(Ok(StreamItem::Connected(_) | StreamItem::CaughtUp | StreamItem::Notice { .. })) => {}
                    Some(Ok(StreamItem::Checkpoint { .. })) => cursor = deliveries.cursor(),
                    Some(Err(error)) => bail!("{} as {}: {error}", self.subscriber, self.consumer),
                    None => bail!("{} as {}: the stream ended", self.subscriber, self.consumer),
                }
            }
            self.restarts.fetch_add(1, Ordering::Relaxed);
            if self.dice.random_bool(0.5) {
                deliveries.close().await;
            }
        }
    }
}

async fn produce(
    lab: Arc<Lab>,
    mut dice: StdRng,
    produced: Arc<Mutex<Vec<Produced>>>,
    acknowledged: Arc<AtomicU64>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut next = 0_u64;
    while !stop.is_cancelled() {
        let count = dice.random_range(1..20_u64);
        let mut batch = Vec::new();
        for id in next..next + count {
            let key = format!("k{}", dice.random_range(0..5));
            let types = ["purchase", "click", "login", "view"];
            let tiers = ["free", "basic", "premium", "enterprise"];
            let event = json!({
                "event_id": format!("e-{id}"), "user_id": key, "key": key, "n": id,
                "event_type": types[dice.random_range(0..types.len())],
                "user_tier": tiers[dice.random_range(0..tiers.len())],
                "amount": f64::from(dice.random_range(0..20_000_u32)) / 100.0,
            });
            batch.push(Produced { id, key, event, acknowledged: false });
        }
        next += count;
        let lines: Vec<String> = batch.iter().map(|event| event.event.to_string()).collect();
        let answer = lab.client.publish(lines.join("\n"), None).await;
        match answer {
            Ok(answer) => {
                anyhow::ensure!(answer.accepted == count, "{} of {count} events were accepted", answer.accepted);
                for event in &mut batch {
                    event.acknowledged = true;
                }
                produced.lock().unwrap().extend(batch);
                acknowledged.fetch_add(count, Ordering::Relaxed);
            }
            Err(error) if error.is_transient() => {
                // Unknown: it may be in the log. It is not sent again, so it may arrive once.
                produced.lock().unwrap().extend(batch);
                tokio::task::yield_now().await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Awaits a condition that other tasks bring about.
async fn until(what: &str, condition: impl Fn() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + DEADLINE;
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    while !condition() {
        anyhow::ensure!(Instant::now() < deadline, "waited in vain until {what}");
        tick.tick().await;
    }
    Ok(())
}

fn free_ports() -> anyhow::Result<[u16; 3]> {
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(std::net::TcpListener::bind(("127.0.0.1", 0))?);
    }
    let port = |at: usize| Ok::<_, std::io::Error>(listeners[at].local_addr()?.port());
    Ok([port(0)?, port(1)?, port(2)?])
}

fn tail_of(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
