//! Texts, patterns and whole expressions that code names by number.

use std::sync::Arc;

use hashbrown::HashMap;
use regex::Regex;

use super::paged::Paged;
use crate::filter::ast::Expr;
use crate::filter::pattern;

#[derive(Clone, Debug, Default)]
pub(super) enum Item {
    #[default]
    Free,
    Text(Arc<str>),
    /// A pattern that does not compile is an error for every event, so it matches none, negated or not.
    Pattern {
        text: Arc<str>,
        regex: Option<Arc<Regex>>,
    },
    Expr(Arc<Expr>),
}

impl Item {
    pub(super) fn pattern(text: Arc<str>) -> Self {
        Self::Pattern { text, regex: None }
    }
}

/// The reader's side.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    items: Paged<Item, 16>,
}

impl Pool {
    pub(super) fn get(&self, id: u32) -> Option<&Item> {
        self.items.get(id as usize)
    }
}

/// The writer's side: equal texts and patterns are one item, counted by their uses.
#[derive(Debug, Default)]
pub(super) struct PoolWriter {
    pub(super) pool: Pool,
    known: HashMap<(bool, Arc<str>), u32>,
    uses: Vec<u32>,
    free: Vec<u32>,
    texts_bytes: usize,
}

impl PoolWriter {
    /// The number of an item, which has no uses yet if it is new.
    pub(super) fn intern(&mut self, item: Item) -> u32 {
        let key = match &item {
            Item::Text(text) => Some((false, Arc::clone(text))),
            Item::Pattern { text, .. } => Some((true, Arc::clone(text))),
            Item::Expr(_) | Item::Free => None,
        };
        if let Some(id) = key.as_ref().and_then(|key| self.known.get(key)) {
            return *id;
        }
        let item = match item {
            Item::Pattern { text, .. } => {
                let regex = pattern::compile(&text).ok().map(Arc::new);
                Item::Pattern { text, regex }
            }
            other => other,
        };
        self.texts_bytes += bytes(&item);
        let id = match self.free.pop() {
            Some(id) => {
                if let Some(place) = self.pool.items.get_mut(id as usize) {
                    *place = item;
                }
                id
            }
            None => {
                self.pool.items.push(item);
                self.uses.push(0);
                u32::try_from(self.uses.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(key) = key {
            self.known.insert(key, id);
        }
        id
    }

    pub(super) fn retain(&mut self, id: u32) {
        self.uses[id as usize] += 1;
    }

    pub(super) fn release(&mut self, id: u32) {
        self.uses[id as usize] -= 1;
        if self.uses[id as usize] > 0 {
            return;
        }
        let Some(place) = self.pool.items.get_mut(id as usize) else { return };
        let item = std::mem::replace(place, Item::Free);
        self.texts_bytes -= bytes(&item);
        match item {
            Item::Text(text) => _ = self.known.remove(&(false, text)),
            Item::Pattern { text, .. } => _ = self.known.remove(&(true, text)),
            Item::Expr(_) | Item::Free => {}
        }
        self.free.push(id);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let entry = size_of::<(bool, Arc<str>)>() + size_of::<u32>() + 8;
        self.pool.items.memory_bytes() + self.known.capacity() * entry + self.uses.capacity() * 8 + self.texts_bytes
    }
}

/// A guess for what the regex crate and trees of expressions do not tell.
fn bytes(item: &Item) -> usize {
    match item {
        Item::Free => 0,
        Item::Text(text) => text.len() + 16,
        Item::Pattern { text, .. } => text.len() + 4096,
        Item::Expr(_) => 512,
    }
}
