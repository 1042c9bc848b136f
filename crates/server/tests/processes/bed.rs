//! Server processes over stores of their own in the services that run.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use evs_client::api::filters::FilterSpec;
use evs_client::{Client, Options, StreamItem, Subscription};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::process::{Child, Command};

/// Longer than anything here takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn address(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; eval \"$(scripts/services up)\" sets it"))
}

pub(crate) fn fresh_name() -> String {
    format!("test-{:016x}", rand::random::<u64>())
}

/// A new database on the server that `url` leads to, and its own URL.
pub(crate) async fn fresh_database(url: &str) -> url::Url {
    let (mut url, name) = (url::Url::parse(url).unwrap(), fresh_name());
    let mut connection = PgConnection::connect(url.as_str()).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE \"{name}\""))).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    url.set_path(&name);
    url
}

pub(crate) struct Process {
    pub(crate) url: String,
    pub(crate) child: Child,
    log: std::path::PathBuf,
}

impl Process {
    /// The answer of a route: status and body.
    pub(crate) async fn get(&self, path: &str) -> Option<(u16, Value)> {
        let answer = http().get(format!("{}{path}", self.url)).timeout(Duration::from_secs(5)).send().await.ok()?;
        Some((answer.status().as_u16(), answer.json().await.unwrap_or_default()))
    }

    pub(crate) async fn is_ready(&self) {
        until(&format!("{} is ready", self.url), async || {
            self.get("/readyz").await.is_some_and(|(status, _)| status == 200)
        })
        .await;
    }

    /// The name by which it reports.
    pub(crate) async fn instance(&self) -> String {
        self.get("/version").await.unwrap().1["instance"].as_str().unwrap().to_owned()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

pub(crate) fn http() -> reqwest::Client {
    // Only the first installation succeeds; one provider is all that is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

pub(crate) struct Bed {
    folder: tempfile::TempDir,
    pub(crate) environment: Vec<(&'static str, String)>,
    topic: String,
}

impl Bed {
    /// A topic of two partitions, a prefix and a database of their own.
    pub(crate) async fn new() -> Self {
        let database = fresh_database(&address("EVS_TEST_POSTGRES")).await;
        Self::with_filters(database.as_str())
    }

    pub(crate) fn with_filters(filter_store: &str) -> Self {
        let name = fresh_name();
        let environment = vec![
            ("EVS_EVENT_LOG", format!("kafka://{}/{name}?partitions=2", address("EVS_TEST_KAFKA"))),
            ("EVS_DELIVERY_QUEUE", format!("{}?prefix={name}", address("EVS_TEST_REDIS"))),
            ("EVS_FILTER_STORE", filter_store.to_owned()),
            ("EVS_DRAIN_S", "1".to_owned()),
        ];
        Self { folder: tempfile::tempdir().unwrap(), environment, topic: name }
    }

    /// Where the events lie in Kafka.
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    pub(crate) fn set(&mut self, variable: &'static str, value: impl Into<String>) {
        self.environment.retain(|(name, _)| *name != variable);
        self.environment.push((variable, value.into()));
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a process; its doors listen on ports that the system gave out a moment ago.
    pub(crate) fn spawn(&self, roles: &str) -> Process {
        let own = roles.split(',').next().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_evs-server"));
        let mut url = String::new();
        for role in roles.split(',') {
            let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
            command.args([format!("--{role}-addr"), format!("127.0.0.1:{port}")]);
            if role == own {
                url = format!("http://127.0.0.1:{port}");
            }
        }
        let log = self.folder.path().join(format!("{own}-{:08x}.log", rand::random::<u32>()));
        let child = command
            .envs(self.environment.iter().map(|(name, value)| (*name, value.as_str())))
            .args(["--role", roles])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Process { url, child, log }
    }

    pub(crate) async fn start(&self, role: &str) -> Process {
        let process = self.spawn(role);
        process.is_ready().await;
        process
    }
}

pub(crate) fn client(api: &Process, gateway: &Process) -> Client {
    http();
    Client::new(evs_client::Config::new(&api.url).unwrap().with_gateway(&gateway.url).unwrap()).unwrap()
}

/// A filter of `subscriber` that wants everything, active at every matcher.
pub(crate) async fn subscribe(client: &Client, subscriber: &str) {
    let spec: FilterSpec = serde_json::from_value(json!({ "subscriber_id": subscriber })).unwrap();
    let saved = client.create_filter(&spec, Some(DEADLINE / 2)).await.unwrap();
    assert_eq!(saved.filter.status, evs_client::api::filters::FilterStatus::Active);
}

pub(crate) fn follow(client: &Client, subscriber: &str) -> Subscription {
    client.subscribe(subscriber, Options::default()).unwrap()
}

/// Publishes events with the numbers of `range`, of many users.
pub(crate) async fn publish(client: &Client, range: std::ops::Range<u64>) {
    let lines: Vec<String> =
        range.clone().map(|n| json!({ "user_id": format!("u{}", n % 7), "n": n }).to_string()).collect();
    let answer = client.publish(lines.join("\n"), None).await.unwrap();
    assert_eq!(answer.accepted, range.end - range.start);
}

/// Receives until so many events came, and answers their numbers in order of size.
pub(crate) async fn receive(deliveries: &mut Subscription, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let item = tokio::time::timeout(DEADLINE, deliveries.next()).await;
        let item = item.unwrap_or_else(|_| panic!("{} of {count} came: {numbers:?}", numbers.len()));
        match item.unwrap().unwrap() {
            StreamItem::Event(delivery) => {
                let event: Value = serde_json::from_str(delivery.data.get()).unwrap();
                numbers.push(event["n"].as_u64().unwrap());
                deliveries.ack(&delivery);
            }
            StreamItem::Gap(gap) => panic!("{gap:?}"),
            _ => {}
        }
    }
    numbers.sort_unstable();
    numbers
}

pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let ask = async || condition().await.then_some(()).ok_or(());
    crate::poll::poll(DEADLINE, ask, |()| format!("waited in vain until {what}")).await;
}
