//! A gateway over stores in memory, a hand that writes deliveries, and a client that speaks WebSocket by itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use evs_api::frames::{ClientFrame, EventFrame, SUBPROTOCOL, ServerFrame, Welcome};
use evs_core::log::EntryBuilder;
use evs_core::log::compact::{self, Budget};
use evs_core::{Event, FilterId, FilterVersion, Offset, Partition, Seq, Shard, SubscriberId};
use evs_server::app::App;
use evs_server::auth::Authorizer;
use evs_server::backend::memory::{MemoryFilters, MemoryLog, MemoryQueue};
use evs_server::clock::Clock;
use evs_server::config::Config;
use evs_server::gateway;
use evs_server::limits::{Limits, LimitsConfig};
use evs_server::metrics::Metrics;
use evs_server::oplog::OpLog;
use evs_server::ports::DeliveryQueue;
use evs_server::ports::delivery_queue::{Append, Appended};
use evs_server::ports::filter_store::{FilterDraft, FilterRecord};
use evs_server::reader::Readers;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) const SHARD: Shard = Shard(0);
const PARTITION: Partition = Partition(0);

pub(crate) struct Bed {
    pub(crate) app: App,
    pub(crate) queue: Arc<MemoryQueue>,
    pub(crate) addr: SocketAddr,
    serving: JoinHandle<anyhow::Result<()>>,
    next: u64,
}

impl Bed {
    pub(crate) async fn start() -> Self {
        Self::with(Config::default()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let clock = Clock::system();
        let queue = Arc::new(MemoryQueue::new(1, u64::MAX, clock.clone(), 7));
        let (metrics, oplog) = (Arc::new(Metrics::default()), Arc::new(OpLog::new(clock.clone(), "test".into())));
        let shutdown = CancellationToken::new();
        let port: Arc<dyn DeliveryQueue> = queue.clone();
        port.open(SHARD, FilterVersion(0)).await.unwrap();
        let readers = Readers::start(&port, &metrics, &oplog, &shutdown);
        let app = App {
            auth: Authorizer::off(clock.clone()),
            limits: Arc::new(Limits::new(LimitsConfig::from(&config))),
            config: Arc::new(config),
            clock: clock.clone(),
            log: Arc::new(MemoryLog::new(1, clock.clone())),
            queue: port,
            filters: Arc::new(MemoryFilters::new(1, clock.clone())),
            readers,
            activity: evs_server::matcher::Activity::default(),
            metrics,
            oplog,
            traces: evs_server::traces::Traces::default(),
            instance: "test".into(),
            started_ms: clock.now_ms(),
            shutdown,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let serving = tokio::spawn(gateway::serve(app.clone(), listener));
        let bed = Self { app, queue, addr, serving, next: 0 };
        until("the reader follows", async || bed.app.readers.health()[0].1.is_ok()).await;
        bed
    }

    pub(crate) async fn subscriber(&self, id: &str) -> FilterRecord {
        self.subscriber_with(id, "{}").await
    }

    pub(crate) async fn subscriber_with(&self, id: &str, spec: &str) -> FilterRecord {
        let draft = FilterDraft { subscriber: SubscriberId::new(id).unwrap(), name: None, spec: spec.to_owned() };
        self.app.filters.put(vec![draft]).await.unwrap().remove(0).record
    }

    /// One entry with events `{"n":<offset>,…}`, `count` for each of `to`. Writes them into the event log as well.
    pub(crate) async fn deliver(&mut self, to: &[&FilterRecord], count: usize) {
        self.deliver_sized(to, count, 0).await;
    }

    pub(crate) async fn deliver_sized(&mut self, to: &[&FilterRecord], count: usize, bytes: usize) {
        let state = self.queue.open(SHARD, FilterVersion(0)).await.unwrap();
        let claim = self.queue.claim(SHARD, state.epoch, PARTITION).await.unwrap().unwrap();
        // After a roll-back the matcher would refill from the event log; so does this hand, with the same events.
        let from = claim.next.unwrap_or(Offset(0)).0;
        let until = self.next + count as u64;
        let now_ms = self.app.clock.now_ms();
        let mut builder = EntryBuilder::new(state.epoch, PARTITION, Offset(from), now_ms);
        for offset in from..until {
            let body = Bytes::from(format!("{{\"n\":{offset},\"pad\":\"{}\"}}", "x".repeat(bytes)));
            if offset >= self.next {
                self.app.log.append(vec![Event::trusted(body.clone())]).await.unwrap();
            }
            builder.event(Offset(offset), now_ms, body);
            to.iter().for_each(|record| builder.route(record.slot.0, [FilterId(record.id.0)]));
        }
        self.next = until;
        let append = Append {
            epoch: state.epoch,
            owner: claim.owner,
            partition: PARTITION,
            from: Offset(from),
            to: Offset(until),
            version: FilterVersion(u64::MAX),
            entry: Some(Arc::new(builder.finish(Offset(until)))),
        };
        let appended = self.queue.append(SHARD, append).await.unwrap();
        assert!(matches!(appended, Appended::Applied { .. }), "{appended:?}");
    }

    /// Takes every entry out of the log, as the keeper does.
    pub(crate) async fn compact(&self) {
        loop {
            let snapshot = self.queue.snapshot(SHARD).await.unwrap();
            let (epoch, at) = (snapshot.state.epoch, snapshot.state.position);
            let tail = self.queue.tail(SHARD, at.n, usize::MAX, Duration::ZERO).await.unwrap();
            let slots: Vec<_> = (0..100).map(evs_core::Slot).collect();
            let acked = self.queue.acked(SHARD, &slots).await.unwrap();
            let base = |slot: evs_core::Slot| Seq(snapshot.base.get(slot.0 as usize).copied().unwrap_or(0));
            let acked = |slot: evs_core::Slot| acked[slot.0 as usize];
            let budget = Budget { spills_max: 100, slots_max: 10 };
            let Some(plan) = compact::plan(epoch, at, &tail.entries, base, acked, budget) else { return };
            assert!(self.queue.compact(SHARD, &plan).await.unwrap());
        }
    }

    /// Waits until the reader has let go of what was compacted.
    pub(crate) async fn window_is_empty(&self) {
        let empty = || self.app.readers.shard(SHARD).with_window(|window| window.entries_len() == 0);
        until("the window is empty", async || empty() == Some(true)).await;
    }

    pub(crate) async fn acked(&self, record: &FilterRecord) -> u64 {
        self.queue.acked(SHARD, &[record.slot]).await.unwrap()[0].0
    }

    pub(crate) async fn acked_is(&self, record: &FilterRecord, seq: u64) {
        until(&format!("acked is {seq}"), async || self.acked(record).await == seq).await;
    }

    pub(crate) async fn connect(&self, path: &str) -> Client {
        self.try_connect(path, true).await.unwrap()
    }

    /// A client that only listens.
    pub(crate) async fn listen(&self, path: &str) -> Client {
        self.try_connect(path, false).await.unwrap()
    }

    /// The status and the problem's code, if it was refused.
    pub(crate) async fn try_connect(&self, path: &str, speaks: bool) -> Result<Client, (u16, String)> {
        let mut request = format!("ws://{}{path}", self.addr).into_client_request().unwrap();
        if speaks {
            request.headers_mut().insert("Sec-WebSocket-Protocol", SUBPROTOCOL.parse().unwrap());
        }
        match timeout(DEADLINE, tokio_tungstenite::connect_async(request)).await.expect("a handshake in time") {
            Ok((socket, _)) => Ok(Client { socket }),
            Err(Error::Http(answer)) => {
                let problem: evs_api::Problem = serde_json::from_slice(answer.body().as_ref().unwrap()).unwrap();
                Err((answer.status().as_u16(), problem.code))
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Stops the server and waits for it.
    pub(crate) async fn stop(self) -> Arc<MemoryQueue> {
        self.app.shutdown.cancel();
        timeout(DEADLINE, self.serving).await.expect("a stop in time").unwrap().unwrap();
        self.queue
    }
}

pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let ask = async || condition().await.then_some(()).ok_or(());
    crate::poll::poll(DEADLINE, ask, |()| format!("waited in vain until {what}")).await;
}

pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    pub(crate) async fn message(&mut self) -> Message {
        let message = timeout(DEADLINE, self.socket.next()).await.expect("a message in time");
        message.expect("an open socket").expect("a message")
    }

    pub(crate) async fn frame(&mut self) -> ServerFrame {
        loop {
            match self.message().await {
                Message::Text(text) => return evs_client::frames::parse(&text).unwrap(),
                Message::Ping(_) => {}
                other => panic!("{other:?} is no frame"),
            }
        }
    }

    pub(crate) async fn welcome(&mut self) -> Welcome {
        match self.frame().await {
            ServerFrame::Welcome(welcome) => welcome,
            other => panic!("{other:?} is no welcome"),
        }
    }

    pub(crate) async fn event(&mut self) -> EventFrame {
        loop {
            match self.frame().await {
                ServerFrame::Event(event) => return event,
                ServerFrame::CaughtUp { .. } | ServerFrame::Checkpoint { .. } => {}
                other => panic!("{other:?} is no event"),
            }
        }
    }

    pub(crate) async fn seqs(&mut self, count: usize) -> Vec<u64> {
        let mut seqs = Vec::new();
        for _ in 0..count {
            seqs.push(self.event().await.seq.unwrap());
        }
        seqs
    }

    pub(crate) async fn say(&mut self, frame: &ClientFrame) {
        self.text(&serde_json::to_string(frame).unwrap()).await;
    }

    pub(crate) async fn text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn ack(&mut self, seq: u64) {
        self.say(&ClientFrame::Ack { seq, n: None }).await;
    }

    /// Nothing comes before the answer to a ping, so nothing was there.
    pub(crate) async fn silent(&mut self) {
        self.say(&ClientFrame::Ping { n: Some(99) }).await;
        match self.frame().await {
            ServerFrame::Pong { n: Some(99) } => {}
            other => panic!("{other:?} came instead of nothing"),
        }
    }

    /// Reads on until the server closes; its code and reason.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            match timeout(DEADLINE, self.socket.next()).await.expect("a close in time") {
                Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => {
                    return (code.into(), reason.to_string());
                }
                Some(Ok(_)) => {}
                other => panic!("{other:?} instead of a close frame"),
            }
        }
    }
}
