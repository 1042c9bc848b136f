//! How entries leave the log: a plan that counts every route into the base and spills what is not acked.

use std::sync::Arc;

use bytes::Bytes;

use super::{Entry, FoldPosition};
use crate::{Epoch, Offset, Partition, Seq, Slot};

/// One atomic step of compaction: applies only if the log is still at `epoch` and `at` (rule 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub epoch: Epoch,
    pub at: FoldPosition,
    pub to: FoldPosition,
    /// The new base of each slot that changes, ascending by slot.
    pub bases: Vec<(Slot, Seq)>,
    /// By slot, then seq. The step leaves out what has been acked meanwhile (rule 14).
    pub spills: Vec<Spill>,
}

/// A delivery that leaves the log before it was acked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spill {
    pub slot: Slot,
    pub seq: Seq,
    pub partition: Partition,
    pub offset: Offset,
    /// When the event log took the event, milliseconds since the Unix epoch.
    pub time_ms: i64,
    pub filters: Vec<u32>,
    pub body: Bytes,
}

/// How much one step may do.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// A step ends after the slot that reaches this many spills.
    pub spills_max: usize,
    /// A step ends after this many slots.
    pub slots_max: usize,
}

/// Plans the next step of taking `entries` (dense ids, the first is `at.n + 1`) out of the log. A half-done step is
/// finished with the same `m`: `entries` must reach it. `None` if there is nothing to do.
pub fn plan(
    epoch: Epoch,
    at: FoldPosition,
    entries: &[(u64, Arc<Entry>)],
    base: impl Fn(Slot) -> Seq,
    acked: impl Fn(Slot) -> Seq,
    budget: Budget,
) -> Option<Plan> {
    let last = entries.last()?.0;
    let m = if at.m > at.n { at.m } else { last };
    let entries = entries.get(..usize::try_from(m - at.n).ok()?)?;
    let mut routes: Vec<(u32, u32, u32)> = Vec::new();
    for (index, (id, entry)) in entries.iter().enumerate() {
        debug_assert_eq!(*id, at.n + 1 + index as u64, "entries are dense from the fold position");
        let uncovered = entry.routes().iter().enumerate().filter(|(_, route)| !at.covers(*id, route.slot));
        routes.extend(uncovered.map(|(number, route)| (route.slot, index as u32, number as u32)));
    }
    routes.sort_unstable();
    let mut bases: Vec<(Slot, Seq)> = Vec::new();
    let mut spills = Vec::new();
    for of_slot in routes.chunk_by(|left, right| left.0 == right.0) {
        let slot = Slot(of_slot[0].0);
        if spills.len() >= budget.spills_max || bases.len() >= budget.slots_max {
            let to = FoldPosition { n: at.n, m, a: slot.0 };
            return Some(Plan { epoch, at, to, bases, spills });
        }
        let (first, acked) = (base(slot).0 + 1, acked(slot));
        for (&(_, index, number), seq) in of_slot.iter().zip(first..) {
            if Seq(seq) <= acked {
                continue;
            }
            let entry = &entries[index as usize].1;
            let route = &entry.routes()[number as usize];
            let event = entry.event(route);
            spills.push(Spill {
                slot,
                seq: Seq(seq),
                partition: entry.partition,
                offset: event.offset,
                time_ms: event.time_ms,
                filters: entry.filters(route).to_vec(),
                body: event.body.clone(),
            });
        }
        bases.push((slot, Seq(first - 1 + of_slot.len() as u64)));
    }
    Some(Plan { epoch, at, to: FoldPosition { n: m, m, a: 0 }, bases, spills })
}
