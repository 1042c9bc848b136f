//! A hash table whose buckets are blocks; it grows one bucket at a time, so that no insert waits for a rehash.

use super::blocks::{self, Block, Blocks, Published};

/// Entries a bucket holds on average: a scan of so few keys costs less than the miss that fetched them.
const LOAD: usize = 8;

/// Key in two halves, and value: three words without padding.
type Entry = [u32; 3];

/// From well-mixed 64-bit keys to numbers, by linear hashing; one key may have several values.
#[derive(Debug)]
pub(super) struct Table {
    buckets: Blocks,
    /// Words of the bucket that is being made.
    words: Vec<u32>,
    len: usize,
}

impl Default for Table {
    fn default() -> Self {
        let mut buckets = Blocks::default();
        buckets.push(Block::default());
        Self { buckets, words: Vec::new(), len: 0 }
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

/// The bucket of a key, of so many.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "only the low bits choose a bucket")]
pub(super) fn bucket_of(key: u64, buckets: usize) -> usize {
    let mask = buckets.next_power_of_two() - 1;
    let at = key as usize & mask;
    if at < buckets { at } else { at & (mask >> 1) }
}

fn entries(bucket: &[u32]) -> &[Entry] {
    bucket.as_chunks().0
}

/// The values of this key.
#[inline]
pub(super) fn get(buckets: &[Block], key: u64) -> impl Iterator<Item = u32> {
    let bucket = entries(blocks::words(buckets, bucket_of(key, buckets.len())));
    bucket.iter().filter(move |entry| join(**entry) == key).map(|entry| entry[2])
}

impl Table {
    /// The values of this key.
    pub(super) fn get(&self, key: u64) -> impl Iterator<Item = u32> {
        get(self.buckets.all(), key)
    }

    /// Has brought near what [`Self::fetch`] reads.
    pub(super) fn fetch_place(&self, key: u64) {
        blocks::fetch_place(self.buckets.all(), self.bucket(key));
    }

    /// Has brought near what [`Self::get`] reads.
    pub(super) fn fetch(&self, key: u64) {
        blocks::fetch(self.buckets.all(), self.bucket(key), self.buckets.lines());
    }

    /// For readers; see [`get`].
    pub(super) fn publish(&mut self) -> Published {
        self.buckets.publish()
    }

    fn bucket(&self, key: u64) -> usize {
        bucket_of(key, self.buckets.len())
    }

    pub(super) fn insert(&mut self, key: u64, value: u32) {
        let at = self.bucket(key);
        self.words.clear();
        self.words.extend(self.buckets.get(at));
        self.words.extend(split(key, value));
        self.buckets.set(at, Block::new(&self.words));
        self.len += 1;
        if self.len > LOAD * self.buckets.len() {
            self.grow();
        }
    }

    /// Whether the pair was there.
    pub(super) fn remove(&mut self, key: u64, value: u32) -> bool {
        let at = self.bucket(key);
        let bucket = self.buckets.get(at);
        let Some(found) = entries(bucket).iter().position(|entry| *entry == split(key, value)) else { return false };
        let words = size_of::<Entry>() / size_of::<u32>();
        let left = [&bucket[..found * words], &bucket[(found + 1) * words..]].concat();
        self.buckets.set(at, Block::new(&left));
        self.len -= 1;
        true
    }

    /// Adds one bucket and moves into it what its sibling held for it.
    fn grow(&mut self) {
        let new = self.buckets.push(Block::default());
        let old = new & (self.buckets.len().next_power_of_two() / 2 - 1);
        let parts = [old, new].map(|at| {
            let all = entries(self.buckets.get(old)).iter();
            let part: Vec<u32> = all.filter(|entry| self.bucket(join(**entry)) == at).flatten().copied().collect();
            (at, Block::new(&part))
        });
        for (at, bucket) in parts {
            self.buckets.set(at, bucket);
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.buckets.memory_bytes()
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
        let before = table.publish();
        for n in (0..5_000).step_by(2) {
            assert!(table.remove(mix(u64::from(n)), n));
            assert!(!table.remove(mix(u64::from(n)), n));
        }
        for n in 0..5_000_u32 {
            let key = mix(u64::from(n));
            assert_eq!(get(&before, key).collect::<Vec<_>>(), [n, n + 1]);
            let left = if n % 2 == 0 { vec![n + 1] } else { vec![n, n + 1] };
            assert_eq!(table.get(key).collect::<Vec<_>>(), left);
        }
        assert_eq!(table.get(mix(5_001)).next(), None);
    }
}
