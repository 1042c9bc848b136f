//! What left the window is read from the store: spilled deliveries, and the gaps that the floor tells.

use std::sync::Arc;
use std::time::Duration;

use evs_api::frames::{CloseCode, Gap, GapReason, ServerFrame};
use evs_api::oplog::Level;
use evs_core::{Seq, limits};
use tokio::time::timeout;

use super::connection::{Connection, Feed, State};
use super::dispatcher::pump::wants_event;
use super::encode;
use super::session::{self, Verdict};
use crate::ports::delivery_queue::QueueRead;
use crate::retry::Backoff;

/// A store that has not answered by then is asked again.
const READ_WAIT: Duration = Duration::from_secs(10);

/// Reads once for a connection that wants what the window no longer has, writes it, and gives it back to the window.
pub(super) async fn read(connection: Arc<Connection>) {
    let dispatcher = connection.dispatcher.clone();
    let (shard, slot) = (connection.attached.shard, connection.attached.slot);
    let mut backoff = Backoff::default();
    loop {
        let (next, max) = {
            let state = connection.lock();
            if state.ending() {
                return;
            }
            (state.session.next(), state.session.credit(&dispatcher.limits).max(1))
        };
        // Closed never; at most as many wait as there are connections.
        let Ok(permit) = dispatcher.store_reads.acquire().await else { return };
        let read = timeout(READ_WAIT, dispatcher.queue.read(shard, slot, next, max)).await;
        drop(permit);
        match read {
            Ok(Ok(read)) => {
                if !apply(&connection, next, max, &read) {
                    // The window should have had it; it will once its reader is there.
                    backoff.wait(&dispatcher.shutdown).await;
                }
                break;
            }
            Ok(Err(error)) => tracing::warn!(%shard, %error, "a queue could not be read; it is tried again"),
            Err(_) => tracing::warn!(%shard, "a queue was not read in time; it is tried again"),
        }
        if !backoff.wait(&dispatcher.shutdown).await {
            return;
        }
    }
    connection.lock().feed = Feed::Window;
    dispatcher.ready(&connection);
}

/// Writes what was read. `false`: nothing came of it.
fn apply(connection: &Arc<Connection>, next: Seq, max: usize, read: &QueueRead) -> bool {
    let dispatcher = &connection.dispatcher;
    let now_ms = dispatcher.clock.now_ms();
    let mut state = connection.lock();
    if read.state.epoch != state.session.epoch() {
        connection.close(&mut state, CloseCode::Resume, now_ms);
        return true;
    }
    if read.removed {
        connection.close(&mut state, CloseCode::NotFound, now_ms);
        return true;
    }
    let mut buffer = Vec::new();
    let (gaps, want) = session::gaps(next, read.base, read.acked, read.lost);
    for gap in gaps {
        tell_gap(connection, &mut state, &mut buffer, gap);
    }
    let (mut sent, mut complete) = (0, true);
    for spill in read.records.iter().filter(|spill| spill.seq >= want) {
        if spill.seq > state.session.next() {
            missing(connection, &mut state, &mut buffer, Seq(spill.seq.0 - 1));
        }
        let wanted = || wants_event(connection, &spill.body);
        let at = (spill.partition, spill.offset);
        match state.session.deliver(spill.seq, at, spill.body.len(), &dispatcher.limits, wanted) {
            Verdict::Send { after } => {
                let cursor = || state.session.cursor().to_string();
                let format = connection.format();
                encode::put_event(&mut buffer, format, (spill.seq.0, after), at, &spill.filters, &spill.body, cursor);
                sent += 1;
            }
            Verdict::Skip => {}
            Verdict::Wait | Verdict::Unexpected => {
                complete = false;
                break;
            }
        }
        if buffer.len() >= limits::SOCKET_BUFFER_BYTES_MAX {
            complete = false;
            break;
        }
    }
    // All that the base counts and the floor does not cover must have been there (rule 7).
    if complete && read.records.len() < max && state.session.next() <= read.base {
        missing(connection, &mut state, &mut buffer, read.base);
    }
    let progress = state.session.next() > next;
    if let Some(frame) = state.session.caught_up() {
        connection.put_frame(&state, &mut buffer, &frame);
    }
    if state.session.checkpoint_due(now_ms) {
        let frame = state.session.checkpoint(now_ms);
        connection.put_frame(&state, &mut buffer, &frame);
    }
    connection.write(&mut state, &buffer);
    dispatcher.note(connection, &state, false);
    dispatcher.metrics.deliveries_sent.inc_by(sent);
    progress
}

fn tell_gap(connection: &Connection, state: &mut State, buffer: &mut Vec<u8>, gap: Gap) {
    let dispatcher = &connection.dispatcher;
    let to = gap.to.unwrap_or(gap.from);
    dispatcher.metrics.gaps.inc();
    if connection.attached.consumer.is_some() {
        let message = format!("deliveries {}..={to} are gone ({:?})", gap.from, gap.reason);
        dispatcher.oplog.write(Level::Warn, "gap", Some(connection.subscriber.as_str()), message);
    }
    state.session.gap(Seq(to));
    connection.put_frame(state, buffer, &ServerFrame::Gap(gap));
}

/// Deliveries up to `to` should be in the store and are not: an alarm, and an honest gap.
fn missing(connection: &Connection, state: &mut State, buffer: &mut Vec<u8>, to: Seq) {
    let gap = Gap { from: state.session.next().0, to: Some(to.0), reason: GapReason::DataLoss };
    tracing::error!(
        subscriber = %connection.subscriber, from = gap.from, to = to.0,
        "the store lost deliveries that nobody acked and no retention took"
    );
    tell_gap(connection, state, buffer, gap);
}
