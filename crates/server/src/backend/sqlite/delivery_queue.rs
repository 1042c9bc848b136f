//! The delivery queue in SQLite: the log's entries without bodies (they point at the event log), the fold in pages.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use evs_core::log::compact::{Plan, Spill};
use evs_core::log::{Entry, FoldPosition};
use evs_core::{ConsumerName, Epoch, FilterVersion, Offset, Partition, Seq, Shard, Slot};
use rand::Rng as _;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use tokio::sync::watch;

use super::event_log::decode_segment;
use super::{Db, WHAT, number, port_error};
use crate::clock::Clock;
use crate::ports::delivery_queue::{
    Ack, Append, Appended, Attached, Claim, ConsumerState, DeliveryQueue, Expired, QueueRead, Retention, ShardState,
    Snapshot, Standing, Start, Tail,
};
use crate::ports::{PortError, PortResult};

/// Newest entries kept in memory, so that readers of this process are fed without the disk.
const RECENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Counters of one page of the base.
const PAGE_SLOTS: u64 = 1024;
/// Deliveries that one step of `expire` drops.
const EXPIRE_MAX: i64 = 20_000;
const REMOVED: Seq = Seq(u64::MAX);

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// The embedded delivery queue.
#[derive(Debug)]
pub struct SqliteQueue {
    db: Arc<Db>,
    clock: Clock,
    /// Appends are refused above this; the keeper makes room.
    log_bytes_max: u64,
    live: Vec<Live>,
}

/// One shard's newest entries and its last committed state.
#[derive(Debug)]
struct Live {
    recent: Arc<Mutex<Recent>>,
    state: watch::Sender<Option<ShardState>>,
}

#[derive(Debug, Default)]
struct Recent {
    bytes: usize,
    entries: VecDeque<(u64, Arc<Entry>)>,
}

impl SqliteQueue {
    /// # Errors
    /// [`PortError`] if the file cannot be read, or was made with another number of shards.
    pub async fn open(db: Arc<Db>, clock: Clock, shards: u16, log_bytes_max: u64) -> PortResult<Self> {
        let stored = db
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query("INSERT OR IGNORE INTO settings VALUES ('queue_shards', ?1)")
                        .bind(shards.to_string())
                        .execute(&mut *connection)
                        .await?;
                    let row = sqlx::query("SELECT value FROM settings WHERE key = 'queue_shards'");
                    Ok(row.fetch_one(connection).await?.get::<String, _>("value"))
                })
            })
            .await?;
        if stored != shards.to_string() {
            let cause = format!("it was made with {stored} queue shards, not {shards}; the number cannot be changed");
            return Err(PortError::Damaged { what: WHAT, cause });
        }
        let live = (0..shards).map(|_| Live { recent: Arc::default(), state: watch::Sender::new(None) }).collect();
        Ok(Self { db, clock, log_bytes_max, live })
    }

    fn live(&self, shard: Shard) -> PortResult<&Live> {
        let cause = || format!("there is no shard {shard}");
        self.live.get(usize::from(shard.0)).ok_or_else(|| PortError::Damaged { what: WHAT, cause: cause() })
    }

    /// Entries after `after` from memory, if the next one is there.
    fn tail_recent(live: &Live, after: u64, bytes_max: usize) -> Option<Vec<(u64, Arc<Entry>)>> {
        let recent = live.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = usize::try_from((after + 1).checked_sub(recent.entries.front()?.0)?).ok()?;
        if skip >= recent.entries.len() {
            return None;
        }
        let mut bytes = 0;
        let fits = |(_, entry): &&(u64, Arc<Entry>)| {
            let before = bytes;
            bytes += entry.size_bytes();
            before < bytes_max
        };
        Some(recent.entries.range(skip..).take_while(fits).cloned().collect())
    }

    /// Entries after `after` from the file, with their bodies.
    async fn tail_stored(&self, shard: Shard, after: u64, bytes_max: usize) -> PortResult<Vec<(u64, Arc<Entry>)>> {
        let rows = sqlx::query("SELECT key, body FROM entries WHERE key > ?1 AND key < ?2 ORDER BY key LIMIT 256")
            .bind(entry_key(shard, after))
            .bind(entry_key(Shard(shard.0 + 1), 0))
            .fetch_all(&self.db.readers)
            .await
            .map_err(|error| port_error(&error))?;
        let mut entries = Vec::with_capacity(rows.len());
        let mut bytes = 0;
        for row in rows {
            let id = number(&row, "key") & ((1 << 48) - 1);
            let body = Bytes::from(row.get::<Vec<u8>, _>("body"));
            let mut entry = Entry::decode(body).map_err(|error| PortError::Damaged {
                what: WHAT,
                cause: format!("entry {id} of {shard:?}: {error}"),
            })?;
            let bodies = bodies(&self.db, entry.events().iter().map(|event| event.offset.0)).await?;
            entry.fill_bodies(|offset| bodies.get(&offset.0).cloned());
            bytes += entry.size_bytes();
            entries.push((id, Arc::new(entry)));
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(entries)
    }
}

/// The bodies of events by offset; those that are gone are left out.
async fn bodies(db: &Db, offsets: impl Iterator<Item = u64>) -> PortResult<BTreeMap<u64, Bytes>> {
    let mut found = BTreeMap::new();
    for offset in offsets {
        if found.contains_key(&offset) {
            continue;
        }
        let row = sqlx::query(
            "SELECT first_offset, body FROM segments WHERE first_offset <= ?1 AND next_offset > ?1 \
             ORDER BY first_offset DESC LIMIT 1",
        )
        .bind(offset as i64)
        .fetch_optional(&db.readers)
        .await
        .map_err(|error| port_error(&error))?;
        if let Some(row) = row {
            let segment = decode_segment(Bytes::from(row.get::<Vec<u8>, _>("body")))?;
            found.extend((number(&row, "first_offset")..).zip(segment));
        }
    }
    Ok(found)
}

fn entry_key(shard: Shard, id: u64) -> i64 {
    (i64::from(shard.0) << 48) | id as i64
}

fn state_of(row: &SqliteRow) -> ShardState {
    ShardState {
        epoch: Epoch(number(row, "epoch")),
        position: FoldPosition { n: number(row, "n"), m: number(row, "m"), a: number(row, "a") as u32 },
        top: number(row, "top"),
        log_bytes: number(row, "log_bytes"),
        min_version: FilterVersion(number(row, "min_version")),
    }
}

async fn load_state(connection: &mut SqliteConnection, shard: Shard) -> Result<ShardState, sqlx::Error> {
    let row = sqlx::query("SELECT * FROM shards WHERE shard = ?1").bind(shard.0).fetch_one(connection).await?;
    Ok(state_of(&row))
}

/// The slot's row, made if it is missing: acked 0 (rule 10).
async fn queue_row(connection: &mut SqliteConnection, shard: Shard, slot: Slot) -> Result<SqliteRow, sqlx::Error> {
    of_slot("INSERT OR IGNORE INTO queues (shard, slot) VALUES (?1, ?2)", shard, slot)
        .execute(&mut *connection)
        .await?;
    of_slot("SELECT * FROM queues WHERE shard = ?1 AND slot = ?2", shard, slot).fetch_one(connection).await
}

fn of_slot(sql: &'static str, shard: Shard, slot: Slot) -> Query<'static> {
    sqlx::query(sql).bind(shard.0).bind(slot.0)
}

fn page_counters(body: &[u8]) -> impl Iterator<Item = u64> {
    body.chunks_exact(8).map(|bytes| u64::from_be_bytes(bytes.try_into().unwrap_or_default()))
}

async fn load_base(connection: &mut SqliteConnection, shard: Shard, slot: Slot) -> Result<Seq, sqlx::Error> {
    let (page, index) = (u64::from(slot.0) / PAGE_SLOTS, u64::from(slot.0) % PAGE_SLOTS);
    let row = sqlx::query("SELECT body FROM bases WHERE shard = ?1 AND page = ?2")
        .bind(shard.0)
        .bind(page as i64)
        .fetch_optional(connection)
        .await?;
    let body = row.map(|row| row.get::<Vec<u8>, _>("body")).unwrap_or_default();
    Ok(Seq(page_counters(&body).nth(index as usize).unwrap_or(0)))
}

async fn store_bases(connection: &mut SqliteConnection, shard: Shard, plan: &Plan) -> Result<(), sqlx::Error> {
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

async fn append(
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
    sqlx::query("UPDATE checkpoints SET next_offset = ?3 WHERE shard = ?1 AND partition = ?2")
        .bind(shard.0)
        .bind(append.partition.0)
        .bind(append.to.0 as i64)
        .execute(&mut *connection)
        .await?;
    Ok((Appended::Applied { id }, state))
}

async fn compact(
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

async fn attach(
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
    if start != Start::Observe && !removed {
        if known.is_none() {
            let first = of_slot("SELECT count(*) AS others FROM consumers WHERE shard = ?1 AND slot = ?2", shard, slot);
            if number(&first.fetch_one(&mut *connection).await?, "others") == 0 {
                acked = acked.max(row);
                raise_acked(connection, shard, slot, acked).await?;
            }
        }
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
        new: known.is_none() && start != Start::Observe && !removed,
        row: Seq(row),
        row_epoch,
        acked: Seq(acked),
        lost: Seq(lost),
        base,
    })
}

/// Raises what every consumer has acked, and drops the spilled deliveries up to there.
async fn raise_acked(
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

async fn ack(
    connection: &mut SqliteConnection,
    shard: Shard,
    epoch: Epoch,
    acks: &[Ack],
    now_ms: i64,
) -> Result<bool, sqlx::Error> {
    if load_state(connection, shard).await?.epoch != epoch {
        return Ok(false);
    }
    for ack in acks {
        let changed = of_slot(
            "UPDATE consumers SET acked = max(acked, ?4), epoch = ?5, seen_ms = ?6, last_ack_ms = ?6 \
             WHERE shard = ?1 AND slot = ?2 AND name = ?3",
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
        if changed == 0 {
            continue;
        }
        of_slot("UPDATE queues SET last_ack_ms = ?3 WHERE shard = ?1 AND slot = ?2 AND NOT removed", shard, ack.slot)
            .bind(now_ms)
            .execute(&mut *connection)
            .await?;
        let least =
            of_slot("SELECT min(acked) AS least FROM consumers WHERE shard = ?1 AND slot = ?2", shard, ack.slot)
                .fetch_one(&mut *connection)
                .await?;
        raise_acked(connection, shard, ack.slot, number(&least, "least")).await?;
    }
    Ok(true)
}

async fn expire(
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
async fn forget_consumers(connection: &mut SqliteConnection, shard: Shard, before_ms: i64) -> Result<(), sqlx::Error> {
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

#[async_trait]
impl DeliveryQueue for SqliteQueue {
    fn shards(&self) -> u16 {
        self.live.len() as u16
    }

    async fn open(&self, shard: Shard, version: FilterVersion) -> PortResult<ShardState> {
        let sender = self.live(shard)?.state.clone();
        let epoch = rand::rng().random::<u64>() >> 1;
        self.db
            .write_then(
                move |connection| {
                    Box::pin(async move {
                        sqlx::query("INSERT OR IGNORE INTO shards VALUES (?1, ?2, 0, 0, 0, 0, 0, ?3)")
                            .bind(shard.0)
                            .bind(epoch as i64)
                            .bind(version.0 as i64)
                            .execute(&mut *connection)
                            .await?;
                        load_state(connection, shard).await
                    })
                },
                move |state| {
                    sender.send_replace(Some(*state));
                },
            )
            .await
    }

    async fn state(&self, shard: Shard) -> PortResult<ShardState> {
        let known = *self.live(shard)?.state.borrow();
        match known {
            Some(state) => Ok(state),
            None => self.open(shard, FilterVersion(0)).await,
        }
    }

    async fn raise(&self, shard: Shard, epoch: Epoch, version: FilterVersion) -> PortResult<bool> {
        let sender = self.live(shard)?.state.clone();
        let raised = self
            .db
            .write_then(
                move |connection| {
                    Box::pin(async move {
                        sqlx::query(
                            "UPDATE shards SET min_version = max(min_version, ?3) WHERE shard = ?1 AND epoch = ?2",
                        )
                        .bind(shard.0)
                        .bind(epoch.0 as i64)
                        .bind(version.0 as i64)
                        .execute(&mut *connection)
                        .await?;
                        load_state(connection, shard).await
                    })
                },
                move |state| {
                    sender.send_replace(Some(*state));
                },
            )
            .await?;
        Ok(raised.epoch == epoch)
    }

    async fn claim(&self, shard: Shard, epoch: Epoch, partition: Partition) -> PortResult<Option<Claim>> {
        self.live(shard)?;
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    if load_state(connection, shard).await?.epoch != epoch {
                        return Ok(None);
                    }
                    let row = sqlx::query(
                        "INSERT INTO checkpoints (shard, partition, owner) VALUES (?1, ?2, 1) \
                         ON CONFLICT DO UPDATE SET owner = owner + 1 RETURNING owner, next_offset",
                    )
                    .bind(shard.0)
                    .bind(partition.0)
                    .fetch_one(connection)
                    .await?;
                    let next = row.get::<Option<i64>, _>("next_offset").map(|next| Offset(next as u64));
                    Ok(Some(Claim { owner: number(&row, "owner"), next }))
                })
            })
            .await
    }

    async fn append(&self, shard: Shard, request: Append) -> PortResult<Appended> {
        let live = self.live(shard)?;
        let (recent, sender, log_bytes_max) = (live.recent.clone(), live.state.clone(), self.log_bytes_max);
        let entry = request.entry.clone();
        let answer = self
            .db
            .write_then(
                move |connection| Box::pin(async move { append(connection, shard, &request, log_bytes_max).await }),
                move |(appended, state)| {
                    if let (Appended::Applied { id: Some(id) }, Some(entry)) = (appended, entry) {
                        let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
                        recent.bytes += entry.size_bytes();
                        recent.entries.push_back((*id, entry));
                        while recent.bytes > RECENT_BYTES_MAX
                            && let Some((_, oldest)) = recent.entries.pop_front()
                        {
                            recent.bytes -= oldest.size_bytes();
                        }
                    }
                    sender.send_replace(Some(*state));
                },
            )
            .await?;
        Ok(answer.0)
    }

    async fn checkpoints(&self, shard: Shard) -> PortResult<Vec<(Partition, Offset)>> {
        let sql = "SELECT partition, next_offset FROM checkpoints WHERE shard = ?1 AND next_offset IS NOT NULL";
        let rows = sqlx::query(sql).bind(shard.0).fetch_all(&self.db.readers).await;
        let rows = rows.map_err(|error| port_error(&error))?;
        let of_row = |row: &SqliteRow| (Partition(number(row, "partition") as u32), Offset(number(row, "next_offset")));
        Ok(rows.iter().map(of_row).collect())
    }

    async fn snapshot(&self, shard: Shard) -> PortResult<Snapshot> {
        self.state(shard).await?;
        // One read transaction: the state and the base of one moment (rule 1).
        let mut reader = self.db.readers.begin().await.map_err(|error| port_error(&error))?;
        let state = load_state(&mut reader, shard).await.map_err(|error| port_error(&error))?;
        let pages = sqlx::query("SELECT page, body FROM bases WHERE shard = ?1 ORDER BY page")
            .bind(shard.0)
            .fetch_all(&mut *reader)
            .await
            .map_err(|error| port_error(&error))?;
        let mut base = Vec::new();
        for row in pages {
            base.resize((number(&row, "page") * PAGE_SLOTS) as usize, 0);
            base.extend(page_counters(&row.get::<Vec<u8>, _>("body")));
        }
        Ok(Snapshot { state, base })
    }

    async fn tail(&self, shard: Shard, after: u64, bytes_max: usize, wait: Duration) -> PortResult<Tail> {
        let live = self.live(shard)?;
        let mut watched = live.state.subscribe();
        self.state(shard).await?;
        // A time-out is the idle poll: the state is answered without entries.
        let grown = watched.wait_for(|state| state.is_some_and(|state| state.top > after));
        let _ = tokio::time::timeout(wait, grown).await;
        let state = self.state(shard).await?;
        if state.top <= after {
            return Ok(Tail { state, entries: Vec::new() });
        }
        let entries = match Self::tail_recent(live, after, bytes_max) {
            Some(entries) => entries,
            None => self.tail_stored(shard, after, bytes_max).await?,
        };
        // The state is read again: what was trimmed while we read must not look like a hole that nobody explains.
        Ok(Tail { state: self.state(shard).await?, entries })
    }

    async fn compact(&self, shard: Shard, plan: &Plan) -> PortResult<bool> {
        let live = self.live(shard)?;
        let (sender, plan) = (live.state.clone(), plan.clone());
        let recent = live.recent.clone();
        let answer = self
            .db
            .write_then(
                move |connection| Box::pin(async move { compact(connection, shard, &plan).await }),
                move |(_, state)| {
                    let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
                    while recent.entries.front().is_some_and(|(id, _)| *id <= state.position.n)
                        && let Some((_, oldest)) = recent.entries.pop_front()
                    {
                        recent.bytes -= oldest.size_bytes();
                    }
                    sender.send_replace(Some(*state));
                },
            )
            .await?;
        Ok(answer.0)
    }

    async fn attach(&self, shard: Shard, slot: Slot, consumer: &ConsumerName, start: Start) -> PortResult<Attached> {
        self.state(shard).await?;
        let (consumer, now_ms) = (consumer.clone(), self.clock.now_ms());
        self.db
            .write(move |connection| {
                Box::pin(async move { attach(connection, shard, slot, &consumer, start, now_ms).await })
            })
            .await
    }

    async fn read(&self, shard: Shard, slot: Slot, from: Seq, max: usize) -> PortResult<QueueRead> {
        self.state(shard).await?;
        let mut reader = self.db.readers.begin().await.map_err(|error| port_error(&error))?;
        let read = async {
            let state = load_state(&mut reader, shard).await?;
            let queue = of_slot("SELECT * FROM queues WHERE shard = ?1 AND slot = ?2", shard, slot)
                .fetch_optional(&mut *reader)
                .await?;
            let base = load_base(&mut reader, shard, slot).await?;
            let rows = of_slot(
                "SELECT * FROM spills WHERE shard = ?1 AND slot = ?2 AND seq >= ?3 ORDER BY seq LIMIT ?4",
                shard,
                slot,
            )
            .bind(from.0 as i64)
            .bind(max as i64)
            .fetch_all(&mut *reader)
            .await?;
            Ok((state, queue, base, rows))
        };
        let (state, queue, base, rows) = read.await.map_err(|error: sqlx::Error| port_error(&error))?;
        drop(reader);
        let offsets = rows.iter().map(|row| number(row, "event_offset"));
        let bodies = bodies(&self.db, offsets).await?;
        let records = rows.iter().map(|row| {
            let offset = number(row, "event_offset");
            let body = bodies.get(&offset).cloned().ok_or_else(|| PortError::Damaged {
                what: WHAT,
                cause: format!("the event {offset} of a spilled delivery is gone"),
            })?;
            let filters = row.get::<Vec<u8>, _>("filters");
            let filters = filters.chunks_exact(4).map(|id| u32::from_be_bytes(id.try_into().unwrap_or_default()));
            Ok(Spill {
                slot,
                seq: Seq(number(row, "seq")),
                partition: Partition(number(row, "partition") as u32),
                offset: Offset(offset),
                time_ms: row.get("time_ms"),
                filters: filters.collect(),
                body,
            })
        });
        let records = records.collect::<PortResult<Vec<_>>>()?;
        let of_queue = |column: &str| Seq(queue.as_ref().map_or(0, |row| number(row, column)));
        Ok(QueueRead {
            state,
            removed: of_queue("removed").0 != 0,
            base,
            acked: of_queue("acked"),
            lost: of_queue("lost"),
            records,
        })
    }

    async fn ack(&self, shard: Shard, epoch: Epoch, acks: &[Ack]) -> PortResult<bool> {
        self.state(shard).await?;
        let (acks, now_ms) = (acks.to_vec(), self.clock.now_ms());
        self.db
            .write(move |connection| Box::pin(async move { ack(connection, shard, epoch, &acks, now_ms).await }))
            .await
    }

    async fn reset(&self, shard: Shard, slot: Slot, consumer: &ConsumerName, to: Seq) -> PortResult<()> {
        self.state(shard).await?;
        let (consumer, now_ms) = (consumer.clone(), self.clock.now_ms());
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    let state = load_state(connection, shard).await?;
                    let queue = queue_row(connection, shard, slot).await?;
                    if queue.get::<bool, _>("removed") {
                        return Ok(());
                    }
                    let acked = number(&queue, "acked");
                    of_slot(
                        "INSERT INTO consumers (shard, slot, name, acked, epoch, seen_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                         ON CONFLICT DO UPDATE SET acked = excluded.acked, epoch = excluded.epoch, \
                         seen_ms = excluded.seen_ms",
                        shard,
                        slot,
                    )
                    .bind(consumer.as_str())
                    .bind(to.0.max(acked) as i64)
                    .bind(state.epoch.0 as i64)
                    .bind(now_ms)
                    .execute(&mut *connection)
                    .await?;
                    let sql = "SELECT min(acked) AS least FROM consumers WHERE shard = ?1 AND slot = ?2";
                    let least = of_slot(sql, shard, slot).fetch_one(&mut *connection).await?;
                    raise_acked(connection, shard, slot, number(&least, "least")).await
                })
            })
            .await
    }

    async fn remove(&self, shard: Shard, slot: Slot) -> PortResult<()> {
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    queue_row(connection, shard, slot).await?;
                    for sql in [
                        "UPDATE queues SET removed = 1 WHERE shard = ?1 AND slot = ?2",
                        "DELETE FROM consumers WHERE shard = ?1 AND slot = ?2",
                        "DELETE FROM spills WHERE shard = ?1 AND slot = ?2",
                    ] {
                        of_slot(sql, shard, slot).execute(&mut *connection).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    async fn acked(&self, shard: Shard, slots: &[Slot]) -> PortResult<Vec<Seq>> {
        let mut acked = vec![Seq(0); slots.len()];
        let index: BTreeMap<u32, usize> = slots.iter().enumerate().map(|(at, slot)| (slot.0, at)).collect();
        let (Some(first), Some(last)) = (index.keys().next(), index.keys().next_back()) else { return Ok(acked) };
        // One range scan: the keeper asks for most slots of a range, or for few.
        let rows = sqlx::query(
            "SELECT slot, acked, removed FROM queues WHERE shard = ?1 AND slot BETWEEN ?2 AND ?3 AND (acked > 0 OR removed)",
        )
        .bind(shard.0)
        .bind(first)
        .bind(last)
        .fetch_all(&self.db.readers)
        .await
        .map_err(|error| port_error(&error))?;
        for row in rows {
            if let Some(at) = index.get(&(number(&row, "slot") as u32)) {
                acked[*at] = if row.get::<bool, _>("removed") { REMOVED } else { Seq(number(&row, "acked")) };
            }
        }
        Ok(acked)
    }

    async fn standings(&self, shard: Shard, after: Option<Slot>, max: usize) -> PortResult<Vec<Standing>> {
        let rows = sqlx::query(
            "SELECT q.*, s.spilled, s.oldest, \
             EXISTS (SELECT 1 FROM consumers c WHERE c.shard = q.shard AND c.slot = q.slot) AS has_consumer \
             FROM queues q LEFT JOIN (SELECT slot, count(*) AS spilled, min(time_ms) AS oldest FROM spills \
             WHERE shard = ?1 GROUP BY slot) s ON s.slot = q.slot \
             WHERE q.shard = ?1 AND q.slot > ?2 ORDER BY q.slot LIMIT ?3",
        )
        .bind(shard.0)
        .bind(after.map_or(-1, |slot| i64::from(slot.0)))
        .bind(max as i64)
        .fetch_all(&self.db.readers)
        .await
        .map_err(|error| port_error(&error))?;
        let standing = |row: &SqliteRow| Standing {
            slot: Slot(number(row, "slot") as u32),
            acked: Seq(number(row, "acked")),
            lost: Seq(number(row, "lost")),
            removed: row.get("removed"),
            last_ack_ms: row.get("last_ack_ms"),
            oldest_spilled_ms: row.get("oldest"),
            spilled: row.get::<Option<i64>, _>("spilled").unwrap_or(0) as u64,
            has_consumer: row.get("has_consumer"),
        };
        Ok(rows.iter().map(standing).collect())
    }

    async fn consumers(&self, shard: Shard, slot: Slot) -> PortResult<Vec<ConsumerState>> {
        let rows = of_slot("SELECT * FROM consumers WHERE shard = ?1 AND slot = ?2 ORDER BY name", shard, slot)
            .fetch_all(&self.db.readers)
            .await
            .map_err(|error| port_error(&error))?;
        let consumer = |row: &SqliteRow| {
            let name = row.get::<String, _>("name");
            let name = ConsumerName::new(&name)
                .map_err(|error| PortError::Damaged { what: WHAT, cause: format!("consumer {name:?}: {error}") })?;
            Ok(ConsumerState {
                name,
                acked: Seq(number(row, "acked")),
                epoch: Epoch(number(row, "epoch")),
                last_ack_ms: row.get("last_ack_ms"),
            })
        };
        rows.iter().map(consumer).collect()
    }

    async fn expire(&self, shard: Shard, retention: &Retention) -> PortResult<Vec<Expired>> {
        let retention = *retention;
        self.db.write(move |connection| Box::pin(async move { expire(connection, shard, retention).await })).await
    }
}
