//! The cursor of a list, held on a row's identity and not on its place, so that rows may move under it.

use std::cell::Cell;

/// `offset` and `height` are what the last draw used. They are cells because only a draw knows the height, and a
/// page key must move by what was seen; nothing else depends on them.
#[derive(Clone, Debug)]
pub struct ListCursor<K> {
    pub selected: Option<K>,
    /// Where the selected row was, to stay near it when it disappears.
    place: usize,
    pub offset: Cell<usize>,
    pub height: Cell<usize>,
}

impl<K> Default for ListCursor<K> {
    fn default() -> Self {
        Self { selected: None, place: 0, offset: Cell::new(0), height: Cell::new(10) }
    }
}

/// How a key moves a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    Up(usize),
    Down(usize),
    PageUp,
    PageDown,
    Top,
    Bottom,
}

impl<K: PartialEq + Clone> ListCursor<K> {
    /// The place of the selected row among `keys`.
    #[must_use]
    pub fn at(&self, keys: &[K]) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        // Rows seldom move far between two looks.
        if keys.get(self.place) == Some(selected) {
            return Some(self.place);
        }
        keys.iter().position(|k| k == selected)
    }

    /// Makes the selection valid: if its row is gone, the row at its place is selected.
    pub fn settle(&mut self, keys: &[K]) {
        match self.at(keys) {
            Some(at) => self.place = at,
            None => self.select_at(keys, self.place),
        }
    }

    pub fn select_at(&mut self, keys: &[K], at: usize) {
        self.place = at.min(keys.len().saturating_sub(1));
        self.selected = keys.get(self.place).cloned();
    }

    /// False if the cursor was at the end already.
    pub fn step(&mut self, keys: &[K], by: Move) -> bool {
        let at = self.at(keys).unwrap_or(self.place);
        let page = self.height.get().saturating_sub(1).max(1);
        let last = keys.len().saturating_sub(1);
        let to = match by {
            Move::Up(n) => at.saturating_sub(n),
            Move::Down(n) => at.saturating_add(n),
            Move::PageUp => at.saturating_sub(page),
            Move::PageDown => at.saturating_add(page),
            Move::Top => 0,
            Move::Bottom => last,
        };
        self.select_at(keys, to);
        self.place != at
    }

    /// The first row to draw so that the selected one is seen, moving as little as possible.
    pub fn window(&self, keys: usize, at: Option<usize>, height: usize) -> usize {
        self.height.set(height.max(1));
        let at = at.unwrap_or(0);
        let mut offset = self.offset.get().min(keys.saturating_sub(height));
        if at < offset {
            offset = at;
        } else if height > 0 && at >= offset + height {
            offset = at + 1 - height;
        }
        self.offset.set(offset);
        offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_stays_on_its_row_when_rows_move() {
        let mut list = ListCursor::default();
        list.select_at(&["a", "b", "c"], 1);
        list.settle(&["c", "a", "b"]);
        assert_eq!((list.selected, list.at(&["c", "a", "b"])), (Some("b"), Some(2)));
    }

    #[test]
    fn a_row_that_is_gone_leaves_the_cursor_at_its_place() {
        let mut list = ListCursor::default();
        list.select_at(&["a", "b", "c"], 1);
        list.settle(&["a", "c"]);
        assert_eq!(list.selected, Some("c"));
        list.settle(&[]);
        assert_eq!(list.selected, None);
    }

    #[test]
    fn moves_stop_at_the_ends_and_the_window_follows() {
        let keys: Vec<u32> = (0..100).collect();
        let mut list = ListCursor::default();
        assert!(!{
            list.select_at(&keys, 0);
            list.step(&keys, Move::Up(3))
        });
        assert!(list.step(&keys, Move::Bottom));
        assert_eq!(list.window(100, list.at(&keys), 10), 90);
        assert!(list.step(&keys, Move::PageUp));
        assert_eq!(list.selected, Some(90));
        assert_eq!(list.window(100, list.at(&keys), 10), 90);
        assert!(!{
            list.step(&keys, Move::Bottom);
            list.step(&keys, Move::Down(1))
        });
    }
}
