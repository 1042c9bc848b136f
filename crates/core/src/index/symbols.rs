//! Symbols: small numbers for what an event can have at a field, made only for what live filters ask.

use super::fields::Field;
use super::formula::Scalar;
use super::lexicon::{Flags, Known, Lexicon};
use super::number::Number;

pub(super) type SymbolId = u32;

/// No symbol, and no chunk.
pub(super) const NONE: u32 = u32::MAX;

/// Widths of the groups of gate bits that one field can have, from few values to many.
pub(super) const GENERATIONS: usize = 3;

/// What a symbol stands for. An event has it or not; that is decided by reading one field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Sense<'a> {
    /// Every event.
    Always,
    Present,
    /// Any number: the key of one-sided ranges, which are then ordered by their bound.
    Numeric,
    Null,
    Bool(bool),
    Number(Number),
    Text(&'a [u8]),
    /// The string begins so.
    Prefix(&'a [u8]),
    /// The list has this element, or the object this key.
    Element(Element<'a>),
    /// The number's floor begins with these `level` bits, and goes on with a 1 if `upper`: a node of an interval tree.
    Interval {
        level: u8,
        upper: bool,
        cell: u64,
    },
}

/// An element of a list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Element<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(&'a [u8]),
}

impl<'a> Element<'a> {
    pub(super) fn of(scalar: Scalar<'a>) -> Self {
        match scalar {
            Scalar::Null => Self::Null,
            Scalar::Bool(value) => Self::Bool(value),
            Scalar::Number(value) => Self::Number(value),
            Scalar::Text(text) => Self::Text(text.as_bytes()),
        }
    }
}

impl<'a> Sense<'a> {
    pub(super) fn of(scalar: Scalar<'a>) -> Self {
        match scalar {
            Scalar::Null => Self::Null,
            Scalar::Bool(value) => Self::Bool(value),
            Scalar::Number(value) => Self::Number(value),
            Scalar::Text(text) => Self::Text(text.as_bytes()),
        }
    }

    /// Whether it can be one part of a key of two.
    pub(super) fn may_pair(self) -> bool {
        matches!(self.kind(), Kind::Value | Kind::Prefix(_))
    }

    fn kind(self) -> Kind {
        match self {
            Self::Always => Kind::Always,
            Self::Present => Kind::Present,
            Self::Numeric => Kind::Numeric,
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => Kind::Value,
            Self::Prefix(prefix) => Kind::Prefix(u8::try_from(prefix.len()).unwrap_or(u8::MAX)),
            Self::Element(_) => Kind::Element,
            Self::Interval { level, .. } => Kind::Level(level),
        }
    }
}

/// What readers must look up to find a symbol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Always,
    Present,
    Numeric,
    /// A value of the field itself, so that an event has at most one of the kind.
    Value,
    /// By its length.
    Prefix(u8),
    Element,
    /// A node of the interval tree, by its level.
    Level(u8),
}

/// The writer's record of a symbol.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    pub(super) field: Field,
    pub(super) kind: Kind,
    pub(super) head: u32,
    pub(super) flags: Flags,
    /// Entries of the clusters whose key is this symbol alone.
    pub(super) alone: u32,
    hash: u64,
}

/// All symbols: by number for the writer, and by what they stand for.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    all: Vec<Symbol>,
    pub(super) lexicon: Lexicon,
}

impl Symbols {
    #[inline]
    pub(super) fn get(&self, id: SymbolId) -> Option<&Symbol> {
        self.all.get(id as usize)
    }

    /// Changes what readers learn of a symbol.
    pub(super) fn update(&mut self, id: SymbolId, change: impl FnOnce(&mut Symbol)) {
        let Some(symbol) = self.all.get_mut(id as usize) else { return };
        change(symbol);
        self.lexicon.update(symbol.hash, Known { id, head: symbol.head, flags: symbol.flags });
    }

    /// Counts an entry under this symbol alone, which readers need not know.
    pub(super) fn count_alone(&mut self, id: SymbolId, added: bool) {
        if let Some(symbol) = self.all.get_mut(id as usize) {
            symbol.alone = if added { symbol.alone + 1 } else { symbol.alone - 1 };
        }
    }

    pub(super) fn find(&self, field: Field, sense: Sense<'_>) -> Option<SymbolId> {
        self.lexicon.find(field, sense).map(|known| known.id)
    }

    pub(super) fn insert(&mut self, free: Option<SymbolId>, field: Field, sense: Sense<'_>) -> SymbolId {
        let id = free.unwrap_or_else(|| u32::try_from(self.all.len()).unwrap_or(NONE));
        let hash = self.lexicon.insert(id, field, sense);
        let symbol = Symbol { field, kind: sense.kind(), head: NONE, flags: Flags::default(), alone: 0, hash };
        match self.all.get_mut(id as usize) {
            Some(place) => *place = symbol,
            None => self.all.push(symbol),
        }
        id
    }

    pub(super) fn remove(&mut self, id: SymbolId) {
        if let Some(symbol) = self.all.get(id as usize) {
            self.lexicon.remove(symbol.hash, id);
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.lexicon.memory_bytes() + self.all.capacity() * size_of::<Symbol>()
    }
}
