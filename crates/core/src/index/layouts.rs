//! The layouts in use, by number, counted by the clusters that have them.

use std::sync::Arc;

use hashbrown::HashMap;

use super::chunk::Layout;

#[derive(Debug, Default)]
pub(super) struct Layouts {
    pub(super) all: Arc<Vec<Layout>>,
    ids: HashMap<Layout, usize>,
    uses: Vec<u32>,
    free: Vec<usize>,
}

impl Layouts {
    pub(super) fn retain(&mut self, layout: Layout) -> usize {
        let id = match self.ids.get(&layout) {
            Some(id) => *id,
            None => {
                let all = Arc::make_mut(&mut self.all);
                let id = self.free.pop().unwrap_or(all.len());
                if id == all.len() {
                    all.push(layout);
                    self.uses.push(0);
                } else {
                    all[id] = layout;
                }
                self.ids.insert(layout, id);
                id
            }
        };
        self.uses[id] += 1;
        id
    }

    pub(super) fn release(&mut self, id: usize) {
        self.uses[id] -= 1;
        if self.uses[id] == 0 {
            self.ids.remove(&self.all[id]);
            self.free.push(id);
        }
    }
}
