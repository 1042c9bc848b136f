//! A vector whose clones share their pages: the writer copies a page only when a snapshot still holds it.

use std::sync::Arc;

const FANOUT: usize = 64;

type Leaf<T> = Arc<Vec<T>>;
type Branch<T> = Arc<Vec<Leaf<T>>>;

/// Grows at the end and is read by position. `PAGE` items lie together: few where items hold references of their own
/// (a copied page counts each of them up), many where they are plain numbers.
#[derive(Debug)]
pub(super) struct Paged<T, const PAGE: usize> {
    root: Arc<Vec<Branch<T>>>,
    len: usize,
}

impl<T, const PAGE: usize> Clone for Paged<T, PAGE> {
    fn clone(&self) -> Self {
        Self { root: Arc::clone(&self.root), len: self.len }
    }
}

impl<T, const PAGE: usize> Default for Paged<T, PAGE> {
    fn default() -> Self {
        Self { root: Arc::default(), len: 0 }
    }
}

impl<T, const PAGE: usize> Paged<T, PAGE> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.root.get(at / (PAGE * FANOUT))?.get(at / PAGE % FANOUT)?.get(at % PAGE)
    }

    /// Bytes of the pages themselves, without what their items own elsewhere.
    pub(super) fn memory_bytes(&self) -> usize {
        let leaves = self.len.div_ceil(PAGE);
        let header = 2 * size_of::<usize>() + size_of::<Vec<T>>();
        leaves * (PAGE * size_of::<T>() + header + size_of::<usize>())
            + leaves.div_ceil(FANOUT) * (header + size_of::<usize>())
    }
}

impl<T: Clone, const PAGE: usize> Paged<T, PAGE> {
    pub(super) fn push(&mut self, item: T) {
        let at = self.len;
        let root = Arc::make_mut(&mut self.root);
        if at.is_multiple_of(PAGE * FANOUT) {
            root.push(Arc::default());
        }
        let branch = Arc::make_mut(&mut root[at / (PAGE * FANOUT)]);
        if at.is_multiple_of(PAGE) {
            branch.push(Arc::new(Vec::with_capacity(PAGE)));
        }
        Arc::make_mut(&mut branch[at / PAGE % FANOUT]).push(item);
        self.len += 1;
    }

    /// The item to change; its page is copied first if a snapshot holds it.
    #[inline]
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        let branch = Arc::make_mut(&mut self.root).get_mut(at / (PAGE * FANOUT))?;
        Arc::make_mut(Arc::make_mut(branch).get_mut(at / PAGE % FANOUT)?).get_mut(at % PAGE)
    }
}

impl<T: Clone + Default, const PAGE: usize> Paged<T, PAGE> {
    /// Sets the item at any position; pages in between that were never set take no room.
    pub(super) fn set(&mut self, at: usize, item: T) {
        let (root_at, branch_at) = (at / (PAGE * FANOUT), at / PAGE % FANOUT);
        let root = Arc::make_mut(&mut self.root);
        if root.len() <= root_at {
            root.resize(root_at + 1, Arc::default());
        }
        let branch = Arc::make_mut(&mut root[root_at]);
        if branch.len() <= branch_at {
            branch.resize(branch_at + 1, Arc::default());
        }
        let leaf = Arc::make_mut(&mut branch[branch_at]);
        if leaf.is_empty() {
            *leaf = vec![T::default(); PAGE];
            self.len += PAGE;
        }
        leaf[at % PAGE] = item;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_far_apart_take_few_pages() {
        let mut numbers = Paged::<u32, 4>::default();
        numbers.set(4_000_000, 7);
        numbers.set(3, 1);
        assert_eq!((numbers.get(4_000_000), numbers.get(4_000_001), numbers.get(3)), (Some(&7), Some(&0), Some(&1)));
        assert_eq!((numbers.get(100), numbers.get(5_000_000)), (None, None));
        assert_eq!(numbers.len(), 8);
    }

    #[test]
    fn a_clone_keeps_what_it_saw() {
        let mut numbers = Paged::<usize, 4>::default();
        for n in 0..1000 {
            numbers.push(n);
        }
        let snapshot = numbers.clone();
        for n in 0..1000 {
            *numbers.get_mut(n).unwrap() += 1;
        }
        numbers.push(0);
        assert!((0..1000).all(|n| snapshot.get(n) == Some(&n) && numbers.get(n) == Some(&(n + 1))));
        assert_eq!((snapshot.len(), numbers.len()), (1000, 1001));
        assert_eq!((snapshot.get(1000), numbers.get_mut(1001)), (None, None));
    }
}
