//! The task of one WebSocket: reads what the client says. It is all that an idle connection keeps alive.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use axum::http::StatusCode;
use bytes::Bytes;
use evs_api::frames::{CloseCode, ServerFrame};
use evs_core::limits;
use tokio::net::TcpStream;

use super::connection::{Connection, State};
use super::session::Said;
use super::sink::Sink;
use super::wire::{self, Decoder, Message};
use crate::auth::{Credential, Subject};
use crate::door;
use crate::http::problem::{ApiError, ApiResult};

/// Reads of one readiness; more wait for their turn.
const READS_MAX: usize = 16;

/// Refreshes that failed one after the other, after which the connection ends: whoever cannot get a good token in so many
/// tries gets none.
const REFRESHES_FAILED_MAX: u8 = 3;

/// What is on the stack while a socket is read, and never across an await.
const READ_BYTES: usize = 4096;

/// Reads until either side has closed. `first` came with the handshake.
pub(super) async fn read(connection: Arc<Connection>, first: Bytes) {
    let mut incoming = Incoming { decoder: Decoder::default(), deaf: false };
    let mut open = first.is_empty() || incoming.take(&connection, &mut first.to_vec());
    drop(first);
    while open {
        let Sink::WebSocket(stream) = &connection.sink else { break };
        // `readable()` would keep hyper's finished task alive by the waker that it left in the reader's place.
        open = poll_fn(|cx| stream.poll_read_ready(cx)).await.is_ok() && incoming.read(&connection, stream);
    }
    connection.leave();
}

struct Incoming {
    decoder: Decoder,
    /// After a protocol error what comes is thrown away until the client has seen the close frame.
    deaf: bool,
}

impl Incoming {
    /// Takes what is there; answers whether the connection goes on.
    fn read(&mut self, connection: &Arc<Connection>, stream: &TcpStream) -> bool {
        let mut bytes = [0_u8; READ_BYTES];
        for _ in 0..READS_MAX {
            match stream.try_read(&mut bytes) {
                Ok(0) => return false,
                Ok(len) => {
                    if !self.take(connection, &mut bytes[..len]) {
                        return false;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    fn take(&mut self, connection: &Arc<Connection>, bytes: &mut [u8]) -> bool {
        if self.deaf {
            return true;
        }
        let mut open = true;
        let fed = self.decoder.feed(bytes, limits::CLIENT_FRAME_BYTES_MAX, |message| {
            open = heard(connection, &message);
            open
        });
        if let Err(error) = fed {
            let (code, reason) = error.close();
            self.deaf = true;
            self.decoder = Decoder::default();
            connection.close_with(&mut connection.lock(), code, reason, connection.dispatcher.clock.now_ms());
        }
        open
    }
}

/// Answers whether the connection goes on.
fn heard(connection: &Arc<Connection>, message: &Message<'_>) -> bool {
    let dispatcher = &connection.dispatcher;
    let now_ms = dispatcher.clock.now_ms();
    let mut state = connection.lock();
    state.session.heard(now_ms);
    match message {
        Message::Text(text) => match state.session.said(text) {
            Said::Nothing => {}
            Said::Reply(frame) => connection.write_frame(&mut state, &frame),
            Said::Acked(reply) => {
                if let Some(frame) = reply {
                    connection.write_frame(&mut state, &frame);
                }
                let starved = std::mem::take(&mut state.starved);
                drop(state);
                dispatcher.acks.moved(connection);
                if starved {
                    dispatcher.ready(connection);
                }
            }
            Said::Close(frame, code) => {
                connection.write_frame(&mut state, &frame);
                connection.close(&mut state, code, now_ms);
            }
            Said::Refresh(token) => {
                // Where no token was asked for there is none to renew.
                let Some(subject) = state.subject.clone().filter(|_| !state.ending()) else { return true };
                match std::mem::replace(&mut state.refreshes.under_way, true) {
                    false => _ = tokio::spawn(refresh(connection.clone(), subject, token)),
                    true => refuse(connection, &mut state, &busy(), now_ms),
                }
            }
        },
        Message::Ping(payload) => {
            let mut pong = Vec::with_capacity(payload.len() + 2);
            wire::put_control(&mut pong, wire::PONG, payload);
            connection.write(&mut state, &pong);
        }
        Message::Pong => {}
        Message::Close => {
            // Answers the client's close; where ours was first this does nothing.
            connection.close_with(&mut state, 1000, "", now_ms);
            return false;
        }
    }
    true
}

/// Checks the new token beside the reading, one at a time: a key may have to be fetched, or the refusal be held back.
async fn refresh(connection: Arc<Connection>, subject: Box<Subject>, token: String) {
    let renewed = renewed(&connection, &subject, &token).await;
    let now_ms = connection.dispatcher.clock.now_ms();
    let mut state = connection.lock();
    state.refreshes.under_way = false;
    match renewed {
        Ok(renewed) => {
            state.refreshes.failed = 0;
            state.subject = Some(Box::new(renewed));
        }
        Err(error) => refuse(&connection, &mut state, &error, now_ms),
    }
}

/// A frame with a token is a request like any other: by the same door, under the same limits.
async fn renewed(connection: &Connection, present: &Subject, token: &str) -> ApiResult<Subject> {
    let (app, client) = (&connection.dispatcher.app, Some(connection.client));
    let shown = Ok(Credential::Token(token));
    door::approach(app, client, &shown)?;
    let fresh = door::enter(app, client, shown).await?.instead_of(present)?;
    app.limits.check_subject(&fresh).inspect_err(|_| _ = app.metrics.rate_limited.inc())?;
    Ok(fresh)
}

/// Tells why, and ends the connection of who goes on with tokens that are no good.
fn refuse(connection: &Arc<Connection>, state: &mut State, error: &ApiError, now_ms: i64) {
    let problem = error.problem();
    let frame = ServerFrame::Error { code: problem.code, message: problem.detail };
    connection.write_frame(state, &frame);
    // Limits that others of the address use up, and keys that cannot be had, are not the client's fault.
    if matches!(error.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::CONFLICT) {
        state.refreshes.failed = state.refreshes.failed.saturating_add(1);
        if state.refreshes.failed >= REFRESHES_FAILED_MAX {
            connection.close(state, CloseCode::Unauthorized, now_ms);
        }
    }
}

fn busy() -> ApiError {
    let detail = "a token is looked at already; send the next one when it was, a moment later";
    ApiError::new(StatusCode::CONFLICT, "refresh_under_way", detail)
}

/// The code of a connection that ends because the server does.
pub(super) const STOPPING: CloseCode = CloseCode::GoingAway;
