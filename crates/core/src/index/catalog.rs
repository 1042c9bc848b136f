//! The writer's names: fields, symbols, gates and pool items, each counted by its uses and forgotten with the last.

use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::bound;
use super::cover::{Atom, Domain, Estimate, Frequencies};
use super::fields::{Field, Fields};
use super::formula::{Scalar, Value};
use super::gates::{Admitted, Gates, Words};
use super::pool::{Item, PoolWriter};
use super::program::{Names, Reference};
use super::snapshot::Lookups;
use super::symbols::{Element, Kind, NONE, Sense, SymbolId, Symbols};

/// Pairs of domains that are looked up for every event; each costs a probe, so they are bounded.
const SHAPES_MAX: usize = bound(48, 6);

/// Of an atom nothing is known about; the more filters name other values of a field, the rarer each must be.
const VALUES_ASSUMED_MIN: usize = 4;

#[derive(Clone, Debug, Default)]
struct Counts {
    values: u32,
    prefixes: u32,
    elements: u32,
    by_prefix_length: Vec<(u8, u32)>,
    by_level: HashMap<u8, u32>,
    present: bool,
    numeric: bool,
}

/// How often events had a symbol, of those that the writer was shown.
#[derive(Debug, Default)]
struct Observed {
    events: u32,
    hits: Vec<u32>,
    /// By symbol: how many events had been seen when it was made.
    since: Vec<u32>,
}

impl Observed {
    /// A symbol that is new: what its number stood for before does not count.
    fn forget(&mut self, id: SymbolId) {
        let at = id as usize;
        if self.hits.len() <= at {
            self.hits.resize(at + 1, 0);
            self.since.resize(at + 1, 0);
        }
        (self.hits[at], self.since[at]) = (0, self.events);
    }

    /// The share of events that had a symbol, if enough were seen since it was made.
    fn share(&self, id: SymbolId) -> Option<f64> {
        if self.events < OBSERVED_MIN {
            return None;
        }
        let id = id as usize;
        let events = self.events - self.since.get(id)?;
        // Half a hit for what was never seen: rare, but not impossible.
        (events >= OBSERVED_MIN).then(|| (f64::from(self.hits[id]) + 0.5) / (f64::from(events) + 1.0))
    }
}

/// From so many events on, what was seen counts more than the vocabulary.
const OBSERVED_MIN: u32 = 256;

/// Then all counts are halved, so that what was seen lately weighs more.
const OBSERVED_MAX: u32 = 1 << 16;

#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) fields: Fields,
    pub(super) symbols: Symbols,
    pub(super) gates: Gates,
    pub(super) pool: PoolWriter,
    pub(super) shapes: HashMap<(Domain, Domain), u32>,
    pub(super) shapes_changed: bool,
    uses: Vec<u32>,
    /// By symbol: clusters that have it in a key of two.
    pairs: Vec<u32>,
    free: Vec<SymbolId>,
    /// Made for the filter at hand, perhaps in vain.
    fresh: Vec<SymbolId>,
    counts: Vec<Counts>,
    observed: Observed,
    lookups: Arc<Vec<Lookups>>,
    lookups_changed: bool,
}

/// The symbol of every event.
pub(super) const ALWAYS: SymbolId = 0;

impl Default for Catalog {
    fn default() -> Self {
        let mut symbols = Symbols::default();
        symbols.insert(None, Field(u16::MAX), Sense::Always);
        Self {
            fields: Fields::default(),
            symbols,
            gates: Gates::default(),
            pool: PoolWriter::default(),
            shapes: HashMap::new(),
            shapes_changed: false,
            uses: vec![1],
            pairs: vec![0],
            free: Vec::new(),
            fresh: Vec::new(),
            counts: Vec::new(),
            observed: Observed::default(),
            lookups: Arc::default(),
            lookups_changed: false,
        }
    }
}

impl Catalog {
    /// The symbol of a sense, made if need be. It is kept if it has uses when [`Catalog::tidy`] is called.
    fn intern(&mut self, field: Field, sense: Sense<'_>) -> SymbolId {
        if let Some(id) = self.symbols.find(field, sense) {
            return id;
        }
        let id = self.symbols.insert(self.free.pop(), field, sense);
        if self.uses.len() <= id as usize {
            self.uses.resize(id as usize + 1, 0);
            self.pairs.resize(id as usize + 1, 0);
        }
        self.observed.forget(id);
        self.fresh.push(id);
        self.fields.retain(field);
        self.count(id, true);
        id
    }

    pub(super) fn atom(&mut self, atom: Atom<'_>) -> SymbolId {
        match atom {
            Atom::Value(field, value) => self.symbol(field, value),
            _ => atom.sense().map_or(ALWAYS, |(field, sense)| self.intern(field, sense)),
        }
    }

    /// Keeps what an event must be asked for this symbol.
    fn count(&mut self, id: SymbolId, added: bool) {
        let Some(symbol) = self.symbols.get(id) else { return };
        let field = symbol.field;
        if self.counts.len() <= field.at() {
            self.counts.resize(field.at() + 1, Counts::default());
        }
        let counts = &mut self.counts[field.at()];
        let step = |count: &mut u32| {
            *count = if added { *count + 1 } else { *count - 1 };
            *count <= 1
        };
        self.lookups_changed |= match symbol.kind {
            Kind::Always => false,
            Kind::Present => {
                counts.present = added;
                true
            }
            Kind::Numeric => {
                counts.numeric = added;
                true
            }
            Kind::Prefix(length) => {
                step(&mut counts.prefixes);
                match counts.by_prefix_length.iter_mut().find(|(other, _)| *other == length) {
                    Some((_, count)) => step(count),
                    None => {
                        counts.by_prefix_length.push((length, 1));
                        counts.by_prefix_length.sort_unstable();
                        true
                    }
                }
            }
            Kind::Element => step(&mut counts.elements),
            Kind::Level(level) => step(counts.by_level.entry(level).or_default()),
            Kind::Value => step(&mut counts.values),
        };
    }

    /// Counts a cluster whose key of two has this symbol.
    pub(super) fn count_pair(&mut self, id: SymbolId, added: bool) {
        let pairs = &mut self.pairs[id as usize];
        *pairs = if added { *pairs + 1 } else { *pairs - 1 };
        // The symbol itself is touched only if that changes what it says.
        if *pairs == u32::from(added) {
            let paired = *pairs > 0;
            self.symbols.update(id, |symbol| symbol.flags.paired = paired);
        }
    }

    pub(super) fn retain(&mut self, reference: &Reference) {
        match *reference {
            Reference::Field(field) => self.fields.retain(field),
            Reference::Symbol(id) => self.uses[id as usize] += 1,
            Reference::Item(id) => self.pool.retain(id),
        }
    }

    pub(super) fn release(&mut self, reference: &Reference) {
        match *reference {
            Reference::Field(field) => self.fields.release(field),
            Reference::Symbol(id) => {
                self.uses[id as usize] -= 1;
                self.forget_if_unused(id);
            }
            Reference::Item(id) => self.pool.release(id),
        }
    }

    fn forget_if_unused(&mut self, id: SymbolId) {
        if self.uses[id as usize] > 0 {
            return;
        }
        let Some(field) = self.symbols.get(id).map(|symbol| symbol.field) else { return };
        self.count(id, false);
        self.symbols.remove(id);
        self.fields.release(field);
        self.free.push(id);
    }

    /// Forgets what was made for a filter and not used after all.
    pub(super) fn tidy(&mut self) {
        self.gates.tidy(&mut self.symbols);
        for id in std::mem::take(&mut self.fresh) {
            self.forget_if_unused(id);
        }
    }

    /// Narrows gate words by a test of one field; false if it does not fit.
    pub(super) fn admit(&mut self, field: Field, values: &[Value<'_>], negated: bool, words: &mut Words) -> bool {
        let ids: SmallVec<[SymbolId; 8]> = values.iter().map(|value| self.symbol(field, value)).collect();
        let admitted = if negated { Admitted::Others(&ids) } else { Admitted::Values(&ids) };
        self.gates.admit(field, &admitted, words, &mut self.symbols)
    }

    pub(super) fn admit_presence(&mut self, field: Field, present: bool, words: &mut Words) -> bool {
        let admitted = if present { Admitted::Present } else { Admitted::Absent };
        self.gates.admit(field, &admitted, words, &mut self.symbols)
    }

    pub(super) fn lookups(&mut self) -> Arc<Vec<Lookups>> {
        if std::mem::take(&mut self.lookups_changed) {
            let all = self.counts.iter().map(|counts| Lookups {
                values: counts.values > 0,
                elements: counts.elements > 0,
                present: counts.present,
                numeric: counts.numeric,
                prefix_lengths: counts
                    .by_prefix_length
                    .iter()
                    .filter(|(_, n)| *n > 0)
                    .map(|(length, _)| *length)
                    .collect(),
                levels: counts.by_level.iter().filter(|(_, n)| **n > 0).fold(0, |all, (level, _)| all | 1 << level),
            });
            self.lookups = Arc::new(all.collect());
        }
        Arc::clone(&self.lookups)
    }

    /// Counts the symbols of one event.
    pub(super) fn observe(&mut self, symbols: impl Iterator<Item = SymbolId>) {
        let observed = &mut self.observed;
        observed.events += 1;
        for id in symbols {
            if let Some(hits) = observed.hits.get_mut(id as usize) {
                *hits += 1;
            }
        }
        if observed.events == OBSERVED_MAX {
            observed.events /= 2;
            observed.hits.iter_mut().chain(&mut observed.since).for_each(|count| *count /= 2);
        }
    }

    /// Values of a field that live filters name.
    pub(super) fn values(&self, field: Field) -> usize {
        self.counts.get(field.at()).map_or(0, |counts| counts.values as usize)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.symbols.memory_bytes()
            + self.pool.memory_bytes()
            + (self.uses.capacity() + self.pairs.capacity() + self.free.capacity()) * 4
            + (self.observed.hits.capacity() + self.observed.since.capacity()) * 4
    }
}

impl Names for Catalog {
    fn symbol(&mut self, field: Field, value: &Value<'_>) -> SymbolId {
        if value.symbol.get() == NONE {
            value.symbol.set(self.intern(field, Sense::of(value.scalar)));
        }
        value.symbol.get()
    }

    fn element(&mut self, field: Field, value: Scalar<'_>) -> SymbolId {
        self.intern(field, Sense::Element(Element::of(value)))
    }

    fn item(&mut self, item: Item) -> u32 {
        self.pool.intern(item)
    }
}

/// What the cover is chosen by: the vocabulary of the live filters, and what was seen of it.
pub(super) struct Estimates<'a>(pub(super) &'a Catalog);

impl Estimates<'_> {
    fn of_symbol(&self, known: Option<SymbolId>, field: Field, sense: Sense<'_>) -> Estimate {
        let observed = known.and_then(|id| self.0.observed.share(id));
        let in_pairs = known.filter(|_| sense.may_pair()).and_then(|id| self.0.symbols.get(id));
        Estimate {
            frequency: observed.unwrap_or_else(|| self.assumed(field, sense)),
            alone: in_pairs.map_or(0, |symbol| symbol.alone as usize),
        }
    }

    /// Of what was not observed yet.
    #[expect(clippy::cast_precision_loss, reason = "frequencies are estimates")]
    fn assumed(&self, field: Field, sense: Sense<'_>) -> f64 {
        let one_of = |count: usize| 1.0 / count.max(VALUES_ASSUMED_MIN) as f64;
        let counts = self.0.counts.get(field.at());
        match sense {
            Sense::Always => 1.0,
            Sense::Present | Sense::Numeric | Sense::Bool(_) => 0.5,
            Sense::Null | Sense::Number(_) | Sense::Text(_) => one_of(self.values(field)),
            Sense::Prefix(_) => one_of(counts.map_or(0, |counts| counts.prefixes as usize)),
            // A list has several of them.
            Sense::Element(_) => 2.0 * one_of(counts.map_or(0, |counts| counts.elements as usize)),
            Sense::Interval { .. } => 0.02,
        }
    }
}

impl Frequencies for Estimates<'_> {
    fn of(&self, field: Field, sense: Sense<'_>) -> Estimate {
        self.of_symbol(self.0.symbols.find(field, sense), field, sense)
    }

    fn of_value(&self, field: Field, value: &Value<'_>) -> Estimate {
        let sense = Sense::of(value.scalar);
        if value.symbol.get() == NONE {
            value.symbol.set(self.0.symbols.find(field, sense).unwrap_or(NONE));
        }
        self.of_symbol(Some(value.symbol.get()).filter(|id| *id != NONE), field, sense)
    }

    fn values(&self, field: Field) -> usize {
        self.0.values(field)
    }

    fn may_pair(&self, first: Domain, second: Domain) -> bool {
        let shapes = &self.0.shapes;
        shapes.len() < SHAPES_MAX || shapes.contains_key(&(first, second))
    }
}
