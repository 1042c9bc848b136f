//! How a client gets a session: attach to the queue, wait for the reader, decide where to begin.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use evs_api::frames::{Gap, GapReason, Resumed, ServerFrame, Welcome};
use evs_api::oplog::Level;
use evs_core::limits::SUBSCRIBER_CONSUMERS_MAX;
use evs_core::{ConsumerName, Cursor, Filter, Seq, Shard, SubscriberId};
use tokio::time::{Instant, timeout_at};

use super::Gateway;
use super::ask::Ask;
use super::backfill::{self, History};
use super::connection::{Connection, Feed, Parts};
use super::dispatcher::Dispatcher;
use super::encode::{self, Format};
use super::resume::{self, Begin, Resume, resume};
use super::session::{Acking, Session};
use super::sink::Sink;
use crate::auth::{Subject, no_such_subscriber};
use crate::http::problem::{ApiError, ApiResult};
use crate::limits::ConnectionGuard;
use crate::ports::PortError;
use crate::ports::delivery_queue::{Attached, Start};
use crate::ports::filter_store::SubscriberRecord;
use crate::reader::attached::AttachedSession;
use crate::retry::Backoff;

/// A client waits so long for its handshake while the store or the reader is not there.
const JOIN_WAIT: Duration = Duration::from_secs(10);

/// A session that only lacks its socket.
pub(super) struct Joining {
    gateway: Gateway,
    dispatcher: Arc<Dispatcher>,
    subscriber: SubscriberId,
    attached: AttachedSession,
    acking: Acking,
    resume: Resume,
    acked: Seq,
    /// Where a resume as `gap` will really be told one, by the first read of the store.
    top: Seq,
    epoch: evs_core::Epoch,
    generation: u64,
    condition: Option<Box<Filter>>,
    /// What the event log has to bring first.
    history: Option<History>,
    /// As the client calls it.
    name: SubscriberId,
    subject: Subject,
    client: IpAddr,
    /// Its place among the gateway's connections; with an event stream it stays with the HTTP connection.
    pub(super) place: Option<ConnectionGuard>,
}

/// Why it did not work this time.
enum Failed {
    Refused(ApiError),
    /// It may work in a moment.
    Now(String),
}

impl From<PortError> for Failed {
    fn from(error: PortError) -> Self {
        Self::Now(error.to_string())
    }
}

impl Gateway {
    /// # Errors
    /// The refusal to answer instead of an upgrade.
    pub(super) async fn join(&self, ask: Ask) -> ApiResult<Joining> {
        let deadline = Instant::now() + JOIN_WAIT;
        let mut backoff = Backoff::default();
        loop {
            if self.app.shutdown.is_cancelled() {
                return Err(ApiError::unavailable("this gateway is stopping", "shutdown"));
            }
            let problem = match timeout_at(deadline, self.try_join(&ask, deadline)).await {
                Ok(Ok(found)) => return Ok(self.joining(ask, found)),
                Ok(Err(Failed::Refused(refusal))) => return Err(refusal),
                Ok(Err(Failed::Now(problem))) => problem,
                Err(_) => "it took too long".to_owned(),
            };
            let waited = timeout_at(deadline, backoff.wait(&self.app.shutdown)).await;
            if waited.is_err() || Instant::now() >= deadline {
                return Err(ApiError::unavailable("the queue cannot be attached to now; try again", problem));
            }
        }
    }

    async fn try_join(&self, ask: &Ask, deadline: Instant) -> Result<Found, Failed> {
        let (unknown, wish) = (|| Failed::Refused(no_such_subscriber(&ask.subscriber)), &ask.wish);
        let record = self.app.filters.subscriber(&ask.internal).await?.ok_or_else(unknown)?;
        let (shard, slot) = (record.shard, record.slot);
        let reader = self.app.readers.shard(shard);
        let top = reader.with_window(|window| window.top(slot));
        let start = match (&wish.consumer, &wish.begin) {
            (None, _) => Start::Observe,
            (Some(_), Begin::Latest) => Start::At(top.ok_or_else(not_following)?),
            (Some(_), _) if wish.since_ms.is_some() => Start::At(top.ok_or_else(not_following)?),
            (Some(_), _) => Start::Earliest,
        };
        if let Some(consumer) = &wish.consumer {
            self.supersede(&record, consumer);
            self.acks.settle(shard, slot).await;
        }
        let consumer = wish.consumer.clone().unwrap_or_else(ConsumerName::default_consumer);
        let attached = self.app.queue.attach(shard, slot, &consumer, start).await?;
        if attached.removed {
            return Err(unknown());
        }
        if attached.full {
            return Err(Failed::Refused(too_many_consumers()));
        }
        let waited = self.app.readers.wait_caught_up(shard, attached.state.epoch, attached.state.top, deadline).await;
        waited.map_err(|error| Failed::Now(error.to_string()))?;
        let look = reader.with_hot(|hot| (hot.generation, hot.window.epoch(), hot.window.top(slot)));
        let (generation, epoch, top) = look.ok_or_else(not_following)?;
        if epoch != attached.state.epoch {
            return Err(Failed::Now("the delivery log has another epoch by now".to_owned()));
        }
        let mut resume = resume(shard, slot, &wish.begin, ask.observes(), &attached, top);
        if wish.since_ms.is_some() {
            resume = Resume { next: Seq(top.0 + 1), resumed: Resumed::Backfill, gap: None, ..resume };
        }
        let mut history = wish.since_ms.map(History::Since);
        if let (true, None, Begin::After(cursor)) = (resume.other_life, &history, &wish.begin) {
            history = self.mend(shard, cursor, top, &mut resume).await?;
        }
        let hot = reader.with_window(|window| resume.next > top || window.find(slot, resume.next, 1).is_some());
        let floor = attached.acked.max(attached.lost);
        if history.is_none() && !hot.unwrap_or(false) && resume.next <= floor.min(attached.base) {
            resume.resumed = Resumed::Gap;
        }
        // Last of all: an attach that comes to nothing must not end the connection that there is.
        let turn = match &wish.consumer {
            Some(consumer) => self.app.queue.take_turn(shard, slot, consumer).await?,
            None => 0,
        };
        Ok(Found { record, attached, resume, history, top, generation, turn })
    }

    /// The queue has another life than the cursor. What it dropped since, because others had acked it, the event log
    /// may still have; and what the event log had lost before it filled the queue again is told.
    async fn mend(
        &self,
        shard: Shard,
        cursor: &Cursor,
        top: Seq,
        resume: &mut Resume,
    ) -> Result<Option<History>, Failed> {
        let lost = |from: Seq| Some(Gap { from: from.0, to: None, reason: GapReason::DataLoss });
        if resume.gap.is_some() {
            let ranges = self.app.log.partitions().await?;
            let Some(too_old) = resume::refill(cursor, &ranges) else { return Ok(None) };
            resume.next = Seq(top.0 + 1);
            resume.resumed = if too_old { Resumed::Gap } else { Resumed::NewEpoch };
            resume.gap = lost(resume.next).filter(|_| too_old);
            return Ok(Some(History::After(cursor.clone())));
        }
        if resume::refilled_too_late(cursor, &self.app.queue.checkpoints(shard).await?) {
            resume.resumed = Resumed::Gap;
            resume.gap = lost(resume.next);
        }
        Ok(None)
    }

    /// The newest connection of a consumer wins.
    fn supersede(&self, record: &SubscriberRecord, consumer: &ConsumerName) {
        let dispatcher = self.dispatcher(record.slot);
        for older in dispatcher.of_consumer(record.shard, record.slot, consumer) {
            dispatcher.supersede(&older, &mut older.lock(), self.app.clock.now_ms());
        }
    }

    fn joining(&self, ask: Ask, found: Found) -> Joining {
        let Found { record, attached, resume, history, top, generation, turn } = found;
        let acking = ask.acking();
        let Ask { client, subject, subscriber, internal: _, wish, speaks: _ } = ask;
        let sent = Seq(resume.next.0 - 1);
        Joining {
            gateway: self.clone(),
            dispatcher: self.dispatcher(record.slot).clone(),
            subscriber: record.id,
            attached: AttachedSession::new(
                record.shard,
                record.slot,
                wish.consumer,
                (attached.state.epoch, turn),
                sent,
            ),
            acking,
            acked: attached.row,
            resume,
            top,
            epoch: attached.state.epoch,
            generation,
            condition: wish.condition,
            history,
            name: subscriber,
            subject,
            client,
            place: None,
        }
    }
}

fn not_following() -> Failed {
    Failed::Now("the reader of the delivery log is not there yet".to_owned())
}

fn too_many_consumers() -> ApiError {
    let detail = format!("the subscriber has {SUBSCRIBER_CONSUMERS_MAX} consumers, which is all it may have");
    ApiError::refused("too_many_consumers", detail).with_hint(
        "use the name of one that is gone, or observe=true, which needs no consumer; idle ones are forgotten",
    )
}

/// What `try_join` found.
struct Found {
    record: SubscriberRecord,
    attached: Attached,
    resume: Resume,
    history: Option<History>,
    top: Seq,
    generation: u64,
    turn: u64,
}

impl Joining {
    /// Puts the session on its socket: welcome, then whatever the resume has to tell, then deliveries. `first` goes
    /// before it all.
    pub(super) fn connect(self, sink: Sink, first: &[u8]) -> Arc<Connection> {
        let app = &self.gateway.app;
        let now_ms = app.clock.now_ms();
        let limits = self.dispatcher.limits;
        let format = if matches!(sink, Sink::WebSocket(_)) { Format::WebSocket } else { Format::EventStream };
        let (shard, slot) = (self.attached.shard, self.attached.slot);
        let session = Session::new(
            (shard, slot, self.epoch),
            self.acking,
            self.resume.next,
            self.acked,
            self.top,
            self.resume.seen.clone(),
            now_ms,
        );
        let welcome = ServerFrame::Welcome(Welcome {
            subscriber: self.name.to_string(),
            consumer: self.attached.consumer.as_ref().map(ToString::to_string).unwrap_or_default(),
            epoch: self.epoch.to_string(),
            next: self.resume.next.0,
            top: self.top.0,
            resumed: self.resume.resumed,
            window_events: limits.events_max as u64,
            window_bytes: limits.bytes_max as u64,
            ping_s: app.config.ping_s,
            // A resume by it would pass over what the event log has to bring.
            cursor: self.history.is_none().then(|| session.cursor().to_string()),
            server: concat!("evs/", env!("CARGO_PKG_VERSION")).to_owned(),
        });
        let mut frames = vec![welcome];
        if let Some((code, message)) = &self.resume.error {
            frames.push(ServerFrame::Error { code: (*code).to_owned(), message: message.clone() });
        }
        if let Some(gap) = self.resume.gap.clone() {
            app.metrics.gaps.inc();
            self.log_gap(&gap);
            frames.push(ServerFrame::Gap(gap));
        }
        let mut bytes = first.to_vec();
        frames.iter().for_each(|frame| encode::put_frame(&mut bytes, format, frame, None));
        let feed = if self.history.is_some() { Feed::Backfill } else { Feed::Window };
        let parts = Parts {
            attached: Arc::new(self.attached),
            subscriber: self.subscriber,
            generation: self.generation,
            sink,
            dispatcher: self.dispatcher.clone(),
            condition: self.condition,
            subject: Some(self.subject).filter(Subject::is_authenticated).map(Box::new),
            client: self.client,
            place: self.place,
        };
        let connection = Arc::new(Connection::new(parts, session, feed));
        connection.write(&mut connection.lock(), &bytes);
        // Another connection of this consumer may have come while this one was shaking hands: the one that attached
        // later wins.
        let (epoch, turn) = connection.attached.turn;
        for other in self.dispatcher.add(&connection) {
            let newer = other.attached.turn.0 == epoch && other.attached.turn.1 > turn;
            let older = if newer { &connection } else { &other };
            self.dispatcher.supersede(older, &mut older.lock(), now_ms);
        }
        self.dispatcher.journal.connected(&connection, now_ms);
        if let Some(history) = self.history {
            let (app, connection, turns) = (app.clone(), connection.clone(), self.gateway.backfills.clone());
            self.gateway.tasks.spawn(async move {
                let _turn = turns.acquire().await;
                backfill::run(app, connection, history).await;
            });
        }
        connection
    }

    fn log_gap(&self, gap: &Gap) {
        let why = match gap.reason {
            GapReason::Retention => "older ones fell to retention",
            GapReason::Acked => "older ones were acked by all",
            GapReason::DataLoss => "the store lost some",
        };
        let message = format!("resumed from another epoch at {}: {why}", gap.from);
        self.gateway.app.oplog.write(Level::Warn, "gap", Some(self.subscriber.as_str()), message);
    }
}
