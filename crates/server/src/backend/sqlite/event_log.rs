//! The event log in SQLite: one partition, one row per append.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use evs_core::{Event, Offset, Partition, Position};
use sqlx::{Row, SqliteConnection};
use tokio::sync::watch;

use super::{Db, WHAT, number, port_error};
use crate::clock::Clock;
use crate::ports::event_log::{
    BatchKey, Committed, DeadLetter, EventLog, LogBatch, LogConsumer, LogRead, LogSignal, LoggedEvent, Once,
    PartitionRange,
};
use crate::ports::{PortError, PortResult};

const PARTITION: Partition = Partition(0);
/// Newest events kept in memory, so that the matcher and the gateway read what was just written without the disk.
const RECENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What the matcher takes at once.
const BATCH_EVENTS_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The embedded event log.
#[derive(Debug, Clone)]
pub struct SqliteLog {
    db: Arc<Db>,
    clock: Clock,
    recent: Arc<Mutex<Recent>>,
    /// The oldest offset kept, as of the last commit.
    low: Arc<AtomicU64>,
    /// The next offset to be written, as of the last commit.
    end: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Recent {
    bytes: usize,
    events: VecDeque<LoggedEvent>,
}

impl SqliteLog {
    /// # Errors
    /// [`PortError`] if the file cannot be read.
    pub async fn open(db: Arc<Db>, clock: Clock) -> PortResult<Self> {
        let row = sqlx::query(
            "SELECT coalesce(min(first_offset), 0) AS low, coalesce(max(next_offset), 0) AS high FROM segments",
        )
        .fetch_one(&db.readers)
        .await
        .map_err(|error| port_error(&error))?;
        let (low, high) = (number(&row, "low"), number(&row, "high"));
        Ok(Self {
            db,
            clock,
            recent: Arc::default(),
            low: Arc::new(AtomicU64::new(low)),
            end: watch::Sender::new(high),
        })
    }

    fn low(&self) -> Offset {
        Offset(self.low.load(Ordering::Acquire))
    }

    /// The newest events from memory, if all from `from` on are there.
    fn read_recent(&self, from: Offset, events_max: usize, bytes_max: usize) -> Option<Vec<LoggedEvent>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let first = recent.events.front()?.offset;
        let skip = usize::try_from(from.0.checked_sub(first.0)?).ok()?;
        if skip >= recent.events.len() {
            return None;
        }
        let mut bytes = 0;
        let fits = |event: &&LoggedEvent| {
            let before = bytes;
            bytes += event.event.bytes().len();
            before < bytes_max
        };
        Some(recent.events.range(skip..).take(events_max).take_while(fits).cloned().collect())
    }
}

/// A segment: version 1, then each event's length (4 bytes, big endian) and bytes. Persisted: keep it stable.
fn encode_segment(events: &[Event]) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + events.iter().map(|event| event.bytes().len() + 4).sum::<usize>());
    out.put_u8(1);
    for event in events {
        out.put_u32(event.bytes().len() as u32);
        out.put_slice(event.bytes());
    }
    out.freeze()
}

/// The bodies of a segment.
pub(super) fn decode_segment(mut body: Bytes) -> PortResult<Vec<Bytes>> {
    let damaged = || PortError::Damaged { what: WHAT, cause: "a segment of the event log is damaged".into() };
    if body.try_get_u8().ok() != Some(1) {
        return Err(damaged());
    }
    let mut events = Vec::new();
    while body.has_remaining() {
        let len = body.try_get_u32().map_err(|_| damaged())? as usize;
        if len > body.remaining() {
            return Err(damaged());
        }
        events.push(body.split_to(len));
    }
    Ok(events)
}

/// Events `from..` of the file, in order; at least the rest of one segment.
async fn read_segments(db: &Db, from: Offset, events_max: usize, bytes_max: usize) -> PortResult<Vec<LoggedEvent>> {
    let mut events = Vec::new();
    let mut bytes = 0;
    let mut from = from.0;
    while events.len() < events_max && bytes < bytes_max {
        let rows = sqlx::query(
            "SELECT first_offset, time_ms, body FROM segments WHERE first_offset >= \
             coalesce((SELECT max(first_offset) FROM segments WHERE first_offset <= ?1), 0) \
             AND next_offset > ?1 ORDER BY first_offset LIMIT 64",
        )
        .bind(from as i64)
        .fetch_all(&db.readers)
        .await
        .map_err(|error| port_error(&error))?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            let (first, time_ms) = (number(&row, "first_offset"), row.get("time_ms"));
            for (body, offset) in decode_segment(Bytes::from(row.get::<Vec<u8>, _>("body")))?.into_iter().zip(first..) {
                if offset < from || events.len() >= events_max || bytes >= bytes_max {
                    continue;
                }
                bytes += body.len();
                from = offset + 1;
                let event = Event::trusted(body);
                events.push(LoggedEvent { offset: Offset(offset), time_ms, event, headers: None });
            }
        }
    }
    Ok(events)
}

async fn append_segment(
    connection: &mut SqliteConnection,
    count: u64,
    time_ms: i64,
    body: &[u8],
) -> Result<u64, sqlx::Error> {
    let row = sqlx::query(
        "INSERT INTO segments (first_offset, next_offset, time_ms, body) \
         SELECT high, high + ?1, ?2, ?3 FROM (SELECT coalesce(max(next_offset), 0) AS high FROM \
         (SELECT next_offset FROM segments ORDER BY first_offset DESC LIMIT 1)) RETURNING first_offset",
    )
    .bind(count as i64)
    .bind(time_ms)
    .bind(body)
    .fetch_one(connection)
    .await?;
    Ok(number(&row, "first_offset"))
}

/// What became of a batch's key.
enum Taken {
    Now(u64),
    Before { first: u64, count: u64 },
    ByOther,
}

async fn taken(connection: &mut SqliteConnection, key: &BatchKey, now_ms: i64) -> Result<Option<Taken>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT body, first_offset, events FROM batch_keys WHERE scope = ?1 AND key = ?2 AND until_ms > ?3",
    )
    .bind(&key.scope)
    .bind(&key.key)
    .bind(now_ms)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| match row.get::<Vec<u8>, _>("body") == key.body {
        true => Taken::Before { first: number(&row, "first_offset"), count: number(&row, "events") },
        false => Taken::ByOther,
    }))
}

async fn take(connection: &mut SqliteConnection, key: &BatchKey, first: u64, count: u64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT OR REPLACE INTO batch_keys (scope, key, body, first_offset, events, until_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )
    .bind(&key.scope)
    .bind(&key.key)
    .bind(key.body.to_vec())
    .bind(first as i64)
    .bind(count as i64)
    .bind(key.until_ms)
    .execute(connection)
    .await
    .map(drop)
}

#[async_trait]
impl EventLog for SqliteLog {
    async fn append(&self, events: Vec<Event>) -> PortResult<Vec<Position>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let (time_ms, count) = (self.clock.now_ms(), events.len() as u64);
        let body = encode_segment(&events);
        let (recent, end) = (self.recent.clone(), self.end.clone());
        let first = self
            .db
            .write_then(
                move |connection| Box::pin(async move { append_segment(connection, count, time_ms, &body).await }),
                move |&first| {
                    remember(&recent, first, time_ms, events);
                    end.send_replace(first + count);
                },
            )
            .await?;
        Ok((first..first + count).map(|offset| Position { partition: PARTITION, offset: Offset(offset) }).collect())
    }

    fn keeps_keys(&self) -> bool {
        true
    }

    async fn append_once(&self, events: Vec<Event>, key: BatchKey) -> PortResult<Once> {
        let (time_ms, count) = (self.clock.now_ms(), events.len() as u64);
        let body = encode_segment(&events);
        let (recent, end) = (self.recent.clone(), self.end.clone());
        let at = |first: u64, count: u64| {
            (first..first + count).map(|offset| Position { partition: PARTITION, offset: Offset(offset) }).collect()
        };
        let taken = self
            .db
            .write_then(
                move |connection| {
                    Box::pin(async move {
                        if let Some(taken) = taken(connection, &key, time_ms).await? {
                            return Ok(taken);
                        }
                        // An empty batch takes its key, too, and no segment.
                        let first = match count {
                            0 => 0,
                            _ => append_segment(connection, count, time_ms, &body).await?,
                        };
                        take(connection, &key, first, count).await?;
                        Ok(Taken::Now(first))
                    })
                },
                move |taken| {
                    if let Taken::Now(first) = *taken
                        && count > 0
                    {
                        remember(&recent, first, time_ms, events);
                        end.send_replace(first + count);
                    }
                },
            )
            .await?;
        Ok(match taken {
            Taken::Now(first) => Once::Written(at(first, count)),
            Taken::Before { first, count } => Once::Known(at(first, count)),
            Taken::ByOther => Once::OtherBody,
        })
    }

    async fn partitions(&self) -> PortResult<Vec<PartitionRange>> {
        let (low, high) = (self.low(), Offset(*self.end.borrow()));
        Ok(vec![PartitionRange { partition: PARTITION, low, high }])
    }

    async fn read(
        &self,
        partition: Partition,
        from: Offset,
        events_max: usize,
        bytes_max: usize,
    ) -> PortResult<LogRead> {
        if partition != PARTITION {
            return Ok(LogRead { events: Vec::new(), next: from, low: from });
        }
        let events = match self.read_recent(from, events_max, bytes_max) {
            Some(events) => events,
            None => read_segments(&self.db, from, events_max, bytes_max).await?,
        };
        let next = events.last().map_or(from, |last| Offset(last.offset.0 + 1));
        Ok(LogRead { events, next, low: self.low() })
    }

    async fn offset_at(&self, _partition: Partition, time_ms: i64) -> PortResult<Offset> {
        let row = sqlx::query("SELECT min(first_offset) AS first FROM segments WHERE time_ms >= ?1")
            .bind(time_ms)
            .fetch_one(&self.db.readers)
            .await
            .map_err(|error| port_error(&error))?;
        Ok(Offset(row.get::<Option<i64>, _>("first").map_or(*self.end.borrow(), |first| first as u64)))
    }

    async fn consumer(&self, _instance: &str) -> PortResult<Box<dyn LogConsumer>> {
        Ok(Box::new(SqliteConsumer { log: self.clone(), end: self.end.subscribe(), at: None, told: false }))
    }

    async fn retain(&self, before_ms: i64, bytes_max: u64, keep_from: &[(Partition, Offset)]) -> PortResult<()> {
        let keep = keep_from.iter().find(|(partition, _)| *partition == PARTITION).map_or(u64::MAX, |(_, from)| from.0);
        let (low, now_ms) = (self.low.clone(), self.clock.now_ms());
        self.db
            .write_then(
                move |connection| {
                    Box::pin(async move {
                        sqlx::query("DELETE FROM batch_keys WHERE until_ms <= ?1")
                            .bind(now_ms)
                            .execute(&mut *connection)
                            .await?;
                        retain(connection, before_ms, bytes_max, keep).await
                    })
                },
                move |end| {
                    low.fetch_max(*end, Ordering::AcqRel);
                },
            )
            .await
            .map(|_| ())
    }

    async fn bury(&self, letter: DeadLetter) -> PortResult<()> {
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(
                        "INSERT INTO dead_letters (reason, detail, position, time_ms, payload) VALUES (?1, ?2, ?3, ?4, ?5)",
                    )
                    .bind(letter.reason)
                    .bind(letter.detail)
                    .bind(letter.position.to_string())
                    .bind(letter.time_ms)
                    .bind(letter.payload.to_vec())
                    .execute(connection)
                    .await
                    .map(|_| ())
                })
            })
            .await
    }

    async fn dead_letters(&self, skip: usize, max: usize) -> PortResult<Vec<DeadLetter>> {
        let rows = sqlx::query("SELECT * FROM dead_letters ORDER BY id DESC LIMIT ?1 OFFSET ?2")
            .bind(max as i64)
            .bind(skip as i64)
            .fetch_all(&self.db.readers)
            .await
            .map_err(|error| port_error(&error))?;
        let read = |row: &sqlx::sqlite::SqliteRow| DeadLetter {
            id: row.get::<i64, _>("id").to_string(),
            reason: row.get("reason"),
            detail: row.get("detail"),
            position: row
                .get::<String, _>("position")
                .parse()
                .unwrap_or(Position { partition: PARTITION, offset: Offset(0) }),
            time_ms: row.get("time_ms"),
            payload: row.get::<Vec<u8>, _>("payload").into(),
        };
        Ok(rows.iter().map(read).collect())
    }

    async fn remove_dead_letters(&self, ids: &[String]) -> PortResult<u64> {
        let ids: Vec<i64> = ids.iter().filter_map(|id| id.parse().ok()).collect();
        let all = ids.is_empty();
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    if all {
                        return Ok(sqlx::query("DELETE FROM dead_letters").execute(connection).await?.rows_affected());
                    }
                    let mut removed = 0;
                    for id in ids {
                        let delete = sqlx::query("DELETE FROM dead_letters WHERE id = ?1").bind(id);
                        removed += delete.execute(&mut *connection).await?.rows_affected();
                    }
                    Ok(removed)
                })
            })
            .await
    }
}

/// Adds what was just committed; commits arrive in order of their offsets.
fn remember(recent: &Mutex<Recent>, first: u64, time_ms: i64, events: Vec<Event>) {
    let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
    for (event, offset) in events.into_iter().zip(first..) {
        recent.bytes += event.bytes().len();
        recent.events.push_back(LoggedEvent { offset: Offset(offset), time_ms, event, headers: None });
    }
    while recent.bytes > RECENT_BYTES_MAX
        && let Some(oldest) = recent.events.pop_front()
    {
        recent.bytes -= oldest.event.bytes().len();
    }
}

/// Drops old segments, and in the same step moves `lost` past the spilled deliveries that pointed at them, so that
/// no queue is left with a delivery whose event is gone. The newest segment stays: it holds the next offset. Answers the
/// oldest offset left, or 0 where nothing was dropped.
async fn retain(
    connection: &mut SqliteConnection,
    before_ms: i64,
    bytes_max: u64,
    keep: u64,
) -> Result<u64, sqlx::Error> {
    let row = sqlx::query(
        "SELECT max(first_offset) AS cut FROM (\
         SELECT first_offset, time_ms, sum(length(body)) OVER (ORDER BY first_offset DESC) AS size FROM segments) \
         WHERE time_ms < ?1 OR size > ?2",
    )
    .bind(before_ms)
    .bind(i64::try_from(bytes_max).unwrap_or(i64::MAX))
    .fetch_one(&mut *connection)
    .await?;
    let Some(cut) = row.get::<Option<i64>, _>("cut") else { return Ok(0) };
    let newest = sqlx::query("SELECT max(first_offset) AS newest FROM segments").fetch_one(&mut *connection).await?;
    let newest = newest.get::<Option<i64>, _>("newest").unwrap_or(0);
    let end = cut.saturating_add(1).min(newest).min(i64::try_from(keep).unwrap_or(i64::MAX));
    // Whole segments below `end` only.
    let end = sqlx::query("SELECT coalesce(max(next_offset), 0) AS end_offset FROM segments WHERE next_offset <= ?1")
        .bind(end)
        .fetch_one(&mut *connection)
        .await?
        .get::<i64, _>("end_offset");
    sqlx::query(
        "UPDATE queues SET lost = max(lost, gone.seq) FROM (SELECT shard AS s, slot AS t, max(seq) AS seq FROM spills \
         WHERE event_offset < ?1 GROUP BY shard, slot) AS gone WHERE queues.shard = gone.s AND queues.slot = gone.t",
    )
    .bind(end)
    .execute(&mut *connection)
    .await?;
    sqlx::query("DELETE FROM spills WHERE event_offset < ?1").bind(end).execute(&mut *connection).await?;
    sqlx::query("DELETE FROM segments WHERE next_offset <= ?1").bind(end).execute(&mut *connection).await?;
    Ok(end as u64)
}

impl SqliteLog {
    /// The end of what can be read, which may be ahead of what was announced.
    async fn stored_end(&self) -> PortResult<Offset> {
        let row = sqlx::query("SELECT coalesce(max(next_offset), 0) AS end_offset FROM segments")
            .fetch_one(&self.db.readers)
            .await
            .map_err(|error| port_error(&error))?;
        Ok(Offset(number(&row, "end_offset")))
    }
}

/// The only matcher of an embedded installation.
#[derive(Debug)]
struct SqliteConsumer {
    log: SqliteLog,
    end: watch::Receiver<u64>,
    at: Option<Offset>,
    told: bool,
}

#[async_trait]
impl LogConsumer for SqliteConsumer {
    async fn next(&mut self, wait: Duration) -> PortResult<LogSignal> {
        if !self.told {
            self.told = true;
            return Ok(LogSignal::Assigned(PARTITION));
        }
        let Some(from) = self.at else {
            // Assigned and not started: the claim is being retried elsewhere.
            tokio::time::sleep(wait).await;
            return Ok(LogSignal::Idle);
        };
        let mut high = Offset(*self.end.borrow());
        if from > high {
            // A commit can be read before its end is announced: the store says what there is.
            high = high.max(self.log.stored_end().await?);
        }
        if from > high {
            self.at = None;
            return Ok(LogSignal::OutOfRange { partition: PARTITION, want: from, low: self.log.low(), high });
        }
        let waited =
            tokio::time::timeout(wait, self.end.wait_for(|end| *end > from.0)).await.map(|grown| grown.map(drop));
        match waited {
            Err(_) => return Ok(LogSignal::Idle),
            Ok(Err(_)) => return Err(super::stopped()),
            Ok(Ok(())) => {}
        }
        let read = self.log.read(PARTITION, from, BATCH_EVENTS_MAX, BATCH_BYTES_MAX).await?;
        if read.low > from {
            self.at = None;
            return Ok(LogSignal::OutOfRange { partition: PARTITION, want: from, low: read.low, high });
        }
        self.at = Some(read.next);
        Ok(LogSignal::Batch(LogBatch { partition: PARTITION, from, to: read.next, events: read.events }))
    }

    async fn start(&mut self, _partition: Partition, from: Offset) -> PortResult<()> {
        self.at = Some(from);
        Ok(())
    }

    async fn release(&mut self, _partition: Partition) -> PortResult<()> {
        self.at = None;
        self.told = false;
        Ok(())
    }

    async fn commit(&mut self, _partition: Partition, _progress: Committed) -> PortResult<()> {
        // The checkpoint lies in the same file: a second witness would see the same.
        Ok(())
    }
}
