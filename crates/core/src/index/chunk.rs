//! Chunks: the immutable blocks of words that hold the filters of a cluster, column by column.
//!
//! A *leaf* holds up to a few hundred entries: a header, then one column after another, then the code that its entries
//! share. A *directory* stands in for the head of a cluster that has outgrown one leaf and names its leaves in order.
//! A change builds a new block; the old one lives on in the snapshots that hold it.

use smallvec::SmallVec;

use super::blocks::Block;
use super::bound;
use super::fields::Field;

pub(super) type ChunkId = u32;

const LAYOUT: usize = 0;
const COUNT: usize = 1;
/// The next cluster with the same key and another layout.
const NEXT: usize = 2;
/// The directory that a leaf belongs to.
const PARENT: usize = 3;
const KEY: usize = 4;
const HEADER: usize = 6;

const DIRECTORY: u32 = 1 << 31;

/// Which columns the entries of a cluster have; the filter comes first, then in the order of the fields here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Layout {
    /// Entries are sorted by this bound, so that those an event satisfies are the first ones.
    pub(super) order: Option<Column>,
    /// A second bound, compared entry by entry.
    pub(super) check: Option<Column>,
    /// Halves of gate words that some test of the filter narrows.
    pub(super) gates: u16,
    /// What is left to evaluate.
    pub(super) code: bool,
    /// A filter may be in several such clusters that one event reaches.
    pub(super) repeats: bool,
    /// The subscribers of one class; the key is where the class has its entry.
    pub(super) members: bool,
}

/// A column of bounds on a field, in the order of "satisfied by more numbers first".
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Column {
    pub(super) field: Field,
    /// Upper bounds are stored inverted, so that for both kinds an entry is satisfied if it is at most the event's.
    pub(super) upper: bool,
    /// Bounds in hundredths, one word instead of two.
    pub(super) narrow: bool,
}

impl Column {
    fn width(self) -> usize {
        if self.narrow { 1 } else { 2 }
    }
}

impl Layout {
    pub(super) fn columns(&self) -> usize {
        let gates = self.gates.count_ones() as usize;
        self.check_at() + self.check.map_or(0, Column::width) + gates + usize::from(self.code)
    }

    pub(super) fn check_at(&self) -> usize {
        1 + self.order.map_or(0, Column::width)
    }

    pub(super) fn gates_at(&self) -> usize {
        self.check_at() + self.check.map_or(0, Column::width)
    }

    /// Whether every entry that the order admits is a match.
    pub(super) fn is_run(&self) -> bool {
        self.check.is_none() && self.gates == 0 && !self.code
    }

    /// The layout that has room for entries of both, if they differ in gates and code only.
    pub(super) fn joined(&self, other: &Self) -> Option<Self> {
        let like = Self { gates: self.gates, code: self.code, ..*other };
        (like == *self).then_some(Self { gates: self.gates | other.gates, code: self.code | other.code, ..like })
    }

    /// Entries of a leaf: a copy of it is what an insert costs.
    pub(super) fn leaf_max(&self) -> usize {
        match (self.is_run(), self.code) {
            (true, _) => bound(512, 4),
            (false, false) => bound(256, 3),
            (false, true) => bound(128, 2),
        }
    }
}

/// One filter's words in a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// One per column; the first is the filter or class, the last (if there is code) is set by the leaf.
    pub(super) words: SmallVec<[u32; 6]>,
    pub(super) code: Vec<u32>,
}

impl Entry {
    /// Adds the columns that a wider layout has: gates that admit everything, and code that is always true.
    pub(super) fn widen(&mut self, from: &Layout, to: &Layout) {
        let mut words = SmallVec::from_slice(&self.words[..from.gates_at()]);
        let mut old = self.words[from.gates_at()..].iter();
        for half in (0..u16::BITS).filter(|half| to.gates & 1 << half != 0) {
            let kept = if from.gates & 1 << half != 0 { old.next() } else { None };
            words.push(kept.copied().unwrap_or(u32::MAX));
        }
        if to.code {
            words.push(0);
            if !from.code {
                self.code = super::program::always();
            }
        }
        self.words = words;
    }

    pub(super) fn order(&self, layout: &Layout) -> u64 {
        order_of(layout, |column| self.words[column])
    }
}

fn order_of(layout: &Layout, word: impl Fn(usize) -> u32) -> u64 {
    match layout.order {
        None => 0,
        Some(Column { narrow: true, .. }) => word(1).into(),
        Some(_) => u64::from(word(1)) << 32 | u64::from(word(2)),
    }
}

/// A chunk, read.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    words: &'a [u32],
}

impl<'a> View<'a> {
    pub(super) fn new(words: &'a [u32]) -> Self {
        Self { words }
    }

    pub(super) fn layout(self) -> usize {
        (self.words[LAYOUT] & !DIRECTORY) as usize
    }

    pub(super) fn is_directory(self) -> bool {
        self.words[LAYOUT] & DIRECTORY != 0
    }

    /// Entries of a leaf, leaves of a directory.
    pub(super) fn count(self) -> usize {
        self.words[COUNT] as usize
    }

    pub(super) fn next(self) -> ChunkId {
        self.words[NEXT]
    }

    pub(super) fn parent(self) -> ChunkId {
        self.words[PARENT]
    }

    pub(super) fn key(self) -> [u32; 2] {
        [self.words[KEY], self.words[KEY + 1]]
    }

    /// In a directory the columns are: the leaf, and the order of its first entry in two halves.
    #[inline]
    pub(super) fn column(self, column: usize) -> &'a [u32] {
        let count = self.count();
        let from = HEADER + column * count;
        &self.words[from..from + count]
    }

    /// The code from an offset on; it knows its own length.
    pub(super) fn code(self, layout: &Layout, offset: u32) -> &'a [u32] {
        &self.words[HEADER + layout.columns() * self.count() + offset as usize..]
    }

    /// How many entries from the first on have an order of at most `most`.
    #[inline]
    pub(super) fn admitted(self, layout: &Layout, most: u64) -> usize {
        match layout.order {
            None => self.count(),
            Some(Column { narrow: true, .. }) => self.column(1).partition_point(|word| u64::from(*word) <= most),
            Some(_) => {
                let (high, low) = (self.column(1), self.column(2));
                partition(self.count(), |at| u64::from(high[at]) << 32 | u64::from(low[at]) <= most)
            }
        }
    }

    /// The last leaf whose first entry is admitted, or the first leaf.
    #[inline]
    pub(super) fn leaf_for(self, most: u64) -> usize {
        let (high, low) = (self.column(1), self.column(2));
        partition(self.count(), |at| u64::from(high[at]) << 32 | u64::from(low[at]) <= most).saturating_sub(1)
    }

    pub(super) fn order(self, layout: &Layout, at: usize) -> u64 {
        order_of(layout, |column| self.column(column)[at])
    }

    pub(super) fn entry(self, layout: &Layout, at: usize) -> Entry {
        let words: SmallVec<_> = (0..layout.columns()).map(|column| self.column(column)[at]).collect();
        let code = match (layout.code, words.last()) {
            (true, Some(offset)) => {
                let code = self.code(layout, *offset);
                code[..super::program::length(code)].to_vec()
            }
            _ => Vec::new(),
        };
        Entry { words, code }
    }

    fn entries(self, layout: &Layout) -> impl Iterator<Item = Entry> {
        (0..self.count()).map(move |at| self.entry(layout, at))
    }

    /// Where a filter or class has its entry.
    pub(super) fn position(self, reference: u32) -> Option<usize> {
        self.column(0).iter().position(|word| *word == reference)
    }

    fn header(self) -> [u32; HEADER] {
        std::array::from_fn(|at| self.words[at])
    }
}

#[inline]
fn partition(count: usize, admitted: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = usize::midpoint(low, high);
        if admitted(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// A chunk, built.
pub(super) struct Builder {
    pub(super) layout: usize,
    pub(super) next: ChunkId,
    pub(super) parent: ChunkId,
    pub(super) key: [u32; 2],
}

#[expect(clippy::cast_possible_truncation, reason = "leaves are small")]
const fn word(number: usize) -> u32 {
    number as u32
}

impl Builder {
    pub(super) fn of(view: View<'_>) -> Self {
        Self { layout: view.layout(), next: view.next(), parent: view.parent(), key: view.key() }
    }

    fn header(&self, directory: bool, count: usize) -> [u32; HEADER] {
        let flag = if directory { DIRECTORY } else { 0 };
        [word(self.layout) | flag, word(count), self.next, self.parent, self.key[0], self.key[1]]
    }

    /// A leaf of these entries, in this order; equal code is stored once.
    pub(super) fn leaf(&self, layout: &Layout, entries: &[Entry]) -> Block {
        let columns = layout.columns();
        let mut words = Vec::with_capacity(HEADER + entries.len() * columns);
        words.extend(self.header(false, entries.len()));
        let plain = columns - usize::from(layout.code);
        for column in 0..plain {
            words.extend(entries.iter().map(|entry| entry.words[column]));
        }
        if layout.code {
            let mut code: Vec<u32> = Vec::new();
            let mut offsets: Vec<(usize, &[u32])> = Vec::new();
            for entry in entries {
                let found = offsets.iter().rev().take(32).find(|(_, known)| *known == &entry.code[..]);
                let offset = found.map_or(code.len(), |(offset, _)| *offset);
                if offset == code.len() {
                    offsets.push((offset, &entry.code));
                    code.extend(&entry.code);
                }
                words.push(word(offset));
            }
            words.extend(code);
        }
        Block::new(&words)
    }

    pub(super) fn directory(&self, leaves: &[(ChunkId, u64)]) -> Block {
        let mut words = Vec::with_capacity(HEADER + 3 * leaves.len());
        words.extend(self.header(true, leaves.len()));
        words.extend(leaves.iter().map(|(leaf, _)| *leaf));
        words.extend(leaves.iter().map(|(_, first)| word((*first >> 32) as usize)));
        words.extend(leaves.iter().map(|(_, first)| word((*first & u64::from(u32::MAX)) as usize)));
        Block::new(&words)
    }
}

pub(super) fn leaves(directory: View<'_>) -> Vec<(ChunkId, u64)> {
    let columns = directory.column(0).iter().zip(directory.column(1)).zip(directory.column(2));
    columns.map(|((leaf, high), low)| (*leaf, u64::from(*high) << 32 | u64::from(*low))).collect()
}

/// The leaf with one more entry, after those of the same order. `buffer` is reused from call to call.
pub(super) fn with_entry(view: View<'_>, layout: &Layout, entry: &Entry, buffer: &mut Vec<u32>) -> Block {
    let at = view.admitted(layout, entry.order(layout));
    let (count, columns) = (view.count(), layout.columns());
    buffer.clear();
    buffer.extend(view.header());
    buffer[COUNT] = word(count + 1);
    for column in 0..columns {
        let old = view.column(column);
        buffer.extend(&old[..at]);
        buffer.push(entry.words[column]);
        buffer.extend(&old[at..]);
    }
    if layout.code {
        let code = view.code(layout, 0);
        let known = view.column(columns - 1).iter().find(|offset| code[**offset as usize..].starts_with(&entry.code));
        let offset = known.copied().unwrap_or(word(code.len()));
        buffer[HEADER + (columns - 1) * (count + 1) + at] = offset;
        buffer.extend(code);
        if known.is_none() {
            buffer.extend(&entry.code);
        }
    }
    Block::new(buffer)
}

/// The leaf without the entry at a position.
pub(super) fn without_entry(view: View<'_>, layout: &Layout, at: usize, buffer: &mut Vec<u32>) -> Block {
    if layout.code {
        let mut entries: Vec<Entry> = view.entries(layout).collect();
        entries.remove(at);
        return Builder::of(view).leaf(layout, &entries);
    }
    buffer.clear();
    buffer.extend(view.header());
    buffer[COUNT] = word(view.count() - 1);
    for column in 0..layout.columns() {
        let old = view.column(column);
        buffer.extend(&old[..at]);
        buffer.extend(&old[at + 1..]);
    }
    Block::new(buffer)
}

/// The chunk with one word of an entry replaced.
pub(super) fn with_reference(view: View<'_>, at: usize, reference: u32) -> Block {
    let mut words = view.words.to_vec();
    words[HEADER + at] = reference;
    Block::new(&words)
}

pub(super) fn with_header(view: View<'_>, change: impl FnOnce(&mut Builder)) -> Block {
    let mut header = Builder::of(view);
    change(&mut header);
    let mut words = view.words.to_vec();
    words[..HEADER].copy_from_slice(&header.header(view.is_directory(), view.count()));
    Block::new(&words)
}

/// Whether a leaf should be split.
pub(super) fn is_over(view: View<'_>, layout: &Layout) -> bool {
    /// Bounds the cost of a copy where entries have much code.
    const WORDS_MAX: usize = 8192;
    view.count() > layout.leaf_max() || view.words.len() > WORDS_MAX && view.count() > 1
}

/// Both parts of a leaf that is too large: halves, or without an order all but the newest entry, since none is ever put
/// between the others.
pub(super) fn halves(view: View<'_>, layout: &Layout) -> [Vec<Entry>; 2] {
    let mut left: Vec<Entry> = view.entries(layout).collect();
    let right = left.split_off(if layout.order.is_some() { left.len() / 2 } else { left.len() - 1 });
    [left, right]
}

pub(super) fn all_entries(view: View<'_>, layout: &Layout) -> Vec<Entry> {
    view.entries(layout).collect()
}
