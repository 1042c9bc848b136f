//! The writer's side of clusters: puts entries into leaves, splits and joins leaves, and tells what moved.

use super::blocks::{self, Block, Blocks};
use super::chunk::{self, Builder, ChunkId, Entry, Layout, View};
use super::symbols::NONE;

/// The chunk of a number. A number stays with a leaf while its content changes.
#[inline]
pub(super) fn view(chunks: &[Block], id: ChunkId) -> Option<View<'_>> {
    let words = blocks::words(chunks, id as usize);
    (!words.is_empty()).then(|| View::new(words))
}

/// An entry that now lies in another leaf.
pub(super) struct Moved {
    pub(super) reference: u32,
    pub(super) from: ChunkId,
    pub(super) to: ChunkId,
}

#[derive(Debug, Default)]
pub(super) struct Clusters {
    pub(super) chunks: Blocks,
    free: Vec<ChunkId>,
    buffer: Vec<u32>,
}

impl Clusters {
    pub(super) fn view(&self, id: ChunkId) -> View<'_> {
        view(self.chunks.all(), id).unwrap_or(View::new(&[0; 6]))
    }

    /// Has brought near what [`Self::fetch`] reads.
    pub(super) fn fetch_place(&self, head: ChunkId) {
        blocks::fetch_place(self.chunks.all(), head as usize);
    }

    /// Has a cluster's head brought near.
    pub(super) fn fetch(&self, head: ChunkId) {
        blocks::fetch(self.chunks.all(), head as usize, self.chunks.lines());
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.chunks.memory_bytes() + self.free.len() * size_of::<ChunkId>()
    }

    /// Calls back with what the entries of a cluster refer to.
    pub(super) fn each_reference(&self, head: ChunkId, each: &mut impl FnMut(u32)) {
        let view = self.view(head);
        if view.is_directory() {
            view.column(0).iter().for_each(|leaf| self.view(*leaf).column(0).iter().for_each(|word| each(*word)));
        } else {
            view.column(0).iter().for_each(|word| each(*word));
        }
    }

    fn add(&mut self, chunk: Block) -> ChunkId {
        if let Some(id) = self.free.pop() {
            self.set(id, chunk);
            return id;
        }
        u32::try_from(self.chunks.push(chunk)).unwrap_or(NONE)
    }

    fn set(&mut self, id: ChunkId, chunk: Block) {
        self.chunks.set(id as usize, chunk);
    }

    fn drop_chunk(&mut self, id: ChunkId) {
        self.set(id, Block::default());
        self.free.push(id);
    }

    /// A new cluster without entries; it must get one before it is published.
    pub(super) fn create(&mut self, layout: usize, columns: &Layout, key: [u32; 2], next: ChunkId) -> ChunkId {
        let words = Builder { layout, next, parent: NONE, key }.leaf(columns, &[]);
        self.add(words)
    }

    /// Gives a cluster that is one leaf another layout with more columns.
    pub(super) fn widen(&mut self, head: ChunkId, from: &Layout, to: &Layout, layout: usize) {
        let view = self.view(head);
        let mut entries = chunk::all_entries(view, from);
        for entry in &mut entries {
            entry.widen(from, to);
        }
        let words = Builder { layout, ..Builder::of(view) }.leaf(to, &entries);
        self.set(head, words);
    }

    pub(super) fn set_header(&mut self, id: ChunkId, change: impl FnOnce(&mut Builder)) {
        let words = chunk::with_header(self.view(id), change);
        self.set(id, words);
    }

    pub(super) fn set_reference(&mut self, leaf: ChunkId, at: usize, reference: u32) {
        let words = chunk::with_reference(self.view(leaf), at, reference);
        self.set(leaf, words);
    }

    /// The leaf of a cluster where an entry of this order belongs.
    pub(super) fn leaf(&self, head: ChunkId, layout: &Layout, entry: &Entry) -> ChunkId {
        let view = self.view(head);
        if !view.is_directory() {
            return head;
        }
        let order = entry.order(layout);
        // Without an order new entries go to the last leaf, which keeps the others full.
        let at = if layout.order.is_some() { view.leaf_for(order) } else { view.count() - 1 };
        view.column(0)[at]
    }

    /// Puts an entry into a cluster, and says into which leaf.
    pub(super) fn insert(&mut self, head: ChunkId, layout: &Layout, entry: &Entry, moved: &mut Vec<Moved>) -> ChunkId {
        let leaf = self.leaf(head, layout, entry);
        let mut buffer = std::mem::take(&mut self.buffer);
        let words = chunk::with_entry(self.view(leaf), layout, entry, &mut buffer);
        self.buffer = buffer;
        self.set(leaf, words);
        if !chunk::is_over(self.view(leaf), layout) {
            return leaf;
        }
        self.split(leaf, layout, moved);
        let landed = moved.iter().rev().find(|moved| moved.reference == entry.words[0]);
        landed.map_or(leaf, |moved| moved.to)
    }

    fn split(&mut self, leaf: ChunkId, layout: &Layout, moved: &mut Vec<Moved>) {
        let view = self.view(leaf);
        let [left, right] = chunk::halves(view, layout);
        let firsts = [left[0].order(layout), right[0].order(layout)];
        let mut builder = Builder::of(view);
        let mut moves = |entries: &[Entry], to| {
            moved.extend(entries.iter().map(|entry| Moved { reference: entry.words[0], from: leaf, to }));
        };
        if builder.parent == NONE {
            // The head keeps its number, which its key knows, and becomes the directory.
            let head = Builder { layout: builder.layout, next: builder.next, parent: NONE, key: builder.key };
            (builder.parent, builder.next) = (leaf, NONE);
            let left_id = self.add(builder.leaf(layout, &left));
            let right_id = self.add(builder.leaf(layout, &right));
            moves(&left, left_id);
            moves(&right, right_id);
            self.set(leaf, head.directory(&[(left_id, firsts[0]), (right_id, firsts[1])]));
            return;
        }
        let right_id = self.add(builder.leaf(layout, &right));
        moves(&right, right_id);
        self.set(leaf, builder.leaf(layout, &left));
        let mut leaves = chunk::leaves(self.view(builder.parent));
        if let Some(at) = leaves.iter().position(|(id, _)| *id == leaf) {
            leaves[at].1 = leaves[at].1.min(firsts[0]);
            leaves.insert(at + 1, (right_id, firsts[1]));
        }
        self.set_leaves(builder.parent, &leaves);
    }

    fn set_leaves(&mut self, directory: ChunkId, leaves: &[(ChunkId, u64)]) {
        let words = Builder::of(self.view(directory)).directory(leaves);
        self.set(directory, words);
    }

    /// The head of the cluster that a leaf belongs to.
    pub(super) fn head(&self, leaf: ChunkId) -> ChunkId {
        let parent = self.view(leaf).parent();
        if parent == NONE { leaf } else { parent }
    }

    /// Takes an entry out of its leaf. True if the cluster has no entries left and is to be dropped.
    pub(super) fn remove(&mut self, leaf: ChunkId, layout: &Layout, at: usize, moved: &mut Vec<Moved>) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        let words = chunk::without_entry(self.view(leaf), layout, at, &mut buffer);
        self.buffer = buffer;
        self.set(leaf, words);
        let view = self.view(leaf);
        let (left, parent) = (view.count(), view.parent());
        if parent == NONE {
            return left == 0;
        }
        if left * 8 > layout.leaf_max() || left > 0 && self.view(parent).count() == 1 {
            return false;
        }
        let mut leaves = chunk::leaves(self.view(parent));
        // A leaf with few entries gives them to its neighbours, so that deletions leave no trail of small blocks.
        let orphans = chunk::all_entries(self.view(leaf), layout);
        leaves.retain(|(id, _)| *id != leaf);
        self.drop_chunk(leaf);
        if leaves.is_empty() {
            self.set_leaves(parent, &leaves);
            return true;
        }
        self.set_leaves(parent, &leaves);
        for entry in orphans {
            let to = self.insert(parent, layout, &entry, moved);
            moved.push(Moved { reference: entry.words[0], from: leaf, to });
        }
        false
    }

    /// Forgets an empty cluster.
    pub(super) fn drop_cluster(&mut self, head: ChunkId) {
        self.drop_chunk(head);
    }
}
