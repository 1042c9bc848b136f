//! The reader's dictionary: from what an event has at a field to the symbol that stands for it.
//!
//! A bucket is one block of words, so that a lookup costs one miss: the number of its entries, the high half of each
//! hash, then a record for each entry, then what the entries stand for, padded to words. It grows one bucket at a time
//! (linear hashing).

use std::hash::{BuildHasher, RandomState};

use super::blocks::{self, Block, Blocks, Published};
use super::fields::Field;
use super::symbols::{Element, GENERATIONS, NONE, Sense, SymbolId};
use super::table::bucket_of;

/// Entries a bucket holds on average.
const LOAD: usize = 6;

/// Words of a record: the low half of the hash, and then these.
const RECORD: usize = 7;
const ID: usize = 1;
const HEAD: usize = 2;
const WHAT: usize = 3;
/// A byte for each generation of gate bits, and one that is set if a cluster has the symbol in a key of two.
const FLAGS: usize = 4;
const START: usize = 5;
const LENGTH: usize = 6;

/// What a reader learns of a symbol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Known {
    pub(super) id: SymbolId,
    /// The first chunk of the clusters whose key is this symbol alone.
    pub(super) head: u32,
    pub(super) flags: Flags,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Flags {
    /// The bit of this value in the gates of its field, by generation; 0 if it has none.
    pub(super) gate_bits: [u8; GENERATIONS],
    /// Whether a cluster has this symbol in a key of two.
    pub(super) paired: bool,
}

impl Flags {
    fn encode(self) -> u32 {
        let [a, b, c] = self.gate_bits;
        u32::from_le_bytes([a, b, c, u8::from(self.paired)])
    }

    fn decode(word: u32) -> Self {
        let [a, b, c, paired] = word.to_le_bytes();
        Self { gate_bits: [a, b, c], paired: paired != 0 }
    }
}

/// A sense as the dictionary compares it: field and kind in one word, and bytes.
struct Spelling<'a> {
    what: u32,
    text: &'a [u8],
}

/// Room for what is not text.
type Buffer = [u8; 10];

impl<'a> Spelling<'a> {
    #[inline]
    fn of(field: Field, sense: Sense<'a>, buffer: &'a mut Buffer) -> Self {
        let number = |number: super::number::Number, buffer: &'a mut Buffer| {
            buffer[..8].copy_from_slice(&number.floor.to_le_bytes());
            buffer[8..].copy_from_slice(&number.rest.to_le_bytes());
            &buffer[..]
        };
        let (kind, text) = match sense {
            Sense::Text(text) => (0, text),
            Sense::Number(value) => (1, number(value, buffer)),
            Sense::Null => (2, &[][..]),
            Sense::Bool(value) => (3 + u32::from(value), &[][..]),
            Sense::Prefix(text) => (5, text),
            Sense::Element(Element::Text(text)) => (6, text),
            Sense::Element(Element::Number(value)) => (7, number(value, buffer)),
            Sense::Element(Element::Null) => (8, &[][..]),
            Sense::Element(Element::Bool(value)) => (9 + u32::from(value), &[][..]),
            Sense::Always => (11, &[][..]),
            Sense::Present => (12, &[][..]),
            Sense::Numeric => (13, &[][..]),
            Sense::Interval { level, upper, cell } => {
                buffer[..8].copy_from_slice(&cell.to_le_bytes());
                (buffer[8], buffer[9]) = (level, u8::from(upper));
                (14, &buffer[..])
            }
        };
        Self { what: u32::from(field.0) << 8 | kind, text }
    }
}

/// What words are hashed with. Chosen at random, so that nobody can choose filters whose values collide.
#[derive(Clone, Copy, Debug)]
struct Seeds([u64; 3]);

impl Default for Seeds {
    fn default() -> Self {
        let random = RandomState::new();
        // A multiplier must be odd to lose nothing.
        Self([0, 1, 2].map(|n: u64| random.hash_one(n) | 1))
    }
}

/// The writer's dictionary.
#[derive(Debug)]
pub(super) struct Lexicon {
    buckets: Blocks,
    len: usize,
    seeds: Seeds,
}

/// The reader's: as of one publication.
#[derive(Clone, Debug, Default)]
pub(super) struct Dictionary {
    buckets: Published,
    seeds: Seeds,
}

impl Default for Lexicon {
    fn default() -> Self {
        let mut buckets = Blocks::default();
        buckets.push(Block::new(&[0]));
        Self { buckets, len: 0, seeds: Seeds::default() }
    }
}

/// Both halves of a product, folded: every bit of the result depends on all bits of both factors.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

#[inline]
fn word_at(text: &[u8], at: usize) -> Option<u64> {
    text.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes).into())
}

/// A bucket, read.
#[derive(Clone, Copy)]
struct Bucket<'a>(&'a [u32]);

impl<'a> Bucket<'a> {
    #[inline]
    fn count(self) -> usize {
        self.0[0] as usize
    }

    #[inline]
    fn record(self, at: usize) -> &'a [u32] {
        &self.0[1 + self.count() + at * RECORD..][..RECORD]
    }

    fn hash(self, at: usize) -> u64 {
        u64::from(self.0[1 + at]) << 32 | u64::from(self.record(at)[0])
    }

    #[inline]
    fn text(self, record: &[u32]) -> &'a [u32] {
        let from = 1 + self.count() * (1 + RECORD) + record[START] as usize;
        &self.0[from..from + (record[LENGTH] as usize).div_ceil(4)]
    }

    /// The entry of a spelling.
    #[inline]
    fn find(self, hash: u64, spelling: &Spelling<'_>) -> Option<usize> {
        let high = (hash >> 32) as u32;
        let mut highs = self.0[1..=self.count()].iter().enumerate();
        highs.find(|(at, word)| **word == high && self.is(*at, hash, spelling)).map(|(at, _)| at)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
    fn is(self, at: usize, hash: u64, spelling: &Spelling<'_>) -> bool {
        let record = self.record(at);
        record[0] == hash as u32
            && record[WHAT] == spelling.what
            && record[LENGTH] as usize == spelling.text.len()
            && same(self.text(record), spelling.text)
    }

    fn position(self, id: SymbolId) -> Option<usize> {
        (0..self.count()).find(|at| self.record(*at)[ID] == id)
    }
}

/// Whether words spell these bytes; they are as many.
#[inline]
fn same(words: &[u32], text: &[u8]) -> bool {
    let (whole, rest) = text.as_chunks::<4>();
    whole.iter().zip(words).all(|(bytes, word)| u32::from_le_bytes(*bytes) == *word)
        && (rest.is_empty() || words.last().is_some_and(|last| *last == padded(rest)))
}

#[inline]
fn padded(rest: &[u8]) -> u32 {
    rest.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

#[expect(clippy::cast_possible_truncation, reason = "texts of filters are short, buckets hold few")]
const fn word(number: usize) -> u32 {
    number as u32
}

/// One entry of a bucket on its way into another.
struct Moving<'a> {
    hash: u64,
    record: [u32; RECORD],
    text: &'a [u32],
}

fn build(entries: &[Moving<'_>]) -> Block {
    let texts: usize = entries.iter().map(|entry| entry.text.len()).sum();
    let mut words = Vec::with_capacity(1 + entries.len() * (1 + RECORD) + texts);
    words.push(word(entries.len()));
    words.extend(entries.iter().map(|entry| (entry.hash >> 32) as u32));
    let mut start = 0;
    for entry in entries {
        let mut record = entry.record;
        record[START] = word(start);
        words.extend(record);
        start += entry.text.len();
    }
    entries.iter().for_each(|entry| words.extend(entry.text));
    Block::new(&words)
}

fn entries(bucket: Bucket<'_>) -> impl Iterator<Item = Moving<'_>> {
    (0..bucket.count()).map(move |at| {
        let record = bucket.record(at);
        Moving { hash: bucket.hash(at), record: std::array::from_fn(|n| record[n]), text: bucket.text(record) }
    })
}

impl Seeds {
    #[inline]
    fn hash(self, spelling: &Spelling<'_>) -> u64 {
        let [first, second, third] = self.0;
        let text = spelling.text;
        let mut hash = first ^ (u64::from(spelling.what) << 32 | text.len() as u64);
        let (words, rest) = text.as_chunks::<8>();
        for word in words {
            hash = fold(hash ^ u64::from_le_bytes(*word), second);
        }
        // The rest by two words that overlap, or byte by byte.
        let rest = match (word_at(rest, 0), rest.len()) {
            (Some(low), length) => low | word_at(rest, length - 4).unwrap_or_default() << 32,
            (None, _) => u64::from(padded(rest)),
        };
        fold(fold(hash ^ rest, second), third)
    }

    #[inline]
    fn find(self, buckets: &[Block], field: Field, sense: Sense<'_>) -> Option<Known> {
        let mut buffer = Buffer::default();
        let spelling = Spelling::of(field, sense, &mut buffer);
        let hash = self.hash(&spelling);
        let bucket = bucket(buckets, bucket_of(hash, buckets.len()))?;
        let record = bucket.record(bucket.find(hash, &spelling)?);
        Some(Known { id: record[ID], head: record[HEAD], flags: Flags::decode(record[FLAGS]) })
    }
}

#[inline]
fn bucket(buckets: &[Block], at: usize) -> Option<Bucket<'_>> {
    let words = blocks::words(buckets, at);
    (!words.is_empty()).then_some(Bucket(words))
}

impl Dictionary {
    #[inline]
    pub(super) fn find(&self, field: Field, sense: Sense<'_>) -> Option<Known> {
        self.seeds.find(&self.buckets, field, sense)
    }
}

impl Lexicon {
    fn bucket_of(&self, hash: u64) -> usize {
        bucket_of(hash, self.buckets.len())
    }

    fn bucket(&self, at: usize) -> Bucket<'_> {
        bucket(self.buckets.all(), at).unwrap_or(Bucket(&[0]))
    }

    pub(super) fn find(&self, field: Field, sense: Sense<'_>) -> Option<Known> {
        self.seeds.find(self.buckets.all(), field, sense)
    }

    pub(super) fn publish(&mut self) -> Dictionary {
        Dictionary { buckets: self.buckets.publish(), seeds: self.seeds }
    }

    /// Adds a symbol that is not there, and says where it is to be found again.
    #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
    pub(super) fn insert(&mut self, id: SymbolId, field: Field, sense: Sense<'_>) -> u64 {
        let mut buffer = Buffer::default();
        let spelling = Spelling::of(field, sense, &mut buffer);
        let hash = self.seeds.hash(&spelling);
        let (whole, rest) = spelling.text.as_chunks::<4>();
        let mut text: Vec<u32> = whole.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        text.extend((!rest.is_empty()).then(|| padded(rest)));
        let record = [hash as u32, id, NONE, spelling.what, 0, 0, word(spelling.text.len())];
        let at = self.bucket_of(hash);
        let mut all: Vec<Moving<'_>> = entries(self.bucket(at)).collect();
        all.push(Moving { hash, record, text: &text });
        let words = build(&all);
        self.buckets.set(at, words);
        self.len += 1;
        if self.len > LOAD * self.buckets.len() {
            self.grow();
        }
        hash
    }

    pub(super) fn remove(&mut self, hash: u64, id: SymbolId) {
        let at = self.bucket_of(hash);
        let left: Vec<Moving<'_>> = entries(self.bucket(at)).filter(|entry| entry.record[ID] != id).collect();
        let words = build(&left);
        self.buckets.set(at, words);
        self.len -= 1;
    }

    /// Changes what readers learn of a symbol.
    pub(super) fn update(&mut self, hash: u64, known: Known) {
        let at = self.bucket_of(hash);
        let Some(entry) = self.bucket(at).position(known.id) else { return };
        let mut words = self.buckets.get(at).to_vec();
        let record = 1 + words[0] as usize + entry * RECORD;
        words[record + HEAD] = known.head;
        words[record + FLAGS] = known.flags.encode();
        self.buckets.set(at, Block::new(&words));
    }

    /// Adds one bucket and moves into it what its sibling held for it.
    fn grow(&mut self) {
        let new = self.buckets.push(Block::new(&[0]));
        let old = new & (self.buckets.len().next_power_of_two() / 2 - 1);
        let parts = [old, new].map(|at| {
            let part: Vec<Moving<'_>> =
                entries(self.bucket(old)).filter(|entry| self.bucket_of(entry.hash) == at).collect();
            (at, build(&part))
        });
        for (at, words) in parts {
            self.buckets.set(at, words);
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.buckets.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::number::Number;
    use super::*;

    #[test]
    fn every_sense_is_found_again_through_growth_and_removal() {
        let texts: Vec<String> = (0..2_000).map(|n| "x".repeat(n % 23) + &n.to_string()).collect();
        let mut senses: Vec<Sense<'_>> = Vec::new();
        for text in &texts {
            let text = text.as_bytes();
            senses.extend([Sense::Text(text), Sense::Prefix(text), Sense::Element(Element::Text(text))]);
        }
        for n in 0..500 {
            let number = Number::integer(n * 1_000_003 - 200);
            senses.extend([Sense::Number(number), Sense::Element(Element::Number(number))]);
            let cell = u64::try_from(n).unwrap();
            senses.extend([true, false].map(|upper| Sense::Interval { level: 9, upper, cell }));
        }
        senses.extend([Sense::Null, Sense::Present, Sense::Numeric, Sense::Always, Sense::Element(Element::Null)]);
        senses.extend([true, false].map(Sense::Bool));
        senses.extend([true, false].map(|value| Sense::Element(Element::Bool(value))));
        let all: Vec<(Field, Sense<'_>)> =
            [Field(0), Field(7)].iter().flat_map(|field| senses.iter().map(|sense| (*field, *sense))).collect();
        let mut lexicon = Lexicon::default();
        let mut hashes = Vec::new();
        for (id, (field, sense)) in (0_u32..).zip(&all) {
            assert_eq!(lexicon.find(*field, *sense), None, "{sense:?}");
            hashes.push(lexicon.insert(id, *field, *sense));
            let flags = Flags { gate_bits: [1, 2, (id % 64) as u8], paired: id.is_multiple_of(2) };
            lexicon.update(hashes[id as usize], Known { id, head: id + 9, flags });
        }
        let before = lexicon.publish();
        for id in (0..all.len()).step_by(2) {
            lexicon.remove(hashes[id], word(id));
        }
        for (id, (field, sense)) in (0_u32..).zip(&all) {
            let known = before.find(*field, *sense).unwrap();
            let flags = Flags { gate_bits: [1, 2, (id % 64) as u8], paired: id.is_multiple_of(2) };
            assert_eq!(known, Known { id, head: id + 9, flags }, "{sense:?}");
            assert_eq!(lexicon.find(*field, *sense).is_none(), id.is_multiple_of(2), "{sense:?}");
        }
        assert_eq!(before.find(Field(1), senses[0]), None);
    }
}
