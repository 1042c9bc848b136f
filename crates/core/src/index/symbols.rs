//! Symbols: small numbers for what an event can have at a field, made only for what live filters ask.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;

use super::fields::Field;
use super::formula::Scalar;
use super::number::Number;
use super::paged::Paged;
use super::table::Table;

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
    /// The number's floor begins with these `level` bits, and goes on with a 1 if `upper`: a node of an interval tree.
    Interval {
        level: u8,
        upper: bool,
        cell: u64,
    },
}

impl<'a> Sense<'a> {
    pub(super) fn of(scalar: &'a Scalar) -> Self {
        match scalar {
            Scalar::Null => Self::Null,
            Scalar::Bool(value) => Self::Bool(*value),
            Scalar::Number(value) => Self::Number(*value),
            Scalar::Text(text) => Self::Text(text.as_bytes()),
        }
    }

    /// Whether this is a value of the field itself, so that an event has at most one of the kind.
    pub(super) fn is_value(self) -> bool {
        matches!(self, Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_))
    }

    fn text(self) -> Option<&'a [u8]> {
        match self {
            Self::Text(text) | Self::Prefix(text) => Some(text),
            _ => None,
        }
    }
}

/// The parts of a sense that are not text.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain(Sense<'static>),
    Text,
    Prefix,
}

impl Default for Symbol {
    fn default() -> Self {
        let kind = Kind::Plain(Sense::Always);
        Self { field: Field(u16::MAX), kind, text: None, gate_bits: [0; GENERATIONS], paired: false, head: NONE }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Symbol {
    pub(super) field: Field,
    kind: Kind,
    text: Option<Arc<[u8]>>,
    /// The bit of this value in the gates of its field, by generation; 0 if it has none.
    pub(super) gate_bits: [u8; GENERATIONS],
    /// Whether a cluster has this symbol in a key of two.
    pub(super) paired: bool,
    /// The first chunk of the clusters whose key is this symbol alone.
    pub(super) head: u32,
}

impl Symbol {
    pub(super) fn sense(&self) -> Sense<'_> {
        let text = self.text.as_deref().unwrap_or_default();
        match self.kind {
            Kind::Plain(sense) => sense,
            Kind::Text => Sense::Text(text),
            Kind::Prefix => Sense::Prefix(text),
        }
    }
}

/// All symbols, by number and by what they stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Symbols {
    by_sense: Table,
    symbols: Paged<Symbol, 4>,
    /// Seeded at random, so that nobody can choose filters whose values collide.
    hasher: DefaultHashBuilder,
}

impl Symbols {
    #[inline]
    fn hash(&self, field: Field, sense: Sense<'_>) -> u64 {
        self.hasher.hash_one((field, sense))
    }

    #[inline]
    pub(super) fn get(&self, id: SymbolId) -> Option<&Symbol> {
        self.symbols.get(id as usize)
    }

    pub(super) fn get_mut(&mut self, id: SymbolId) -> Option<&mut Symbol> {
        self.symbols.get_mut(id as usize)
    }

    #[inline]
    pub(super) fn find(&self, field: Field, sense: Sense<'_>) -> Option<(SymbolId, &Symbol)> {
        let is_meant = |id| {
            let symbol = self.get(id)?;
            (symbol.field == field && symbol.sense() == sense).then_some((id, symbol))
        };
        self.by_sense.get(self.hash(field, sense)).find_map(is_meant)
    }

    pub(super) fn insert(&mut self, free: Option<SymbolId>, field: Field, sense: Sense<'_>) -> SymbolId {
        let kind = match sense {
            Sense::Text(_) => Kind::Text,
            Sense::Prefix(_) => Kind::Prefix,
            Sense::Always => Kind::Plain(Sense::Always),
            Sense::Present => Kind::Plain(Sense::Present),
            Sense::Numeric => Kind::Plain(Sense::Numeric),
            Sense::Null => Kind::Plain(Sense::Null),
            Sense::Bool(value) => Kind::Plain(Sense::Bool(value)),
            Sense::Number(value) => Kind::Plain(Sense::Number(value)),
            Sense::Interval { level, upper, cell } => Kind::Plain(Sense::Interval { level, upper, cell }),
        };
        let text = sense.text().map(Arc::from);
        let symbol = Symbol { field, kind, text, gate_bits: [0; GENERATIONS], paired: false, head: NONE };
        let id = match free {
            Some(id) => {
                if let Some(place) = self.symbols.get_mut(id as usize) {
                    *place = symbol;
                }
                id
            }
            None => {
                self.symbols.push(symbol);
                u32::try_from(self.symbols.len() - 1).unwrap_or(NONE)
            }
        };
        self.by_sense.insert(self.hash(field, sense), id);
        id
    }

    pub(super) fn remove(&mut self, id: SymbolId) {
        let Some(symbol) = self.symbols.get_mut(id as usize) else { return };
        let field = symbol.field;
        let (kind, text) = (symbol.kind, symbol.text.take());
        let sense = match (kind, text.as_deref().unwrap_or_default()) {
            (Kind::Plain(sense), _) => sense,
            (Kind::Text, text) => Sense::Text(text),
            (Kind::Prefix, text) => Sense::Prefix(text),
        };
        let hash = self.hasher.hash_one((field, sense));
        self.by_sense.remove(hash, id);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        // A text is one allocation with two counters; 16 bytes is a middling length of values.
        let texts = self.symbols.len() * 32;
        self.by_sense.memory_bytes() + self.symbols.memory_bytes() + texts
    }
}
