//! One session as a state machine without I/O or clock: deliveries and client frames in, frames and verdicts out.
//!
//! Deliveries come in the order of their seqs, from the window or from the store; the session neither knows nor cares
//! which. Deliveries that the client must not see (it has seen them before an epoch change, or its `where=` leaves
//! them out) are **skipped**: their numbers pass without a frame and count as sent.

use std::collections::VecDeque;

use evs_api::frames::{ClientFrame, CloseCode, Gap, GapReason, ServerFrame};
use evs_core::{Cursor, Epoch, Offset, Partition, Seq, Shard, Slot};

/// Deliveries asked for at once where no credit limits them.
const PAGE_EVENTS: usize = 256;

/// A checkpoint follows so many events, or so long after an event.
const CHECKPOINT_EVENTS: u32 = 1000;
const CHECKPOINT_MS: i64 = 5_000;

/// Messages that are no JSON object of ours, after which the client is told to stop.
const BAD_FRAMES_MAX: u8 = 10;

/// Beyond two missed pings, time for a pong to arrive.
const PONG_MS: i64 = 10_000;

/// Who moves the consumer's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acking {
    /// The client, by ack frames; it is sent no more than its credit.
    Client,
    /// The server, with every write: a client that only listens.
    OnSend,
    /// Nobody: an observer.
    Never,
}

/// The bounds of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) events_max: usize,
    pub(super) bytes_max: usize,
    pub(super) ping_ms: i64,
    pub(super) ack_timeout_ms: i64,
}

#[derive(Debug)]
pub(super) struct Session {
    shard: Shard,
    slot: Slot,
    epoch: Epoch,
    acking: Acking,
    /// Where it began: what is before is nobody's to ack by having been sent.
    first: u64,
    /// The next seq to send.
    next: u64,
    /// The last number that the client was told, by whatever frame: what lies between it and the next event was skipped.
    told: u64,
    /// What the consumer has acked, as far as this session knows.
    acked: u64,
    /// Sent and not acked: seq and bytes.
    unacked: VecDeque<(u64, u32)>,
    unacked_bytes: usize,
    /// Since when the client has had no credit and acked nothing.
    full_since_ms: Option<i64>,
    /// Per partition the offset after the last one delivered, skipped, or known to hold nothing for this slot.
    seen: Vec<(Partition, Offset)>,
    /// The top when the client connected, until `caught_up` is said.
    target: Option<u64>,
    sent_since_checkpoint: u32,
    checkpoint_ms: i64,
    heard_ms: i64,
    ping_ms: i64,
    bad_frames: u8,
}

/// What to do with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// `after` is the number that was told before, where it is not the one before this.
    Send {
        after: Option<u64>,
    },
    Skip,
    /// No credit for it now.
    Wait,
    /// Not the one that follows.
    Unexpected,
}

/// What a client's message asks for.
#[derive(Debug)]
pub(super) enum Said {
    Nothing,
    Reply(ServerFrame),
    /// The position moved, and credit with it.
    Acked(Option<ServerFrame>),
    /// Too much nonsense.
    Close(ServerFrame, CloseCode),
    /// A new token.
    Refresh(String),
}

/// What a second's passing asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Ping,
    Close(CloseCode),
}

impl Session {
    pub(super) fn new(
        (shard, slot, epoch): (Shard, Slot, Epoch),
        acking: Acking,
        next: Seq,
        acked: Seq,
        top: Seq,
        seen: Vec<(Partition, Offset)>,
        now_ms: i64,
    ) -> Self {
        Self {
            shard,
            slot,
            epoch,
            acking,
            first: next.0.max(1),
            next: next.0.max(1),
            told: next.0.max(1) - 1,
            acked: acked.0,
            unacked: VecDeque::new(),
            unacked_bytes: 0,
            full_since_ms: None,
            seen,
            target: Some(top.0),
            sent_since_checkpoint: 0,
            checkpoint_ms: now_ms,
            heard_ms: now_ms,
            ping_ms: now_ms,
            bad_frames: 0,
        }
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) fn next(&self) -> Seq {
        Seq(self.next)
    }

    pub(super) fn sent(&self) -> Seq {
        Seq(self.next - 1)
    }

    pub(super) fn acked(&self) -> Seq {
        Seq(self.acked)
    }

    /// How many deliveries the client may be sent now; 0 without credit.
    pub(super) fn credit(&self, limits: &Limits) -> usize {
        if self.acking != Acking::Client {
            return PAGE_EVENTS;
        }
        if self.unacked_bytes >= limits.bytes_max {
            return 0;
        }
        limits.events_max.saturating_sub(self.unacked.len()).min(PAGE_EVENTS)
    }

    /// Judges the next delivery and, if it is sent or skipped, moves on. `wanted` asks the client's own condition.
    pub(super) fn deliver(
        &mut self,
        seq: Seq,
        (partition, offset): (Partition, Offset),
        bytes: usize,
        limits: &Limits,
        wanted: impl FnOnce() -> bool,
    ) -> Verdict {
        if seq.0 != self.next {
            return Verdict::Unexpected;
        }
        // A delivery larger than all credit goes alone, or it would never go.
        let fits = self.unacked.is_empty() || self.unacked_bytes + bytes <= limits.bytes_max;
        if self.credit(limits) == 0 || (self.acking == Acking::Client && !fits) {
            return Verdict::Wait;
        }
        let skip = self.seen(partition).is_some_and(|seen| offset < seen) || !wanted();
        self.raise_seen(partition, Offset(offset.0 + 1));
        if skip {
            self.pass(seq.0);
            return Verdict::Skip;
        }
        self.next = seq.0 + 1;
        self.sent_since_checkpoint += 1;
        if self.acking == Acking::Client {
            self.unacked.push_back((seq.0, u32::try_from(bytes).unwrap_or(u32::MAX)));
            self.unacked_bytes += bytes;
        }
        let after = std::mem::replace(&mut self.told, seq.0);
        Verdict::Send { after: (after + 1 != seq.0).then_some(after) }
    }

    /// Deliveries up to `gap.to` will not come.
    pub(super) fn gap(&mut self, to: Seq) {
        self.next = self.next.max(to.0 + 1);
        self.told = self.next - 1;
    }

    /// A number passes without a frame. Its ack is the next number's that the client is told, be it a checkpoint's: a
    /// position that ran ahead of the client's cursor would look like a gap when it comes back.
    fn pass(&mut self, seq: u64) {
        self.next = seq + 1;
        self.sent_since_checkpoint += 1;
    }

    /// All that was sent is with the kernel. Answers whether the position moved.
    pub(super) fn written(&mut self) -> bool {
        let moved = self.acking == Acking::OnSend && self.told >= self.first && self.acked < self.told;
        if moved {
            self.acked = self.told;
        }
        moved
    }

    /// `caught_up`, once, when all that waited at connect has been sent.
    pub(super) fn caught_up(&mut self) -> Option<ServerFrame> {
        self.target.take_if(|target| self.next > *target)?;
        self.told = self.next - 1;
        Some(ServerFrame::CaughtUp { seq: self.next - 1, cursor: Some(self.cursor().to_string()) })
    }

    /// Whether `caught_up` is still to be said.
    pub(super) fn is_catching_up(&self) -> bool {
        self.target.is_some()
    }

    /// Whether enough was sent for a checkpoint now.
    pub(super) fn checkpoint_due(&self, now_ms: i64) -> bool {
        self.sent_since_checkpoint >= CHECKPOINT_EVENTS
            || (self.sent_since_checkpoint > 0 && now_ms - self.checkpoint_ms >= CHECKPOINT_MS)
    }

    pub(super) fn checkpoint(&mut self, now_ms: i64) -> ServerFrame {
        self.sent_since_checkpoint = 0;
        self.checkpoint_ms = now_ms;
        self.told = self.next - 1;
        ServerFrame::Checkpoint { seq: self.next - 1, cursor: self.cursor().to_string() }
    }

    /// The client has everything up to here: `ends` are the window's own, taken when its top was `sent` (rule 31).
    pub(super) fn raise_to_ends(&mut self, ends: &[(Partition, Offset)]) {
        for &(partition, end) in ends {
            self.raise_seen(partition, end);
        }
    }

    pub(super) fn cursor(&self) -> Cursor {
        Cursor {
            shard: self.shard,
            slot: self.slot,
            epoch: self.epoch,
            seq: Seq(self.next - 1),
            seen: self.seen.clone(),
        }
    }

    /// Anything came from the client.
    pub(super) fn heard(&mut self, now_ms: i64) {
        self.heard_ms = now_ms;
    }

    /// A text message came from the client.
    pub(super) fn said(&mut self, text: &str) -> Said {
        match serde_json::from_str(text) {
            Ok(ClientFrame::Ack { seq, n }) => self.ack(seq, n),
            Ok(ClientFrame::Ping { n }) => Said::Reply(ServerFrame::Pong { n }),
            Ok(ClientFrame::Refresh { token }) => Said::Refresh(token),
            Ok(ClientFrame::Unknown) => Said::Reply(bad_request("this server does not know a frame of that type")),
            Err(error) => {
                self.bad_frames += 1;
                let frame = bad_request(&format!("not a frame: {error}"));
                if self.bad_frames >= BAD_FRAMES_MAX {
                    Said::Close(frame, CloseCode::BadRequest)
                } else {
                    Said::Reply(frame)
                }
            }
        }
    }

    /// An ack is a maximum, and never beyond what was sent (rule 13).
    fn ack(&mut self, seq: u64, n: Option<u64>) -> Said {
        if self.acking == Acking::Never {
            return Said::Reply(bad_request("an observer has no position to ack"));
        }
        let seq = seq.min(self.next - 1);
        while let Some(&(first, bytes)) = self.unacked.front() {
            if first > seq {
                break;
            }
            self.unacked.pop_front();
            self.unacked_bytes -= bytes as usize;
        }
        let moved = seq > self.acked;
        if moved {
            self.acked = seq;
            self.full_since_ms = None;
            if self.unacked.is_empty() {
                // A burst's memory is not an idle session's.
                self.unacked = VecDeque::new();
            }
        }
        let reply = n.map(|n| ServerFrame::Acked { seq: self.acked, n });
        match (moved, reply) {
            (true, reply) => Said::Acked(reply),
            (false, Some(reply)) => Said::Reply(reply),
            (false, None) => Said::Nothing,
        }
    }

    /// Called about once a second.
    pub(super) fn tick(&mut self, now_ms: i64, limits: &Limits) -> Due {
        if now_ms - self.heard_ms > 2 * limits.ping_ms + PONG_MS {
            return Due::Close(CloseCode::NoPong);
        }
        if self.credit(limits) > 0 {
            self.full_since_ms = None;
        } else if now_ms - *self.full_since_ms.get_or_insert(now_ms) >= limits.ack_timeout_ms {
            return Due::Close(CloseCode::Slow);
        }
        if now_ms - self.ping_ms >= limits.ping_ms {
            self.ping_ms = now_ms;
            return Due::Ping;
        }
        Due::Nothing
    }

    fn seen(&self, partition: Partition) -> Option<Offset> {
        self.seen.iter().find(|(of, _)| *of == partition).map(|(_, seen)| *seen)
    }

    fn raise_seen(&mut self, partition: Partition, to: Offset) {
        evs_core::cursor::raise_seen(&mut self.seen, partition, to);
    }
}

pub(super) fn bad_request(message: &str) -> ServerFrame {
    ServerFrame::Error { code: "bad_request".into(), message: message.into() }
}

/// The gaps at `want`, told from the floor and never from what is absent (rules 6 and 7), and where it goes on. Below
/// `base` only what the floor covers can be missing.
pub(super) fn gaps(want: Seq, base: Seq, acked: Seq, lost: Seq) -> (Vec<Gap>, Seq) {
    let (mut gaps, mut want) = (Vec::new(), want.0);
    for (upto, reason) in [(lost, GapReason::Retention), (acked, GapReason::Acked)] {
        let to = upto.0.min(base.0);
        if want <= to {
            gaps.push(Gap { from: want, to: Some(to), reason });
            want = to + 1;
        }
    }
    (gaps, Seq(want))
}

#[cfg(test)]
mod tests;
