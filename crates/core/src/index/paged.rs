//! A vector whose clones share their pages: the writer copies a page only when a snapshot still holds it.

use std::array;

// Without weak references: that a page is the writer's own is told by a plain load.
use triomphe::Arc;

const FANOUT: usize = 64;

/// Pages are arrays, not vectors, so that each level is one step for a reader.
type Leaf<T, const PAGE: usize> = Option<Arc<[T; PAGE]>>;
type Branch<T, const PAGE: usize> = Option<Arc<[Leaf<T, PAGE>; FANOUT]>>;

/// Grows at the end or anywhere, and is read by position. `PAGE` items lie together: few where items hold references
/// of their own (a copied page counts each of them up), many where they are plain numbers.
#[derive(Debug)]
pub(super) struct Paged<T, const PAGE: usize> {
    root: Arc<Vec<Branch<T, PAGE>>>,
    /// One more than the last position that was set.
    len: usize,
    leaves: usize,
}

impl<T, const PAGE: usize> Clone for Paged<T, PAGE> {
    fn clone(&self) -> Self {
        Self { root: Arc::clone(&self.root), len: self.len, leaves: self.leaves }
    }
}

impl<T, const PAGE: usize> Default for Paged<T, PAGE> {
    fn default() -> Self {
        Self { root: Arc::default(), len: 0, leaves: 0 }
    }
}

impl<T, const PAGE: usize> Paged<T, PAGE> {
    /// What lies at a position; on a page that has anything, what was never set is the default.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&T> {
        let branch = self.root.get(at / (PAGE * FANOUT))?.as_ref()?;
        Some(&branch[at / PAGE % FANOUT].as_ref()?[at % PAGE])
    }

    /// Bytes of the pages themselves, without what their items own elsewhere.
    pub(super) fn memory_bytes(&self) -> usize {
        let header = 2 * size_of::<usize>();
        let branches = self.root.len() * (header + FANOUT * size_of::<usize>());
        self.leaves * (PAGE * size_of::<T>() + header) + branches + self.root.capacity() * size_of::<usize>()
    }
}

impl<T: Clone + Default, const PAGE: usize> Paged<T, PAGE> {
    pub(super) fn push(&mut self, item: T) {
        self.set(self.len, item);
    }

    /// The item to change; its page is copied first if a snapshot holds it.
    #[inline]
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        let branch = Arc::make_mut(&mut self.root).get_mut(at / (PAGE * FANOUT))?.as_mut()?;
        let leaf = Arc::make_mut(branch)[at / PAGE % FANOUT].as_mut()?;
        Some(&mut Arc::make_mut(leaf)[at % PAGE])
    }

    /// Sets the item at any position; pages in between that were never set take no room.
    pub(super) fn set(&mut self, at: usize, item: T) {
        let root_at = at / (PAGE * FANOUT);
        let root = Arc::make_mut(&mut self.root);
        if root.len() <= root_at {
            root.resize(root_at + 1, None);
        }
        let branch = root[root_at].get_or_insert_with(|| Arc::new([const { None }; FANOUT]));
        let leaf = &mut Arc::make_mut(branch)[at / PAGE % FANOUT];
        let leaf = leaf.get_or_insert_with(|| {
            self.leaves += 1;
            Arc::new(array::from_fn(|_| T::default()))
        });
        Arc::make_mut(leaf)[at % PAGE] = item;
        self.len = self.len.max(at + 1);
    }

    /// Gives back the page of a position: all that was set on it is the default again.
    pub(super) fn drop_page(&mut self, at: usize) {
        let Some(branch) = Arc::make_mut(&mut self.root).get_mut(at / (PAGE * FANOUT)) else { return };
        let Some(leaves) = branch else { return };
        let leaves = Arc::make_mut(leaves);
        self.leaves -= usize::from(leaves[at / PAGE % FANOUT].take().is_some());
        if leaves.iter().all(Option::is_none) {
            *branch = None;
        }
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
        assert_eq!((numbers.len, numbers.leaves), (4_000_001, 2));
        let snapshot = numbers.clone();
        numbers.drop_page(4_000_002);
        numbers.drop_page(9_000_000);
        assert_eq!((numbers.get(4_000_000), numbers.get(3), numbers.leaves), (None, Some(&1), 1));
        assert_eq!(snapshot.get(4_000_000), Some(&7));
        numbers.set(4_000_000, 8);
        assert_eq!((numbers.get(4_000_000), numbers.leaves), (Some(&8), 2));
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
        assert_eq!((snapshot.len, numbers.len), (1000, 1001));
        assert_eq!((snapshot.get(1024), numbers.get_mut(1024)), (None, None));
    }
}
