//! The server processes, with services of their own that may be restarted.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use evs_client::Client;
use rand::Rng;
use rand::rngs::StdRng;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::process::{Child, Command};

use crate::DEADLINE;
use crate::poll::poll;

struct Process {
    role: &'static str,
    /// Of the role's own door, which keeps its number over restarts.
    port: u16,
    child: Child,
    log: std::path::PathBuf,
}

pub(crate) struct Fleet {
    folder: tempfile::TempDir,
    redis_port: u16,
    redis: Child,
    environment: Vec<(&'static str, String)>,
    processes: Vec<Process>,
    pub(crate) faults: u64,
    /// What the matchers that are gone had counted.
    gone: Counters,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = services(self.folder.path()).arg("down").status();
    }
}

/// What the matchers have counted since they started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) fenced: u64,
    pub(crate) already_applied: u64,
    pub(crate) epoch_changes: u64,
    /// Not a counter: how many it works on now.
    partitions: u64,
}

fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// `scripts/services` for services of our own, with their data in `folder`.
fn services(folder: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/services"));
    command.env("EVS_SERVICES_DIR", folder.join("services")).stderr(Stdio::inherit());
    command
}

/// Starts them; what they are called and where they are.
fn start_services(folder: &Path) -> HashMap<String, String> {
    // Another user runs some of them, and must get there.
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let output = services(folder).args(["up", "kafka", "postgres"]).output().unwrap();
    assert!(output.status.success(), "the services cannot be started");
    let text = String::from_utf8(output.stdout).unwrap();
    let pair = |line: &str| {
        let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

impl Fleet {
    /// Two matchers, two gateways, one api.
    pub(crate) async fn start() -> Self {
        // Only the first installation succeeds; one provider is all that is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let name = format!("campaign-{:016x}", rand::random::<u64>());
        let addresses = start_services(folder.path());
        let mut postgres = url::Url::parse(&addresses["EVS_TEST_POSTGRES"]).unwrap();
        let mut connection = PgConnection::connect(postgres.as_str()).await.unwrap();
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE \"{name}\""))).execute(&mut connection).await.unwrap();
        postgres.set_path(&name);
        let redis_port = free_port();
        let environment = vec![
            ("EVS_EVENT_LOG", format!("kafka://{}/{name}?partitions=6", addresses["EVS_TEST_KAFKA"])),
            ("EVS_DELIVERY_QUEUE", format!("redis://127.0.0.1:{redis_port}")),
            ("EVS_FILTER_STORE", postgres.into()),
            ("EVS_QUEUE_SHARDS", "2".to_owned()),
            ("EVS_HOT_S", "1".to_owned()),
            ("EVS_DRAIN_S", "2".to_owned()),
        ];
        let redis = start_redis(folder.path(), redis_port);
        let gone = Counters::default();
        let mut fleet = Self { folder, redis_port, redis, environment, processes: Vec::new(), faults: 0, gone };
        for role in ["api", "matcher", "matcher", "gateway", "gateway"] {
            fleet.add(role).await;
        }
        fleet
    }

    async fn add(&mut self, role: &'static str) {
        let port = free_port();
        let log = self.folder.path().join(format!("{role}-{port}.log"));
        let child = self.spawn(role, port, &log);
        self.processes.push(Process { role, port, child, log });
        self.is_ready(port).await;
    }

    fn spawn(&self, role: &str, port: u16, log: &std::path::Path) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        Command::new(env!("CARGO_BIN_EXE_evs-server"))
            .envs(self.environment.iter().map(|(name, value)| (*name, value.as_str())))
            .args(["--role", role, &format!("--{role}-addr"), &format!("127.0.0.1:{port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    async fn is_ready(&self, port: u16) {
        let client = reqwest::Client::new();
        let url = format!("http://127.0.0.1:{port}/readyz");
        let ask = async || {
            let answer = client.get(&url).timeout(Duration::from_secs(3)).send().await;
            answer.is_ok_and(|answer| answer.status().is_success()).then_some(()).ok_or(())
        };
        poll(DEADLINE, ask, |()| format!("port {port} never became ready\n{}", self.last_words())).await;
    }

    pub(crate) async fn add_matcher(&mut self) {
        if self.processes.iter().filter(|process| process.role == "matcher").count() < 4 {
            self.add("matcher").await;
        }
    }

    /// Never the last two.
    pub(crate) async fn remove_matcher(&mut self, dice: &mut StdRng) {
        if self.processes.iter().filter(|process| process.role == "matcher").count() > 2 {
            let at = self.pick("matcher", dice);
            self.remember(at).await;
            self.end(at, "-TERM").await;
            self.processes.remove(at);
        }
    }

    /// kill -9 of one process of a role, and another in its place.
    pub(crate) async fn restart(&mut self, role: &str, dice: &mut StdRng) {
        let at = self.pick(role, dice);
        self.remember(at).await;
        self.end(at, "-KILL").await;
        self.again(at).await;
    }

    /// One after the other, as an operator does who installs a new version.
    pub(crate) async fn rolling_restart(&mut self) {
        for at in 0..self.processes.len() {
            self.remember(at).await;
            self.end(at, "-TERM").await;
            self.again(at).await;
        }
    }

    /// What it has counted would be gone with it.
    async fn remember(&mut self, at: usize) {
        if self.processes[at].role == "matcher" {
            self.gone = self.gone + counters_of(self.processes[at].port).await;
        }
    }

    async fn end(&mut self, at: usize, how: &str) {
        let child = &mut self.processes[at].child;
        signal(child.id().unwrap(), how);
        tokio::time::timeout(DEADLINE, child.wait()).await.expect("it ends").unwrap();
    }

    async fn again(&mut self, at: usize) {
        let process = &self.processes[at];
        let (port, child) = (process.port, self.spawn(process.role, process.port, &process.log));
        self.processes[at].child = child;
        self.is_ready(port).await;
    }

    pub(crate) async fn restart_service(&self, name: &'static str) {
        for what in ["stop", "up"] {
            let mut command = services(self.folder.path());
            command.args([what, name]).stdout(Stdio::null());
            let status = tokio::task::spawn_blocking(move || command.status()).await.unwrap().unwrap();
            assert!(status.success(), "{what} {name} failed");
        }
    }

    fn pick(&self, role: &str, dice: &mut StdRng) -> usize {
        let of_role: Vec<usize> = (0..self.processes.len()).filter(|at| self.processes[*at].role == role).collect();
        of_role[dice.random_range(0..of_role.len())]
    }

    pub(crate) fn stop_a_matcher(&self, dice: &mut StdRng) -> u32 {
        let pid = self.processes[self.pick("matcher", dice)].child.id().unwrap();
        signal(pid, "-STOP");
        pid
    }

    pub(crate) fn let_go_on(&self, pid: u32) {
        signal(pid, "-CONT");
    }

    /// Waits until the group has given partitions to every matcher.
    pub(crate) async fn all_matchers_work(&self) {
        let end = tokio::time::Instant::now() + DEADLINE;
        for process in self.processes.iter().filter(|process| process.role == "matcher") {
            let ask = async || (counters_of(process.port).await.partitions > 0).then_some(()).ok_or(());
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            poll(left, ask, |()| format!("a matcher has no partitions\n{}", self.last_words())).await;
        }
    }

    /// Waits until the matchers have come as far as the event log is now.
    pub(crate) async fn all_is_matched(&self) {
        let client = self.client();
        let mut ends: Option<Vec<u64>> = None;
        let ask = async || {
            let stats = client.stats().await.map_err(|error| error.to_string())?;
            let ends = ends.get_or_insert_with(|| stats.partitions.iter().map(|of| of.high).collect());
            let there = stats.partitions.iter().zip(ends).all(|(of, end)| of.matched >= *end);
            there.then_some(()).ok_or_else(|| format!("{:?}", stats.partitions))
        };
        let told = |last| format!("the matchers do not get on: {last}\n{}", self.last_words());
        poll(DEADLINE, ask, told).await;
    }

    pub(crate) async fn restart_redis(&mut self) {
        self.redis.start_kill().unwrap();
        self.redis.wait().await.unwrap();
        self.redis = start_redis(self.folder.path(), self.redis_port);
    }

    pub(crate) async fn flush_redis(&self) {
        self.ask_redis(&redis::cmd("FLUSHALL")).await;
    }

    /// For two seconds Redis lets writes wait.
    pub(crate) async fn hold_redis_writes(&self) {
        self.ask_redis(redis::cmd("CLIENT").arg("PAUSE").arg(2_000).arg("WRITE")).await;
    }

    /// A busy or a starting Redis is asked again.
    async fn ask_redis(&self, command: &redis::Cmd) {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.redis_port)).unwrap();
        let ask = async || {
            let mut connection = client.get_multiplexed_async_connection().await?;
            command.query_async::<()>(&mut connection).await
        };
        let told = |error: redis::RedisError| format!("Redis does not answer: {error}");
        poll(DEADLINE, ask, told).await;
    }

    fn port_of(&self, role: &str, number: usize) -> u16 {
        self.processes.iter().filter(|process| process.role == role).nth(number).unwrap().port
    }

    pub(crate) fn client(&self) -> Client {
        self.clients().remove(0)
    }

    /// One per gateway.
    pub(crate) fn clients(&self) -> Vec<Client> {
        let client = |number| {
            let server = format!("http://127.0.0.1:{}", self.port_of("api", 0));
            let gateway = format!("http://127.0.0.1:{}", self.port_of("gateway", number));
            Client::new(evs_client::Config::new(&server).unwrap().with_gateway(&gateway).unwrap()).unwrap()
        };
        vec![client(0), client(1)]
    }

    pub(crate) async fn counters(&self) -> Counters {
        let mut counters = self.gone;
        for process in self.processes.iter().filter(|process| process.role == "matcher") {
            counters = counters + counters_of(process.port).await;
        }
        counters
    }

    /// The end of every process's log, for whoever has to find out why.
    pub(crate) fn last_words(&self) -> String {
        let words = |process: &Process| {
            let text = std::fs::read_to_string(&process.log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let panics = lines.iter().enumerate().filter(|(_, line)| line.contains("panicked"));
            let panics: Vec<&str> = panics.flat_map(|(at, _)| lines[at..].iter().take(30).copied()).collect();
            let (role, port, end) = (process.role, process.port, lines.len().saturating_sub(15));
            format!("--- {role} {port}\n{}\n{}", panics.join("\n"), lines[end..].join("\n"))
        };
        self.processes.iter().map(words).collect::<Vec<_>>().join("\n")
    }
}

impl std::ops::Add for Counters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            fenced: self.fenced + other.fenced,
            already_applied: self.already_applied + other.already_applied,
            epoch_changes: self.epoch_changes + other.epoch_changes,
            partitions: self.partitions + other.partitions,
        }
    }
}

async fn counters_of(port: u16) -> Counters {
    let text = reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await.unwrap().text().await.unwrap();
    let sum = |name: &str| -> u64 {
        let of_name = text.lines().filter(|line| !line.starts_with('#') && line.contains(name));
        of_name.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
    };
    Counters {
        fenced: sum("appends_fenced"),
        already_applied: sum("appends_already_applied"),
        epoch_changes: sum("epoch_changes"),
        partitions: sum("evs_partitions"),
    }
}

/// The strong profile: a restart keeps the epoch.
fn start_redis(folder: &std::path::Path, port: u16) -> Child {
    let program = std::env::var("EVS_TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    Command::new(program)
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always"])
        .args(["--port", &port.to_string(), "--stream-node-max-bytes", "512", "--dir"])
        .arg(folder)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server can be started")
}

fn signal(pid: u32, signal: &str) {
    assert!(std::process::Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}
