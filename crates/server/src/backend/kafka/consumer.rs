//! A matcher's membership of the group, as its task sees it; the polling is done by a thread of its own.

use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use evs_core::{Offset, Partition};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::{KafkaLog, poll, unavailable};
use crate::ports::PortResult;
use crate::ports::event_log::{Committed, LogBatch, LogConsumer, LogSignal};

/// Batches that wait for the matcher. Past it the partitions are paused, and the thread polls on.
pub(super) const BATCHES_WAITING_MAX: usize = 16;
/// Commands that wait for the thread, which looks every few milliseconds: far more than partitions ask for at once.
const COMMANDS_MAX: usize = 4_096;

/// What a matcher asks of the thread.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Start(Partition, Offset),
    Release(Partition),
    Commit(Partition, Committed),
}

/// What lies between the thread and the task.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    state: Mutex<State>,
    filled: Notify,
    drained: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Assignments, revocations and the like; a few per partition at most.
    pub(super) signals: VecDeque<LogSignal>,
    pub(super) batches: VecDeque<LogBatch>,
    /// Revocations that the matcher was told and has not yet come back from.
    draining: usize,
    /// Set by the task: nobody reads any more.
    pub(super) closed: bool,
    /// Set by the thread: why nothing more will come.
    pub(super) failed: Option<String>,
}

impl State {
    /// Signals go before batches, except that a partition's last batches go before the word that it cannot go on.
    fn next_signal(&mut self) -> Option<LogSignal> {
        let waits = |signal: &LogSignal| match signal {
            LogSignal::OutOfRange { partition, .. } => self.batches.iter().any(|batch| batch.partition == *partition),
            _ => false,
        };
        let at = self.signals.iter().position(|signal| !waits(signal))?;
        self.signals.remove(at)
    }
}

impl Mailbox {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn signal(&self, signal: LogSignal) {
        self.lock().signals.push_back(signal);
        self.filled.notify_one();
    }

    pub(super) fn fail(&self, cause: String) {
        self.lock().failed = Some(cause);
        self.filled.notify_one();
    }

    /// `false`: it is full, and the batch comes back.
    pub(super) fn batch(&self, batch: LogBatch) -> Result<(), LogBatch> {
        let mut state = self.lock();
        if state.batches.len() >= BATCHES_WAITING_MAX {
            return Err(batch);
        }
        state.batches.push_back(batch);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// The last batch of a partition that cannot go on, whether there is room or not.
    pub(super) fn last_batch(&self, batch: LogBatch) {
        self.lock().batches.push_back(batch);
        self.filled.notify_one();
    }

    /// Drops the batches of a partition that was revoked, released or started anew.
    pub(super) fn forget(&self, partition: Partition) {
        self.lock().batches.retain(|batch| batch.partition != partition);
    }

    /// Waits until the matcher has finished what it had of the revoked partitions, or for `budget`: what it does later
    /// is fenced.
    pub(super) fn drain(&self, budget: Duration) {
        let busy = |state: &mut State| {
            let told = state.signals.iter().any(|signal| matches!(signal, LogSignal::Revoked(_)));
            !state.closed && (told || state.draining > 0)
        };
        let waited = self.drained.wait_timeout_while(self.lock(), budget, busy);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn take(&self) -> PortResult<Option<LogSignal>> {
        let mut state = self.lock();
        // Whoever asks for the next signal is done with the last.
        state.draining = 0;
        let signal = state.next_signal();
        if matches!(signal, Some(LogSignal::Revoked(_))) {
            state.draining += 1;
        }
        let signal = signal.or_else(|| state.batches.pop_front().map(LogSignal::Batch));
        let failed = state.failed.clone();
        drop(state);
        self.drained.notify_all();
        match (signal, failed) {
            (Some(signal), _) => Ok(Some(signal)),
            (None, Some(cause)) => Err(unavailable(cause)),
            (None, None) => Ok(None),
        }
    }
}

#[derive(Debug)]
pub(super) struct KafkaConsumer {
    mailbox: Arc<Mailbox>,
    commands: SyncSender<Command>,
}

impl KafkaConsumer {
    pub(super) fn join(log: KafkaLog, instance: &str) -> PortResult<Self> {
        let mailbox = Arc::new(Mailbox::default());
        let (commands, asked) = sync_channel(COMMANDS_MAX);
        let thread = poll::Thread::new(log, instance, mailbox.clone(), asked, tokio::runtime::Handle::current())?;
        std::thread::Builder::new().name("kafka-poll".into()).spawn(move || thread.run()).map_err(unavailable)?;
        Ok(Self { mailbox, commands })
    }

    fn ask(&self, command: Command) -> PortResult<()> {
        self.commands.try_send(command).map_err(unavailable)
    }
}

#[async_trait]
impl LogConsumer for KafkaConsumer {
    async fn next(&mut self, wait: Duration) -> PortResult<LogSignal> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(signal) = self.mailbox.take()? {
                return Ok(signal);
            }
            if timeout_at(deadline, self.mailbox.filled.notified()).await.is_err() {
                return Ok(LogSignal::Idle);
            }
        }
    }

    async fn start(&mut self, partition: Partition, from: Offset) -> PortResult<()> {
        self.ask(Command::Start(partition, from))
    }

    async fn release(&mut self, partition: Partition) -> PortResult<()> {
        self.ask(Command::Release(partition))
    }

    async fn commit(&mut self, partition: Partition, progress: Committed) -> PortResult<()> {
        self.ask(Command::Commit(partition, progress))
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        self.mailbox.lock().closed = true;
        self.mailbox.drained.notify_all();
    }
}
