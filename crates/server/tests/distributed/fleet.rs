//! The server processes, and a Redis of their own.

use std::process::Stdio;
use std::time::{Duration, Instant};

use evs_client::Client;
use rand::Rng;
use rand::rngs::StdRng;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::process::{Child, Command};

use crate::DEADLINE;

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
}

/// What the matchers have counted since they started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) fenced: u64,
    pub(crate) already_applied: u64,
    pub(crate) epoch_changes: u64,
}

fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn address(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; eval \"$(scripts/services up)\" sets it"))
}

impl Fleet {
    /// Two matchers, two gateways, one api.
    pub(crate) async fn start() -> Self {
        // Only the first installation succeeds; one provider is all that is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let name = format!("campaign-{:016x}", rand::random::<u64>());
        let mut postgres = url::Url::parse(&address("EVS_TEST_POSTGRES")).unwrap();
        let mut connection = PgConnection::connect(postgres.as_str()).await.unwrap();
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE \"{name}\""))).execute(&mut connection).await.unwrap();
        postgres.set_path(&name);
        let redis_port = free_port();
        let environment = vec![
            ("EVS_EVENT_LOG", format!("kafka://{}/{name}?partitions=6", address("EVS_TEST_KAFKA"))),
            ("EVS_DELIVERY_QUEUE", format!("redis://127.0.0.1:{redis_port}")),
            ("EVS_FILTER_STORE", postgres.into()),
            ("EVS_QUEUE_SHARDS", "2".to_owned()),
            ("EVS_HOT_S", "1".to_owned()),
            ("EVS_DRAIN_S", "2".to_owned()),
        ];
        let redis = start_redis(folder.path(), redis_port);
        let mut fleet = Self { folder, redis_port, redis, environment, processes: Vec::new(), faults: 0 };
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
        let started = Instant::now();
        let url = format!("http://127.0.0.1:{port}/readyz");
        loop {
            let answer = client.get(&url).timeout(Duration::from_secs(3)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            assert!(started.elapsed() < DEADLINE, "port {port} never became ready\n{}", self.last_words());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) async fn add_matcher(&mut self) {
        if self.processes.iter().filter(|process| process.role == "matcher").count() < 4 {
            self.add("matcher").await;
        }
    }

    /// kill -9 of one process of a role, and another in its place.
    pub(crate) async fn restart(&mut self, role: &str, dice: &mut StdRng) {
        let at = self.pick(role, dice);
        self.processes[at].child.start_kill().unwrap();
        self.processes[at].child.wait().await.unwrap();
        let process = &self.processes[at];
        let (port, child) = (process.port, self.spawn(process.role, process.port, &process.log));
        self.processes[at].child = child;
        self.is_ready(port).await;
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

    pub(crate) async fn restart_redis(&mut self) {
        self.redis.start_kill().unwrap();
        self.redis.wait().await.unwrap();
        self.redis = start_redis(self.folder.path(), self.redis_port);
    }

    pub(crate) async fn flush_redis(&self) {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.redis_port)).unwrap();
        let started = Instant::now();
        loop {
            if let Ok(mut connection) = client.get_multiplexed_async_connection().await
                && redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.is_ok()
            {
                return;
            }
            assert!(started.elapsed() < DEADLINE, "Redis does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
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
        let mut counters = Counters::default();
        for process in self.processes.iter().filter(|process| process.role == "matcher") {
            let url = format!("http://127.0.0.1:{}/metrics", process.port);
            let text = reqwest::get(url).await.unwrap().text().await.unwrap();
            let sum = |name: &str| -> u64 {
                let of_name = text.lines().filter(|line| !line.starts_with('#') && line.contains(name));
                of_name.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
            };
            counters.fenced += sum("appends_fenced");
            counters.already_applied += sum("appends_already_applied");
            counters.epoch_changes += sum("epoch_changes");
        }
        counters
    }

    /// The end of every process's log, for whoever has to find out why.
    pub(crate) fn last_words(&self) -> String {
        let words = |process: &Process| {
            let text = std::fs::read_to_string(&process.log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("--- {} {}\n{}", process.role, process.port, lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        self.processes.iter().map(words).collect::<Vec<_>>().join("\n")
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
