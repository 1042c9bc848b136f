//! The task of a dispatcher.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use evs_api::frames::CloseCode;
use evs_core::log::Found;
use evs_core::{Event, Shard, Trace, limits};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Dispatcher, Finds, Look, Want};
use crate::gateway::connection::{Connection, Feed, State};
use crate::gateway::encode;
use crate::gateway::session::Verdict;
use crate::gateway::store;
use crate::traces::{Span, SpanKind};

/// Connections served between two yields: about 300 us of writing, as long as each has little to send…
const CHUNK: usize = 64;
/// …and fewer where they have much: so many bytes between two yields.
const CHUNK_BYTES: usize = 128 * 1024;

/// Every so many writes a latency is observed: the histogram has a lock.
const LATENCY_EVERY: u32 = 8;

/// The task's own state, all of it reused from pass to pass.
#[derive(Debug)]
pub(in crate::gateway) struct Pump {
    dispatcher: Arc<Dispatcher>,
    /// Per shard how far its entries have been walked.
    walked: Vec<Walked>,
    marked: Vec<Arc<Connection>>,
    wants: Vec<Want>,
    found: Finds,
    buffer: Vec<u8>,
    writes: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Walked {
    generation: u64,
    entry: u64,
}

impl Pump {
    pub(in crate::gateway) fn new(dispatcher: Arc<Dispatcher>) -> Self {
        let walked = vec![Walked::default(); dispatcher.readers.shards().count()];
        dispatcher.readers.watch(dispatcher.wake.clone());
        Self {
            dispatcher,
            walked,
            marked: Vec::new(),
            wants: Vec::new(),
            found: Vec::new(),
            buffer: Vec::new(),
            writes: 0,
        }
    }

    /// Runs until `done`.
    pub(in crate::gateway) async fn run(mut self, done: CancellationToken) {
        let mut every = interval(Duration::from_secs(1));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let ticked = tokio::select! {
                () = self.dispatcher.wake.notified() => false,
                _ = every.tick() => true,
                () = done.cancelled() => return,
            };
            self.walk();
            self.serve().await;
            if ticked {
                self.dispatcher.tick().await;
            }
        }
    }

    /// Marks whoever has something new in the windows.
    fn walk(&mut self) {
        let dispatcher = self.dispatcher.clone();
        for (reader, walked) in dispatcher.readers.shards().zip(&mut self.walked) {
            let look = reader.with_hot(|hot| {
                let same = hot.generation == walked.generation;
                let after = if same { walked.entry } else { hot.window.next_id() - 1 };
                // Whoever is too slow for the window looks at every connection instead of at the lost entries.
                let first = hot.window.entries_after(after).next().map(|(id, _)| id);
                let overtaken =
                    first.is_some_and(|id| id > after + 1) || (first.is_none() && hot.window.next_id() > after + 1);
                let entries: Vec<_> = hot.window.entries_after(after).map(|(_, entry)| entry.clone()).collect();
                (hot.generation, hot.window.next_id() - 1, same && !overtaken, entries)
            });
            let (generation, entry, follows, entries) = look.unwrap_or((0, 0, walked.generation == 0, Vec::new()));
            *walked = Walked { generation, entry };
            if follows {
                dispatcher.mark_routed(reader.shard(), &entries, &mut self.marked);
            } else {
                // Those of an earlier life find out when they are served.
                dispatcher.all().iter().filter(|it| it.attached.shard == reader.shard()).for_each(|it| {
                    dispatcher.ready(it);
                });
            }
        }
        dispatcher.take_marked(&mut self.marked);
    }

    /// Serves all that are marked.
    async fn serve(&mut self) {
        let mut marked = std::mem::take(&mut self.marked);
        let mut size = CHUNK;
        while !marked.is_empty() {
            let chunk = marked.drain(marked.len().saturating_sub(size)..);
            self.wants.clear();
            for connection in chunk {
                connection.queued.store(false, Ordering::Release);
                let mut state = connection.lock();
                let max = state.session.credit(&self.dispatcher.limits);
                state.starved = max == 0;
                if state.takes_deliveries() && max > 0 {
                    let (next, after) = (state.session.next(), state.place);
                    let ends = state.session.is_catching_up().then(Vec::new);
                    drop(state);
                    self.wants.push(Want { connection, next, after, max, ends, look: Look::CaughtUp });
                } else {
                    self.dispatcher.note(&connection, &state, false);
                }
            }
            self.look();
            let bytes = self.write();
            size = (size * CHUNK_BYTES / bytes.max(1)).clamp(1, CHUNK);
            tokio::task::yield_now().await;
        }
        self.marked = marked;
        if self.buffer.capacity() > limits::EVENT_BYTES_MAX {
            self.buffer = Vec::new();
        }
    }

    /// Looks the wanted deliveries up, a shard at a time, so that each window is held once.
    fn look(&mut self) {
        let (wants, found) = (&mut self.wants, &mut self.found);
        found.clear();
        wants.sort_unstable_by_key(|want| want.connection.attached.shard);
        for of_shard in
            wants.chunk_by_mut(|left, right| left.connection.attached.shard == right.connection.attached.shard)
        {
            let shard: Shard = of_shard[0].connection.attached.shard;
            let seen = self.dispatcher.readers.shard(shard).with_hot(|hot| {
                for want in of_shard.iter_mut() {
                    if hot.generation != want.connection.generation {
                        want.look = Look::Gone;
                        continue;
                    }
                    let (slot, from) = (want.connection.attached.slot, found.len());
                    let top = hot.window.top(slot);
                    want.look = if want.next > top {
                        Look::CaughtUp
                    } else if hot.window.find_into(slot, want.next, want.max, want.after, found) {
                        let all = found.last().is_some_and(|last| last.seq == top);
                        Look::Found { from, to: found.len(), all }
                    } else {
                        Look::Older
                    };
                    if let (Some(ends), Look::CaughtUp | Look::Found { all: true, .. }) = (&mut want.ends, &want.look) {
                        ends.extend_from_slice(hot.window.ends());
                    }
                }
            });
            if seen.is_none() {
                of_shard.iter_mut().for_each(|want| want.look = Look::Gone);
            }
        }
    }

    /// Encodes and writes what was found, one write for each connection; answers how many bytes.
    fn write(&mut self) -> usize {
        let now_ms = self.dispatcher.clock.now_ms();
        let (mut sent, mut written, mut observed) = (0, 0, None);
        for want in std::mem::take(&mut self.wants) {
            let Want { connection, look, ends, .. } = want;
            let ends = ends.unwrap_or_default();
            let mut state = connection.lock();
            if !state.takes_deliveries() {
                continue;
            }
            match look {
                Look::Gone => connection.close(&mut state, CloseCode::Resume, now_ms),
                Look::Older => {
                    state.feed = Feed::Store;
                    self.dispatcher.note(&connection, &state, false);
                    drop(state);
                    tokio::spawn(store::read(connection));
                }
                Look::CaughtUp => {
                    state.session.raise_to_ends(&ends);
                    if let Some(frame) = state.session.caught_up() {
                        connection.write_frame(&mut state, &frame);
                    }
                    self.dispatcher.note(&connection, &state, true);
                }
                Look::Found { from, to, all } => {
                    self.buffer.clear();
                    let mut spans = Vec::new();
                    let mut rest = false;
                    for delivery in &self.found[from..to] {
                        let event = delivery.entry.event(&delivery.route);
                        let at = (delivery.entry.partition, event.offset);
                        let wanted = || wants_event(&connection, &event.body);
                        let bytes = event.body.len();
                        match state.session.deliver(delivery.seq, at, bytes, &self.dispatcher.limits, wanted) {
                            Verdict::Send { after } => {
                                state.place = Some(delivery.place);
                                let filters = delivery.entry.filters(&delivery.route);
                                let cursor = || state.session.cursor().to_string();
                                let format = connection.format();
                                encode::put_event(
                                    &mut self.buffer,
                                    format,
                                    (delivery.seq.0, after),
                                    at,
                                    filters,
                                    &event.body,
                                    cursor,
                                );
                                sent += 1;
                                if let Some(trace) = delivery.entry.trace(&delivery.route) {
                                    spans.push(self.dispatcher.span(&connection, delivery, trace));
                                }
                                self.writes = self.writes.wrapping_add(1);
                                if self.writes.is_multiple_of(LATENCY_EVERY) {
                                    observed = Some(event.time_ms);
                                }
                            }
                            Verdict::Skip => state.place = Some(delivery.place),
                            Verdict::Wait => {
                                state.starved = true;
                                rest = true;
                                break;
                            }
                            Verdict::Unexpected => {
                                rest = true;
                                break;
                            }
                        }
                        if self.buffer.len() >= limits::SOCKET_BUFFER_BYTES_MAX {
                            rest = true;
                            break;
                        }
                    }
                    let live = all && !rest;
                    if live {
                        state.session.raise_to_ends(&ends);
                    }
                    if let Some(frame) = state.session.caught_up() {
                        connection.put_frame(&state, &mut self.buffer, &frame);
                    }
                    if state.session.checkpoint_due(now_ms) {
                        let frame = state.session.checkpoint(now_ms);
                        connection.put_frame(&state, &mut self.buffer, &frame);
                    }
                    connection.write(&mut state, &self.buffer);
                    written += self.buffer.len();
                    drop(spans);
                    self.dispatcher.note(&connection, &state, live);
                    // What an ack or the socket's next readiness will mark is not marked here.
                    let more = !live && !state.starved && state.takes_deliveries();
                    drop(state);
                    if more {
                        self.dispatcher.ready(&connection);
                    }
                }
            }
        }
        self.dispatcher.metrics.deliveries_sent.inc_by(sent);
        if let Some(time_ms) = observed {
            self.dispatcher.metrics.observe_latency(self.dispatcher.clock.now_ms() - time_ms);
        }
        written
    }
}

impl Dispatcher {
    /// The span of a delivery, from its match to the socket write.
    fn span(&self, connection: &Connection, delivery: &Found, trace: Trace) -> Span {
        let matched_ms = Some(delivery.entry.time_ms);
        let mut span = self.traces.span("deliver", SpanKind::Producer, Some(trace), matched_ms);
        span.set("evs.subscriber", connection.subscriber.as_str().to_owned());
        span.set("evs.seq", delivery.seq.0.cast_signed());
        span
    }

    /// Keeps what others see of the connection up to date.
    pub(in crate::gateway) fn note(&self, connection: &Connection, state: &State, live: bool) {
        if state.has_left() {
            return;
        }
        let was_live = connection.attached.update(state.session.sent(), live);
        match (was_live, live) {
            (true, false) => drop(self.metrics.connections_behind.inc()),
            (false, true) => drop(self.metrics.connections_behind.dec()),
            _ => {}
        }
    }
}

/// Whether the client's own condition holds, where it has one.
pub(in crate::gateway) fn wants_event(connection: &Connection, body: &bytes::Bytes) -> bool {
    connection.condition.as_ref().is_none_or(|filter| filter.matches(&Event::trusted(body.clone())))
}
