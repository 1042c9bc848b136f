//! What a dispatcher does for its connections once a second: pings, deadlines, checkpoints.

use std::sync::Arc;

use evs_api::frames::{CloseCode, ServerFrame};
use evs_api::oplog::Level;
use evs_core::{Offset, Partition, Seq};

use super::Dispatcher;
use crate::gateway::connection::{Connection, State};
use crate::gateway::encode::Format;
use crate::gateway::session::{Due, Limits};
use crate::gateway::wire;
use crate::reader::attached::End;

/// Connections looked at between two yields.
const CHUNK: usize = 256;

/// A comment this often keeps proxies from closing a quiet event stream.
const KEEP_ALIVE_MS: i64 = 15_000;

impl Dispatcher {
    pub(super) async fn tick(&self) {
        let now_ms = self.clock.now_ms();
        for chunk in self.all().chunks(CHUNK) {
            for connection in chunk {
                if self.tick_one(connection, now_ms) {
                    self.checkpoint(connection, now_ms);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Answers whether a checkpoint is due.
    fn tick_one(&self, connection: &Arc<Connection>, now_ms: i64) -> bool {
        let mut state = connection.lock();
        if Connection::close_overdue(&state, now_ms) {
            connection.sink.shutdown();
        }
        if state.ending() {
            return false;
        }
        if state.subject.as_ref().and_then(|subject| subject.expires_ms()).is_some_and(|end_ms| end_ms <= now_ms) {
            connection.close(&mut state, CloseCode::TokenExpired, now_ms);
            return false;
        }
        if let Some(end) = connection.attached.ending() {
            self.end(connection, &mut state, end, now_ms);
            return false;
        }
        if state.subject.as_ref().is_some_and(|subject| self.app.auth.is_revoked(subject)) {
            connection.close(&mut state, CloseCode::Unauthorized, now_ms);
            return false;
        }
        let due = match connection.format() {
            Format::WebSocket => state.session.tick(now_ms, &self.limits),
            Format::EventStream => {
                // Nothing is ever heard from it; TCP tells when it is gone.
                state.session.heard(now_ms);
                let ping_ms = self.limits.ping_ms.min(KEEP_ALIVE_MS);
                state.session.tick(now_ms, &Limits { ping_ms, ..self.limits })
            }
        };
        match (due, connection.format()) {
            (Due::Nothing, _) => {}
            (Due::Ping, Format::WebSocket) => {
                let mut ping = Vec::with_capacity(2);
                wire::put_control(&mut ping, wire::PING, b"");
                connection.write(&mut state, &ping);
            }
            (Due::Ping, Format::EventStream) => connection.write(&mut state, b":\n\n"),
            (Due::Close(code), _) => {
                self.metrics.closed_slow.inc();
                if code == CloseCode::Slow {
                    let message = "it acked nothing for too long with all its credit used; its queue stays";
                    self.oplog.write(Level::Warn, "slow", Some(connection.subscriber.as_str()), message);
                } else {
                    self.journal.silent(connection, now_ms);
                }
                connection.close(&mut state, code, now_ms);
                return false;
            }
        }
        state.session.checkpoint_due(now_ms)
    }

    /// What was decided about a connection elsewhere.
    fn end(&self, connection: &Arc<Connection>, state: &mut State, end: End, now_ms: i64) {
        match end {
            End::Superseded => self.supersede(connection, state, now_ms),
            End::Gone => connection.close(state, CloseCode::NotFound, now_ms),
            End::Unknown => connection.close(state, CloseCode::Resume, now_ms),
            End::Moved => {
                // A client that keeps a cursor of its own would come back by it, and undo the move.
                let message = "an operator moved this consumer; forget its cursor and its numbers, and come back";
                let (code, message) = ("moved".to_owned(), message.to_owned());
                connection.write_frame(state, &ServerFrame::Error { code, message });
                connection.close(state, CloseCode::Resume, now_ms);
            }
        }
    }

    /// If the client has all that the window has, its cursor covers all that the window has seen (rule 31).
    fn checkpoint(&self, connection: &Arc<Connection>, now_ms: i64) {
        let attached = &connection.attached;
        let ends: Option<(Seq, Vec<(Partition, Offset)>)> = self
            .readers
            .shard(attached.shard)
            .with_hot(|hot| {
                let same = hot.generation == connection.generation;
                same.then(|| (hot.window.top(attached.slot), hot.window.ends().to_vec()))
            })
            .flatten();
        let mut state = connection.lock();
        if let Some((top, ends)) = ends
            && state.session.sent() == top
        {
            state.session.raise_to_ends(&ends);
        }
        let frame = state.session.checkpoint(now_ms);
        connection.write_frame(&mut state, &frame);
    }
}
