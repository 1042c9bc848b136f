//! One event's way through the clusters of its keys.

use std::cell::OnceCell;

use smallvec::SmallVec;

use super::chunk::{ChunkId, Column, Layout, View};
use super::clusters;
use super::extract::Value;
use super::number::{hundredths_at_least, hundredths_at_most};
use super::program::Subject;
use super::snapshot::{CLASS, Scratch, Snapshot};

/// A chunk that leads a cluster, with its header read.
#[derive(Clone, Copy)]
pub(super) struct Cluster<'a> {
    pub(super) view: View<'a>,
    pub(super) layout: usize,
    pub(super) next: ChunkId,
}

/// An event that was read, and how many filters were handed out as runs.
pub(super) struct Search<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) scratch: &'a mut Scratch,
    pub(super) event: &'a [u8],
    pub(super) tree: OnceCell<serde_json::Value>,
    pub(super) matches: u64,
    /// Members of classes beyond the first: they match without being looked at.
    pub(super) unseen: u64,
}

impl<'a> Search<'a> {
    /// Candidates so far, and those of them that match; one that several keys find counts for each.
    #[inline]
    pub(super) fn counts(&self) -> (u64, u64) {
        let matches = self.matches + (self.scratch.hits.len() + self.scratch.repeated.len()) as u64;
        (self.scratch.candidates, matches - self.unseen)
    }

    /// All clusters of one key.
    pub(super) fn chain(&mut self, mut cluster: Cluster<'a>, each: &mut impl FnMut(&[u32])) {
        loop {
            let layout = self.snapshot.layouts[cluster.layout];
            let most = match layout.order {
                None => Some(u64::MAX),
                Some(column) => self.bound(column),
            };
            if let Some(most) = most {
                self.cluster(cluster.view, &layout, most, each);
            }
            match self.snapshot.cluster(cluster.next) {
                Some(next) => cluster = next,
                None => return,
            }
        }
    }

    fn cluster(&mut self, view: View<'_>, layout: &Layout, most: u64, each: &mut impl FnMut(&[u32])) {
        if !view.is_directory() {
            return self.leaf(view, layout, view.admitted(layout, most), each);
        }
        let last = if layout.order.is_some() { view.leaf_for(most) } else { view.count() - 1 };
        // The next leaf is fetched before the present one is read, so that its miss overlaps the reading.
        let chunks = &self.snapshot.chunks;
        let fetch = |leaf: ChunkId| clusters::view(chunks, leaf).map(|leaf| (leaf, leaf.count()));
        let leaves = &view.column(0)[..=last];
        let mut next = fetch(leaves[0]);
        for at in 0..leaves.len() {
            let leaf = next;
            next = leaves.get(at + 1).and_then(|leaf| fetch(*leaf));
            let Some((leaf, count)) = leaf else { continue };
            let admitted = if at < last { count } else { leaf.admitted(layout, most) };
            self.leaf(leaf, layout, admitted, each);
        }
    }

    /// The first `admitted` entries of a leaf.
    fn leaf(&mut self, view: View<'_>, layout: &Layout, admitted: usize, each: &mut impl FnMut(&[u32])) {
        if admitted == 0 {
            return;
        }
        self.scratch.candidates += admitted as u64;
        let references = &view.column(0)[..admitted];
        if layout.is_run() {
            return self.run(references, layout.repeats, each);
        }
        let plain = !layout.code;
        let Some(passed) = self.compare(view, layout, admitted, plain) else { return };
        if plain {
            return self.compared(passed, layout.repeats, each);
        }
        let offsets = view.column(layout.columns() - 1);
        for at in 0..passed {
            let at = self.scratch.passed[at] as usize;
            let code = view.code(layout, offsets[at]);
            let Search { snapshot, scratch, event, tree, .. } = self;
            let subject = Subject {
                event,
                values: &scratch.values,
                named: &scratch.named,
                elements: &scratch.elements,
                pool: &snapshot.pool,
                tree,
            };
            if subject.satisfies(code) {
                self.hit(references[at], layout.repeats, each);
            }
        }
    }

    /// What comparing columns alone has let pass.
    #[inline]
    fn compared(&mut self, passed: usize, repeats: bool, each: &mut impl FnMut(&[u32])) {
        let Scratch { passed: all, repeated, .. } = &mut *self.scratch;
        let references = &all[..passed];
        if references.iter().fold(0, |all, reference| all | reference) & CLASS != 0 {
            for at in 0..passed {
                self.hit(self.scratch.passed[at], repeats, each);
            }
        } else if repeats {
            repeated.extend(references);
        } else if passed > 0 {
            self.matches += passed as u64;
            each(references);
        }
    }

    fn run(&mut self, filters: &[u32], repeats: bool, each: &mut impl FnMut(&[u32])) {
        if repeats {
            self.scratch.repeated.extend(filters);
        } else {
            self.matches += filters.len() as u64;
            each(filters);
        }
    }

    #[inline]
    fn hit(&mut self, reference: u32, repeats: bool, each: &mut impl FnMut(&[u32])) {
        if reference & CLASS != 0 {
            return self.members(reference & !CLASS, repeats, each);
        }
        if repeats {
            self.scratch.repeated.push(reference);
        } else {
            self.scratch.hits.push(reference);
        }
    }

    fn members(&mut self, head: ChunkId, repeats: bool, each: &mut impl FnMut(&[u32])) {
        let Some(view) = clusters::view(&self.snapshot.chunks, head) else { return };
        let mut members = 0;
        if view.is_directory() {
            for leaf in view.column(0) {
                if let Some(leaf) = clusters::view(&self.snapshot.chunks, *leaf) {
                    self.run(leaf.column(0), repeats, each);
                    members += leaf.count() as u64;
                }
            }
        } else {
            self.run(view.column(0), repeats, each);
            members = view.count() as u64;
        }
        self.unseen += members.saturating_sub(1);
    }

    /// Tests the columns of the first entries. Those that pass are in `scratch.passed`, by reference or by place, and
    /// their number is returned, or none if the event fails them all. There is no branch that depends on an entry.
    fn compare(&mut self, view: View<'_>, layout: &Layout, admitted: usize, references: bool) -> Option<usize> {
        let check = match layout.check {
            None => None,
            Some(column) => Some((column, self.bound(column)?)),
        };
        let Scratch { failed, passed, words, .. } = &mut *self.scratch;
        if passed.len() < admitted {
            passed.resize(admitted, 0);
        }
        let passed = &mut passed[..admitted];
        let mut gates: SmallVec<[Gate<'_>; 4]> = SmallVec::new();
        let mut left = layout.gates;
        for column in layout.gates_at().. {
            if left == 0 {
                break;
            }
            let half = left.trailing_zeros() as usize;
            left &= left - 1;
            let (high, low) = halves(words[half / 2]);
            let event = if half.is_multiple_of(2) { low } else { high };
            gates.push(Gate { admits: &view.column(column)[..admitted], event });
        }
        // What an entry is known by afterwards.
        let names = &view.column(0)[..admitted];
        let name = |at: usize| if references { names[at] } else { place(at) };
        if check.is_none() {
            match &gates[..] {
                [a] => return Some(select(passed, name, |at| a.misses(at))),
                [a, b] => return Some(select(passed, name, |at| a.misses(at) | b.misses(at))),
                [a, b, c] => return Some(select(passed, name, |at| a.misses(at) | b.misses(at) | c.misses(at))),
                _ => {}
            }
        }
        failed.clear();
        failed.resize(admitted, 0);
        if let Some((column, most)) = check {
            let at = layout.check_at();
            let (high, low) = halves(most);
            if column.narrow {
                for (failed, bound) in failed.iter_mut().zip(view.column(at)) {
                    *failed |= u32::from(*bound > low);
                }
            } else {
                for ((failed, bound_high), bound_low) in failed.iter_mut().zip(view.column(at)).zip(view.column(at + 1))
                {
                    *failed |=
                        u32::from(*bound_high > high) | u32::from(*bound_high == high) & u32::from(*bound_low > low);
                }
            }
        }
        for gate in &gates {
            for (failed, admits) in failed.iter_mut().zip(gate.admits) {
                *failed |= !admits & gate.event;
            }
        }
        let failed = &failed[..admitted];
        Some(select(passed, name, |at| failed[at]))
    }

    /// What a bound in this column may be at most for the event to satisfy it; none if it satisfies no bound.
    fn bound(&mut self, column: Column) -> Option<u64> {
        if let Some((_, bound)) = self.scratch.bounds.iter().find(|(other, _)| *other == column) {
            return *bound;
        }
        let bound = match self.scratch.values.get(column.field) {
            Value::Number(number) => match (column.upper, column.narrow) {
                (false, false) => Some(number.floor),
                (true, false) => Some(!number.floor),
                (false, true) => hundredths_at_most(number.floor).map(u64::from),
                (true, true) => hundredths_at_least(number.floor).map(|least| u64::from(!least)),
            },
            _ => None,
        };
        self.scratch.bounds.push((column, bound));
        bound
    }
}

/// A column of gates beside the event's bits.
struct Gate<'a> {
    admits: &'a [u32],
    event: u32,
}

impl Gate<'_> {
    #[inline]
    fn misses(&self, at: usize) -> u32 {
        !self.admits[at] & self.event
    }
}

#[expect(clippy::cast_possible_truncation, reason = "leaves are small")]
const fn place(at: usize) -> u32 {
    at as u32
}

/// Collects the entries that fail nothing, and says how many they are.
#[inline]
fn select(passed: &mut [u32], name: impl Fn(usize) -> u32, failed: impl Fn(usize) -> u32) -> usize {
    let mut count = 0;
    for at in 0..passed.len() {
        passed[count] = name(at);
        count += usize::from(failed(at) == 0);
    }
    count
}

#[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
const fn halves(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}
