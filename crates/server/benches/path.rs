//! What the whole path costs on one machine: ingest beside a floor, and latency from acknowledgement to socket.
//!
//!     cargo bench -p evs-server --bench path
//!
//! Ingest: NDJSON batches of 500 by HTTP into a durable embedded server with fan-out 5, until every delivery is in the
//! delivery log. The floor is what bare multi-row inserts of the same events reach through sqlx, batch by batch, in the
//! same run. Latency: 1,000 events/s for some seconds, fan-out 10, from the answer of the POST to the frame at a client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use evs_client::api::filters::FilterSpec;
use evs_client::{Ack, Client, Config as ClientConfig, From, Options, StreamItem};
use evs_server::config::{Config, Role};
use evs_server::run::Server;
use evs_traffic::{Traffic, TrafficConfig};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use tokio_util::sync::CancellationToken;

const BATCH: usize = 500;
const BATCHES: usize = 120;
const FANOUT: usize = 5;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut ratios = Vec::new();
    for round in 1..=3 {
        let floor = floor().await?;
        let ingest = ingest().await?;
        ratios.push(ingest / floor);
        println!(
            "ingest, round {round}: floor {floor:.0} events/s, evs {ingest:.0} events/s (fan-out {FANOUT}), ratio {:.2}",
            ingest / floor
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("ingest: median ratio to the floor {:.2}", ratios[ratios.len() / 2]);
    latency().await
}

fn batches() -> Vec<Vec<Vec<u8>>> {
    let mut traffic = Traffic::new(1, TrafficConfig::default());
    (0..BATCHES).map(|_| (0..BATCH).map(|_| traffic.next_event(1_795_512_000_000)).collect()).collect()
}

/// Bare inserts: one statement and one durable commit a batch.
async fn floor() -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("floor.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    sqlx::query("CREATE TABLE events (position INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, body BLOB NOT NULL)")
        .execute(&mut connection)
        .await?;
    let values = vec!["(?, ?, ?)"; BATCH].join(", ");
    let sql = format!("INSERT INTO events (position, time_ms, body) VALUES {values}");
    let batches = batches();
    let started = Instant::now();
    let mut position = 0_i64;
    for batch in batches {
        let mut insert = sqlx::query(AssertSqlSafe(sql.clone()));
        for event in batch {
            insert = insert.bind(position).bind(1_795_512_000_000_i64).bind(event);
            position += 1;
        }
        insert.execute(&mut connection).await?;
    }
    Ok((BATCH * BATCHES) as f64 / started.elapsed().as_secs_f64())
}

struct Bench {
    client: Client,
    server: tokio::task::JoinHandle<anyhow::Result<()>>,
    app: evs_server::app::App,
    _folder: tempfile::TempDir,
}

async fn start(subscribers: usize) -> anyhow::Result<Bench> {
    let folder = tempfile::tempdir()?;
    let any_port = ([127, 0, 0, 1], 0).into();
    let config = Config {
        data_dir: folder.path().to_owned(),
        api_addr: any_port,
        matcher_addr: any_port,
        gateway_addr: any_port,
        ..Config::default()
    };
    let server = Server::start(config, CancellationToken::new()).await?;
    let addr = |role| server.addr(role).map(|addr| format!("http://{addr}")).unwrap_or_default();
    let client = Client::new(ClientConfig::new(&addr(Role::Api))?.with_gateway(&addr(Role::Gateway))?)?;
    let app = server.app().clone();
    let server = tokio::spawn(server.run());
    for number in 0..subscribers {
        let spec = FilterSpec {
            subscriber_id: format!("sub-{number}"),
            where_: Some("has(event_id)".into()),
            ..FilterSpec::default()
        };
        client.create_filter(&spec, Some(Duration::from_secs(10))).await?;
    }
    Ok(Bench { client, server, app, _folder: folder })
}

impl Bench {
    async fn stop(self) -> anyhow::Result<()> {
        self.app.shutdown.cancel();
        self.server.await?
    }
}

/// Events per second until the last delivery is durable.
async fn ingest() -> anyhow::Result<f64> {
    let bench = start(FANOUT).await?;
    let bodies: Vec<Bytes> = batches().into_iter().map(|batch| Bytes::from(batch.join(&b'\n'))).collect();
    let started = Instant::now();
    // Four requests under way, as a producer that pipelines would have.
    let queue = Arc::new(std::sync::Mutex::new(bodies));
    let senders = (0..4).map(|_| {
        let (client, queue) = (bench.client.clone(), queue.clone());
        tokio::spawn(async move {
            loop {
                let Some(body) = queue.lock().ok().and_then(|mut queue| queue.pop()) else { return Ok(()) };
                client.publish(body, None).await?;
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        let sent: Result<(), evs_client::Error> = sender.await?;
        sent?;
    }
    let expected = (BATCH * BATCHES * FANOUT) as u64;
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    while bench.app.metrics.deliveries.get() < expected {
        anyhow::ensure!(started.elapsed() < Duration::from_secs(120), "the deliveries did not come");
        tick.tick().await;
    }
    let rate = (BATCH * BATCHES) as f64 / started.elapsed().as_secs_f64();
    bench.stop().await?;
    Ok(rate)
}

const LATENCY_SECONDS: u64 = 10;
const LATENCY_RATE: u64 = 1_000;
const LATENCY_FANOUT: usize = 10;

async fn latency() -> anyhow::Result<()> {
    let bench = start(LATENCY_FANOUT).await?;
    let arrivals = (0..LATENCY_FANOUT).map(|number| {
        let options = Options { from: From::Latest, ack: Ack::OnDelivery, ..Options::default() };
        let stream = bench.client.subscribe(&format!("sub-{number}"), options);
        tokio::spawn(async move {
            let mut stream = stream?;
            let mut seen: Vec<(u64, Instant)> = Vec::new();
            let total = (LATENCY_SECONDS * LATENCY_RATE) as usize;
            while seen.len() < total {
                match stream.next().await {
                    Some(Ok(StreamItem::Event(delivery))) => {
                        let at = Instant::now();
                        let event: serde_json::Value = serde_json::from_str(delivery.data.get())?;
                        seen.push((event["n"].as_u64().unwrap_or(u64::MAX), at));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => anyhow::bail!("the stream ended"),
                }
            }
            Ok(seen)
        })
    });
    let arrivals: Vec<_> = arrivals.collect();
    // Everybody is connected when the server says so.
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    while bench.app.metrics.connections.get() < LATENCY_FANOUT as i64 {
        tick.tick().await;
    }
    let started = Instant::now();
    let mut acked: Vec<Instant> = Vec::new();
    let mut pace = tokio::time::interval(Duration::from_micros(1_000_000 / LATENCY_RATE));
    let mut posts = Vec::new();
    for n in 0..LATENCY_SECONDS * LATENCY_RATE {
        pace.tick().await;
        let client = bench.client.clone();
        let body = format!(
            "{{\"event_id\":\"e{n}\",\"user_id\":\"u{}\",\"event_type\":\"purchase\",\"user_tier\":\"free\",\"amount\":1,\"n\":{n}}}",
            n % 100
        );
        posts.push(tokio::spawn(async move {
            client.publish(body, None).await?;
            Ok::<_, evs_client::Error>(Instant::now())
        }));
    }
    for post in posts {
        acked.push(post.await??);
    }
    let rate = acked.len() as f64 / started.elapsed().as_secs_f64();
    let mut latencies_us: Vec<i64> = Vec::new();
    for arrival in arrivals {
        for (n, at) in arrival.await?? {
            let acked = acked[n as usize];
            // A frame may come before the answer does.
            let latency = at.checked_duration_since(acked).map_or(0, |late| late.as_micros() as i64);
            latencies_us.push(latency);
        }
    }
    latencies_us.sort_unstable();
    let at = |share: f64| latencies_us[(share * (latencies_us.len() - 1) as f64) as usize] as f64 / 1000.0;
    println!(
        "latency at {rate:.0} events/s, fan-out {LATENCY_FANOUT}, acknowledged POST to client: p50 {:.2} ms, p99 {:.2} ms, \
         max {:.2} ms; {} deliveries, none missing",
        at(0.5),
        at(0.99),
        at(1.0),
        latencies_us.len()
    );
    bench.stop().await
}
