//! Sorts matches as the delivery log writes its routes: by shard, slot and filter.

use super::Match;

/// From here on, counting beats comparing.
const RADIX_MIN: usize = 384;

const DIGIT_BITS: u32 = 11;
const DIGITS: usize = 1 << DIGIT_BITS;

/// Sorts by target with a radix sort, whose cost per match does not grow with their number, and then the few filters
/// of each target among themselves.
pub(super) fn sort(matches: &mut Vec<Match>, spare: &mut Vec<Match>) {
    if matches.len() < RADIX_MIN {
        matches.sort_unstable();
        return;
    }
    let (shard, slot) = matches.iter().fold((0, 0), |(shard, slot), m| {
        (shard.max(u64::from(m.target.shard.0)), slot.max(u64::from(m.target.slot.0)))
    });
    let slots = slot + 1;
    let key = |m: &Match| u64::from(m.target.shard.0) * slots + u64::from(m.target.slot.0);
    let bits = u64::BITS - ((shard + 1) * slots - 1).leading_zeros();
    spare.resize(matches.len(), matches[0]);
    for pass in 0..bits.div_ceil(DIGIT_BITS) {
        #[expect(clippy::cast_possible_truncation, reason = "only the digit is meant")]
        let digit = |m: &Match| (key(m) >> (pass * DIGIT_BITS)) as usize % DIGITS;
        let mut places = [0_u32; DIGITS];
        for m in matches.iter() {
            places[digit(m)] += 1;
        }
        let mut sum = 0;
        for place in &mut places {
            sum += std::mem::replace(place, sum);
        }
        for m in matches.iter() {
            let place = &mut places[digit(m)];
            spare[*place as usize] = *m;
            *place += 1;
        }
        std::mem::swap(matches, spare);
    }
    for filters in matches.chunk_by_mut(|a, b| a.target == b.target) {
        filters.sort_unstable_by_key(|m| m.filter);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Target;
    use super::*;
    use crate::{FilterId, Shard, Slot};

    #[test]
    fn both_ways_of_sorting_agree() {
        let mut state = 1_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for (shards, slots) in [(1, 1), (1, 5_000_000), (7, 40), (3, 4_000_000_000)] {
            let mut matches: Vec<Match> = (0..5000)
                .map(|_| Match {
                    target: Target {
                        shard: Shard(u16::try_from(next(shards)).unwrap()),
                        slot: Slot(u32::try_from(next(slots)).unwrap()),
                    },
                    filter: FilterId(u32::try_from(next(100_000)).unwrap()),
                })
                .collect();
            let mut expected = matches.clone();
            expected.sort_unstable();
            sort(&mut matches, &mut Vec::new());
            assert_eq!(matches, expected);
        }
    }
}
