//! The filter store in SQLite.

mod put;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use evs_core::{ConsumerName, FilterId, FilterVersion, Shard, Slot, SubscriberId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use tokio::sync::watch;

use super::{Db, WHAT, number, port_error};
use crate::clock::Clock;
use crate::ports::filter_store::{
    FilterChange, FilterDraft, FilterRecord, FilterStore, INSTANCE_TTL_S, InstanceReport, Put, StoreError,
    SubscriberRecord, next_history,
};
use crate::ports::{PortError, PortResult};

/// The embedded filter store.
#[derive(Debug)]
pub struct SqliteFilters {
    db: Arc<Db>,
    clock: Clock,
    shards: u16,
    version: watch::Sender<u64>,
    /// One process: signs of life need no table.
    reports: Mutex<HashMap<String, (Instant, InstanceReport)>>,
}

impl SqliteFilters {
    /// # Errors
    /// [`PortError`] if the file cannot be read.
    pub async fn open(db: Arc<Db>, clock: Clock, shards: u16) -> PortResult<Self> {
        let row = sqlx::query("SELECT version FROM filter_version").fetch_one(&db.readers).await;
        let version = number(&row.map_err(|error| port_error(&error))?, "version");
        Ok(Self { db, clock, shards, version: watch::Sender::new(version), reports: Mutex::default() })
    }

    /// Runs a change; when it is committed, those who wait for a new version wake.
    async fn change<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(
                &'c mut SqliteConnection,
            )
                -> futures_util::future::BoxFuture<'c, Result<Result<T, StoreError>, sqlx::Error>>
            + Send
            + 'static,
    {
        let sender = self.version.clone();
        let result = self
            .db
            .write_then(
                move |connection| {
                    Box::pin(async move {
                        // A refusal undoes what was done before it, and is no failure of the transaction.
                        sqlx::query("SAVEPOINT change").execute(&mut *connection).await?;
                        let result = job(&mut *connection).await?;
                        if result.is_err() {
                            sqlx::query("ROLLBACK TO change").execute(&mut *connection).await?;
                        }
                        sqlx::query("RELEASE change").execute(&mut *connection).await?;
                        let row = sqlx::query("SELECT version FROM filter_version").fetch_one(connection).await?;
                        Ok((result, number(&row, "version")))
                    })
                },
                move |(_, version)| {
                    sender.send_replace(*version);
                },
            )
            .await?;
        result.0
    }
}

fn name(text: &str) -> PortResult<ConsumerName> {
    let damaged = |error| PortError::Damaged { what: WHAT, cause: format!("name {text:?}: {error}") };
    ConsumerName::new(text).map_err(damaged)
}

fn subscriber_id(text: &str) -> PortResult<SubscriberId> {
    let damaged = |error| PortError::Damaged { what: WHAT, cause: format!("subscriber {text:?}: {error}") };
    SubscriberId::new(text).map_err(damaged)
}

fn record(row: &SqliteRow) -> PortResult<FilterRecord> {
    Ok(FilterRecord {
        id: FilterId(number(row, "id") as u32),
        subscriber: subscriber_id(row.get("subscriber"))?,
        shard: Shard(number(row, "shard") as u16),
        slot: Slot(number(row, "slot") as u32),
        name: row.get::<Option<&str>, _>("name").map(name).transpose()?,
        spec: row.get("spec"),
        version: FilterVersion(number(row, "version")),
        created_ms: row.get("created_ms"),
        updated_ms: row.get("updated_ms"),
    })
}

fn subscriber_record(row: &SqliteRow) -> PortResult<SubscriberRecord> {
    Ok(SubscriberRecord {
        id: subscriber_id(row.get("id"))?,
        shard: Shard(number(row, "shard") as u16),
        slot: Slot(number(row, "slot") as u32),
        filters: number(row, "filters") as u32,
        created_ms: row.get("created_ms"),
    })
}

async fn bump(connection: &mut SqliteConnection) -> Result<FilterVersion, sqlx::Error> {
    let sql = "UPDATE filter_version SET version = version + 1 RETURNING version";
    Ok(FilterVersion(number(&sqlx::query(sql).fetch_one(connection).await?, "version")))
}

async fn replace(connection: &mut SqliteConnection, record: &FilterRecord) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE filters SET name = ?2, spec = ?3, version = ?4, updated_ms = ?5 WHERE id = ?1")
        .bind(record.id.0)
        .bind(record.name.as_ref().map(ConsumerName::as_str))
        .bind(&record.spec)
        .bind(record.version.0 as i64)
        .bind(record.updated_ms)
        .execute(connection)
        .await
        .map(|_| ())
}

async fn load(connection: &mut SqliteConnection, id: FilterId) -> Result<Option<SqliteRow>, sqlx::Error> {
    let sql = "SELECT f.*, s.shard, s.slot FROM filters f JOIN subscribers s ON s.id = f.subscriber WHERE f.id = ?1";
    sqlx::query(sql).bind(id.0).fetch_optional(connection).await
}

async fn remove(connection: &mut SqliteConnection, id: FilterId) -> Result<FilterVersion, sqlx::Error> {
    let version = bump(connection).await?;
    sqlx::query("DELETE FROM filters WHERE id = ?1").bind(id.0).execute(&mut *connection).await?;
    sqlx::query("INSERT INTO removed_filters VALUES (?1, ?2)")
        .bind(version.0 as i64)
        .bind(id.0)
        .execute(connection)
        .await?;
    Ok(version)
}

#[async_trait]
impl FilterStore for SqliteFilters {
    async fn put(&self, drafts: Vec<FilterDraft>) -> Result<Vec<Put>, StoreError> {
        let (now_ms, shards) = (self.clock.now_ms(), self.shards);
        self.change(move |connection| Box::pin(put::put(connection, drafts, shards, now_ms))).await
    }

    async fn update(
        &self,
        id: FilterId,
        draft: FilterDraft,
        expected: Option<FilterVersion>,
    ) -> Result<Option<FilterRecord>, StoreError> {
        let now_ms = self.clock.now_ms();
        self.change(move |connection| {
            Box::pin(async move {
                let Some(row) = load(connection, id).await? else { return Ok(Ok(None)) };
                let mut current = match record(&row) {
                    Ok(current) => current,
                    Err(error) => return Ok(Err(error.into())),
                };
                if current.subscriber != draft.subscriber {
                    return Ok(Err(StoreError::OtherSubscriber));
                }
                if expected.is_some_and(|expected| expected != current.version) {
                    return Ok(Err(StoreError::Changed { actual: current.version }));
                }
                if current.spec == draft.spec && current.name == draft.name {
                    return Ok(Ok(Some(current)));
                }
                let taken = sqlx::query("SELECT 1 FROM filters WHERE subscriber = ?1 AND name = ?2 AND id <> ?3")
                    .bind(draft.subscriber.as_str())
                    .bind(draft.name.as_ref().map(ConsumerName::as_str))
                    .bind(id.0);
                if taken.fetch_optional(&mut *connection).await?.is_some() {
                    return Ok(Err(StoreError::NameTaken));
                }
                current.name = draft.name;
                current.spec = draft.spec;
                current.updated_ms = now_ms;
                current.version = bump(connection).await?;
                replace(connection, &current).await?;
                Ok(Ok(Some(current)))
            })
        })
        .await
    }

    async fn delete(&self, id: FilterId, expected: Option<FilterVersion>) -> Result<Option<FilterRecord>, StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let Some(row) = load(connection, id).await? else { return Ok(Ok(None)) };
                let current = match record(&row) {
                    Ok(current) => current,
                    Err(error) => return Ok(Err(error.into())),
                };
                if expected.is_some_and(|expected| expected != current.version) {
                    return Ok(Err(StoreError::Changed { actual: current.version }));
                }
                remove(connection, id).await?;
                Ok(Ok(Some(current)))
            })
        })
        .await
    }

    async fn delete_subscriber(&self, id: &SubscriberId) -> Result<Option<SubscriberRecord>, StoreError> {
        let id = id.clone();
        self.change(move |connection| {
            Box::pin(async move {
                let row = sqlx::query(
                    "SELECT s.*, (SELECT count(*) FROM filters f WHERE f.subscriber = s.id) AS filters \
                     FROM subscribers s WHERE s.id = ?1",
                )
                .bind(id.as_str())
                .fetch_optional(&mut *connection)
                .await?;
                let Some(row) = row else { return Ok(Ok(None)) };
                let filters = sqlx::query("SELECT id FROM filters WHERE subscriber = ?1")
                    .bind(id.as_str())
                    .fetch_all(&mut *connection)
                    .await?;
                for filter in filters {
                    remove(connection, FilterId(number(&filter, "id") as u32)).await?;
                }
                sqlx::query("DELETE FROM subscribers WHERE id = ?1").bind(id.as_str()).execute(connection).await?;
                Ok(subscriber_record(&row).map(Some).map_err(StoreError::from))
            })
        })
        .await
    }

    async fn filter(&self, id: FilterId) -> PortResult<Option<FilterRecord>> {
        let mut reader = self.db.readers.acquire().await.map_err(|error| port_error(&error))?;
        let row = load(&mut reader, id).await.map_err(|error| port_error(&error))?;
        row.as_ref().map(record).transpose()
    }

    async fn filters(
        &self,
        subscriber: Option<&SubscriberId>,
        after: FilterId,
        max: usize,
    ) -> PortResult<Vec<FilterRecord>> {
        let query = match subscriber {
            Some(id) => sqlx::query(
                "SELECT f.*, s.shard, s.slot FROM filters f JOIN subscribers s ON s.id = f.subscriber \
                 WHERE f.id > ?1 AND f.subscriber = ?3 ORDER BY f.id LIMIT ?2",
            )
            .bind(after.0)
            .bind(max as i64)
            .bind(id.as_str()),
            None => sqlx::query(
                "SELECT f.*, s.shard, s.slot FROM filters f JOIN subscribers s ON s.id = f.subscriber \
                 WHERE f.id > ?1 ORDER BY f.id LIMIT ?2",
            )
            .bind(after.0)
            .bind(max as i64),
        };
        let rows = query.fetch_all(&self.db.readers).await.map_err(|error| port_error(&error))?;
        rows.iter().map(record).collect()
    }

    async fn subscriber(&self, id: &SubscriberId) -> PortResult<Option<SubscriberRecord>> {
        let row = sqlx::query(
            "SELECT s.*, (SELECT count(*) FROM filters f WHERE f.subscriber = s.id) AS filters \
             FROM subscribers s WHERE s.id = ?1",
        )
        .bind(id.as_str())
        .fetch_optional(&self.db.readers)
        .await
        .map_err(|error| port_error(&error))?;
        row.as_ref().map(subscriber_record).transpose()
    }

    async fn subscribers(&self, after: Option<&SubscriberId>, max: usize) -> PortResult<Vec<SubscriberRecord>> {
        let rows = sqlx::query(
            "SELECT s.*, (SELECT count(*) FROM filters f WHERE f.subscriber = s.id) AS filters \
             FROM subscribers s WHERE s.id > ?1 ORDER BY s.id LIMIT ?2",
        )
        .bind(after.map_or("", SubscriberId::as_str))
        .bind(max as i64)
        .fetch_all(&self.db.readers)
        .await
        .map_err(|error| port_error(&error))?;
        rows.iter().map(subscriber_record).collect()
    }

    async fn at_slots(&self, shard: Shard, slots: &[Slot]) -> PortResult<Vec<(Slot, SubscriberId)>> {
        let numbers: Vec<u32> = slots.iter().map(|slot| slot.0).collect();
        let rows = sqlx::query(
            "SELECT *, 0 AS filters FROM subscribers \
             WHERE shard = ?1 AND slot IN (SELECT value FROM json_each(?2)) ORDER BY slot",
        )
        .bind(shard.0)
        .bind(serde_json::json!(numbers).to_string())
        .fetch_all(&self.db.readers)
        .await
        .map_err(|error| port_error(&error))?;
        rows.iter().map(|row| subscriber_record(row).map(|record| (record.slot, record.id))).collect()
    }

    async fn version(&self) -> PortResult<FilterVersion> {
        Ok(FilterVersion(*self.version.borrow()))
    }

    async fn changes_since(&self, version: FilterVersion, max: usize) -> PortResult<Vec<FilterChange>> {
        let read = async {
            // One read transaction: puts and removals of one moment.
            let mut reader = self.db.readers.begin().await?;
            let puts = sqlx::query(
                "SELECT f.*, s.shard, s.slot FROM filters f JOIN subscribers s ON s.id = f.subscriber \
                 WHERE f.version > ?1 ORDER BY f.version LIMIT ?2",
            )
            .bind(version.0 as i64)
            .bind(max as i64)
            .fetch_all(&mut *reader)
            .await?;
            let removed =
                sqlx::query("SELECT version, id FROM removed_filters WHERE version > ?1 ORDER BY version LIMIT ?2")
                    .bind(version.0 as i64)
                    .bind(max as i64)
                    .fetch_all(&mut *reader)
                    .await?;
            Ok((puts, removed))
        };
        let (puts, removed) = read.await.map_err(|error: sqlx::Error| port_error(&error))?;
        let mut changes = puts.iter().map(|row| record(row).map(FilterChange::Put)).collect::<PortResult<Vec<_>>>()?;
        changes.extend(removed.iter().map(|row| FilterChange::Removed {
            id: FilterId(number(row, "id") as u32),
            version: FilterVersion(number(row, "version")),
        }));
        changes.sort_by_key(FilterChange::version);
        // Both lists were cut at `max`: what lies beyond the shorter one's end may have gaps.
        changes.truncate(max);
        Ok(changes)
    }

    async fn changed(&self, version: FilterVersion, wait: Duration) {
        let mut watched = self.version.subscribe();
        let newer = watched.wait_for(|now| *now > version.0);
        // Either way the caller looks for itself.
        let _ = tokio::time::timeout(wait, newer).await;
    }

    async fn keep_above(&self, shard: Shard, slots: u32, version: FilterVersion) -> Result<(), StoreError> {
        let row = sqlx::query(
            "SELECT version, coalesce((SELECT next FROM slots WHERE shard = ?1), 0) AS next FROM filter_version",
        )
        .bind(shard.0)
        .fetch_one(&self.db.readers)
        .await
        .map_err(|error| port_error(&error))?;
        if number(&row, "next") >= u64::from(slots) && number(&row, "version") >= version.0 {
            return Ok(());
        }
        self.change(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO slots VALUES (?1, ?2) ON CONFLICT DO UPDATE SET next = max(next, excluded.next)",
                )
                .bind(shard.0)
                .bind(slots)
                .execute(&mut *connection)
                .await?;
                sqlx::query("UPDATE filter_version SET version = ?2 WHERE version < ?1")
                    .bind(version.0 as i64)
                    .bind(next_history(version).0 as i64)
                    .execute(connection)
                    .await?;
                Ok(Ok(()))
            })
        })
        .await
    }

    async fn announce(&self, key: &str, until_ms: i64) -> PortResult<()> {
        let (key, now_ms) = (key.to_owned(), self.clock.now_ms());
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query("DELETE FROM notices WHERE until_ms <= ?1")
                        .bind(now_ms)
                        .execute(&mut *connection)
                        .await?;
                    sqlx::query(
                        "INSERT INTO notices (key, until_ms) VALUES (?1, ?2) \
                         ON CONFLICT (key) DO UPDATE SET until_ms = max(until_ms, excluded.until_ms)",
                    )
                    .bind(key)
                    .bind(until_ms)
                    .execute(connection)
                    .await
                    .map(drop)
                })
            })
            .await
    }

    async fn notices(&self, now_ms: i64) -> PortResult<Vec<(String, i64)>> {
        let rows = sqlx::query("SELECT key, until_ms FROM notices WHERE until_ms > ?1 ORDER BY key")
            .bind(now_ms)
            .fetch_all(&self.db.readers)
            .await
            .map_err(|error| port_error(&error))?;
        Ok(rows.iter().map(|row| (row.get("key"), row.get("until_ms"))).collect())
    }

    async fn report(&self, report: InstanceReport) -> PortResult<()> {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.insert(report.id.clone(), (Instant::now(), report));
        Ok(())
    }

    async fn reports(&self) -> PortResult<Vec<InstanceReport>> {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.retain(|_, (seen, _)| seen.elapsed().as_secs_f64() < INSTANCE_TTL_S);
        let aged = |(seen, report): &(Instant, InstanceReport)| InstanceReport {
            age_s: seen.elapsed().as_secs_f64(),
            ..report.clone()
        };
        Ok(reports.values().map(aged).collect())
    }
}
