//! Gates: columns of bits that decide many small tests of a filter by one comparison.
//!
//! A field whose filters name few values has a *group* of bits in one of the gate words: one for "absent", one for
//! "anything else" and one for each value. An event sets exactly one bit of each group. A filter holds the bits that
//! it admits, and all bits of the groups that it does not ask about; so it passes if it holds every bit of the event.
//! Equality, lists, inequality, presence and absence of any number of fields are then one `and` and one compare.

use smallvec::SmallVec;

use super::fields::Field;
use super::symbols::{GENERATIONS, SymbolId, Symbols};

pub(super) const WORDS: usize = 8;

/// The words of an event or of a filter.
pub(super) type Words = [u64; WORDS];

/// Bits of a group, by generation: a field gets a wider group for new filters when the narrow one is full.
const WIDTHS: [u8; GENERATIONS] = [8, 32, 64];

const ABSENT: u8 = 0;
const OTHER: u8 = 1;
const FIRST_VALUE: u8 = 2;

/// Where a field's bits lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) field: Field,
    pub(super) word: u8,
    offset: u8,
    generation: u8,
}

impl Group {
    fn mask(self) -> u64 {
        (u64::MAX >> (64 - WIDTHS[usize::from(self.generation)])) << self.offset
    }

    fn bit(self, bit: u8) -> u64 {
        1 << (self.offset + bit)
    }

    /// The bit that an event sets: its value's own, if a filter names it.
    #[inline]
    pub(super) fn of_event(self, present: bool, gate_bits: [u8; GENERATIONS]) -> u64 {
        let bit = if present { gate_bits[usize::from(self.generation)].max(OTHER) } else { ABSENT };
        self.bit(bit)
    }
}

/// What a filter admits of one field.
#[derive(Clone, Debug)]
pub(super) enum Admitted<'a> {
    Absent,
    Present,
    Values(&'a [SymbolId]),
    /// There, and none of these.
    Others(&'a [SymbolId]),
}

#[derive(Clone, Debug)]
struct Slots {
    group: Group,
    /// Filters that ask about this group.
    filters: u32,
    /// By bit: the value, and how many filters treat it differently from "anything else".
    values: Vec<Option<(SymbolId, u32)>>,
}

/// The writer's side of the groups.
#[derive(Debug, Default)]
pub(super) struct Gates {
    groups: Vec<Slots>,
    pub(super) changed: bool,
    /// Some bit or group may have no filters.
    loose: bool,
}

impl Gates {
    /// Narrows `words` by a test on a field. False, and nothing is changed, if the field's values do not fit.
    pub(super) fn admit(
        &mut self,
        field: Field,
        admitted: &Admitted<'_>,
        words: &mut Words,
        symbols: &mut Symbols,
    ) -> bool {
        let values = match admitted {
            Admitted::Absent | Admitted::Present => &[][..],
            Admitted::Values(values) | Admitted::Others(values) => values,
        };
        for generation in 0..GENERATIONS {
            let Some(at) = self.group(field, generation) else { continue };
            let Some(bits) = self.bits(at, values, symbols) else { continue };
            let group = self.groups[at].group;
            let named = bits.iter().fold(0, |sum, bit| sum | group.bit(*bit));
            let region = match admitted {
                Admitted::Absent => group.bit(ABSENT),
                Admitted::Present => group.mask() & !group.bit(ABSENT),
                Admitted::Values(_) => named,
                Admitted::Others(_) => group.mask() & !group.bit(ABSENT) & !named,
            };
            words[usize::from(group.word)] &= region | !group.mask();
            return true;
        }
        false
    }

    /// The group of a field and generation, made if there is room.
    fn group(&mut self, field: Field, generation: usize) -> Option<usize> {
        let generation = u8::try_from(generation).ok()?;
        let is_meant = |slots: &Slots| slots.group.field == field && slots.group.generation == generation;
        if let Some(at) = self.groups.iter().position(is_meant) {
            return Some(at);
        }
        let width = WIDTHS[usize::from(generation)];
        // Aligned, so that a narrow group lies in one half of its word and costs a filter one half only.
        let places = (0..WORDS).flat_map(|word| (0..64).step_by(width.into()).map(move |offset| (word, offset)));
        let group = places
            .filter_map(|(word, offset)| Some(Group { field, word: u8::try_from(word).ok()?, offset, generation }))
            .find(|new| !self.groups.iter().any(|o| o.group.word == new.word && o.group.mask() & new.mask() != 0))?;
        self.groups.push(Slots { group, filters: 0, values: vec![None; usize::from(width)] });
        (self.changed, self.loose) = (true, true);
        Some(self.groups.len() - 1)
    }

    /// The bits of these values; new ones are given only if all fit.
    fn bits(&mut self, at: usize, values: &[SymbolId], symbols: &mut Symbols) -> Option<SmallVec<[u8; 8]>> {
        let slots = &mut self.groups[at];
        let generation = usize::from(slots.group.generation);
        let known = |id: &SymbolId| symbols.get(*id).is_some_and(|symbol| symbol.flags.gate_bits[generation] != 0);
        let new = values.iter().filter(|id| !known(id)).count();
        let free = slots.values.iter().skip(usize::from(FIRST_VALUE)).filter(|value| value.is_none()).count();
        if new > free {
            return None;
        }
        let mut bits = SmallVec::new();
        for id in values {
            let mut bit = symbols.get(*id)?.flags.gate_bits[generation];
            if bit == 0 {
                let from = usize::from(FIRST_VALUE);
                let free = from + slots.values.iter().skip(from).position(Option::is_none)?;
                slots.values[free] = Some((*id, 0));
                self.loose = true;
                bit = u8::try_from(free).ok()?;
                symbols.update(*id, |symbol| symbol.flags.gate_bits[generation] = bit);
            }
            bits.push(bit);
        }
        Some(bits)
    }

    /// Calls back with what a filter's words refer to: for each group that it asks about the field, and the values it
    /// names. `change` is +1 when the filter comes and -1 when it goes; a value without filters loses its bit, which is
    /// safe because then every filter treats it as "anything else".
    pub(super) fn count(&mut self, words: &Words, change: i32, mut each: impl FnMut(Field, Option<SymbolId>)) {
        for slots in &mut self.groups {
            let group = slots.group;
            let held = words[usize::from(group.word)];
            if held & group.mask() == group.mask() {
                continue;
            }
            slots.filters = slots.filters.wrapping_add_signed(change);
            self.loose |= slots.filters == 0;
            each(group.field, None);
            let other = held & group.bit(OTHER) != 0;
            for (bit, value) in (0_u8..).zip(&mut slots.values) {
                if let Some((id, filters)) = value
                    && (held & group.bit(bit) != 0) != other
                {
                    *filters = filters.wrapping_add_signed(change);
                    self.loose |= *filters == 0;
                    each(group.field, Some(*id));
                }
            }
        }
    }

    /// Frees bits and groups that no filter needs; `symbols` forget their bits.
    pub(super) fn tidy(&mut self, symbols: &mut Symbols) {
        if !std::mem::take(&mut self.loose) {
            return;
        }
        let changed = &mut self.changed;
        self.groups.retain_mut(|slots| {
            let generation = usize::from(slots.group.generation);
            for value in &mut slots.values {
                if let Some((id, 0)) = value {
                    symbols.update(*id, |symbol| symbol.flags.gate_bits[generation] = 0);
                    *value = None;
                }
            }
            *changed |= slots.filters == 0;
            slots.filters > 0
        });
    }

    pub(super) fn groups(&self) -> Vec<Group> {
        self.groups.iter().map(|slots| slots.group).collect()
    }
}

/// Values that the widest group has bits for.
pub(super) const VALUES_MAX: usize = WIDTHS[GENERATIONS - 1] as usize - FIRST_VALUE as usize;
