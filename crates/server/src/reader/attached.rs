//! Who is connected to this process, by slot: what `/subscribers` shows and the gateway keeps up to date.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evs_core::{ConsumerName, Epoch, Seq, Shard, Slot};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::ports::delivery_queue::{Present, Turn};

type Sessions = SmallVec<[Arc<AttachedSession>; 1]>;

/// All attached sessions.
#[derive(Debug, Default)]
pub struct Attached(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    of: FxHashMap<(Shard, Slot), Sessions>,
    /// By shard, the lowest turn of what was added and not looked at yet.
    added: FxHashMap<Shard, u64>,
}

/// What others may know of a session.
#[derive(Debug)]
pub struct AttachedSession {
    pub shard: Shard,
    pub slot: Slot,
    /// `None` observes: it reads and never acks.
    pub consumer: Option<ConsumerName>,
    /// The life of the queue that it attached in, and which connection of the shard it is.
    pub turn: (Epoch, u64),
    sent: AtomicU64,
    live: AtomicBool,
    /// An [`End`], or 0.
    ending: AtomicU8,
}

/// Why a session must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum End {
    /// Its consumer's position was moved: it comes back and begins there.
    Moved = 1,
    /// The queue is gone.
    Gone = 2,
    /// A newer connection of its consumer came at another gateway.
    Superseded = 3,
    /// Whether one came is not known: it comes back, and is told.
    Unknown = 4,
}

/// The sessions of one slot together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    pub connections: u32,
    /// The least that any of them was sent.
    pub sent: Seq,
    /// Whether all of them are caught up.
    pub live: bool,
    pub consumers: Vec<ConsumerName>,
}

impl Attached {
    #[must_use]
    pub fn presence(&self, shard: Shard, slot: Slot) -> Option<Presence> {
        self.lock().of.get(&(shard, slot)).and_then(presence)
    }

    /// The slots of a shard with a connection, in no order.
    #[must_use]
    pub fn present(&self, shard: Shard) -> Vec<Present> {
        let all = self.lock();
        let of_shard = all.of.iter().filter(|((of, _), _)| *of == shard);
        let present = |((_, slot), sessions): (&(Shard, Slot), &Sessions)| {
            let Presence { connections, live, .. } = presence(sessions)?;
            Some(Present { slot: *slot, connections, live })
        };
        of_shard.filter_map(present).collect()
    }

    /// Connections of this process.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.lock().of.values().map(SmallVec::len).sum()
    }

    /// The slots of a shard that have a connection.
    #[must_use]
    pub fn slots(&self, shard: Shard) -> Vec<Slot> {
        self.lock().of.keys().filter(|(of, _)| *of == shard).map(|(_, slot)| *slot).collect()
    }

    /// Tells the sessions of a slot, or of one of its consumers, to end.
    pub(crate) fn end(&self, shard: Shard, slot: Slot, consumer: Option<&ConsumerName>, how: End) {
        for session in self.lock().of.get(&(shard, slot)).into_iter().flatten() {
            if consumer.is_none() || session.consumer.as_ref() == consumer {
                session.end(how);
            }
        }
    }

    /// Ends the sessions of a consumer that connected earlier in this life of the queue.
    pub(crate) fn supersede(&self, shard: Shard, epoch: Epoch, newest: &Turn) {
        for session in self.lock().of.get(&(shard, newest.slot)).into_iter().flatten() {
            if session.consumer.as_ref() == Some(&newest.consumer) && session.is_older(epoch, newest.number) {
                session.end(End::Superseded);
            }
        }
    }

    /// Has the consumers of a shard that connected before a turn come back: who came after them is not known any more.
    pub(crate) fn resume_before(&self, shard: Shard, epoch: Epoch, turn: u64) {
        let all = self.lock();
        let of_shard = all.of.iter().filter(|((of, _), _)| *of == shard).flat_map(|(_, sessions)| sessions);
        for session in of_shard.filter(|session| session.consumer.is_some() && session.is_older(epoch, turn)) {
            session.end(End::Unknown);
        }
    }

    /// The lowest turn of those that were added since the last call.
    pub(crate) fn take_added(&self, shard: Shard) -> Option<u64> {
        self.lock().added.remove(&shard)
    }

    pub(crate) fn add(&self, session: Arc<AttachedSession>) {
        let mut all = self.lock();
        if session.consumer.is_some() {
            let lowest = all.added.entry(session.shard).or_insert(session.turn.1);
            *lowest = session.turn.1.min(*lowest);
        }
        all.of.entry((session.shard, session.slot)).or_default().push(session);
    }

    pub(crate) fn remove(&self, session: &Arc<AttachedSession>) {
        let mut all = self.lock();
        let key = (session.shard, session.slot);
        if let Some(sessions) = all.of.get_mut(&key) {
            sessions.retain(|other| !Arc::ptr_eq(other, session));
            if sessions.is_empty() {
                all.of.remove(&key);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AttachedSession {
    pub(crate) fn new(shard: Shard, slot: Slot, consumer: Option<ConsumerName>, turn: (Epoch, u64), sent: Seq) -> Self {
        Self {
            shard,
            slot,
            consumer,
            turn,
            sent: AtomicU64::new(sent.0),
            live: AtomicBool::new(false),
            ending: AtomicU8::new(0),
        }
    }

    #[must_use]
    pub fn sent(&self) -> Seq {
        Seq(self.sent.load(Ordering::Relaxed))
    }

    #[must_use]
    pub fn live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }

    /// Whether it was told to end.
    #[must_use]
    pub fn ending(&self) -> Option<End> {
        match self.ending.load(Ordering::Acquire) {
            0 => None,
            1 => Some(End::Moved),
            2 => Some(End::Gone),
            3 => Some(End::Superseded),
            _ => Some(End::Unknown),
        }
    }

    fn end(&self, how: End) {
        self.ending.store(how as u8, Ordering::Release);
    }

    fn is_older(&self, epoch: Epoch, turn: u64) -> bool {
        self.turn.0 == epoch && self.turn.1 < turn
    }

    /// Answers whether it was live before.
    pub(crate) fn update(&self, sent: Seq, live: bool) -> bool {
        self.sent.store(sent.0, Ordering::Relaxed);
        self.live.swap(live, Ordering::Relaxed)
    }
}

/// `None` where nobody is there but observers: who only looks on does not make a subscriber live that is away.
fn presence(sessions: &Sessions) -> Option<Presence> {
    let readers = || sessions.iter().filter(|session| session.consumer.is_some());
    let mut consumers: Vec<_> = readers().filter_map(|session| session.consumer.clone()).collect();
    consumers.sort_unstable();
    consumers.dedup();
    Some(Presence {
        connections: u32::try_from(readers().count()).unwrap_or(u32::MAX),
        sent: readers().map(|session| session.sent()).min()?,
        live: readers().all(|session| session.live()),
        consumers,
    })
}
