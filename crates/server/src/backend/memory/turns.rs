//! The numbered connections of a shard.

use std::collections::VecDeque;

use evs_core::{ConsumerName, Epoch, Slot};

use crate::ports::delivery_queue::{TURNS_KEPT, Turn, Turns};

/// The newest of them, numbered from 1.
#[derive(Clone, Debug, Default)]
pub(super) struct TurnBook {
    newest: u64,
    kept: VecDeque<(Slot, ConsumerName)>,
}

impl TurnBook {
    pub(super) fn take(&mut self, slot: Slot, consumer: &ConsumerName) -> u64 {
        if self.kept.len() == TURNS_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back((slot, consumer.clone()));
        self.newest += 1;
        self.newest
    }

    pub(super) fn after(&self, epoch: Epoch, after: u64, max: usize) -> Turns {
        let forgotten = self.newest - self.kept.len() as u64;
        let skip = usize::try_from(after.saturating_sub(forgotten)).unwrap_or(usize::MAX);
        let kept = self.kept.iter().zip(forgotten + 1..).skip(skip).take(max);
        let taken = kept.map(|((slot, consumer), number)| Turn { number, slot: *slot, consumer: consumer.clone() });
        Turns { epoch, forgotten, taken: taken.collect() }
    }
}
