//! One reader per shard follows the delivery log, folds it into a window in memory, and wakes the gateway.
//!
//! A **window** is the fold and the hot entries of a shard. A **generation** is one life of a window: a reader that
//! missed something, lost its connection or met another epoch starts again from the base with the next generation,
//! and every session of the shard resumes. Nothing is handed over through queues: the window is the queue, its
//! watchers keep a position in it, and whoever is too slow for it reads from the store.

pub mod attached;
mod follow;

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use evs_core::log::Window;
use evs_core::{Epoch, Shard};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::oplog::OpLog;
use crate::ports::DeliveryQueue;
use attached::Attached;

/// The readers of all shards. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Readers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shards: Box<[ShardReader]>,
    attached: Attached,
    watchers: Mutex<Vec<Arc<Notify>>>,
}

/// What one shard's reader has in memory.
#[derive(Debug)]
pub struct ShardReader {
    shard: Shard,
    /// `None` until the first snapshot was read, and while the store cannot be reached.
    hot: RwLock<Option<Hot>>,
    progress: watch::Sender<Progress>,
    /// What is wrong, in words.
    problem: Mutex<Option<String>>,
}

/// A window and which life of it this is.
#[derive(Debug)]
pub struct Hot {
    pub generation: u64,
    pub window: Window,
}

/// How far a reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub generation: u64,
    /// Whether there is a window now.
    pub following: bool,
    /// `None` until the first snapshot was read.
    pub epoch: Option<Epoch>,
    /// The newest entry that was read.
    pub read_to: u64,
}

/// A reader did not get there in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCaughtUp {
    #[error("the reader of the delivery log is behind")]
    Late,
    #[error("the delivery log has another epoch by now")]
    OtherEpoch,
}

impl Readers {
    /// Starts a task per shard; they end with `shutdown`.
    #[must_use]
    pub fn start(
        queue: &Arc<dyn DeliveryQueue>,
        metrics: &Arc<Metrics>,
        oplog: &Arc<OpLog>,
        shutdown: &CancellationToken,
    ) -> Self {
        let shards = (0..queue.shards().max(1)).map(|shard| ShardReader::new(Shard(shard))).collect();
        let readers = Self(Arc::new(Inner { shards, attached: Attached::default(), watchers: Mutex::default() }));
        for shard in 0..readers.0.shards.len() {
            let follower = follow::Follower {
                readers: readers.clone(),
                index: shard,
                queue: queue.clone(),
                metrics: metrics.clone(),
                oplog: oplog.clone(),
                shutdown: shutdown.clone(),
            };
            tokio::spawn(follow::supervise(follower));
        }
        readers
    }

    /// # Panics
    /// If there is no such shard: shard numbers come from the store that said how many there are.
    #[must_use]
    pub fn shard(&self, shard: Shard) -> &ShardReader {
        &self.0.shards[usize::from(shard.0)]
    }

    pub fn shards(&self) -> impl Iterator<Item = &ShardReader> {
        self.0.shards.iter()
    }

    /// The sessions that are connected to this process, by slot.
    #[must_use]
    pub fn attached(&self) -> &Attached {
        &self.0.attached
    }

    /// Waits until the shard's reader has read entry `id` of `epoch`.
    ///
    /// # Errors
    /// [`NotCaughtUp`] when the deadline passes first, or the reader is in another epoch then.
    pub async fn wait_caught_up(
        &self,
        shard: Shard,
        epoch: Epoch,
        id: u64,
        deadline: Instant,
    ) -> Result<(), NotCaughtUp> {
        let mut progress = self.shard(shard).progress.subscribe();
        let there = |now: &Progress| now.following && now.epoch == Some(epoch) && now.read_to >= id;
        // Which of two epochs is the newer nobody can tell, so whoever asks looks at the store again before long.
        let deadline = deadline.min(Instant::now() + TAIL_WAIT);
        if matches!(tokio::time::timeout_at(deadline, progress.wait_for(there)).await, Ok(Ok(_))) {
            return Ok(());
        }
        let now = *progress.borrow();
        Err(if now.epoch.is_none_or(|own| own == epoch) { NotCaughtUp::Late } else { NotCaughtUp::OtherEpoch })
    }

    /// By shard: whether its reader follows the log, or what is wrong.
    #[must_use]
    pub fn health(&self) -> Vec<(Shard, Result<(), String>)> {
        self.shards().map(|reader| (reader.shard, reader.health())).collect()
    }

    /// `wake` is notified whenever a window has moved on or begun a new generation.
    pub fn watch(&self, wake: Arc<Notify>) {
        self.0.watchers.lock().unwrap_or_else(PoisonError::into_inner).push(wake);
    }

    fn wake(&self) {
        for watcher in self.0.watchers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            watcher.notify_one();
        }
    }
}

impl ShardReader {
    fn new(shard: Shard) -> Self {
        let problem = Mutex::new(Some("the first snapshot was not read yet".to_owned()));
        Self { shard, hot: RwLock::new(None), progress: watch::Sender::default(), problem }
    }

    #[must_use]
    pub fn shard(&self) -> Shard {
        self.shard
    }

    /// Looks into the window; `None` while there is none. Held against the reader: do nothing slow in it.
    pub fn with_window<R>(&self, look: impl FnOnce(&Window) -> R) -> Option<R> {
        self.with_hot(|hot| look(&hot.window))
    }

    /// [`Self::with_window`] with the generation.
    pub fn with_hot<R>(&self, look: impl FnOnce(&Hot) -> R) -> Option<R> {
        self.hot.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(look)
    }

    #[must_use]
    pub fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// # Errors
    /// What is wrong, in words.
    pub fn health(&self) -> Result<(), String> {
        match &*self.problem.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(problem) => Err(problem.clone()),
        }
    }

    fn set_problem(&self, problem: Option<String>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

/// The longest that a reader waits in one call for the log to move: a restart is noticed within this time even when
/// the connection does not tell (rules 4 and 8).
pub const TAIL_WAIT: Duration = Duration::from_secs(1);
