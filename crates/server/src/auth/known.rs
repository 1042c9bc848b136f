//! The credentials that were good when they were last looked at, for addresses whose others are not looked at.
//!
//! Only a hint of what is worth a look: the look itself is always taken, so keys that were changed, revocations and
//! expiry need no thought here, and two credentials that share a place cannot be taken for each other.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Credentials remembered: 512 KiB, whatever comes. Each has a few places that it may be at, and takes another's away
/// where all are taken; only good ones get in, so only those who have many can make others forgotten.
const SETS: usize = 1 << 14;
const WAYS: usize = 4;

pub(super) struct Known {
    /// Its keys are random, so nobody can choose what collides.
    hasher: RandomState,
    places: Box<[AtomicU64]>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Known")
    }
}

impl Default for Known {
    fn default() -> Self {
        Self { hasher: RandomState::new(), places: (0..SETS * WAYS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Known {
    pub(super) fn add(&self, credential: &str) {
        let (hash, set) = self.find(credential);
        if set.iter().any(|place| place.load(Ordering::Relaxed) == hash) {
            return;
        }
        let empty = set.iter().find(|place| place.load(Ordering::Relaxed) == 0);
        let place = empty.unwrap_or(&set[(hash >> 32) as usize % WAYS]);
        place.store(hash, Ordering::Relaxed);
    }

    pub(super) fn holds(&self, credential: &str) -> bool {
        let (hash, set) = self.find(credential);
        set.iter().any(|place| place.load(Ordering::Relaxed) == hash)
    }

    pub(super) fn forget(&self, credential: &str) {
        let (hash, set) = self.find(credential);
        for place in set {
            let _ = place.compare_exchange(hash, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn find(&self, credential: &str) -> (u64, &[AtomicU64]) {
        // 0 is an empty place.
        let hash = self.hasher.hash_one(credential).max(1);
        let set = hash as usize % SETS * WAYS;
        (hash, &self.places[set..set + WAYS])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_good_is_known_until_it_is_not() {
        let known = Known::default();
        for number in 0..1000 {
            known.add(&format!("token {number}"));
        }
        assert!((0..1000).filter(|number| known.holds(&format!("token {number}"))).count() > 990);
        known.add("ann");
        assert!(known.holds("ann") && !known.holds("bob"));
        known.forget("bob");
        assert!(known.holds("ann"));
        known.forget("ann");
        assert!(!known.holds("ann"));
        // However many there are, the newest is there.
        for number in 0..3 * SETS * WAYS {
            known.add(&number.to_string());
        }
        known.add("ann");
        assert!(known.holds("ann"));
    }
}
