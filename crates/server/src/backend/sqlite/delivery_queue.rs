//! The delivery queue in SQLite: the log's entries without bodies (they point at the event log), the fold in pages.

mod consumers;
mod log;

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

use self::consumers::{ack, attach, expire, raise_acked};
use self::log::{PAGE_SLOTS, append, compact, load_base, page_counters};
use super::event_log::decode_segment;
use super::{Db, WHAT, number, port_error};
use crate::clock::Clock;
use crate::ports::delivery_queue::{
    Ack, Append, Appended, Attached, Checkpoint, Claim, ConsumerState, DeliveryQueue, Expired, QueueRead, Retention,
    ShardState, Snapshot, Standing, Start, Tail,
};
use crate::ports::{PortError, PortResult};

/// Newest entries kept in memory, so that readers of this process are fed without the disk.
const RECENT_BYTES_MAX: usize = 16 * 1024 * 1024;
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
#[derive(Debug, Default)]
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
        let live = (0..shards).map(|_| Live::default()).collect();
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

    async fn checkpoints(&self, shard: Shard) -> PortResult<Vec<Checkpoint>> {
        let sql = "SELECT partition, COALESCE(first_offset, 0) AS first_offset, next_offset FROM checkpoints \
                   WHERE shard = ?1 AND next_offset IS NOT NULL";
        let rows = sqlx::query(sql).bind(shard.0).fetch_all(&self.db.readers).await;
        let rows = rows.map_err(|error| port_error(&error))?;
        let of_row = |row: &SqliteRow| Checkpoint {
            partition: Partition(number(row, "partition") as u32),
            first: Offset(number(row, "first_offset")),
            next: Offset(number(row, "next_offset")),
        };
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

    async fn slots(&self, shard: Shard) -> PortResult<u32> {
        // It lies in one file with the filter store that gives the slots, so both are restored together.
        self.live(shard).map(|_| 0)
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
