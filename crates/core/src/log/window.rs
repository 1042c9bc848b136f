//! What a reader keeps of a shard's log in memory: the fold, and the entries not yet trimmed.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Entry, FoldPosition, Route};
use crate::{Epoch, Offset, Partition, Seq, Slot};

/// The fold of a shard at the end of what was read, and the entries since the base, searchable by slot.
///
/// Every route in memory links to the previous and the next route of its slot, so the unread deliveries of a subscriber
/// are found by walking as many links as there are of them: ten thousand reconnects cost what they read, not the
/// window. A reader that pages through many keeps its [`Place`] and walks each link once.
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
    links: Box<[Links]>,
}

/// Another route of the same slot: how many entries away, and its number there.
#[derive(Clone, Copy, Debug)]
struct Link {
    away: u32,
    route: u32,
}

#[derive(Clone, Copy, Debug)]
struct Links {
    previous: Link,
    next: Link,
}

const NO_LINK: Link = Link { away: u32::MAX, route: 0 };

/// Where a delivery lies in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    seq: Seq,
    entry: u64,
    route: u32,
}

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
    pub place: Place,
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

    /// What is known of the partitions beside what was pushed: everything before these offsets is in the log up to the
    /// newest entry pushed.
    pub fn raise_ends(&mut self, ends: impl IntoIterator<Item = (Partition, Offset)>) {
        for (partition, end) in ends {
            crate::cursor::raise_seen(&mut self.ends, partition, end);
        }
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
        let mut links = Vec::with_capacity(entry.routes().len());
        for (number, route) in entry.routes().iter().enumerate() {
            if self.position.covers(id, route.slot) {
                links.push(Links { previous: NO_LINK, next: NO_LINK });
                continue;
            }
            let slot = route.slot as usize;
            if slot >= self.tops.len() {
                self.tops.resize(slot + 1, 0);
                self.newest.resize(slot + 1, (0, 0));
            }
            self.tops[slot] += 1;
            let (last_id, last_route) = self.newest[slot];
            let previous = match u32::try_from(id - last_id) {
                Ok(away) if last_id > 0 => Link { away, route: last_route },
                _ => NO_LINK,
            };
            links.push(Links { previous, next: NO_LINK });
            let next = Link { away: previous.away, route: number as u32 };
            let earlier = if last_id == id { Some(&mut links[..]) } else { self.links_mut(last_id) };
            if let Some(links) = earlier {
                links[last_route as usize].next = next;
            }
            self.newest[slot] = (id, number as u32);
            deliver(Seq(self.tops[slot]), route);
        }
        self.raise_ends([(entry.partition, entry.to)]);
        self.size_bytes += entry.size_bytes() + links.len() * size_of::<Links>();
        self.entries.push_back(Kept { id, entry, links: links.into() });
        self.next_id += 1;
        Ok(())
    }

    /// Drops the entries that were trimmed from the log, and no others (rule 5): `n` is the log's own fold position.
    pub fn forget(&mut self, n: u64) {
        while self.entries.front().is_some_and(|kept| kept.id <= n) {
            if let Some(kept) = self.entries.pop_front() {
                self.size_bytes -= kept.entry.size_bytes() + kept.links.len() * size_of::<Links>();
            }
        }
    }

    /// Deliveries `from..` of a slot, at most `max`, oldest first. `None`: `from` is older than the window, or beyond
    /// the top; what is older is in the slot's spilled queue or told by its floor.
    #[must_use]
    pub fn find(&self, slot: Slot, from: Seq, max: usize) -> Option<Vec<Found>> {
        let mut found = Vec::new();
        self.find_into(slot, from, max, None, &mut found).then_some(found)
    }

    /// [`Self::find`] that appends to `found`, so that a caller with many slots allocates once, and that goes on from
    /// the place of the delivery before `from`, where the caller has it. `false`: nothing was appended.
    #[must_use]
    pub fn find_into(&self, slot: Slot, from: Seq, max: usize, after: Option<Place>, found: &mut Vec<Found>) -> bool {
        let top = self.top(slot).0;
        if from.0 == 0 || from.0 > top || max == 0 {
            return false;
        }
        if let Some(after) = after.filter(|after| after.seq.0 + 1 == from.0)
            && self.walk_on(slot, after, max, found)
        {
            return true;
        }
        let Some((mut id, mut route)) = self.newest.get(slot.0 as usize).copied() else { return false };
        let start = found.len();
        let last = from.0.saturating_add(max as u64 - 1).min(top);
        let mut seq = top;
        while let Some(kept) = self.kept(id) {
            if seq <= last {
                found.push(kept.found(Place { seq: Seq(seq), entry: id, route }));
            }
            if seq == from.0 {
                found[start..].reverse();
                return true;
            }
            let link = kept.links[route as usize].previous;
            if link.away == NO_LINK.away {
                break;
            }
            (id, route, seq) = (id - u64::from(link.away), link.route, seq - 1);
        }
        found.truncate(start);
        false
    }

    /// The deliveries after a place, oldest first. `false`: the place is not in the window.
    fn walk_on(&self, slot: Slot, mut at: Place, max: usize, found: &mut Vec<Found>) -> bool {
        let start = found.len();
        let Some(mut kept) = self.kept(at.entry) else { return false };
        if kept.entry.routes().get(at.route as usize).is_none_or(|route| route.slot != slot.0) {
            return false;
        }
        while found.len() - start < max {
            let link = kept.links[at.route as usize].next;
            if link.away == NO_LINK.away {
                break;
            }
            at = Place { seq: Seq(at.seq.0 + 1), entry: at.entry + u64::from(link.away), route: link.route };
            let Some(next) = self.kept(at.entry) else { break };
            kept = next;
            found.push(kept.found(at));
        }
        found.len() > start
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

    fn links_mut(&mut self, id: u64) -> Option<&mut [Links]> {
        let first = self.entries.front()?.id;
        let kept = self.entries.get_mut(usize::try_from(id.checked_sub(first)?).ok()?)?;
        Some(&mut kept.links[..])
    }

    fn kept(&self, id: u64) -> Option<&Kept> {
        let first = self.entries.front()?.id;
        self.entries.get(usize::try_from(id.checked_sub(first)?).ok()?)
    }
}

impl Kept {
    fn found(&self, place: Place) -> Found {
        Found { seq: place.seq, entry: self.entry.clone(), route: self.entry.routes()[place.route as usize], place }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::FilterId;
    use crate::log::EntryBuilder;

    proptest! {
        /// Paging on from a place finds what a search from the top finds, whatever was forgotten meanwhile.
        #[test]
        fn a_place_leads_on_to_what_a_search_finds(
            entries in prop::collection::vec(prop::collection::vec(0..3_u32, 1..6), 1..20),
            page in 1..5_usize,
            forget in 0..20_u64,
        ) {
            let mut window = Window::new(Epoch(1), FoldPosition::default(), Vec::new());
            for (index, slots) in entries.iter().enumerate() {
                let mut builder = EntryBuilder::new(Epoch(1), Partition(0), Offset(0), 0);
                for (offset, slot) in slots.iter().enumerate() {
                    builder.event(Offset(offset as u64), 0, Bytes::new());
                    builder.route(*slot, [FilterId(1)]);
                }
                let entry = Arc::new(builder.finish(Offset(slots.len() as u64)));
                window.push(index as u64 + 1, entry, |_, _| {}).unwrap();
            }
            for slot in (0..3).map(Slot) {
                let top = window.top(slot).0;
                let (mut next, mut place) = (1, None);
                while next <= top {
                    if next > top / 2 {
                        window.forget(forget.min(entries.len() as u64));
                    }
                    let mut found = Vec::new();
                    let any = window.find_into(slot, Seq(next), page, place, &mut found);
                    let searched = window.find(slot, Seq(next), page);
                    prop_assert_eq!(any, searched.is_some());
                    let Some(searched) = searched else { break };
                    let places = |found: &[Found]| found.iter().map(|found| found.place).collect::<Vec<_>>();
                    prop_assert_eq!(places(&found), places(&searched));
                    place = found.last().map(|found| found.place);
                    next += found.len() as u64;
                }
            }
        }
    }
}
