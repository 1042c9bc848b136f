//! Many events one after the other, each read before the one ahead of it is searched.

use std::ops::ControlFlow;

use super::Match;
use super::snapshot::{Scratch, Snapshot};
use crate::Event;

/// What one thread reuses from batch to batch.
///
/// Reading an event asks for the clusters that its values lead to; among a million filters they are a miss away. While an
/// event is searched, those of the next are on their way.
#[derive(Clone, Debug, Default)]
pub struct Pipeline([Scratch; 2]);

impl Pipeline {
    /// Filters (or classes of equal filters) that were looked at, since it was made.
    #[must_use]
    pub fn candidates(&self) -> u64 {
        self.0.iter().map(|scratch| scratch.candidates).sum()
    }

    /// Those that matched.
    #[must_use]
    pub fn matches(&self) -> u64 {
        self.0.iter().map(|scratch| scratch.matches).sum()
    }
}

impl Snapshot {
    /// [`matches`](Self::matches) of each event with its place in `events`, in their order, until `each` breaks.
    pub fn matches_each<'a>(
        &self,
        events: impl IntoIterator<Item = &'a Event>,
        pipeline: &mut Pipeline,
        out: &mut Vec<Match>,
        mut each: impl FnMut(usize, &[Match]) -> ControlFlow<()>,
    ) {
        self.each_read(events, pipeline, |place, event, scratch| {
            self.collect(event, scratch, out);
            each(place, out)
        });
    }

    /// [`visit`](Self::visit) of each event: calls back with the event's place in `events` and runs of filters.
    pub fn visit_each<'a>(
        &self,
        events: impl IntoIterator<Item = &'a Event>,
        pipeline: &mut Pipeline,
        mut each: impl FnMut(usize, &[u32]),
    ) {
        self.each_read(events, pipeline, |place, event, scratch| {
            self.visit(event, scratch, |run| each(place, run));
            ControlFlow::Continue(())
        });
    }

    #[inline]
    fn each_read<'a>(
        &self,
        events: impl IntoIterator<Item = &'a Event>,
        Pipeline([one, other]): &mut Pipeline,
        mut each: impl FnMut(usize, &'a Event, &mut Scratch) -> ControlFlow<()>,
    ) {
        let (mut now, mut ahead) = (one, other);
        let mut events = events.into_iter().enumerate();
        let mut next = events.next();
        if let Some((_, event)) = next {
            self.read(event, now);
        }
        while let Some((place, event)) = next {
            next = events.next();
            if let Some((_, event)) = next {
                self.read(event, ahead);
            }
            if each(place, event, now).is_break() {
                return;
            }
            std::mem::swap(&mut now, &mut ahead);
        }
    }
}
