//! What a Redis can suffer, on real servers that each test starts, kills and damages by itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use evs_core::log::EntryBuilder;
use evs_core::{ConsumerName, FilterId, FilterVersion, Offset, Partition, Seq, Shard, Slot};
use evs_server::backend::redis::{RedisOptions, RedisQueue};
use evs_server::clock::Clock;
use evs_server::ports::delivery_queue::{Ack, Append, Appended, ShardState, Start};
use evs_server::ports::{DeliveryQueue, PortError};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SHARD: Shard = Shard(0);
const ZERO: Partition = Partition(0);
const DEADLINE: Duration = Duration::from_secs(20);

/// A server of our own in a folder of its own.
struct Server {
    dir: TempDir,
    port: u16,
    arguments: Vec<String>,
    process: Child,
}

impl Server {
    async fn start(arguments: &[&str]) -> Self {
        let port = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let process = spawn(dir.path(), port, &arguments);
        let server = Self { dir, port, arguments, process };
        server.answers().await;
        server
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    async fn start_again(&mut self) {
        self.process = spawn(self.dir.path(), self.port, &self.arguments);
        self.answers().await;
    }

    async fn restart(&mut self) {
        self.kill();
        self.start_again().await;
    }

    async fn answers(&self) {
        until("the server answers", async || self.try_command("PING", &[]).await.is_ok()).await;
    }

    async fn try_command(&self, name: &str, arguments: &[&str]) -> redis::RedisResult<redis::Value> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd(name).arg(arguments).query_async(&mut connection).await
    }

    async fn command(&self, name: &str, arguments: &[&str]) {
        self.try_command(name, arguments).await.unwrap();
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn queue(&self) -> RedisQueue {
        RedisQueue::open(&self.url(), RedisOptions::default(), Clock::system()).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(dir: &Path, port: u16, arguments: &[String]) -> Child {
    let program = std::env::var("EVS_TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    Command::new(program)
        .args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()])
        .arg("--dir")
        .arg(dir)
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server can be started")
}

const ALWAYS: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];
const EVERYSEC: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let ask = async || condition().await.then_some(()).ok_or(());
    crate::poll::poll(DEADLINE, ask, |()| format!("waited in vain until {what}")).await;
}

/// Calls until it is answered, as every caller of a port does.
async fn answered<T>(call: impl AsyncFnMut() -> Result<T, PortError>) -> T {
    crate::poll::poll(DEADLINE, call, |error| error.to_string()).await
}

async fn open(queue: &RedisQueue) -> (ShardState, u64) {
    let state = answered(async || queue.open(SHARD, FilterVersion(1)).await).await;
    (state, queue.claim(SHARD, state.epoch, ZERO).await.unwrap().unwrap().owner)
}

fn batch((state, owner): (ShardState, u64), from: u64) -> Append {
    let mut builder = EntryBuilder::new(state.epoch, ZERO, Offset(from), 1);
    builder.event(Offset(from), 1, Bytes::from(vec![b'x'; 1_000]));
    builder.route(3, [FilterId(1)]);
    Append {
        epoch: state.epoch,
        owner,
        partition: ZERO,
        from: Offset(from),
        to: Offset(from + 1),
        version: FilterVersion(1),
        entry: Some(Arc::new(builder.finish(Offset(from + 1)))),
    }
}

async fn fill(queue: &RedisQueue, claim: (ShardState, u64), count: u64) {
    for from in 0..count {
        let appended = queue.append(SHARD, batch(claim, from)).await.unwrap();
        assert_eq!(appended, Appended::Applied { id: Some(from + 1) });
    }
}

#[tokio::test]
async fn under_always_a_restart_keeps_the_epoch() {
    let mut server = Server::start(ALWAYS).await;
    let queue = server.queue().await;
    let claim = open(&queue).await;
    fill(&queue, claim, 20).await;
    server.restart().await;
    // The same claim goes on as if nothing had been.
    let appended = answered(async || queue.append(SHARD, batch(claim, 20)).await).await;
    assert_eq!(appended, Appended::Applied { id: Some(21) });
    assert_eq!(queue.state(SHARD).await.unwrap().epoch, claim.0.epoch);
    server.restart().await;
    let another = server.queue().await;
    assert_eq!(answered(async || another.state(SHARD).await).await.epoch, claim.0.epoch);
}

#[tokio::test]
async fn under_everysec_a_restart_is_a_new_epoch_that_goes_on() {
    let mut server = Server::start(EVERYSEC).await;
    let queue = server.queue().await;
    let claim = open(&queue).await;
    fill(&queue, claim, 20).await;
    server.restart().await;
    let appended = answered(async || queue.append(SHARD, batch(claim, 20)).await).await;
    let Appended::OtherEpoch(epoch) = appended else { panic!("{appended:?}") };
    assert_ne!(epoch, claim.0.epoch);
    // Sealed: nothing can be claimed before the newest filter version is in force.
    assert_eq!(queue.claim(SHARD, epoch, ZERO).await.unwrap(), None);
    let state = queue.open(SHARD, FilterVersion(9)).await.unwrap();
    assert_eq!((state.epoch, state.min_version, state.top), (epoch, FilterVersion(9), 20));
    let next = queue.claim(SHARD, epoch, ZERO).await.unwrap().unwrap();
    assert_eq!(next.next, Some(Offset(20)), "what is there is the beginning of the new life");
    let tail = queue.tail(SHARD, 0, usize::MAX, Duration::ZERO).await.unwrap();
    assert!(tail.entries.len() == 20 && tail.entries.iter().all(|(_, entry)| entry.epoch == epoch));
}

#[tokio::test]
async fn a_restart_without_data_is_found_at_the_first_contact() {
    let mut server = Server::start(&["--appendonly", "no"]).await;
    let queue = server.queue().await;
    let claim = open(&queue).await;
    fill(&queue, claim, 5).await;
    server.restart().await;
    let state = answered(async || queue.state(SHARD).await).await;
    assert_ne!(state.epoch, claim.0.epoch);
    assert_eq!(state.top, 0);
    let again = open(&queue).await;
    assert_eq!(queue.claim(SHARD, again.0.epoch, ZERO).await.unwrap().unwrap().next, None, "filled again from Kafka");
}

#[tokio::test]
async fn flushall_is_found_by_a_waiting_reader_within_two_seconds() {
    let server = Server::start(ALWAYS).await;
    let queue = server.queue().await;
    let claim = open(&queue).await;
    fill(&queue, claim, 5).await;
    let reading = async {
        let started = Instant::now();
        loop {
            let tail = queue.tail(SHARD, 5, usize::MAX, Duration::from_secs(30)).await.unwrap();
            if tail.state.epoch != claim.0.epoch {
                assert!(tail.entries.is_empty() && tail.state.top == 0);
                return started.elapsed();
            }
            assert!(started.elapsed() < DEADLINE, "the reader did not notice");
        }
    };
    let (found, ()) = tokio::join!(reading, server.command("FLUSHALL", &[]));
    assert!(found < Duration::from_secs(2), "{found:?}");
    assert!(matches!(queue.append(SHARD, batch(claim, 5)).await.unwrap(), Appended::OtherEpoch(_)));
}

#[tokio::test]
async fn a_cut_tail_is_found_by_whoever_saw_more() {
    let mut server = Server::start(ALWAYS).await;
    let queue = server.queue().await;
    let claim = open(&queue).await;
    fill(&queue, claim, 30).await;
    server.kill();
    let folder = server.dir.path().join("appendonlydir");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let file = files.into_iter().find(|path| path.to_string_lossy().ends_with(".incr.aof")).unwrap();
    let len = std::fs::metadata(&file).unwrap().len();
    std::fs::File::options().write(true).open(&file).unwrap().set_len(len - 5_000).unwrap();
    server.start_again().await;
    let state = answered(async || queue.state(SHARD).await).await;
    assert_ne!(state.epoch, claim.0.epoch, "the disk broke its word, and we saw it");
    assert!(state.top < 30 && state.top > 10, "{state:?}");
    let next = queue.open(SHARD, FilterVersion(1)).await.unwrap();
    let next = queue.claim(SHARD, next.epoch, ZERO).await.unwrap().unwrap();
    assert_eq!(next.next, Some(Offset(state.top)), "checkpoint and log were rolled back together");
}

#[tokio::test]
async fn a_promoted_replica_is_a_new_epoch() {
    let server = Server::start(ALWAYS).await;
    let replica = Server::start(ALWAYS).await;
    replica.command("REPLICAOF", &["127.0.0.1", &server.port.to_string()]).await;
    let queue = server.queue().await;
    let claim = open(&queue).await;
    fill(&queue, claim, 5).await;
    until("the replica has caught up", async || {
        replica.try_command("EXISTS", &["{evs:0}:log"]).await.is_ok_and(|value| value == redis::Value::Int(1))
    })
    .await;
    replica.command("REPLICAOF", &["NO", "ONE"]).await;
    let promoted = replica.queue().await;
    let state = answered(async || promoted.state(SHARD).await).await;
    assert_ne!(state.epoch, claim.0.epoch);
    assert!(state.top > 0);
}

#[tokio::test]
async fn without_memory_appends_wait_and_acks_go_on() {
    let server = Server::start(&["--appendonly", "no", "--maxmemory-policy", "noeviction"]).await;
    let queue = server.queue().await;
    let claim = open(&queue).await;
    let consumer = ConsumerName::default_consumer();
    queue.attach(SHARD, Slot(3), &consumer, Start::Earliest).await.unwrap();
    fill(&queue, claim, 5).await;
    server.command("CONFIG", &["SET", "maxmemory", "1"]).await;
    let full = queue.append(SHARD, batch(claim, 5)).await;
    assert!(matches!(full, Err(PortError::Full { .. })), "{full:?}");
    let ack = Ack { slot: Slot(3), consumer, seq: Seq(4) };
    assert!(queue.ack(SHARD, claim.0.epoch, &[ack]).await.unwrap());
    server.command("CONFIG", &["SET", "maxmemory", "0"]).await;
    assert_eq!(queue.append(SHARD, batch(claim, 5)).await.unwrap(), Appended::Applied { id: Some(6) });
}

#[tokio::test]
async fn a_lost_reply_is_answered_by_already_applied() {
    let server = Server::start(ALWAYS).await;
    let deaf = Arc::new(AtomicBool::new(false));
    let address = forgetful_proxy(server.port, deaf.clone()).await;
    let queue =
        RedisQueue::open(&format!("redis://{address}"), RedisOptions::default(), Clock::system()).await.unwrap();
    let claim = open(&queue).await;
    fill(&queue, claim, 3).await;
    deaf.store(true, Ordering::Relaxed);
    let lost = queue.append(SHARD, batch(claim, 3)).await;
    assert!(matches!(lost, Err(PortError::Unavailable { .. })), "{lost:?}");
    deaf.store(false, Ordering::Relaxed);
    let appended = answered(async || queue.append(SHARD, batch(claim, 3)).await).await;
    assert_eq!(appended, Appended::AlreadyApplied);
    assert_eq!(queue.state(SHARD).await.unwrap().top, 4);
}

/// Passes everything on to the server, and back only while it is not `deaf`; then it closes instead.
async fn forgetful_proxy(port: u16, deaf: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let deaf = deaf.clone();
            tokio::spawn(async move {
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let up = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(read) = from_server.read(&mut buffer).await {
                    if read == 0 || deaf.load(Ordering::Relaxed) || to_client.write_all(&buffer[..read]).await.is_err()
                    {
                        break;
                    }
                }
                up.abort();
            });
        }
    });
    address
}
