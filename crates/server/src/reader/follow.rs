//! The task of one shard's reader: snapshot, then the tail for as long as it fits.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use evs_api::oplog::Level;
use evs_core::log::{Window, WindowError};
use evs_core::{Epoch, Offset, Partition};
use tokio_util::sync::CancellationToken;

use super::{Hot, Progress, Readers, ShardReader, TAIL_WAIT};
use crate::metrics::Metrics;
use crate::oplog::OpLog;
use crate::ports::delivery_queue::Tail;
use crate::ports::{DeliveryQueue, PortError};
use crate::retry::Backoff;

/// Bytes of entries in one read: one large entry, or many small ones.
const TAIL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A store that has not answered for so long has lost the connection, whatever the client library believes.
const ANSWER_WAIT: Duration = Duration::from_secs(15);

#[derive(Clone)]
pub(super) struct Follower {
    pub(super) readers: Readers,
    pub(super) index: usize,
    pub(super) queue: Arc<dyn DeliveryQueue>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) oplog: Arc<OpLog>,
    pub(super) shutdown: CancellationToken,
}

/// Up to which entry one must have read, to have all of these.
type Known = (u64, Vec<(Partition, Offset)>);

/// Why a reader starts again from the base.
#[derive(Debug, thiserror::Error)]
enum Restart {
    #[error(transparent)]
    Store(#[from] PortError),
    #[error("the store did not answer within {} s", ANSWER_WAIT.as_secs())]
    NoAnswer,
    #[error(transparent)]
    Window(#[from] WindowError),
    #[error("the log was trimmed up to entry {trimmed}, this reader was at {read_to}")]
    Overtaken { read_to: u64, trimmed: u64 },
    #[error("the log ends at entry {top}, this reader was at {read_to}")]
    WentBack { read_to: u64, top: u64 },
}

/// Keeps a follower running: a reader that ended by a panic would silence its shard for ever.
pub(super) async fn supervise(follower: Follower) {
    let shutdown = follower.shutdown.clone();
    while !shutdown.is_cancelled() {
        if let Err(error) = tokio::spawn(follower.clone().run()).await {
            let shard = follower.reader().shard;
            tracing::error!(%shard, %error, "the reader of a shard failed and starts again");
            follower.reader().set_problem(Some("it failed and starts again".to_owned()));
            tokio::time::sleep(TAIL_WAIT).await;
        }
    }
}

impl Follower {
    fn reader(&self) -> &ShardReader {
        &self.readers.0.shards[self.index]
    }

    async fn run(self) {
        let mut backoff = Backoff::default();
        loop {
            let restart = tokio::select! {
                () = self.shutdown.cancelled() => return,
                restart = self.follow(&mut backoff) => restart,
            };
            self.lost(&restart);
            if !backoff.wait(&self.shutdown).await {
                return;
            }
        }
    }

    /// One generation: reads the base and follows the log until something does not fit.
    async fn follow(&self, backoff: &mut Backoff) -> Restart {
        let (reader, shard) = (self.reader(), self.reader().shard);
        let snapshot = match tokio::time::timeout(ANSWER_WAIT, self.queue.snapshot(shard)).await {
            Ok(Ok(snapshot)) => snapshot,
            Ok(Err(error)) => return error.into(),
            Err(_) => return Restart::NoAnswer,
        };
        let mut read_to = snapshot.state.position.n;
        let mut known = match tokio::time::timeout(ANSWER_WAIT, self.known(snapshot.state.epoch)).await {
            Ok(Ok(known)) => Some(known),
            Ok(Err(restart)) => return restart,
            Err(_) => return Restart::NoAnswer,
        };
        self.begin(Window::new(snapshot.state.epoch, snapshot.state.position, snapshot.base));
        loop {
            if let Some((_, ends)) = known.take_if(|(top, _)| *top <= read_to) {
                let mut hot = reader.hot.write().unwrap_or_else(PoisonError::into_inner);
                if let Some(Hot { window, .. }) = hot.as_mut() {
                    window.raise_ends(ends);
                }
            }
            let tail = self.queue.tail(shard, read_to, TAIL_BYTES_MAX, TAIL_WAIT);
            let tail = match tokio::time::timeout(ANSWER_WAIT, tail).await {
                Ok(Ok(tail)) => tail,
                Ok(Err(error)) => return error.into(),
                Err(_) => return Restart::NoAnswer,
            };
            match self.take(reader, read_to, &tail) {
                Ok(now) => read_to = now,
                Err(restart) => return restart,
            }
            *backoff = Backoff::default();
        }
    }

    /// How far the log covers each partition, quiet ones too, and the entry up to which one must have read for that to
    /// hold: checkpoints and end must be of one life.
    async fn known(&self, epoch: Epoch) -> Result<Known, Restart> {
        let shard = self.reader().shard;
        let checkpoints = self.queue.checkpoints(shard).await?;
        let state = self.queue.state(shard).await?;
        if state.epoch != epoch {
            return Err(WindowError::Epoch { own: epoch, got: state.epoch }.into());
        }
        Ok((state.top, checkpoints.into_iter().map(|checkpoint| (checkpoint.partition, checkpoint.next)).collect()))
    }

    /// Checks a reply and adds it to the window; answers the newest entry read.
    fn take(&self, reader: &ShardReader, read_to: u64, tail: &Tail) -> Result<u64, Restart> {
        let (state, mut now) = (&tail.state, read_to);
        {
            // Written to for the time of a few pushes; the gateway's reads are as short.
            let mut hot = reader.hot.write().unwrap_or_else(PoisonError::into_inner);
            let Some(Hot { window, .. }) = hot.as_mut() else { return Ok(read_to) };
            if state.epoch != window.epoch() {
                return Err(WindowError::Epoch { own: window.epoch(), got: state.epoch }.into());
            }
            for (id, entry) in &tail.entries {
                window.push(*id, entry.clone(), |_, _| {})?;
                now = *id;
            }
            // Dense ids show a hole only if something follows, so the fold position is compared too (rule 4).
            if state.position.n > now {
                return Err(Restart::Overtaken { read_to: now, trimmed: state.position.n });
            }
            if state.top < now {
                return Err(Restart::WentBack { read_to: now, top: state.top });
            }
            window.forget(state.position.n);
        }
        if now > read_to {
            reader.progress.send_modify(|progress| progress.read_to = now);
            self.readers.wake();
        }
        if reader.health().is_err() {
            reader.set_problem(None);
            let message = format!("the delivery log of shard {} is followed", reader.shard);
            self.oplog.write(Level::Info, "dependency_back", None, message);
        }
        Ok(now)
    }

    fn begin(&self, window: Window) {
        let reader = self.reader();
        let before = *reader.progress.borrow();
        let progress = Progress {
            generation: before.generation + 1,
            following: true,
            epoch: Some(window.epoch()),
            read_to: window.next_id() - 1,
        };
        if before.epoch.is_some_and(|epoch| epoch != window.epoch()) {
            self.metrics.epoch_changes.inc();
            let message =
                format!("shard {} has the new epoch {}; its connections resume", reader.shard, window.epoch());
            self.oplog.write(Level::Warn, "epoch", None, message);
        }
        let hot = Hot { generation: progress.generation, window };
        *reader.hot.write().unwrap_or_else(PoisonError::into_inner) = Some(hot);
        reader.progress.send_replace(progress);
        self.readers.wake();
    }

    /// Gives the window up: whoever is fed from it resumes once there is a new one (rule 8).
    fn lost(&self, restart: &Restart) {
        let reader = self.reader();
        tracing::warn!(shard = %reader.shard, reason = %restart, "the reader of a shard starts again from the base");
        if reader.health().is_ok() {
            let message = format!("shard {}: {restart}; its connections resume", reader.shard);
            self.oplog.write(Level::Warn, "dependency_lost", None, message);
        }
        reader.set_problem(Some(restart.to_string()));
        *reader.hot.write().unwrap_or_else(PoisonError::into_inner) = None;
        reader.progress.send_modify(|progress| progress.following = false);
        self.readers.wake();
    }
}
