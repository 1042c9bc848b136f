//! Steps on a slot's consumers: attach, ack, and what retention drops.

use std::collections::{BTreeMap, BTreeSet};

use evs_core::limits::SUBSCRIBER_CONSUMERS_MAX;
use evs_core::{ConsumerName, Epoch, Seq, Shard, Slot};
use sqlx::{Row, SqliteConnection};

use super::super::number;
use super::log::load_base;
use super::{load_state, of_slot};
use crate::ports::delivery_queue::{Ack, Attached, Expired, Retention, Start};

/// Deliveries that one step of `expire` drops.
const EXPIRE_MAX: i64 = 20_000;

pub(super) async fn attach(
    connection: &mut SqliteConnection,
    shard: Shard,
    slot: Slot,
    consumer: &ConsumerName,
    start: Start,
    now_ms: i64,
) -> Result<Attached, sqlx::Error> {
    let state = load_state(connection, shard).await?;
    if start != Start::Observe {
        of_slot("INSERT OR IGNORE INTO queues (shard, slot) VALUES (?1, ?2)", shard, slot)
            .execute(&mut *connection)
            .await?;
    }
    let queue = of_slot("SELECT * FROM queues WHERE shard = ?1 AND slot = ?2", shard, slot)
        .fetch_optional(&mut *connection)
        .await?;
    let of_queue = |column: &str| queue.as_ref().map_or(0, |row| number(row, column));
    let (mut acked, lost, removed) = (of_queue("acked"), of_queue("lost"), of_queue("removed") != 0);
    let row = of_slot("SELECT * FROM consumers WHERE shard = ?1 AND slot = ?2 AND name = ?3", shard, slot)
        .bind(consumer.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    let known = row.map(|row| (number(&row, "acked"), Epoch(number(&row, "epoch"))));
    let (row, row_epoch) = match (known, start) {
        (Some(known), _) => known,
        (None, Start::At(seq)) => (seq.0.max(acked), state.epoch),
        (None, Start::Earliest | Start::Observe) => (acked, state.epoch),
    };
    let mut full = false;
    if start != Start::Observe && !removed && known.is_none() {
        let others = of_slot("SELECT count(*) AS others FROM consumers WHERE shard = ?1 AND slot = ?2", shard, slot);
        let others = number(&others.fetch_one(&mut *connection).await?, "others");
        full = others >= SUBSCRIBER_CONSUMERS_MAX as u64;
        if others == 0 {
            acked = acked.max(row);
            raise_acked(connection, shard, slot, acked).await?;
        }
    }
    if start != Start::Observe && !removed && !full {
        of_slot(
            "INSERT INTO consumers (shard, slot, name, acked, epoch, seen_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT DO UPDATE SET seen_ms = excluded.seen_ms",
            shard,
            slot,
        )
        .bind(consumer.as_str())
        .bind(row as i64)
        .bind(row_epoch.0 as i64)
        .bind(now_ms)
        .execute(&mut *connection)
        .await?;
    }
    let base = load_base(connection, shard, slot).await?;
    Ok(Attached {
        state,
        removed,
        full,
        new: known.is_none() && start != Start::Observe && !removed && !full,
        row: Seq(row),
        row_epoch,
        acked: Seq(acked),
        lost: Seq(lost),
        base,
    })
}

/// Raises what every consumer has acked, and drops the spilled deliveries up to there.
pub(super) async fn raise_acked(
    connection: &mut SqliteConnection,
    shard: Shard,
    slot: Slot,
    acked: u64,
) -> Result<(), sqlx::Error> {
    of_slot("UPDATE queues SET acked = max(acked, ?3) WHERE shard = ?1 AND slot = ?2", shard, slot)
        .bind(acked as i64)
        .execute(&mut *connection)
        .await?;
    of_slot("DELETE FROM spills WHERE shard = ?1 AND slot = ?2 AND seq <= ?3", shard, slot)
        .bind(acked as i64)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn ack(
    connection: &mut SqliteConnection,
    shard: Shard,
    epoch: Epoch,
    acks: &[Ack],
    now_ms: i64,
) -> Result<bool, sqlx::Error> {
    if load_state(connection, shard).await?.epoch != epoch {
        return Ok(false);
    }
    let mut moved = BTreeSet::new();
    for ack in acks {
        // A consumer that retention forgot while it was connected is there again.
        let changed = of_slot(
            "INSERT INTO consumers (shard, slot, name, acked, epoch, seen_ms, last_ack_ms) \
             SELECT ?1, ?2, ?3, max(queues.acked, ?4), ?5, ?6, ?6 FROM queues \
             WHERE queues.shard = ?1 AND queues.slot = ?2 AND NOT queues.removed \
             ON CONFLICT DO UPDATE SET acked = max(consumers.acked, ?4), epoch = ?5, seen_ms = ?6, last_ack_ms = ?6",
            shard,
            ack.slot,
        )
        .bind(ack.consumer.as_str())
        .bind(ack.seq.0 as i64)
        .bind(epoch.0 as i64)
        .bind(now_ms)
        .execute(&mut *connection)
        .await?
        .rows_affected();
        if changed > 0 {
            moved.insert(ack.slot);
        }
    }
    // Once for each slot: the minimum looks at all of its consumers.
    for slot in moved {
        of_slot("UPDATE queues SET last_ack_ms = ?3 WHERE shard = ?1 AND slot = ?2 AND NOT removed", shard, slot)
            .bind(now_ms)
            .execute(&mut *connection)
            .await?;
        let least = of_slot("SELECT min(acked) AS least FROM consumers WHERE shard = ?1 AND slot = ?2", shard, slot)
            .fetch_one(&mut *connection)
            .await?;
        raise_acked(connection, shard, slot, number(&least, "least")).await?;
    }
    Ok(true)
}

pub(super) async fn expire(
    connection: &mut SqliteConnection,
    shard: Shard,
    retention: Retention,
) -> Result<Vec<Expired>, sqlx::Error> {
    // What is too old, and of queues that are too long what is beyond; per queue the newest seq that must go.
    let old = sqlx::query(
        "SELECT slot, max(seq) AS upto FROM (SELECT slot, seq FROM spills WHERE shard = ?1 AND time_ms < ?2 \
         ORDER BY time_ms LIMIT ?3) GROUP BY slot",
    )
    .bind(shard.0)
    .bind(retention.before_ms)
    .bind(EXPIRE_MAX)
    .fetch_all(&mut *connection)
    .await?;
    let long = sqlx::query(
        "SELECT slot, max(seq) AS upto FROM (SELECT slot, seq, \
         row_number() OVER (PARTITION BY slot ORDER BY seq DESC) AS nth, \
         sum(bytes) OVER (PARTITION BY slot ORDER BY seq DESC) AS size FROM spills WHERE shard = ?1 AND slot IN \
         (SELECT slot FROM spills WHERE shard = ?1 GROUP BY slot HAVING count(*) > ?2 OR sum(bytes) > ?3)) \
         WHERE nth > ?2 OR size > ?3 GROUP BY slot",
    )
    .bind(shard.0)
    .bind(i64::try_from(retention.events_max).unwrap_or(i64::MAX))
    .bind(i64::try_from(retention.bytes_max).unwrap_or(i64::MAX))
    .fetch_all(&mut *connection)
    .await?;
    let mut upto: BTreeMap<u32, u64> = BTreeMap::new();
    for row in old.iter().chain(&long) {
        let newest = upto.entry(number(row, "slot") as u32).or_default();
        *newest = (*newest).max(number(row, "upto"));
    }
    let mut expired = Vec::new();
    for (slot, upto) in upto {
        let slot = Slot(slot);
        let gone =
            of_slot("DELETE FROM spills WHERE shard = ?1 AND slot = ?2 AND seq <= ?3 RETURNING seq", shard, slot)
                .bind(upto as i64)
                .fetch_all(&mut *connection)
                .await?;
        of_slot("UPDATE queues SET lost = max(lost, ?3) WHERE shard = ?1 AND slot = ?2", shard, slot)
            .bind(upto as i64)
            .execute(&mut *connection)
            .await?;
        if let Some(from) = gone.iter().map(|row| number(row, "seq")).min() {
            expired.push(Expired { slot, from: Seq(from), to: Seq(upto) });
        }
    }
    forget_consumers(connection, shard, retention.consumers_before_ms).await?;
    Ok(expired)
}

/// Consumers that were not seen for the retention time no longer pin their queue (rule 15).
pub(super) async fn forget_consumers(
    connection: &mut SqliteConnection,
    shard: Shard,
    before_ms: i64,
) -> Result<(), sqlx::Error> {
    let gone = sqlx::query("DELETE FROM consumers WHERE shard = ?1 AND seen_ms < ?2 RETURNING slot")
        .bind(shard.0)
        .bind(before_ms)
        .fetch_all(&mut *connection)
        .await?;
    for slot in gone.iter().map(|row| Slot(number(row, "slot") as u32)) {
        let least = of_slot("SELECT min(acked) AS least FROM consumers WHERE shard = ?1 AND slot = ?2", shard, slot)
            .fetch_one(&mut *connection)
            .await?;
        if let Some(least) = least.get::<Option<i64>, _>("least") {
            raise_acked(connection, shard, slot, least as u64).await?;
        }
    }
    Ok(())
}
