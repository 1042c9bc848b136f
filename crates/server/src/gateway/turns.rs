//! What gateways know of each other: who is connected, and which connection of a consumer is the newest. A consumer that
//! connects at another gateway ends its older connection at this one. Attaches of a shard are numbered
//! by the queue, so that all gateways agree on which is the newest.

use std::time::Duration;

use evs_core::Shard;
use tokio::time::sleep;

use crate::app::App;
use crate::ports::PortResult;

const LOOK_EVERY: Duration = Duration::from_millis(500);

const PAGE: usize = 1_000;

/// Who is here is told once in so many looks: three times within its time to live.
const TELL_LOOKS: u64 = 10;

/// Looks until the process stops. While the queue does not answer, connections stay as they are.
pub(super) async fn watch(app: App, shard: Shard) {
    if !app.queue.is_shared() {
        return;
    }
    // No consumer has connected here so far.
    let mut seen = u64::MAX;
    for number in 0.. {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = sleep(LOOK_EVERY) => {}
        }
        if let Err(error) = look(&app, shard, &mut seen).await {
            tracing::debug!(%error, %shard, "connections at other gateways could not be looked for");
        }
        if number % TELL_LOOKS == 0
            && let Err(error) = tell(&app, shard).await
        {
            tracing::debug!(%error, %shard, "the other processes could not be told who is here");
        }
    }
}

async fn tell(app: &App, shard: Shard) -> PortResult<()> {
    app.queue.tell_presence(shard, &app.instance, &app.readers.attached().present(shard)).await
}

/// `seen` is the turn up to which all is known; a connection that was added meanwhile is compared with all after its own.
async fn look(app: &App, shard: Shard, seen: &mut u64) -> PortResult<()> {
    let attached = app.readers.attached();
    *seen = attached.take_added(shard).unwrap_or(u64::MAX).min(*seen);
    while *seen < u64::MAX {
        let turns = app.queue.turns(shard, *seen, PAGE).await?;
        if turns.forgotten > *seen {
            attached.resume_before(shard, turns.epoch, turns.forgotten);
            *seen = turns.forgotten;
        }
        turns.taken.iter().for_each(|turn| attached.supersede(shard, turns.epoch, turn));
        let Some(last) = turns.taken.last() else { break };
        *seen = last.number;
    }
    Ok(())
}
