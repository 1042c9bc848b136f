//! What events show of the filters' places, and which filters ought to be placed anew.
//!
//! A key *wastes* what is looked at under it and does not match. Events that the writer is shown say how often each
//! symbol occurs and what each key wastes; filters under keys that waste much are put in again, when the cover is
//! chosen by what was seen. All of this goes by numbers of events, so that the same operations give the same index.

use hashbrown::HashMap;

use super::bound;
use super::snapshot::CLASS;
use super::symbols::{NONE, SymbolId};
use super::writer::MatchIndex;
use crate::{Event, FilterId};

/// Events to be seen before keys are judged.
const EVENTS_MIN: usize = bound(1024, 8);

/// Wasted candidates per event that make it worth while to move the filters of a key.
const WASTED_MIN: f64 = 0.05;

/// A key whose filters were put in again is left alone until it wastes so many times what it did then.
const WORSE: f64 = 2.0;

/// Filters that one judgement may name, give or take those of one key.
const NAMED_MAX: usize = 20_000;

/// Keys that are remembered as settled; past it all are judged anew.
const SETTLED_MAX: usize = 20_000;

#[derive(Debug, Default)]
pub(super) struct Waste {
    events: usize,
    by_key: HashMap<[SymbolId; 2], u64>,
    settled: HashMap<[SymbolId; 2], f64>,
    /// Named and not handed out yet.
    pending: Vec<u32>,
}

impl Waste {
    /// The keys that waste most, and are not settled.
    fn judge(&mut self) -> Vec<([SymbolId; 2], f64)> {
        #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
        let events = std::mem::take(&mut self.events) as f64;
        #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
        let rates = self.by_key.drain().map(|(key, wasted)| (key, wasted as f64 / events));
        let is_worse = |key: &[SymbolId; 2], rate| self.settled.get(key).is_none_or(|settled| rate >= WORSE * settled);
        let mut worst: Vec<_> = rates.filter(|(key, rate)| *rate >= WASTED_MIN && is_worse(key, *rate)).collect();
        worst.sort_by(|(left_key, left), (right_key, right)| right.total_cmp(left).then(left_key.cmp(right_key)));
        worst
    }

    fn settle(&mut self, key: [SymbolId; 2], rate: f64) {
        if self.settled.len() >= SETTLED_MAX {
            self.settled.clear();
        }
        self.settled.insert(key, rate);
    }
}

impl MatchIndex {
    /// Shows the writer an event, so that filters are placed under what is rare in reality. A small share of the
    /// traffic is enough; without any, what is rare is guessed from the filters. It costs what matching it costs.
    pub fn observe(&mut self, event: &Event) {
        let snapshot = self.published.load_full();
        snapshot.read(event, &mut self.scratch);
        self.catalog.observe(self.scratch.read_symbols());
        let Self { waste, scratch, .. } = self;
        waste.events += 1;
        snapshot.survey(
            event,
            scratch,
            |_| {},
            |key, candidates, matches| {
                if candidates > matches {
                    *waste.by_key.entry(key).or_default() += candidates - matches;
                }
            },
        );
    }

    /// Filters that may be better placed under what events were seen to have, at most `max` of them; none until more
    /// events were seen. Those that are still in are to be put in again with [`MatchIndex::insert`], unchanged.
    pub fn misplaced(&mut self, max: usize) -> Vec<FilterId> {
        if self.waste.pending.is_empty() && self.waste.events >= EVENTS_MIN {
            for (key, rate) in self.waste.judge() {
                self.waste.settle(key, rate);
                let mut filters = Vec::new();
                self.filters_of(key, &mut filters);
                self.waste.pending.append(&mut filters);
                if self.waste.pending.len() >= NAMED_MAX {
                    break;
                }
            }
            // Worst first, though they are taken from the end.
            self.waste.pending.reverse();
        }
        let left = self.waste.pending.len().saturating_sub(max);
        self.waste.pending.drain(left..).rev().map(FilterId).collect()
    }

    /// All filters that have an entry under a key.
    fn filters_of(&self, key: [SymbolId; 2], filters: &mut Vec<u32>) {
        let mut head = self.first_head(key);
        while head != NONE {
            self.clusters.each_reference(head, &mut |reference| {
                if reference & CLASS == 0 {
                    filters.push(reference);
                } else {
                    self.clusters.each_reference(reference & !CLASS, &mut |member| filters.push(member));
                }
            });
            head = self.clusters.view(head).next();
        }
    }
}
