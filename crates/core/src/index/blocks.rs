//! Blocks of words by number, of which readers hold copies, each as of one publication.
//!
//! The writer changes a list of its own and notes the place of every change. Publishing hands that list out, takes back
//! an older one that no reader holds any more, and brings it up to date at the places noted: a replica that lags and
//! catches up, as in left-right (Ramalhete and Correia, 2013), but with as many as readers hold. So a change costs a few
//! steps however long the lists are, and only the blocks that changed have their references counted. Where no replica is
//! free, or more has changed than is worth to note, publishing copies the list.

use std::collections::VecDeque;
use std::iter::repeat;
use std::sync::Arc;

use triomphe::ThinArc;

use super::bound;
use super::prefetch::prefetch;

/// Words that never change. An empty block takes no room.
#[derive(Clone, Debug, Default)]
pub(super) struct Block(Option<ThinArc<(), u32>>);

impl Block {
    pub(super) fn new(words: &[u32]) -> Self {
        Self((!words.is_empty()).then(|| ThinArc::from_header_and_slice((), words)))
    }

    #[inline]
    pub(super) fn words(&self) -> &[u32] {
        self.0.as_ref().map_or(&[], |words| &words.slice)
    }

    /// Whether it is this very block.
    fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self.words(), other.words())
    }

    /// What it takes, its counters included.
    fn bytes(&self) -> usize {
        /// Two counters, and what the allocator rounds up on average.
        const OVERHEAD: usize = 2 * size_of::<usize>() + 8;
        self.0.as_ref().map_or(0, |words| size_of_val(&words.slice) + OVERHEAD)
    }
}

/// What a reader has.
pub(super) type Published = Arc<Vec<Block>>;

/// Has a block brought near; of a long one the first part.
#[inline]
pub(super) fn fetch(blocks: &[Block], at: usize, lines: usize) {
    if let Some(Block(Some(words))) = blocks.get(at) {
        prefetch(&words.header, lines);
    }
}

/// Has brought near what tells where a block is.
#[inline]
pub(super) fn fetch_place(blocks: &[Block], at: usize) {
    if let Some(block) = blocks.get(at) {
        prefetch(block, 1);
    }
}

/// The words of a block; none if there is no such block.
#[inline]
pub(super) fn words(blocks: &[Block], at: usize) -> &[u32] {
    blocks.get(at).map_or(&[], Block::words)
}

/// A list that was handed out, and the number of the first change that it lacks.
#[derive(Debug)]
struct Replica {
    blocks: Published,
    lacks: u64,
}

impl Replica {
    fn is_free(&self) -> bool {
        Arc::strong_count(&self.blocks) == 1
    }
}

/// The writer's side.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    own: Vec<Block>,
    /// Oldest first.
    replicas: VecDeque<Replica>,
    /// Lists whose changes were forgotten, kept until readers leave them so that it is the writer who drops them.
    abandoned: Vec<Published>,
    /// Places.
    changes: VecDeque<u32>,
    /// Blocks that were replaced, dropped a few at a time. To count a reference down waits until all that was written
    /// before has arrived in memory, which right after a new block was written is long.
    retired: Vec<Block>,
    /// The number of the first of the changes that are kept.
    first: u64,
    block_bytes: usize,
}

/// Changes between what is asked for and what is read.
const AHEAD: usize = 8;

const RETIRED_MAX: usize = bound(64, 4);

/// Lists that no reader holds and that are kept for the next publications.
const FREE_MAX: usize = 2;

impl Blocks {
    #[inline]
    pub(super) fn all(&self) -> &[Block] {
        &self.own
    }

    pub(super) fn len(&self) -> usize {
        self.own.len()
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> &[u32] {
        words(&self.own, at)
    }

    /// Adds a block, and says at which place.
    pub(super) fn push(&mut self, block: Block) -> usize {
        let at = self.own.len();
        self.set(at, block);
        at
    }

    /// Sets a block; places up to it that are new are empty.
    pub(super) fn set(&mut self, at: usize, block: Block) {
        self.block_bytes += block.bytes();
        let before = put(&mut self.own, at, block);
        self.block_bytes -= before.bytes();
        self.retired.push(before);
        if self.retired.len() >= RETIRED_MAX {
            self.retired.clear();
        }
        if self.replicas.is_empty() {
            return;
        }
        // Numbers of blocks are words of blocks, so they fit.
        self.changes.push_back(u32::try_from(at).unwrap_or(u32::MAX));
        // Without a publication nobody would ever read them.
        if self.changes.len() > self.notes_max() {
            self.first += self.changes.len() as u64;
            self.changes.clear();
            let held = self.replicas.drain(..).filter(|replica| !replica.is_free());
            self.abandoned.extend(held.map(|replica| replica.blocks));
        }
    }

    /// Changes that are noted at the most: to apply more of them costs more than a copy of the list.
    fn notes_max(&self) -> usize {
        self.own.len() / 2 + bound(4096, 16)
    }

    /// The blocks as they are now, for readers.
    pub(super) fn publish(&mut self) -> Published {
        let end = self.first + self.changes.len() as u64;
        if let Some(newest) = self.replicas.back()
            && newest.lacks == end
        {
            let blocks = Arc::clone(&newest.blocks);
            self.forget();
            return blocks;
        }
        let next = self.take_back();
        let blocks = Arc::new(std::mem::replace(&mut self.own, next));
        self.replicas.push_back(Replica { blocks: Arc::clone(&blocks), lacks: end });
        self.forget();
        blocks
    }

    /// A list that is equal to the writer's: one that no reader holds, or a new one.
    fn take_back(&mut self) -> Vec<Block> {
        let free = self.replicas.iter().position(Replica::is_free).and_then(|at| self.replicas.remove(at));
        let Some(Replica { blocks, lacks }) = free else { return self.own.clone() };
        let Ok(mut blocks) = Arc::try_unwrap(blocks) else { return self.own.clone() };
        let known = usize::try_from(lacks - self.first).unwrap_or(usize::MAX).min(self.changes.len());
        let places = || self.changes.range(known..).map(|at| *at as usize);
        // What is read of a change is on its way while the changes before it are made: where its blocks are, and they.
        let soon = places().skip(AHEAD).map(Some).chain(repeat(None));
        let later = places().skip(2 * AHEAD).map(Some).chain(repeat(None));
        for ((at, soon), later) in places().zip(soon).zip(later) {
            if let Some(later) = later {
                fetch_place(&self.own, later);
                fetch_place(&blocks, later);
            }
            if let Some(soon) = soon {
                fetch(&self.own, soon, 1);
                fetch(&blocks, soon, 1);
            }
            // A place may be noted several times.
            if !blocks.get(at).is_some_and(|block| block.is(&self.own[at])) {
                put(&mut blocks, at, self.own[at].clone());
            }
        }
        blocks
    }

    /// Drops changes that every list has, and lists that nobody needs.
    fn forget(&mut self) {
        let end = self.first + self.changes.len() as u64;
        let most = self.notes_max() as u64;
        let mut free = 0;
        for replica in std::mem::take(&mut self.replicas) {
            free += usize::from(replica.is_free());
            if replica.is_free() && free > FREE_MAX {
                continue;
            }
            if end - replica.lacks > most {
                self.abandoned.push(replica.blocks);
            } else {
                self.replicas.push_back(replica);
            }
        }
        self.abandoned.retain(|blocks| Arc::strong_count(blocks) > 1);
        let needed = self.replicas.iter().map(|replica| replica.lacks).min().unwrap_or(end);
        let known = usize::try_from(needed - self.first).unwrap_or_default();
        self.changes.drain(..known);
        self.first = needed;
    }

    /// How many cache lines of a block are worth to be fetched before its length is known: a typical one.
    pub(super) fn lines(&self) -> usize {
        const LINE: usize = 64;
        const LINES_MAX: usize = 20;
        (self.block_bytes / LINE / self.own.len().max(1) + 1).min(LINES_MAX)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let handed_out = self.replicas.iter().map(|replica| &replica.blocks).chain(&self.abandoned);
        let lists: usize = handed_out.map(|blocks| blocks.capacity()).sum::<usize>() + self.own.capacity();
        lists * size_of::<Block>() + self.changes.capacity() * size_of::<u32>() + self.block_bytes
    }
}

/// Sets a block, and answers with the one that was there.
fn put(blocks: &mut Vec<Block>, at: usize, block: Block) -> Block {
    if at >= blocks.len() {
        if at >= blocks.capacity() {
            // Lists are many and long, so they grow by an eighth and not by the double.
            blocks.reserve_exact(at + 1 + at / 8 - blocks.len());
        }
        blocks.resize(at + 1, Block::default());
    }
    std::mem::replace(&mut blocks[at], block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reader_sees_what_was_published_to_it() {
        let mut state = 1_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut blocks = Blocks::default();
        let mut model: Vec<Vec<u32>> = Vec::new();
        let mut readers: Vec<(Published, Vec<Vec<u32>>)> = Vec::new();
        for round in 0..2_000 {
            for _ in 0..next(40) {
                let at = next(if round < 1_000 { 300 } else { 20_000 }) as usize;
                let words: Vec<u32> = (0..next(4)).map(|_| next(1_000) as u32).collect();
                model.resize(model.len().max(at + 1), Vec::new());
                blocks.set(at, Block::new(&words));
                model[at] = words;
            }
            readers.push((blocks.publish(), model.clone()));
            while readers.len() as u64 > next(7) {
                let (published, expected) = readers.swap_remove(next(readers.len() as u64) as usize);
                assert!(published.iter().map(Block::words).eq(expected.iter().map(|words| &words[..])));
            }
        }
        assert!(blocks.all().iter().map(Block::words).eq(model.iter().map(|words| &words[..])));
        assert_eq!(blocks.block_bytes, blocks.own.iter().map(Block::bytes).sum::<usize>());
    }

    #[test]
    fn what_nobody_publishes_is_not_noted_for_ever() {
        let mut blocks = Blocks::default();
        let first = blocks.publish();
        for n in 0..100_000_u32 {
            blocks.set(n as usize % 100, Block::new(&[n]));
            assert!(blocks.changes.len() <= blocks.notes_max());
        }
        assert!(first.is_empty() && blocks.replicas.is_empty() && blocks.changes.is_empty());
        let all: Vec<&[u32]> = (0..100).map(|at| words(blocks.all(), at)).collect();
        assert_eq!(all[99], [99_999]);
        let next = blocks.publish();
        assert!(next.iter().map(Block::words).eq(blocks.all().iter().map(Block::words)));
        // The list of before goes with its last reader, though nothing changes any more.
        assert_eq!(blocks.abandoned.len(), 1);
        drop(first);
        blocks.publish();
        assert!(blocks.abandoned.is_empty());
    }

    #[test]
    fn lists_are_as_many_as_readers_hold_and_a_few() {
        let mut blocks = Blocks::default();
        let mut held = Vec::new();
        for n in 0..100_u32 {
            blocks.set(n as usize, Block::new(&[n]));
            held.push(blocks.publish());
            held.drain(..held.len().saturating_sub(2));
        }
        assert!(blocks.replicas.len() <= 2 + FREE_MAX && blocks.changes.len() <= 8, "{:?}", blocks.replicas.len());
        // A reader that stays behind does not keep the changes since.
        let behind = held.swap_remove(0);
        held.clear();
        for n in 0..20_000_u32 {
            blocks.set(n as usize % 100, Block::new(&[n]));
            blocks.publish();
        }
        assert!(blocks.changes.len() < 5_000 && blocks.abandoned.len() == 1);
        assert_eq!(behind.len(), 99);
        drop(behind);
        blocks.set(0, Block::default());
        blocks.publish();
        assert!(blocks.abandoned.is_empty());
    }
}
