//! What a reader keeps of a shard's log in memory: the fold, and the entries not yet trimmed.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Entry, FoldPosition, Route};
use crate::{Epoch, Offset, Partition, Seq, Slot};

/// The fold of a shard at the end of what was read, and the entries since the base, searchable by slot.
///
/// Every route in memory links to the previous route of its slot, so the unread deliveries of a subscriber are found
/// by walking as many links as there are of them: ten thousand reconnects cost what they read, not the window.
#[derive(Debug)]
pub struct Window {
    epoch: Epoch,
    position: FoldPosition,
    tops: Vec<u64>,
    /// The newest route of each slot: entry id and route number; id 0 where there is none.
    newest: Vec<(u64, u32)>,
    entries: VecDeque<Kept>,
    next_id: u64,
    size_bytes: usize,
    ends: Vec<(Partition, Offset)>,
}

#[derive(Debug)]
struct Kept {
    id: u64,
    entry: Arc<Entry>,
    previous: Box<[Link]>,
}

/// The previous route of the same slot: how many entries back, and its number there.
#[derive(Clone, Copy, Debug)]
struct Link {
    back: u32,
    route: u32,
}

const NO_LINK: Link = Link { back: u32::MAX, route: 0 };

/// The reader must start again from the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    #[error("entry {want} should follow, but {got} came")]
    Hole { want: u64, got: u64 },
    #[error("the entry is of epoch {got}, this window of {own}")]
    Epoch { own: Epoch, got: Epoch },
}

/// A delivery in the window.
#[derive(Clone, Debug)]
pub struct Found {
    pub seq: Seq,
    pub entry: Arc<Entry>,
    pub route: Route,
}

impl Window {
    /// Starts at the base: `base[slot]` is the number of the slot's routes that `position` covers.
    #[must_use]
    pub fn new(epoch: Epoch, position: FoldPosition, base: Vec<u64>) -> Self {
        let newest = vec![(0, 0); base.len()];
        Self {
            epoch,
            position,
            tops: base,
            newest,
            entries: VecDeque::new(),
            next_id: position.n + 1,
            size_bytes: 0,
            ends: Vec::new(),
        }
    }

    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The id that the next entry must have.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    #[must_use]
    pub fn entries_len(&self) -> usize {
        self.entries.len()
    }

    /// The newest seq of a slot.
    #[must_use]
    pub fn top(&self, slot: Slot) -> Seq {
        Seq(self.tops.get(slot.0 as usize).copied().unwrap_or(0))
    }

    /// All tops, by slot.
    #[must_use]
    pub fn tops(&self) -> &[u64] {
        &self.tops
    }

    /// Per partition the offset after the last one that the log has seen.
    #[must_use]
    pub fn ends(&self) -> &[(Partition, Offset)] {
        &self.ends
    }

    /// Adds the next entry and hands out its new deliveries, in the order of its routes.
    ///
    /// # Errors
    /// [`WindowError`]: the entry does not follow, or is of another life of the log; nothing was added.
    pub fn push(
        &mut self,
        id: u64,
        entry: Arc<Entry>,
        mut deliver: impl FnMut(Seq, &Route),
    ) -> Result<(), WindowError> {
        if id != self.next_id {
            return Err(WindowError::Hole { want: self.next_id, got: id });
        }
        if entry.epoch != self.epoch {
            return Err(WindowError::Epoch { own: self.epoch, got: entry.epoch });
        }
        let mut previous = Vec::with_capacity(entry.routes().len());
        for (number, route) in entry.routes().iter().enumerate() {
            if self.position.covers(id, route.slot) {
                previous.push(NO_LINK);
                continue;
            }
            let slot = route.slot as usize;
            if slot >= self.tops.len() {
                self.tops.resize(slot + 1, 0);
                self.newest.resize(slot + 1, (0, 0));
            }
            self.tops[slot] += 1;
            let (last_id, last_route) = self.newest[slot];
            previous.push(match u32::try_from(id - last_id) {
                Ok(back) if last_id > 0 => Link { back, route: last_route },
                _ => NO_LINK,
            });
            self.newest[slot] = (id, number as u32);
            deliver(Seq(self.tops[slot]), route);
        }
        match self.ends.iter_mut().find(|(partition, _)| *partition == entry.partition) {
            Some((_, end)) => *end = (*end).max(entry.to),
            None => self.ends.push((entry.partition, entry.to)),
        }
        self.size_bytes += entry.size_bytes() + previous.len() * size_of::<Link>();
        self.entries.push_back(Kept { id, entry, previous: previous.into() });
        self.next_id += 1;
        Ok(())
    }

    /// Drops the entries that were trimmed from the log, and no others (rule 5): `n` is the log's own fold position.
    pub fn forget(&mut self, n: u64) {
        while self.entries.front().is_some_and(|kept| kept.id <= n) {
            if let Some(kept) = self.entries.pop_front() {
                self.size_bytes -= kept.entry.size_bytes() + kept.previous.len() * size_of::<Link>();
            }
        }
    }

    /// Deliveries `from..` of a slot, at most `max`, oldest first. `None`: `from` is older than the window, or beyond
    /// the top; what is older is in the slot's spilled queue or told by its floor.
    #[must_use]
    pub fn find(&self, slot: Slot, from: Seq, max: usize) -> Option<Vec<Found>> {
        let mut found = Vec::new();
        self.find_into(slot, from, max, &mut found).then_some(found)
    }

    /// [`Self::find`] that appends to `found`, so that a caller with many slots allocates once. `false`: nothing was
    /// appended.
    #[must_use]
    pub fn find_into(&self, slot: Slot, from: Seq, max: usize, found: &mut Vec<Found>) -> bool {
        let top = self.top(slot).0;
        if from.0 == 0 || from.0 > top || max == 0 {
            return false;
        }
        let Some((mut id, mut route)) = self.newest.get(slot.0 as usize).copied() else { return false };
        let start = found.len();
        let last = from.0.saturating_add(max as u64 - 1).min(top);
        let mut seq = top;
        loop {
            let Some(kept) = self.kept(id) else { break };
            if seq <= last {
                let (entry, route) = (kept.entry.clone(), kept.entry.routes()[route as usize]);
                found.push(Found { seq: Seq(seq), entry, route });
            }
            if seq == from.0 {
                found[start..].reverse();
                return true;
            }
            let link = kept.previous[route as usize];
            if link.back == NO_LINK.back {
                break;
            }
            (id, route, seq) = (id - u64::from(link.back), link.route, seq - 1);
        }
        found.truncate(start);
        false
    }

    /// The entries after entry `id` that are in the window, oldest first.
    pub fn entries_after(&self, id: u64) -> impl Iterator<Item = (u64, &Arc<Entry>)> {
        let first = self.entries.front().map_or(self.next_id, |kept| kept.id);
        let skip = usize::try_from((id + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        self.entries.range(skip.min(self.entries.len())..).map(|kept| (kept.id, &kept.entry))
    }

    /// The oldest delivery of a slot after `acked`, if it is in the window: what its lag in seconds is measured from.
    #[must_use]
    pub fn oldest_after(&self, slot: Slot, acked: Seq) -> Option<Found> {
        self.find(slot, Seq(acked.0 + 1), 1)?.pop()
    }

    fn kept(&self, id: u64) -> Option<&Kept> {
        let first = self.entries.front()?.id;
        self.entries.get(usize::try_from(id.checked_sub(first)?).ok()?)
    }
}
