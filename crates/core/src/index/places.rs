//! Where each filter has its entries, so that it can be taken out by its id.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::chunk::ChunkId;
use super::paged::Paged;

/// The leaves of one filter or class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// There is no such filter.
    Vacant,
    /// The filter matches no event.
    Nowhere,
    Leaf(ChunkId),
    /// Several leaves, listed in a block.
    Block(u32),
}

const BLOCK: u32 = 1 << 31;
const FIRST: u32 = 2;

impl Place {
    pub(super) fn encode(self) -> u32 {
        match self {
            Self::Vacant => 0,
            Self::Nowhere => 1,
            Self::Leaf(leaf) => leaf + FIRST,
            Self::Block(at) => at | BLOCK,
        }
    }

    pub(super) fn decode(word: u32) -> Self {
        match word {
            0 => Self::Vacant,
            1 => Self::Nowhere,
            _ if word & BLOCK != 0 => Self::Block(word & !BLOCK),
            _ => Self::Leaf(word - FIRST),
        }
    }
}

/// Filters whose places and targets lie on one page.
pub(super) const FILTERS_PAGE: usize = 256;

/// Places by filter, and the lists of those that have several.
#[derive(Debug, Default)]
pub(super) struct Places {
    by_filter: Paged<u32, FILTERS_PAGE>,
    /// Filters by page. Ids are not given twice, so pages of those that are gone would never be used again.
    on_page: HashMap<u32, u32>,
    /// Each block is its length and then its leaves.
    blocks: Vec<u32>,
    free: BTreeMap<usize, Vec<u32>>,
}

impl Places {
    pub(super) fn get(&self, filter: u32) -> Place {
        Place::decode(self.by_filter.get(filter as usize).copied().unwrap_or_default())
    }

    pub(super) fn set(&mut self, filter: u32, place: Place) {
        if self.get(filter) == Place::Vacant {
            *self.on_page.entry(page(filter)).or_default() += 1;
        }
        self.by_filter.set(filter as usize, place.encode());
    }

    /// Forgets a filter; whether it was the last of its page, which is given back.
    pub(super) fn vacate(&mut self, filter: u32) -> bool {
        self.by_filter.set(filter as usize, Place::Vacant.encode());
        let Some(filters) = self.on_page.get_mut(&page(filter)) else { return false };
        *filters -= 1;
        let is_last = *filters == 0;
        if is_last {
            self.on_page.remove(&page(filter));
            self.by_filter.drop_page(filter as usize);
        }
        is_last
    }

    pub(super) fn block(&self, at: u32) -> &[ChunkId] {
        let at = at as usize;
        &self.blocks[at + 1..=at + self.blocks[at] as usize]
    }

    /// A block for so many leaves.
    pub(super) fn block_of(&mut self, leaves: usize) -> u32 {
        let at = self.free.get_mut(&leaves).and_then(Vec::pop).unwrap_or_else(|| {
            let at = u32::try_from(self.blocks.len()).unwrap_or(!BLOCK);
            self.blocks.resize(self.blocks.len() + 1 + leaves, 0);
            at
        });
        self.blocks[at as usize] = u32::try_from(leaves).unwrap_or_default();
        at
    }

    pub(super) fn set_leaf(&mut self, block: u32, n: usize, leaf: ChunkId) {
        self.blocks[block as usize + 1 + n] = leaf;
    }

    pub(super) fn forget(&mut self, place: Place) {
        if let Place::Block(at) = place {
            self.free.entry(self.block(at).len()).or_default().push(at);
        }
    }

    /// The place after one of its entries went to another leaf.
    pub(super) fn moved(&mut self, place: Place, from: ChunkId, to: ChunkId) -> Place {
        match place {
            Place::Leaf(_) => Place::Leaf(to),
            Place::Block(at) => {
                let start = at as usize + 1;
                let end = at as usize + self.blocks[at as usize] as usize;
                for leaf in &mut self.blocks[start..=end] {
                    if *leaf == from {
                        *leaf = to;
                    }
                }
                place
            }
            Place::Vacant | Place::Nowhere => place,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.by_filter.memory_bytes() + self.blocks.capacity() * 4 + self.on_page.capacity() * 9
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the size of a page is small")]
const fn page(filter: u32) -> u32 {
    filter / FILTERS_PAGE as u32
}
