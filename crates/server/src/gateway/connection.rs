//! One connection: a session, where its bytes go, and what could not be written yet.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evs_api::frames::{CloseCode, ServerFrame};
use evs_core::log::Place;
use evs_core::{Filter, SubscriberId, limits};

use super::dispatcher::Dispatcher;
use super::encode::{self, Format};
use super::session::Session;
use super::sink::Sink;
use super::wire;
use crate::auth::Subject;
use crate::limits::ConnectionGuard;
use crate::reader::attached::AttachedSession;

/// One write of deliveries, the last of which may be as large as an event can be, and some small frames.
const PENDING_BYTES_MAX: usize = 2 * limits::SOCKET_BUFFER_BYTES_MAX + limits::EVENT_BYTES_MAX;

/// After our close frame the client has so long to answer it.
const CLOSE_WAIT_MS: i64 = 5_000;

pub(super) struct Connection {
    pub(super) attached: Arc<AttachedSession>,
    pub(super) subscriber: SubscriberId,
    /// The life of the window that this session was resumed in.
    pub(super) generation: u64,
    pub(super) sink: Sink,
    pub(super) dispatcher: Arc<Dispatcher>,
    /// A further condition of this client.
    pub(super) condition: Option<Box<Filter>>,
    /// The address that its client has, for what the client shows later.
    pub(super) client: IpAddr,
    /// Whether it waits in its dispatcher's list.
    pub(super) queued: AtomicBool,
    /// Whether it waits in the list of those whose position moved.
    pub(super) unflushed: AtomicBool,
    _place: Option<ConnectionGuard>,
    state: Mutex<State>,
}

/// What a connection is made of.
pub(super) struct Parts {
    pub(super) attached: Arc<AttachedSession>,
    pub(super) subscriber: SubscriberId,
    pub(super) generation: u64,
    pub(super) sink: Sink,
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) condition: Option<Box<Filter>>,
    /// Whose connection it is; `None` where everybody may do everything.
    pub(super) subject: Option<Box<Subject>>,
    pub(super) client: IpAddr,
    /// Its place among the connections that the gateway takes.
    pub(super) place: Option<ConnectionGuard>,
}

pub(super) struct State {
    pub(super) session: Session,
    pub(super) feed: Feed,
    pub(super) subject: Option<Box<Subject>>,
    pub(super) refreshes: Refreshes,
    /// The client has no credit: its next ack marks it.
    pub(super) starved: bool,
    /// Where the newest delivery that came from the window lies in it.
    pub(super) place: Option<Place>,
    /// The unsent rest of what was written; while there is one, no delivery is added.
    pending: Vec<u8>,
    /// When the close frame was sent.
    closing_ms: Option<i64>,
    /// The connection is gone from the registry.
    left: bool,
}

/// What became of the tokens that the client brought by `refresh` frames.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refreshes {
    /// One is looked at now.
    pub(super) under_way: bool,
    /// That were not good, since the last that was.
    pub(super) failed: u8,
}

/// What feeds a session now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feed {
    /// The window, as far as it reaches.
    Window,
    /// A read of the store is on its way.
    Store,
    /// The event log, up to the moment of the handover.
    Backfill,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("attached", &self.attached).finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(parts: Parts, session: Session, feed: Feed) -> Self {
        let Parts { attached, subscriber, generation, sink, dispatcher, condition, subject, client, place } = parts;
        let state = State {
            session,
            feed,
            subject,
            refreshes: Refreshes::default(),
            starved: false,
            place: None,
            pending: Vec::new(),
            closing_ms: None,
            left: false,
        };
        Self {
            attached,
            subscriber,
            generation,
            sink,
            dispatcher,
            condition,
            client,
            queued: AtomicBool::new(false),
            unflushed: AtomicBool::new(false),
            _place: place,
            state: Mutex::new(state),
        }
    }

    /// Never held over an await, so a write call is the longest that anyone waits for it.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn format(&self) -> Format {
        match self.sink {
            Sink::WebSocket(_) => Format::WebSocket,
            Sink::EventStream(_) => Format::EventStream,
        }
    }

    /// Writes bytes, or keeps the rest for the flush task. Errors end the connection; its reader sees that.
    pub(super) fn write(self: &Arc<Self>, state: &mut State, bytes: &[u8]) {
        if bytes.is_empty() || state.ending() {
            return;
        }
        if !state.pending.is_empty() {
            // Only small frames come here. A client that asks for more and more of them and reads none is not waited for.
            if state.pending.len() > PENDING_BYTES_MAX {
                self.sink.shutdown();
            } else {
                state.pending.extend_from_slice(bytes);
            }
            return;
        }
        self.dispatcher.metrics.socket_writes.inc();
        match self.sink.try_write(bytes) {
            Ok(len) if len == bytes.len() => self.written(state),
            Ok(len) => self.keep(state, &bytes[len..]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.keep(state, bytes),
            Err(_) => self.sink.shutdown(),
        }
    }

    /// Writes a frame of any type but an event.
    pub(super) fn write_frame(self: &Arc<Self>, state: &mut State, frame: &ServerFrame) {
        let mut bytes = Vec::with_capacity(128);
        self.put_frame(state, &mut bytes, frame);
        self.write(state, &bytes);
    }

    pub(super) fn put_frame(&self, state: &State, out: &mut Vec<u8>, frame: &ServerFrame) {
        match self.format() {
            Format::WebSocket => encode::put_frame(out, Format::WebSocket, frame, None),
            Format::EventStream => {
                // Each id is a position, so a client that reconnects goes on after a gap or a marker too; but not past
                // what a backfill has still to bring.
                let cursor = (state.feed != Feed::Backfill).then(|| state.session.cursor().to_string());
                encode::put_frame(out, Format::EventStream, frame, cursor.as_deref());
            }
        }
    }

    /// Tells the client why, and ends the connection once it has answered or the time for that is over.
    pub(super) fn close(self: &Arc<Self>, state: &mut State, code: CloseCode, now_ms: i64) {
        self.close_with(state, code as u16, code.reason(), now_ms);
    }

    pub(super) fn close_with(self: &Arc<Self>, state: &mut State, code: u16, reason: &str, now_ms: i64) {
        if state.closing_ms.is_some() {
            return;
        }
        match self.format() {
            Format::WebSocket => {
                let mut bytes = Vec::with_capacity(32);
                wire::put_close(&mut bytes, code, reason);
                self.write(state, &bytes);
            }
            Format::EventStream => {
                if !CloseCode::reconnects(code) {
                    // An EventSource reconnects by itself; this is how its page learns to stop it.
                    let message = "do not reconnect".to_owned();
                    self.write_frame(state, &ServerFrame::Error { code: reason.to_owned(), message });
                }
                self.sink.shutdown();
            }
        }
        // Nothing may follow a close frame.
        state.closing_ms = Some(now_ms);
    }

    /// Whether our close frame was not answered in time.
    pub(super) fn close_overdue(state: &State, now_ms: i64) -> bool {
        state.closing_ms.is_some_and(|since| now_ms - since >= CLOSE_WAIT_MS)
    }

    fn written(self: &Arc<Self>, state: &mut State) {
        if state.session.written() {
            self.dispatcher.acks.moved(self);
        }
    }

    fn keep(self: &Arc<Self>, state: &mut State, rest: &[u8]) {
        state.pending.extend_from_slice(rest);
        tokio::spawn(self.clone().flush());
    }

    /// Lives until the rest is out. A client that takes nothing at all for the ack timeout is closed.
    async fn flush(self: Arc<Self>) {
        let patience = Duration::from_millis(self.dispatcher.limits.ack_timeout_ms.unsigned_abs());
        loop {
            if !matches!(tokio::time::timeout(patience, self.sink.writable()).await, Ok(Ok(()))) {
                self.dispatcher.metrics.closed_slow.inc();
                self.dispatcher.journal.slow(&self, self.dispatcher.clock.now_ms());
                self.sink.shutdown();
                return;
            }
            let mut state = self.lock();
            let pending = std::mem::take(&mut state.pending);
            self.dispatcher.metrics.socket_writes.inc();
            match self.sink.try_write(&pending) {
                Ok(len) if len == pending.len() => {
                    self.written(&mut state);
                    drop(state);
                    self.dispatcher.ready(&self);
                    return;
                }
                Ok(len) => state.pending = pending[len..].to_vec(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => state.pending = pending,
                Err(_) => {
                    drop(state);
                    self.sink.shutdown();
                    return;
                }
            }
        }
    }

    /// Takes the connection out of every registry; the position that it reached is kept. May be called again.
    pub(super) fn leave(self: &Arc<Self>) {
        {
            let mut state = self.lock();
            if std::mem::replace(&mut state.left, true) {
                return;
            }
            state.pending = Vec::new();
        }
        self.sink.shutdown();
        self.dispatcher.remove(self);
        self.dispatcher.journal.disconnected(self, self.dispatcher.clock.now_ms());
        self.dispatcher.acks.leaving(self);
    }
}

impl State {
    /// Whether deliveries of the window may be written now.
    pub(super) fn takes_deliveries(&self) -> bool {
        self.feed == Feed::Window && self.pending.is_empty() && self.closing_ms.is_none() && !self.left
    }

    /// Whether the connection is on its way out.
    pub(super) fn ending(&self) -> bool {
        self.closing_ms.is_some() || self.left
    }

    /// Whether the socket has taken all that was written.
    pub(super) fn is_flushed(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn has_left(&self) -> bool {
        self.left
    }
}
