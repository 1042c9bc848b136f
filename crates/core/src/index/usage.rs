//! Counts what clusters and entries name, so that fields, symbols, gates and pool items go with the last that does.

use smallvec::SmallVec;

use super::catalog::Catalog;
use super::chunk::{Entry, Layout};
use super::cover::Domain;
use super::gates;
use super::program::{self, Reference};
use super::symbols::{Kind, NONE, SymbolId};

impl Catalog {
    /// Counts a use of what a key names.
    pub(super) fn count_key(&mut self, key: [SymbolId; 2], added: bool) {
        for id in key.into_iter().filter(|id| *id != NONE) {
            self.name(&Reference::Symbol(id), added);
        }
    }

    /// Counts what a cluster names: its key and the fields of its columns.
    pub(super) fn count_cluster(&mut self, key: [SymbolId; 2], layout: &Layout, added: bool) {
        let pair = key[1] != NONE;
        if pair && !added {
            self.count_shape(key);
        }
        for id in key.into_iter().filter(|id| pair && *id != NONE) {
            self.count_pair(id, added);
        }
        self.count_key(key, added);
        for column in [layout.order, layout.check].into_iter().flatten() {
            self.name(&Reference::Field(column.field), added);
        }
    }

    /// One cluster more of a pair of these domains.
    pub(super) fn add_shape(&mut self, domains: (Domain, Domain)) {
        let clusters = self.shapes.entry(domains).or_default();
        *clusters += 1;
        self.shapes_changed |= *clusters == 1;
    }

    /// One less.
    fn count_shape(&mut self, key: [SymbolId; 2]) {
        let domain = |id| {
            let symbol = self.symbols.get(id)?;
            Some((symbol.field, symbol.kind != Kind::Value))
        };
        let Some(shape) = domain(key[0]).zip(domain(key[1])) else { return };
        if let Some(count) = self.shapes.get_mut(&shape) {
            *count -= 1;
            if *count == 0 {
                self.shapes.remove(&shape);
                self.shapes_changed = true;
            }
        }
    }

    /// Counts what an entry names: the values and fields of its gates, and all of its code.
    pub(super) fn count_entry(&mut self, layout: &Layout, entry: &Entry, added: bool) {
        let mut named: SmallVec<[Reference; 16]> = SmallVec::new();
        if layout.gates != 0 {
            let mut words = [u64::MAX; gates::WORDS];
            let narrowed = (0..2 * gates::WORDS).filter(|half| layout.gates & 1 << half != 0);
            for (column, half) in (layout.gates_at()..).zip(narrowed) {
                let shift = half % 2 * 32;
                words[half / 2] &= u64::from(entry.words[column]) << shift | !(u64::from(u32::MAX) << shift);
            }
            self.gates.count(&words, if added { 1 } else { -1 }, |field, value| {
                named.push(Reference::Field(field));
                named.extend(value.map(Reference::Symbol));
            });
        }
        program::references(&entry.code, &mut |reference| named.push(reference));
        if !added {
            // Bits without filters go first, for they name symbols that may go with this entry.
            self.gates.tidy(&mut self.symbols);
        }
        for reference in &named {
            self.name(reference, added);
        }
    }

    fn name(&mut self, reference: &Reference, added: bool) {
        if added {
            self.retain(reference);
        } else {
            self.release(reference);
        }
    }
}
