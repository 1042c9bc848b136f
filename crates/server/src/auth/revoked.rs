//! The tokens that are good no more though they have not expired.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// `jti` and until when it is kept. Bounded by what the filter store takes.
#[derive(Debug, Default)]
pub(super) struct Revoked(RwLock<HashMap<Box<str>, i64>>);

impl Revoked {
    pub(super) fn add(&self, jti: &str, until_ms: i64) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(jti.into(), until_ms);
    }

    /// What was added here and is not told yet stays: a look that began before must not bring a token back.
    pub(super) fn set(&self, told: Vec<(String, i64)>) {
        let mut revoked = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if told.is_empty() && revoked.is_empty() {
            return;
        }
        revoked.extend(told.into_iter().map(|(jti, until_ms)| (jti.into(), until_ms)));
    }

    pub(super) fn holds(&self, jti: &str) -> bool {
        let revoked = self.0.read().unwrap_or_else(PoisonError::into_inner);
        !revoked.is_empty() && revoked.contains_key(jti)
    }

    /// Forgets what could not be used any more in any case.
    pub(super) fn prune(&self, now_ms: i64) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|_, until_ms| *until_ms > now_ms);
    }
}
