//! Shows the match index some of the events, and puts filters in again that are better placed for what it saw.
//!
//! All by counts of events, never by the clock: the first ones all, so that a young process learns what is frequent,
//! then a small share. What does not fit the channel is left out; it is a sample in any case.

use evs_core::Event;
use tokio::sync::mpsc;

use super::sync::{Sync, target};
use crate::ports::PortResult;
use crate::spec;

/// Of each partition's events, so many are shown one after another.
const FIRST: u64 = 4096;
/// Of the later ones, one in so many.
const EVERY: u64 = 64;
/// Events that wait to be shown, and the size of one: together at most four megabytes.
const WAITING_MAX: usize = 256;
const BYTES_MAX: usize = 16 * 1024;

/// After so many events the index is asked for filters to put in again.
const REKEY_EVERY: u64 = 64;
/// How many at a time: each is read from the store.
const REKEY_MAX: usize = 64;

/// One partition's share of the sample.
#[derive(Debug)]
pub(super) struct Sampler {
    seen: u64,
    shown: u64,
    events: mpsc::Sender<Event>,
}

/// A sampler to be cloned for each partition, and where its events come out.
pub(super) fn channel() -> (Sampler, mpsc::Receiver<Event>) {
    let (events, sampled) = mpsc::channel(WAITING_MAX);
    (Sampler { seen: 0, shown: 0, events }, sampled)
}

impl Clone for Sampler {
    /// Counts from the start: a partition that is new here may have other traffic.
    fn clone(&self) -> Self {
        Self { seen: 0, shown: 0, events: self.events.clone() }
    }
}

impl Sampler {
    pub(super) fn see(&mut self, event: &Event) {
        self.seen += 1;
        let bytes = event.bytes();
        if bytes.len() > BYTES_MAX || self.shown >= FIRST && !self.seen.is_multiple_of(EVERY) {
            return;
        }
        if let Ok(room) = self.events.try_reserve() {
            // A copy, for the original keeps the whole batch that it came with.
            room.send(Event::trusted(bytes.to_vec().into()));
            self.shown += 1;
        }
    }
}

impl Sync {
    /// Shows the index one event, and now and then moves filters.
    pub(super) async fn observe(&mut self, event: &Event) {
        self.index.observe(event);
        self.observed += 1;
        if self.observed.is_multiple_of(REKEY_EVERY)
            && let Err(error) = self.rekey().await
        {
            tracing::warn!(%error, "cannot read filters to place them anew; they stay where they are");
        }
    }

    async fn rekey(&mut self) -> PortResult<()> {
        // Half of what changed is applied, because the store went away between: the next pull does the rest.
        if self.published != self.version {
            return Ok(());
        }
        let misplaced = self.index.misplaced(REKEY_MAX);
        let mut moved = Vec::new();
        for id in misplaced {
            let Some(record) = self.app.filters.filter(id).await? else { continue };
            // What changed since then comes in its turn, with the version that it belongs to.
            if record.version > self.version {
                continue;
            }
            if let Ok(filter) = spec::compiled(&record) {
                moved.push((id, target(&record), filter));
            }
        }
        if !moved.is_empty() {
            self.app.metrics.index_rekeyed.inc_by(moved.len() as u64);
            self.index.insert_all(moved);
            self.publish();
        }
        Ok(())
    }
}
