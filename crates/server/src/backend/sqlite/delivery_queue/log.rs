//! Steps on a shard's log: append, compact, and the base in pages.

use evs_core::log::compact::Plan;
use evs_core::{Offset, Seq, Shard, Slot};
use sqlx::{Row, SqliteConnection};

use super::super::number;
use super::{entry_key, load_state, queue_row};
use crate::ports::delivery_queue::{Append, Appended, ShardState};

/// Counters of one page of the base.
pub(super) const PAGE_SLOTS: u64 = 1024;

pub(super) async fn append(
    connection: &mut SqliteConnection,
    shard: Shard,
    append: &Append,
    log_bytes_max: u64,
) -> Result<(Appended, ShardState), sqlx::Error> {
    let mut state = load_state(connection, shard).await?;
    if state.epoch != append.epoch {
        return Ok((Appended::OtherEpoch(state.epoch), state));
    }
    let checkpoint = sqlx::query("SELECT owner, next_offset FROM checkpoints WHERE shard = ?1 AND partition = ?2")
        .bind(shard.0)
        .bind(append.partition.0)
        .fetch_optional(&mut *connection)
        .await?;
    let owner = checkpoint.as_ref().map_or(0, |row| number(row, "owner"));
    if owner != append.owner {
        return Ok((Appended::Fenced, state));
    }
    let next = checkpoint.and_then(|row| row.get::<Option<i64>, _>("next_offset")).map(|next| Offset(next as u64));
    if let Some(next) = next {
        if next >= append.to {
            return Ok((Appended::AlreadyApplied, state));
        }
        if next != append.from {
            return Ok((Appended::Conflict { next }, state));
        }
    }
    if append.version < state.min_version {
        return Ok((Appended::Stale { minimum: state.min_version }, state));
    }
    let mut id = None;
    if let Some(entry) = &append.entry {
        if state.log_bytes > log_bytes_max {
            return Ok((Appended::Full, state));
        }
        let bytes = entry.size_bytes() as u64;
        state.top += 1;
        state.log_bytes += bytes;
        id = Some(state.top);
        sqlx::query("INSERT INTO entries (key, bytes, body) VALUES (?1, ?2, ?3)")
            .bind(entry_key(shard, state.top))
            .bind(bytes as i64)
            .bind(entry.encode(false))
            .execute(&mut *connection)
            .await?;
        sqlx::query("UPDATE shards SET top = ?2, log_bytes = ?3 WHERE shard = ?1")
            .bind(shard.0)
            .bind(state.top as i64)
            .bind(state.log_bytes as i64)
            .execute(&mut *connection)
            .await?;
    }
    let sql = "UPDATE checkpoints SET first_offset = CASE WHEN next_offset IS NULL THEN ?4 ELSE first_offset END, \
               next_offset = ?3 WHERE shard = ?1 AND partition = ?2";
    sqlx::query(sql)
        .bind(shard.0)
        .bind(append.partition.0)
        .bind(append.to.0 as i64)
        .bind(append.from.0 as i64)
        .execute(&mut *connection)
        .await?;
    Ok((Appended::Applied { id }, state))
}

pub(super) async fn compact(
    connection: &mut SqliteConnection,
    shard: Shard,
    plan: &Plan,
) -> Result<(bool, ShardState), sqlx::Error> {
    let mut state = load_state(connection, shard).await?;
    if state.epoch != plan.epoch || state.position != plan.at {
        return Ok((false, state));
    }
    for of_slot_spills in plan.spills.chunk_by(|left, right| left.slot == right.slot) {
        let row = queue_row(connection, shard, of_slot_spills[0].slot).await?;
        if row.get::<bool, _>("removed") {
            continue;
        }
        let acked = number(&row, "acked");
        for spill in of_slot_spills.iter().filter(|spill| spill.seq.0 > acked) {
            sqlx::query("INSERT OR IGNORE INTO spills VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")
                .bind(shard.0)
                .bind(spill.slot.0)
                .bind(spill.seq.0 as i64)
                .bind(spill.partition.0)
                .bind(spill.offset.0 as i64)
                .bind(spill.time_ms)
                .bind(spill.body.len() as i64)
                .bind(spill.filters.iter().flat_map(|id| id.to_be_bytes()).collect::<Vec<u8>>())
                .execute(&mut *connection)
                .await?;
        }
    }
    store_bases(connection, shard, plan).await?;
    let trimmed = sqlx::query("DELETE FROM entries WHERE key >= ?1 AND key <= ?2 RETURNING bytes")
        .bind(entry_key(shard, 0))
        .bind(entry_key(shard, plan.to.n))
        .fetch_all(&mut *connection)
        .await?;
    let trimmed: u64 = trimmed.iter().map(|row| number(row, "bytes")).sum();
    state.position = plan.to;
    state.log_bytes = state.log_bytes.saturating_sub(trimmed);
    sqlx::query("UPDATE shards SET n = ?2, m = ?3, a = ?4, log_bytes = ?5 WHERE shard = ?1")
        .bind(shard.0)
        .bind(plan.to.n as i64)
        .bind(plan.to.m as i64)
        .bind(plan.to.a)
        .bind(state.log_bytes as i64)
        .execute(connection)
        .await?;
    Ok((true, state))
}

pub(super) fn page_counters(body: &[u8]) -> impl Iterator<Item = u64> {
    body.chunks_exact(8).map(|bytes| u64::from_be_bytes(bytes.try_into().unwrap_or_default()))
}

pub(super) async fn load_base(connection: &mut SqliteConnection, shard: Shard, slot: Slot) -> Result<Seq, sqlx::Error> {
    let (page, index) = (u64::from(slot.0) / PAGE_SLOTS, u64::from(slot.0) % PAGE_SLOTS);
    let row = sqlx::query("SELECT body FROM bases WHERE shard = ?1 AND page = ?2")
        .bind(shard.0)
        .bind(page as i64)
        .fetch_optional(connection)
        .await?;
    let body = row.map(|row| row.get::<Vec<u8>, _>("body")).unwrap_or_default();
    Ok(Seq(page_counters(&body).nth(index as usize).unwrap_or(0)))
}

pub(super) async fn store_bases(
    connection: &mut SqliteConnection,
    shard: Shard,
    plan: &Plan,
) -> Result<(), sqlx::Error> {
    for of_page in
        plan.bases.chunk_by(|(left, _), (right, _)| u64::from(left.0) / PAGE_SLOTS == u64::from(right.0) / PAGE_SLOTS)
    {
        let page = (u64::from(of_page[0].0.0) / PAGE_SLOTS) as i64;
        let row = sqlx::query("SELECT body FROM bases WHERE shard = ?1 AND page = ?2")
            .bind(shard.0)
            .bind(page)
            .fetch_optional(&mut *connection)
            .await?;
        let mut body = row.map(|row| row.get::<Vec<u8>, _>("body")).unwrap_or_default();
        for (slot, seq) in of_page {
            let at = (u64::from(slot.0) % PAGE_SLOTS) as usize * 8;
            if body.len() < at + 8 {
                body.resize(at + 8, 0);
            }
            body[at..at + 8].copy_from_slice(&seq.0.to_be_bytes());
        }
        sqlx::query("INSERT OR REPLACE INTO bases (shard, page, body) VALUES (?1, ?2, ?3)")
            .bind(shard.0)
            .bind(page)
            .bind(body)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
