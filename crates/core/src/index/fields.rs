//! The fields that live filters name: a tree of keys that the extractor walks along with the event.

use std::sync::Arc;

use hashbrown::HashMap;

use super::bound;
use crate::filter::ast::{Path, Segment};

/// A field's place in the tables of the index and in the extracted values of an event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Field(pub(super) u16);

impl Field {
    pub(super) fn at(self) -> usize {
        usize::from(self.0)
    }
}

/// Fields that the index reads itself. A filter that names a field past these is evaluated as written.
pub(super) const FIELDS_MAX: usize = bound(16 * 1024, 9);

/// Keys of one object that are compared one by one; more are hashed.
const KEYS_COMPARED_MAX: usize = bound(12, 3);

/// One step of a path: which keys or positions below it are wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// Set if the value here is itself wanted.
    pub(super) field: Option<Field>,
    keys: Vec<(Box<str>, u32)>,
    hashed: Option<HashMap<Box<str>, u32>>,
    /// In ascending order, as the extractor comes by them.
    pub(super) positions: Vec<(u64, u32)>,
}

impl Node {
    /// The node below a key.
    pub(super) fn key(&self, key: &[u8]) -> Option<u32> {
        self.key_from(&mut 0, key)
    }

    /// The same, where keys are often asked for in the order they were found in before: the search starts at `next`,
    /// which then is the place after the one that was found.
    #[inline]
    pub(super) fn key_from(&self, next: &mut usize, key: &[u8]) -> Option<u32> {
        if let Some(hashed) = &self.hashed {
            return hashed.get(std::str::from_utf8(key).ok()?).copied();
        }
        let count = self.keys.len();
        for at in (*next..count).chain(0..*next) {
            let (wanted, node) = &self.keys[at];
            if equal(wanted.as_bytes(), key) {
                *next = if at + 1 == count { 0 } else { at + 1 };
                return Some(*node);
            }
        }
        None
    }

    pub(super) fn keys_wanted(&self) -> usize {
        self.keys.len()
    }
}

/// Whether bytes are equal, for short ones: by words that overlap, without a call.
#[inline]
fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if let (Some(first_a), Some(first_b), Some(last_a), Some(last_b)) =
        (a.first_chunk::<8>(), b.first_chunk::<8>(), a.last_chunk::<8>(), b.last_chunk::<8>())
    {
        return first_a == first_b && last_a == last_b && (a.len() <= 16 || a == b);
    }
    if let (Some(first_a), Some(first_b), Some(last_a), Some(last_b)) =
        (a.first_chunk::<4>(), b.first_chunk::<4>(), a.last_chunk::<4>(), b.last_chunk::<4>())
    {
        return first_a == first_b && last_a == last_b;
    }
    a.iter().zip(b).all(|(a, b)| a == b)
}

/// The tree, its root first.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// One more than the highest field in use.
    fields: usize,
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], fields: 0 }
    }
}

impl Tree {
    #[inline]
    pub(super) fn node(&self, at: u32) -> &Node {
        &self.nodes[at as usize]
    }

    pub(super) fn fields(&self) -> usize {
        self.fields
    }

    fn add(&mut self, path: &Path, field: Field) {
        let mut at = 0;
        for segment in &path.0 {
            let next = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
            let node = &mut self.nodes[at as usize];
            let found = match segment {
                Segment::Key(key) => node.key(key.as_bytes()),
                Segment::Index(index) => node.positions.iter().find(|(at, _)| at == index).map(|(_, node)| *node),
            };
            if let Some(found) = found {
                at = found;
                continue;
            }
            match segment {
                Segment::Key(key) => {
                    node.keys.push((key.clone(), next));
                    match &mut node.hashed {
                        Some(hashed) => drop(hashed.insert(key.clone(), next)),
                        None if node.keys.len() > KEYS_COMPARED_MAX => {
                            node.hashed = Some(node.keys.iter().cloned().collect());
                        }
                        None => {}
                    }
                }
                Segment::Index(index) => {
                    let at = node.positions.partition_point(|(before, _)| before < index);
                    node.positions.insert(at, (*index, next));
                }
            }
            self.nodes.push(Node::default());
            at = next;
        }
        self.nodes[at as usize].field = Some(field);
        self.fields = self.fields.max(field.at() + 1);
    }
}

/// The writer's side: paths by field, counted by their uses; a field without uses is not read from events any more.
#[derive(Debug, Default)]
pub(super) struct Fields {
    by_path: HashMap<Path, Field>,
    uses: Vec<(Path, u32)>,
    free: Vec<Field>,
    tree: Arc<Tree>,
    changed: bool,
}

impl Fields {
    /// The field of a path, made if need be, or none if there are too many. It is kept while it has uses.
    pub(super) fn of(&mut self, path: &Path) -> Option<Field> {
        if let Some(field) = self.by_path.get(path) {
            return Some(*field);
        }
        let field = match self.free.pop() {
            Some(field) => {
                self.uses[field.at()] = (path.clone(), 0);
                field
            }
            None if self.uses.len() < FIELDS_MAX => {
                self.uses.push((path.clone(), 0));
                Field(u16::try_from(self.uses.len() - 1).ok()?)
            }
            None => return None,
        };
        self.by_path.insert(path.clone(), field);
        self.changed = true;
        Some(field)
    }

    pub(super) fn retain(&mut self, field: Field) {
        let (_, uses) = &mut self.uses[field.at()];
        *uses += 1;
        self.changed |= *uses == 1;
    }

    pub(super) fn release(&mut self, field: Field) {
        let (_, uses) = &mut self.uses[field.at()];
        *uses -= 1;
        self.changed |= *uses == 0;
    }

    /// The tree of the fields in use, rebuilt if that set changed. Fields that lost their last use may be given to
    /// other paths from here on: every snapshot has the tree that fits its filters.
    pub(super) fn tree(&mut self) -> Arc<Tree> {
        if std::mem::take(&mut self.changed) {
            let mut tree = Tree::default();
            for (at, (path, uses)) in self.uses.iter().enumerate() {
                let field = Field(u16::try_from(at).unwrap_or(u16::MAX));
                if *uses > 0 {
                    tree.add(path, field);
                } else if self.by_path.get(path) == Some(&field) {
                    self.by_path.remove(path);
                    self.free.push(field);
                }
            }
            self.tree = Arc::new(tree);
        }
        Arc::clone(&self.tree)
    }
}
