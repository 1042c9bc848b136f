//! What every instance must hear of soon: tokens that are revoked, and connections that must end because their queue
//! was moved or is gone. It goes by the filter store, which all instances share; the instance that says it acts at once,
//! the others within [`POLL`].

use std::collections::HashSet;
use std::time::Duration;

use evs_core::{ConsumerName, Shard, Slot};

use crate::app::App;
use crate::ports::PortResult;
use crate::reader::attached::End;

/// How soon the other instances know.
pub const POLL: Duration = Duration::from_secs(2);

/// Revocations at a time; each instance reads all of them at every look.
pub const NOTICES_MAX: usize = 10_000;

/// A moved or removed queue is told for so long: far longer than any instance is late.
const TOLD_MS: i64 = 60_000;

/// One thing to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The token with this `jti` is good for nothing any more.
    Revoked(String),
    /// The consumer was moved; `nonce` tells two moves apart.
    Moved { shard: Shard, slot: Slot, nonce: u32, consumer: ConsumerName },
    /// The queue is gone.
    Gone { shard: Shard, slot: Slot },
}

impl Notice {
    fn key(&self) -> String {
        match self {
            Self::Revoked(jti) => format!("revoked:{jti}"),
            Self::Moved { shard, slot, nonce, consumer } => format!("moved:{}:{}:{nonce}:{consumer}", shard.0, slot.0),
            Self::Gone { shard, slot } => format!("gone:{}:{}", shard.0, slot.0),
        }
    }

    pub(crate) fn is_revocation(key: &str) -> bool {
        key.starts_with("revoked:")
    }

    /// `None` for what a newer instance says.
    fn parse(key: &str) -> Option<Self> {
        let (kind, rest) = key.split_once(':')?;
        let mut parts = rest.splitn(4, ':');
        match kind {
            "revoked" => Some(Self::Revoked(rest.to_owned())),
            "moved" => Some(Self::Moved {
                shard: Shard(parts.next()?.parse().ok()?),
                slot: Slot(parts.next()?.parse().ok()?),
                nonce: parts.next()?.parse().ok()?,
                consumer: ConsumerName::new(parts.next()?).ok()?,
            }),
            "gone" => {
                Some(Self::Gone { shard: Shard(parts.next()?.parse().ok()?), slot: Slot(parts.next()?.parse().ok()?) })
            }
            _ => None,
        }
    }
}

/// Says it to everybody, and acts on it here. A revocation lasts until `until_ms`, the others for a minute.
///
/// # Errors
/// Where the filter store does not take it.
pub async fn announce(app: &App, notice: &Notice, until_ms: Option<i64>) -> PortResult<()> {
    let until_ms = until_ms.unwrap_or_else(|| app.clock.now_ms() + TOLD_MS);
    if let Notice::Revoked(jti) = notice {
        app.auth.revoke(jti, until_ms);
    }
    end(app, notice);
    app.filters.announce(&notice.key(), until_ms).await
}

/// Ends the connections of this process that the notice is about; what they ack from now on is not stored.
pub fn end(app: &App, notice: &Notice) {
    match notice {
        Notice::Revoked(_) => {}
        Notice::Moved { shard, slot, consumer, .. } => {
            app.readers.attached().end(*shard, *slot, Some(consumer), End::Moved);
        }
        Notice::Gone { shard, slot } => app.readers.attached().end(*shard, *slot, None, End::Gone),
    }
}

/// Listens until the process stops. What cannot be read leaves what was known in force.
pub async fn run(app: App) {
    let mut known = HashSet::new();
    loop {
        if let Err(error) = hear(&app, &mut known).await {
            tracing::warn!(%error, "revoked tokens could not be looked up; those known stay refused");
        }
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// One look.
///
/// # Errors
/// Where the filter store does not answer.
pub async fn hear(app: &App, known: &mut HashSet<String>) -> PortResult<()> {
    let told = app.filters.notices(app.clock.now_ms()).await?;
    let mut revoked = Vec::new();
    for (key, until_ms) in &told {
        match Notice::parse(key) {
            Some(Notice::Revoked(jti)) => revoked.push((jti, *until_ms)),
            Some(notice) if !known.contains(key) => end(app, &notice),
            Some(_) | None => {}
        }
    }
    app.auth.set_revoked(revoked, app.clock.now_ms());
    *known = told.into_iter().map(|(key, _)| key).collect();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_as_they_were_written() {
        let consumer = ConsumerName::new("phone").unwrap();
        for notice in [
            Notice::Revoked("a:b:c".to_owned()),
            Notice::Moved { shard: Shard(1), slot: Slot(2), nonce: 3, consumer },
            Notice::Gone { shard: Shard(1), slot: Slot(2) },
        ] {
            assert_eq!(Notice::parse(&notice.key()), Some(notice));
        }
        for unknown in ["", "gone:", "gone:1", "moved:1:2:3", "later:1"] {
            assert_eq!(Notice::parse(unknown), None, "{unknown}");
        }
    }
}
