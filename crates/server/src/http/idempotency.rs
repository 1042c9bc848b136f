//! Answers of `POST /events` by idempotency key, in memory of this instance, for some minutes.
//!
//! It spares a client that lost an answer from storing its events twice. A log that keeps keys (the embedded one)
//! stores them beside the events as well, so that there they survive a crash. With Kafka they live here alone, are gone
//! with a restart and not shared between instances: consumers that need more dedupe by `event_id`.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::clock::Clock;

/// Longer than clients go on trying one request.
pub(super) const KEPT_MS: i64 = 10 * 60 * 1000;

/// Keys kept; the oldest answers go first.
const KEYS_MAX: usize = 100_000;

/// Answers kept, in bytes: one of 10,000 events is about 100 KB.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// The body of a successful answer.
#[derive(Clone, Debug)]
pub(super) struct Answer(pub(super) Bytes);

#[derive(Clone, Debug)]
pub(super) struct Idempotency {
    clock: Clock,
    hasher: RandomState,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    entries: HashMap<Key, State>,
    /// Finished keys, oldest first, with the time when they may be forgotten.
    finished: VecDeque<(i64, Key)>,
    bytes: usize,
}

type Key = Arc<(String, String)>;

#[derive(Debug)]
enum State {
    Running { body: u64 },
    Done { body: u64, answer: Answer },
}

/// What is known of a key.
#[derive(Debug)]
pub(super) enum Begun {
    New(Entry),
    Known(Answer),
    Running,
    OtherBody,
    Full,
}

/// The right to answer for a key; dropping it forgets the key.
#[derive(Debug)]
pub(super) struct Entry {
    owner: Idempotency,
    key: Option<Key>,
    body: u64,
}

impl Idempotency {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, hasher: RandomState::new(), known: Arc::default() }
    }

    pub(super) fn begin(&self, subject: String, key: String, body: &[u8]) -> Begun {
        let body = self.hasher.hash_one(body);
        let key = Arc::new((subject, key));
        let now_ms = self.clock.now_ms();
        let mut known = self.lock();
        known
            .forget(|until_ms, known| until_ms <= now_ms || known.bytes > BYTES_MAX || known.entries.len() >= KEYS_MAX);
        match known.entries.get(&key) {
            Some(State::Running { body: first } | State::Done { body: first, .. }) if *first != body => {
                Begun::OtherBody
            }
            Some(State::Running { .. }) => Begun::Running,
            Some(State::Done { answer, .. }) => Begun::Known(answer.clone()),
            None if known.entries.len() >= KEYS_MAX => Begun::Full,
            None => {
                known.entries.insert(key.clone(), State::Running { body });
                Begun::New(Entry { owner: self.clone(), key: Some(key), body })
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn forget(&mut self, mut may_go: impl FnMut(i64, &Self) -> bool) {
        while let Some((until_ms, _)) = self.finished.front() {
            if !may_go(*until_ms, self) {
                return;
            }
            if let Some((_, key)) = self.finished.pop_front()
                && let Some(State::Done { answer, .. }) = self.entries.remove(&key)
            {
                self.bytes -= answer.0.len();
            }
        }
    }
}

impl Entry {
    /// Remembers the answer and hands it back.
    pub(super) fn finish(mut self, answer: Answer) -> Answer {
        if let Some(key) = self.key.take() {
            let until_ms = self.owner.clock.now_ms() + KEPT_MS;
            let mut known = self.owner.lock();
            known.bytes += answer.0.len();
            known.finished.push_back((until_ms, key.clone()));
            known.entries.insert(key, State::Done { body: self.body, answer: answer.clone() });
        }
        answer
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.owner.lock().entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[test]
    fn a_key_is_answered_once() {
        let now = Arc::new(AtomicI64::new(0));
        let clock = {
            let now = now.clone();
            Clock::new(move || now.load(Ordering::Relaxed))
        };
        let keys = Idempotency::new(clock);
        let begin = |body: &[u8]| keys.begin("ann".to_owned(), "k".to_owned(), body);

        let Begun::New(first) = begin(b"x") else { panic!("a new key") };
        assert!(matches!(begin(b"x"), Begun::Running));
        drop(first);
        let Begun::New(second) = begin(b"x") else { panic!("a failed try is forgotten") };
        second.finish(Answer(Bytes::from_static(b"done")));
        assert!(matches!(begin(b"x"), Begun::Known(Answer(answer)) if answer == "done"));
        assert!(matches!(begin(b"y"), Begun::OtherBody));
        assert!(matches!(keys.begin("bob".to_owned(), "k".to_owned(), b"y"), Begun::New(_)));
        now.store(KEPT_MS, Ordering::Relaxed);
        assert!(matches!(begin(b"y"), Begun::New(_)));
    }
}
