//! The matcher: follows the event log, finds the filters of each event, writes deliveries to the delivery log.
//!
//! One loop owns the log's consumer; each assigned partition has a [`partition`] task that claims it, matches its
//! batches and appends them; [`sync`] keeps the match index equal to the filter store, [`observe`] shows it what events
//! are like, and [`activity`] is what was counted.

mod activity;
mod observe;
mod partition;
mod sync;

use std::collections::HashMap;
use std::time::Duration;

use evs_core::{Offset, Partition};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::app::App;
use crate::ports::event_log::{Committed, LogBatch, LogSignal};
use crate::retry::Backoff;
use evs_core::index::IndexReader;

pub use activity::Activity;
use observe::Sampler;
pub use sync::raise;

/// Batches that wait for a partition's task: one while the one before is being appended.
const BATCHES_WAITING_MAX: usize = 2;
const POLL: Duration = Duration::from_millis(500);

/// What a partition's task asks of the loop that owns the consumer.
#[derive(Debug)]
enum Command {
    Start { partition: Partition, generation: u64, from: Offset },
    Release { partition: Partition, generation: u64 },
    Commit { partition: Partition, progress: Committed },
}

/// What the tasks share.
#[derive(Clone)]
struct Shared {
    app: App,
    index: IndexReader,
    /// The filter version that the index has published.
    applied: watch::Receiver<u64>,
    sampler: Sampler,
    commands: mpsc::Sender<Command>,
}

struct Running {
    generation: u64,
    batches: mpsc::Sender<LogBatch>,
    task: JoinHandle<()>,
}

/// Runs until the process stops; the batch in hand is finished.
pub async fn run(app: App) {
    let (commands, mut asked) = mpsc::channel(64);
    let (sampler, sampled) = observe::channel();
    let (index, applied) = match sync::start(&app, sampled).await {
        Some(started) => started,
        None => return,
    };
    let shared = Shared { app: app.clone(), index, applied, sampler, commands };
    let mut backoff = Backoff::default();
    while !app.shutdown.is_cancelled() {
        match app.log.consumer(&app.instance).await {
            Ok(mut consumer) => {
                backoff = Backoff::default();
                follow(&shared, consumer.as_mut(), &mut asked).await;
            }
            Err(error) => tracing::warn!(%error, "the event log cannot be followed; trying again"),
        }
        if !backoff.wait(&app.shutdown).await {
            break;
        }
    }
}

/// Follows the log until it fails or the process stops.
async fn follow(
    shared: &Shared,
    consumer: &mut dyn crate::ports::event_log::LogConsumer,
    asked: &mut mpsc::Receiver<Command>,
) {
    let shutdown = &shared.app.shutdown;
    let mut running: HashMap<Partition, Running> = HashMap::new();
    let (mut generation, mut held) = (0, 0);
    loop {
        let result = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(command) = asked.recv() => obey(consumer, &running, command).await,
            signal = consumer.next(POLL) => match signal {
                Ok(LogSignal::Assigned(partition)) => {
                    generation += 1;
                    let (batches, receive) = mpsc::channel(BATCHES_WAITING_MAX);
                    let task = tokio::spawn(partition::run(shared.clone(), partition, generation, receive));
                    if let Some(before) = running.insert(partition, Running { generation, batches, task }) {
                        before.task.abort();
                    }
                    Ok(())
                }
                Ok(LogSignal::Revoked(partition)) => {
                    stop(running.remove(&partition)).await;
                    Ok(())
                }
                Ok(LogSignal::Batch(batch)) => {
                    shared.app.metrics.events_consumed.inc_by(batch.events.len() as u64);
                    hand_over(consumer, &running, batch, asked, shutdown).await
                }
                Ok(LogSignal::OutOfRange { partition, want, low, high }) => {
                    out_of_range(shared, partition, want, low, high);
                    stop(running.remove(&partition)).await;
                    Ok(())
                }
                Ok(LogSignal::Rebalanced) => {
                    let now_ms = shared.app.clock.now_ms();
                    shared.app.activity.note_rebalance(now_ms);
                    shared.app.metrics.rebalances.inc();
                    shared.app.metrics.last_rebalance.set(now_ms / 1000);
                    Ok(())
                }
                Ok(LogSignal::Idle) => Ok(()),
                Err(error) => Err(error),
            },
        };
        // One signal changes one partition.
        if running.len() != held {
            held = running.len();
            hold(shared, &running);
        }
        if let Err(error) = result {
            tracing::warn!(%error, "the event log failed; joining again");
            break;
        }
    }
    hold(shared, &HashMap::new());
    for (_, partition) in running {
        stop(Some(partition)).await;
    }
    // What the tasks asked last: their commits.
    while let Ok(command) = asked.try_recv() {
        if obey(consumer, &HashMap::new(), command).await.is_err() {
            break;
        }
    }
}

/// Tells which partitions are worked on.
fn hold(shared: &Shared, running: &HashMap<Partition, Running>) {
    shared.app.metrics.partitions.set(running.len() as i64);
    shared.app.activity.hold(running.keys().copied());
}

/// Gives the batch to its task. While the task is busy its commands are obeyed, or both would wait for each other.
async fn hand_over(
    consumer: &mut dyn crate::ports::event_log::LogConsumer,
    running: &HashMap<Partition, Running>,
    batch: LogBatch,
    asked: &mut mpsc::Receiver<Command>,
    shutdown: &tokio_util::sync::CancellationToken,
) -> crate::ports::PortResult<()> {
    let Some(of_partition) = running.get(&batch.partition) else { return Ok(()) };
    let send = of_partition.batches.send(batch);
    tokio::pin!(send);
    loop {
        tokio::select! {
            // A task that has ended needs no batch.
            _ = &mut send => return Ok(()),
            Some(command) = asked.recv() => obey(consumer, running, command).await?,
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

async fn obey(
    consumer: &mut dyn crate::ports::event_log::LogConsumer,
    running: &HashMap<Partition, Running>,
    command: Command,
) -> crate::ports::PortResult<()> {
    let current = |partition, generation| {
        running.get(&partition).is_some_and(|running: &Running| running.generation == generation)
    };
    match command {
        Command::Start { partition, generation, from } if current(partition, generation) => {
            consumer.start(partition, from).await
        }
        Command::Release { partition, generation } if current(partition, generation) => {
            consumer.release(partition).await
        }
        Command::Start { .. } | Command::Release { .. } => Ok(()),
        Command::Commit { partition, progress } => consumer.commit(partition, progress).await,
    }
}

/// Lets a partition's task finish the batch in hand.
async fn stop(running: Option<Running>) {
    let Some(Running { batches, mut task, .. }) = running else { return };
    drop(batches);
    if tokio::time::timeout(Duration::from_secs(5), &mut task).await.is_err() {
        // Whatever it still does is fenced by the next claim.
        task.abort();
    }
}

fn out_of_range(shared: &Shared, partition: Partition, want: Offset, low: Offset, high: Offset) {
    let message = format!(
        "partition {partition} should go on at offset {want}, but the event log holds {low} to {high}: it was \
         truncated, made anew, or its retention is too short; the partition stands until somebody decides"
    );
    tracing::error!(%partition, want = want.0, low = low.0, high = high.0, "{message}");
    shared.app.oplog.write(evs_api::oplog::Level::Error, "gap", None, message);
}
