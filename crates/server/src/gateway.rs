//! The gateway: WebSocket and server-sent events, each connection a session on one subscriber's queue.
//!
//! A **connection** has a sink (a socket) and a **session** (what was sent, what is acked, how much credit is left).
//! A **dispatcher** feeds a share of the connections from the readers' windows; what left the window comes from the
//! store; both look the same to the session, because deliveries have dense numbers. In reading order: [`accept`] and
//! [`ask`] take a request, [`join`] makes it a session by the table in [`resume`], [`dispatcher`] and [`store`] feed
//! it, [`socket`] hears the client, [`acks`] stores how far it is, [`turns`] ends what was superseded elsewhere.

mod accept;
mod acks;
mod ask;
mod backfill;
mod connection;
mod dispatcher;
mod encode;
mod join;
mod journal;
mod page;
mod resume;
mod session;
mod sink;
mod socket;
mod sse;
mod store;
mod turns;
mod websocket;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use evs_api::frames::ServerFrame;
use evs_core::Slot;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use acks::AckBook;
use dispatcher::{Dispatcher, Pump};
use join::Joining;
use journal::Journal;
use session::Limits;

/// Reads of the store at a time, for clients that are behind the window.
const STORE_READS_MAX: usize = 32;

/// Clients that are told the past from the event log at a time; the others wait for their turn.
const BACKFILLS_MAX: usize = 16;

/// How often the store is asked which subscribers were deleted.
const REMOVED_EVERY: Duration = Duration::from_secs(5);

/// Slots in one such question.
const REMOVED_SLOTS_MAX: usize = 1_000;

/// Within this time clients of a stopping gateway should come back, each at a random moment.
const RECONNECT_WITHIN_MS: u64 = 5_000;

/// What every request of the gateway shares.
#[derive(Clone, Debug)]
struct Gateway {
    app: App,
    dispatchers: Arc<[Arc<Dispatcher>]>,
    acks: Arc<AckBook>,
    backfills: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// Serves the listener until `app.shutdown`; returns when every connection was told and every ack is stored, or the
/// time for that is over.
///
/// # Errors
/// None so far: what fails while it runs is told to the clients and in `/readyz`.
pub async fn serve(app: App, listener: TcpListener) -> anyhow::Result<()> {
    let acks = Arc::new(AckBook::new(app.queue.clone(), app.metrics.clone()));
    let limits = Limits {
        events_max: app.config.session_events_max,
        bytes_max: app.config.session_bytes_max,
        ping_ms: i64::try_from(app.config.ping_s.saturating_mul(1000)).unwrap_or(i64::MAX),
        ack_timeout_ms: i64::try_from(app.config.ack_timeout_s.saturating_mul(1000)).unwrap_or(i64::MAX),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let reads = Arc::new(Semaphore::new(STORE_READS_MAX));
    let journal = Arc::new(Journal::new(app.oplog.clone()));
    let dispatcher = || Arc::new(Dispatcher::new(&app, limits, acks.clone(), journal.clone(), reads.clone()));
    let gateway = Gateway {
        dispatchers: (0..cores).map(|_| dispatcher()).collect(),
        acks,
        backfills: Arc::new(Semaphore::new(BACKFILLS_MAX)),
        tasks: TaskTracker::new(),
        app,
    };
    // Feeding goes on while connections drain, so it has a signal of its own.
    let done = CancellationToken::new();
    let feeding = TaskTracker::new();
    for dispatcher in gateway.dispatchers.iter() {
        feeding.spawn(Pump::new(dispatcher.clone()).run(done.clone()));
    }
    let removed = gateway.clone();
    feeding.spawn(async move { removed.close_removed().await });
    for reader in gateway.app.readers.shards() {
        feeding.spawn(turns::watch(gateway.app.clone(), reader.shard()));
    }
    let acks = gateway.acks.clone();
    let acks_done = CancellationToken::new();
    let acking = tokio::spawn({
        let done = acks_done.clone();
        async move { acks.run(done).await }
    });
    accept::run(&gateway, listener).await;
    let deadline = Instant::now() + Duration::from_secs(gateway.app.config.drain_s);
    gateway.drain(deadline).await;
    done.cancel();
    feeding.close();
    let fed = timeout_at(deadline + Duration::from_secs(1), feeding.wait()).await;
    acks_done.cancel();
    let acked = timeout_at(deadline + Duration::from_secs(5), acking).await;
    if fed.is_err() || acked.is_err() {
        tracing::warn!("the gateway stopped before all of its work was done");
    }
    Ok(())
}

impl Gateway {
    fn dispatcher(&self, slot: Slot) -> &Arc<Dispatcher> {
        &self.dispatchers[dispatcher::share(slot, self.dispatchers.len())]
    }

    fn connections(&self) -> usize {
        self.dispatchers.iter().map(|dispatcher| dispatcher.len()).sum()
    }

    /// Tells every connection, and waits until they are gone or the time is over.
    async fn drain(&self, deadline: Instant) {
        let now_ms = self.app.clock.now_ms();
        let frame = ServerFrame::Draining { reconnect_within_ms: RECONNECT_WITHIN_MS };
        for connection in self.dispatchers.iter().flat_map(|dispatcher| dispatcher.all()) {
            let mut state = connection.lock();
            connection.write_frame(&mut state, &frame);
            connection.close(&mut state, socket::STOPPING, now_ms);
        }
        while self.connections() > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        for connection in self.dispatchers.iter().flat_map(|dispatcher| dispatcher.all()) {
            connection.sink.shutdown();
            connection.leave();
        }
        self.tasks.close();
        let _ = timeout_at(deadline + Duration::from_secs(1), self.tasks.wait()).await;
    }

    /// Closes the connections of subscribers that were deleted.
    async fn close_removed(&self) {
        loop {
            tokio::select! {
                () = self.app.shutdown.cancelled() => return,
                () = sleep(REMOVED_EVERY) => {}
            }
            for reader in self.app.readers.shards() {
                let slots = self.app.readers.attached().slots(reader.shard());
                for slots in slots.chunks(REMOVED_SLOTS_MAX) {
                    match dispatcher::removed(&*self.app.queue, reader.shard(), slots).await {
                        Ok(removed) => removed.iter().for_each(|slot| self.close_slot(reader.shard(), *slot)),
                        Err(error) => tracing::debug!(%error, "deleted subscribers could not be looked for"),
                    }
                }
            }
        }
    }

    fn close_slot(&self, shard: evs_core::Shard, slot: Slot) {
        for connection in self.dispatcher(slot).of_slot(shard, slot) {
            let mut state = connection.lock();
            connection.close(&mut state, evs_api::frames::CloseCode::NotFound, self.app.clock.now_ms());
        }
    }
}
