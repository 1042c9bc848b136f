//! The services, and an installation of evs on them: a topic, a database, a Redis and processes of its own.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use evs_server::backend::redis::{RedisOptions, RedisQueue};
use evs_server::clock::Clock;
use rdkafka::ClientConfig;
use rdkafka::producer::FutureProducer;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::time::Instant;

const DEADLINE: Duration = Duration::from_secs(300);
/// Ticks of `/proc/<pid>/stat`, the same on every Linux that Rust runs on.
const TICKS_PER_S: f64 = 100.0;

static ADDRESSES: OnceLock<HashMap<String, String>> = OnceLock::new();

/// Where the services are, from the environment or from `scripts/services up`.
pub(crate) fn find() {
    let mut known: HashMap<String, String> =
        std::env::vars().filter(|(name, _)| name.starts_with("EVS_TEST_")).collect();
    if !known.contains_key("EVS_TEST_KAFKA") {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/services");
        let ran = Command::new(script).arg("up").stderr(Stdio::inherit()).output().expect("scripts/services");
        let printed = String::from_utf8(ran.stdout).expect("UTF-8");
        let pairs = printed.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        known.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    let _ = ADDRESSES.set(known);
}

fn address(name: &str) -> &'static str {
    ADDRESSES.get().and_then(|all| all.get(name)).unwrap_or_else(|| panic!("{name} is not known"))
}

fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|it| it.local_addr()).expect("a port").port()
}

/// A process, killed at the end.
pub(crate) struct Process(Child);

impl Process {
    /// Time on processors so far, of all threads.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
        Duration::from_secs_f64((ticks(11) + ticks(12)) / TICKS_PER_S)
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(sent.expect("kill").success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Redis of our own, as docs/DISTRIBUTED.md asks for it.
pub(crate) struct Redis {
    pub(crate) url: String,
    _process: Process,
    _folder: tempfile::TempDir,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "everysec"])
            .args(["--stream-node-max-bytes", "512", "--port", &port.to_string(), "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server");
        let redis = Self { _process: Process(child), url: format!("redis://127.0.0.1:{port}"), _folder: folder };
        until("Redis answers", async || redis.connect().await.is_ok()).await;
        redis
    }

    pub(crate) async fn connect(&self) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        // A busy machine is no reason to give up.
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(DEADLINE));
        redis::Client::open(self.url.as_str())?.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Time on processors so far, as Redis says: finer than the system's ticks.
    pub(crate) async fn cpu(&self) -> Duration {
        let mut connection = self.connect().await.expect("Redis");
        let text: String = redis::cmd("INFO").arg("cpu").query_async(&mut connection).await.expect("INFO");
        let of = |name: &str| -> f64 {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
        };
        Duration::from_secs_f64(of("used_cpu_sys") + of("used_cpu_user"))
    }

    /// Scripts and commands that took longer than a millisecond: how many, and the longest in milliseconds.
    pub(crate) async fn slow(&self) -> (usize, f64) {
        let mut connection = self.connect().await.expect("Redis");
        let log: Vec<Vec<redis::Value>> =
            redis::cmd("SLOWLOG").arg("GET").arg(-1).query_async(&mut connection).await.expect("SLOWLOG");
        let took = log.iter().map(|entry| match entry.get(2) {
            Some(redis::Value::Int(us)) => *us as f64 / 1e3,
            _ => 0.0,
        });
        (log.len(), took.fold(0.0, f64::max))
    }

    pub(crate) async fn watch_slow(&self) {
        let mut connection = self.connect().await.expect("Redis");
        let mut pipe = redis::pipe();
        pipe.cmd("CONFIG").arg("SET").arg("slowlog-log-slower-than").arg(1_000).ignore();
        pipe.cmd("CONFIG").arg("SET").arg("slowlog-max-len").arg(100_000).ignore();
        pipe.cmd("SLOWLOG").arg("RESET").ignore();
        pipe.query_async::<()>(&mut connection).await.expect("Redis");
    }

    pub(crate) async fn queue(&self) -> RedisQueue {
        RedisQueue::open(&self.url, RedisOptions::default(), Clock::system()).await.expect("the delivery queue")
    }
}

/// Stores of its own, an api, and as many of the other roles as are started.
pub(crate) struct Installation {
    pub(crate) redis: Redis,
    pub(crate) topic: String,
    environment: Vec<(&'static str, String)>,
    pub(crate) api: u16,
    _api: Process,
}

impl Installation {
    pub(crate) async fn start(partitions: u32) -> Self {
        let topic = format!("bench-{:016x}", rand::random::<u64>());
        let mut database = url::Url::parse(address("EVS_TEST_POSTGRES")).expect("a URL");
        let mut connection = PgConnection::connect(database.as_str()).await.expect("PostgreSQL");
        let create = AssertSqlSafe(format!("CREATE DATABASE \"{topic}\""));
        sqlx::query(create).execute(&mut connection).await.expect("a database");
        database.set_path(&topic);
        let redis = Redis::start().await;
        let environment = vec![
            ("EVS_EVENT_LOG", format!("kafka://{}/{topic}?partitions={partitions}", address("EVS_TEST_KAFKA"))),
            ("EVS_DELIVERY_QUEUE", redis.url.clone()),
            ("EVS_FILTER_STORE", database.into()),
            // Matchers are stopped while a topic is filled, and must not be thrown out meanwhile.
            ("EVS_KAFKA_PROPERTIES", "session.timeout.ms=120000;max.poll.interval.ms=300000".to_owned()),
        ];
        let (port, process) = spawn(&environment, "api").await;
        Self { redis, topic, environment, api: port, _api: process }
    }

    /// One more process of a role, ready: its port and the process.
    pub(crate) async fn add(&self, role: &str) -> (u16, Process) {
        spawn(&self.environment, role).await
    }

    pub(crate) async fn import(&self, lines: String) {
        let url = format!("http://127.0.0.1:{}/filters/import", self.api);
        let call = reqwest::Client::new().post(url).header("content-type", "application/x-ndjson").body(lines);
        let answer = call.send().await.expect("the api");
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
    }

    /// Until every matcher has applied what is stored, and there is at least one.
    pub(crate) async fn active(&self) {
        until("the filters are active", async || {
            let Ok(answer) = reqwest::get(format!("http://127.0.0.1:{}/stats", self.api)).await else { return false };
            let stats: evs_api::stats::Stats = answer.json().await.unwrap_or_default();
            let version = stats.filter_version;
            let mut matchers =
                stats.instances.iter().filter(|it| it.roles.iter().any(|role| role == "matcher")).peekable();
            let any = matchers.peek().is_some();
            any && version > 0
                && matchers.all(|it| it.filter_version == version)
                && stats.shards.iter().all(|it| it.min_filter_version == version)
        })
        .await;
    }

    pub(crate) fn producer(&self) -> FutureProducer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", address("EVS_TEST_KAFKA")).set("acks", "all").set("enable.idempotence", "true");
        config.set("linger.ms", "1").set("partitioner", "murmur2_random");
        config.set("queue.buffering.max.messages", "1000000").set("queue.buffering.max.kbytes", "1048576");
        config.create().expect("a producer")
    }
}

async fn spawn(environment: &[(&'static str, String)], role: &str) -> (u16, Process) {
    let port = free_port();
    let child = Command::new(env!("CARGO_BIN_EXE_evs-server"))
        .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
        .args(["--role", role, &format!("--{role}-addr"), &format!("127.0.0.1:{port}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the server");
    let process = Process(child);
    let url = format!("http://127.0.0.1:{port}/readyz");
    until(&format!("the {role} is ready"), async || {
        reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    (port, process)
}

pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < DEADLINE, "it never happened that {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
