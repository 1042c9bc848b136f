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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::pool::Item;
    use super::super::snapshot::Lookups;
    use super::super::{MatchIndex, Target};
    use crate::filter::arbitrary::filter;
    use crate::{FilterId, FilterVersion, Shard, Slot};

    const TARGET: Target = Target { shard: Shard(0), slot: Slot(0) };

    proptest! {
        #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..ProptestConfig::default() })]

        /// However filters came and whatever they shared, nothing that they named is left when they are gone.
        #[test]
        fn an_emptied_index_names_nothing(filters in vec(filter(), 1..20), ids in vec(0..12_u32, 20), alone in 0..20_usize) {
            let mut index = MatchIndex::new();
            let all: Vec<_> = ids.iter().zip(&filters).map(|(id, filter)| (FilterId(*id), TARGET, filter)).collect();
            let (alone, together) = all.split_at(alone.min(all.len()));
            alone.iter().for_each(|(id, target, filter)| index.insert(*id, *target, filter));
            index.insert_all(together.iter().copied());
            // Equals share an entry, which has been counted for each of them.
            index.insert_all(all.iter().map(|(id, target, filter)| (FilterId(id.0 + 12), *target, *filter)));
            for id in 0..24 {
                index.remove(FilterId(id));
            }
            index.publish(FilterVersion(1));
            let snapshot = index.reader().snapshot().clone();
            prop_assert_eq!(snapshot.tree.fields(), 0);
            prop_assert!(snapshot.groups.is_empty() && snapshot.shapes.is_empty());
            prop_assert!(snapshot.lookups.iter().all(|lookups| *lookups == Lookups::default()));
            let mut items = (0..).map_while(|id| snapshot.pool.get(id));
            prop_assert!(items.all(|item| matches!(item, Item::Free)));
        }
    }
}
