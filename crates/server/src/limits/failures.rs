//! Failed authentications per address: whose new credentials are not looked at for a while, and what the log is told.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::Rng as _;
use tokio::sync::Semaphore;

use super::connections::network;

/// Addresses with recent failures that are remembered. One more is not: its failures cost a look each, as the limit of
/// requests per address allows.
const ADDRESSES_MAX: usize = 10_000;

/// Refusals held back at a time; what is refused then is refused at once. Enough for tools that wait for their answers;
/// whoever does not wait takes one connection after another, and an answer on a connection that rested costs us more than
/// one at once (`--example siege -- flood`: 83 against 49 us).
const HELD_MAX: usize = 256;

/// How long a refusal is held back: who waits for its answer before it tries again is slowed to one try in so long.
/// Short enough that nobody who made a mistake thinks the server hangs.
const HELD: Duration = Duration::from_secs(1);

/// Between two lines of the log about one address.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Between two searches for addresses that are at rest again.
const CLEAN_EVERY: Duration = Duration::from_secs(1);

/// Counts by the generic cell rate algorithm: a failure moves the time at which the address is at rest.
#[derive(Debug)]
pub struct Failures {
    /// What a failure costs; zero where there is no limit.
    period: Duration,
    burst: u32,
    per_s: u32,
    limit_loopback: bool,
    began: Instant,
    /// So that nobody takes the lock while no address fails.
    failing: AtomicUsize,
    table: Mutex<Table>,
    held: Semaphore,
}

#[derive(Debug, Default)]
struct Table {
    /// Times are since `began`.
    cleaned: Duration,
    addresses: HashMap<IpAddr, Failing>,
}

#[derive(Debug, Default)]
struct Failing {
    /// When all failures are paid for.
    at_rest: Duration,
    told: Option<Duration>,
    /// Of the last failure.
    code: &'static str,
    failed: u64,
    refused: u64,
}

/// What the log is to be told of an address: what happened since it was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tell {
    pub address: IpAddr,
    /// Why the last of them was not good.
    pub code: &'static str,
    /// Credentials that were looked at and were not good.
    pub failed: u64,
    /// Requests that were refused and not looked at.
    pub refused: u64,
}

impl Failures {
    pub(super) fn new(per_s: u32, limit_loopback: bool) -> Self {
        let period = if per_s == 0 { Duration::ZERO } else { Duration::from_secs(1) / per_s };
        let (burst, began) = (per_s.saturating_mul(2), Instant::now());
        let (failing, table, held) = (AtomicUsize::default(), Mutex::default(), Semaphore::new(HELD_MAX));
        Self { period, burst, per_s, limit_loopback, began, failing, table, held }
    }

    /// Seconds until a credential of this address that is not known is looked at again; `None`: now.
    #[must_use]
    pub fn closed_s(&self, address: IpAddr) -> Option<u64> {
        if self.failing.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.closed_at(address, self.began.elapsed())
    }

    /// A credential of this address was not good. What to tell the log now: a line a second about each address.
    #[must_use]
    pub fn count(&self, address: IpAddr, code: &'static str) -> Vec<Tell> {
        self.count_at(address, code, self.began.elapsed())
    }

    /// What nobody was told of addresses that are at rest again; of all, at the `end`.
    #[must_use]
    pub fn sweep(&self, end: bool) -> Vec<Tell> {
        if self.failing.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        self.sweep_at(self.began.elapsed(), end)
    }

    /// Waits before a refusal is told.
    pub async fn hold(&self) {
        if let Ok(_permit) = self.held.try_acquire() {
            // Longer or shorter by chance: what came together is not answered together.
            let held = HELD.mul_f64(rand::rng().random_range(0.5..1.5));
            tokio::time::sleep(held).await;
        }
    }

    /// What the sentence of the refusal names.
    #[must_use]
    pub fn per_s(&self) -> u32 {
        self.per_s
    }

    fn closed_at(&self, address: IpAddr, now: Duration) -> Option<u64> {
        if self.burst == 0 || (address.is_loopback() && !self.limit_loopback) {
            return None;
        }
        let mut table = self.lock();
        let failing = table.addresses.get_mut(&network(address))?;
        let wait = failing.at_rest.checked_sub(now + self.period * (self.burst - 1))?;
        if wait.is_zero() {
            return None;
        }
        failing.refused += 1;
        Some(wait.as_secs_f64().ceil() as u64)
    }

    fn sweep_at(&self, now: Duration, end: bool) -> Vec<Tell> {
        let mut table = self.lock();
        let tells = table.clean(now, end);
        self.failing.store(table.addresses.len(), Ordering::Relaxed);
        tells
    }

    fn count_at(&self, address: IpAddr, code: &'static str, now: Duration) -> Vec<Tell> {
        let mut table = self.lock();
        let mut tells = if now >= table.cleaned + CLEAN_EVERY { table.clean(now, false) } else { Vec::new() };
        let key = network(address);
        if table.addresses.len() < ADDRESSES_MAX || table.addresses.contains_key(&key) {
            let failing = table.addresses.entry(key).or_default();
            // No more than the burst, so that an address is as good as new soon after its last failure.
            failing.at_rest = (failing.at_rest.max(now) + self.period).min(now + self.period * self.burst);
            failing.failed += 1;
            failing.code = code;
            if failing.told.is_none_or(|told| now >= told + TOLD_EVERY) {
                failing.told = Some(now);
                tells.extend(failing.tell(address));
            }
        }
        self.failing.store(table.addresses.len(), Ordering::Relaxed);
        tells
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Forgets addresses that are at rest; answers what was not told of them. At the `end` of all.
    fn clean(&mut self, now: Duration, end: bool) -> Vec<Tell> {
        self.cleaned = now;
        let mut tells = Vec::new();
        self.addresses.retain(|address, failing| {
            let stays = failing.at_rest > now || failing.told.is_some_and(|told| now < told + TOLD_EVERY);
            tells.extend(if stays && !end { None } else { failing.tell(*address) });
            stays
        });
        tells
    }
}

impl Failing {
    fn tell(&mut self, address: IpAddr) -> Option<Tell> {
        let (failed, refused) = (std::mem::take(&mut self.failed), std::mem::take(&mut self.refused));
        (failed + refused > 0).then_some(Tell { address, code: self.code, failed, refused })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn who_fails_too_often_waits_and_others_do_not() {
        let failures = Failures::new(2, false);
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let at = Duration::from_millis;
        for _ in 0..4 {
            assert_eq!(failures.closed_at(one, at(0)), None);
            let _ = failures.count_at(one, "a", at(0));
        }
        assert_eq!(failures.closed_at(one, at(0)), Some(1));
        assert_eq!(failures.closed_at(one, at(499)), Some(1));
        assert_eq!(failures.closed_at(other, at(499)), None);
        // One look every half second; what fails beyond that closes it for no longer.
        assert_eq!(failures.closed_at(one, at(500)), None);
        for _ in 0..100 {
            let _ = failures.count_at(one, "a", at(500));
        }
        assert_eq!(failures.closed_at(one, at(999)), Some(1));
        assert_eq!(failures.closed_at(one, at(1000)), None);
        let off = Failures::new(0, true);
        let loopback = address("127.0.0.1");
        let unlimited = Failures::new(1, false);
        for _ in 0..10 {
            let _ = (off.count_at(one, "a", at(0)), unlimited.count_at(loopback, "a", at(0)));
        }
        assert_eq!((off.closed_at(one, at(0)), unlimited.closed_at(loopback, at(0))), (None, None));
    }

    #[test]
    fn the_log_is_told_at_once_then_once_a_second_and_of_everything() {
        let failures = Failures::new(1, false);
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let at = Duration::from_millis;
        assert_eq!(failures.count_at(one, "a", at(0)), [Tell { address: one, code: "a", failed: 1, refused: 0 }]);
        assert_eq!(failures.count_at(one, "a", at(10)), []);
        for now_ms in 20..30 {
            assert!(failures.closed_at(one, at(now_ms)).is_some());
        }
        assert_eq!(failures.count_at(one, "a", at(1010)), [Tell { address: one, code: "a", failed: 2, refused: 10 }]);
        assert_eq!(failures.count_at(one, "a", at(1020)), []);
        // It went quiet; another's failure finds what was not told of it.
        let told = failures.count_at(other, "b", at(60_000));
        assert_eq!(told.len(), 2);
        assert!(told.contains(&Tell { address: one, code: "a", failed: 1, refused: 0 }));
        assert!(told.contains(&Tell { address: other, code: "b", failed: 1, refused: 0 }));
        assert_eq!(failures.lock().addresses.len(), 1);
    }

    #[test]
    fn what_was_not_told_is_told_when_nobody_fails_any_more() {
        let failures = Failures::new(1, false);
        let one = address("192.0.2.1");
        let at = Duration::from_millis;
        assert_eq!(failures.count_at(one, "a", at(0)).len(), 1);
        assert_eq!(failures.count_at(one, "b", at(10)), []);
        assert!(failures.closed_at(one, at(20)).is_some());
        assert_eq!(failures.sweep_at(at(30), false), [], "it may go on");
        let rest = Tell { address: one, code: "b", failed: 1, refused: 1 };
        assert_eq!(failures.sweep_at(at(5_000), false), [rest]);
        assert_eq!((failures.sweep(false), failures.lock().addresses.len()), (Vec::new(), 0));
        let _ = (failures.count_at(one, "a", at(6_000)), failures.count_at(one, "b", at(6_010)));
        assert_eq!(failures.sweep_at(at(6_020), true), [Tell { refused: 0, ..rest }]);
        assert_eq!(failures.sweep_at(at(60_000), false), [], "once");
    }

    #[test]
    fn the_table_is_bounded() {
        let failures = Failures::new(1, false);
        for number in 0..2 * ADDRESSES_MAX {
            let _ = failures.count_at(IpAddr::V4((number as u32).into()), "a", Duration::ZERO);
        }
        assert_eq!(failures.lock().addresses.len(), ADDRESSES_MAX);
        let late = Duration::from_secs(60);
        assert!(
            failures.count_at(address("192.0.2.1"), "a", late).iter().any(|tell| tell.address == address("192.0.2.1"))
        );
        assert_eq!(failures.lock().addresses.len(), 1);
    }
}
