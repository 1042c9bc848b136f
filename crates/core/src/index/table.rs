//! A hash table whose clones share their buckets; it grows one bucket at a time, so that no insert waits for a rehash.

use std::sync::Arc;

use super::paged::Paged;

/// Entries a bucket holds on average: a scan of so few keys costs less than the miss that fetched them.
const LOAD: usize = 8;

/// Key in two halves, and value: three words without padding.
type Entry = [u32; 3];

/// From well-mixed 64-bit keys to numbers, by linear hashing; one key may have several values.
#[derive(Clone, Debug)]
pub(super) struct Table {
    buckets: Paged<Arc<[Entry]>, 8>,
    len: usize,
}

impl Default for Table {
    fn default() -> Self {
        let mut buckets = Paged::default();
        buckets.push(Arc::default());
        Self { buckets, len: 0 }
    }
}

const fn join(entry: Entry) -> u64 {
    entry[0] as u64 | (entry[1] as u64) << 32
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of the key are meant")]
const fn split(key: u64, value: u32) -> Entry {
    [key as u32, (key >> 32) as u32, value]
}

/// Spreads a key that is two packed numbers over all bits (the finisher of SplitMix64, which loses nothing).
#[inline]
pub(super) const fn mix(key: u64) -> u64 {
    let key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
}

impl Table {
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "only the low bits choose a bucket")]
    fn bucket(&self, key: u64) -> usize {
        let buckets = self.buckets.len();
        let mask = buckets.next_power_of_two() - 1;
        let at = key as usize & mask;
        if at < buckets { at } else { at & (mask >> 1) }
    }

    /// The values of this key.
    #[inline]
    pub(super) fn get(&self, key: u64) -> impl Iterator<Item = u32> {
        let bucket = self.buckets.get(self.bucket(key)).map_or(&[][..], |bucket| &bucket[..]);
        bucket.iter().filter(move |entry| join(**entry) == key).map(|entry| entry[2])
    }

    pub(super) fn insert(&mut self, key: u64, value: u32) {
        let at = self.bucket(key);
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket = bucket.iter().copied().chain([split(key, value)]).collect();
        }
        self.len += 1;
        if self.len > LOAD * self.buckets.len() {
            self.grow();
        }
    }

    /// Whether the pair was there.
    pub(super) fn remove(&mut self, key: u64, value: u32) -> bool {
        let at = self.bucket(key);
        let Some(bucket) = self.buckets.get_mut(at) else { return false };
        let Some(found) = bucket.iter().position(|entry| *entry == split(key, value)) else { return false };
        *bucket = bucket.iter().enumerate().filter(|(at, _)| *at != found).map(|(_, entry)| *entry).collect();
        self.len -= 1;
        true
    }

    /// Adds one bucket and moves into it what its sibling held for it.
    fn grow(&mut self) {
        self.buckets.push(Arc::default());
        let new = self.buckets.len() - 1;
        let old = new & (self.buckets.len().next_power_of_two() / 2 - 1);
        let entries = self.buckets.get(old).map(Arc::clone).unwrap_or_default();
        for at in [old, new] {
            let kept = entries.iter().copied().filter(|entry| self.bucket(join(*entry)) == at).collect();
            if let Some(bucket) = self.buckets.get_mut(at) {
                *bucket = kept;
            }
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.buckets.memory_bytes() + self.buckets.len() * 2 * size_of::<usize>() + self.len * size_of::<Entry>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_put_in_through_growth_and_removal() {
        let mut table = Table::default();
        for n in 0..5_000_u32 {
            table.insert(mix(u64::from(n)), n);
            table.insert(mix(u64::from(n)), n + 1);
        }
        let before = table.clone();
        for n in (0..5_000).step_by(2) {
            assert!(table.remove(mix(u64::from(n)), n));
            assert!(!table.remove(mix(u64::from(n)), n));
        }
        for n in 0..5_000_u32 {
            let key = mix(u64::from(n));
            assert_eq!(before.get(key).collect::<Vec<_>>(), [n, n + 1]);
            let left = if n % 2 == 0 { vec![n + 1] } else { vec![n, n + 1] };
            assert_eq!(table.get(key).collect::<Vec<_>>(), left);
        }
        assert_eq!(table.get(mix(5_001)).next(), None);
    }
}
