//! The filter store's transactions.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use evs_core::{ConsumerName, FilterId, FilterVersion, Shard, Slot, SubscriberId};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Postgres, Row, Transaction};

use super::wake::CHANNEL;
use super::{PostgresFilters, WHAT, port_error};
use crate::backend::put::{self, Putting};
use crate::ports::filter_store::{
    FilterChange, FilterDraft, FilterRecord, FilterStore, INSTANCE_TTL_S, InstanceReport, Put, StoreError,
    SubscriberRecord, next_history,
};
use crate::ports::{PortError, PortResult};

fn damaged(cause: impl std::fmt::Display) -> PortError {
    PortError::Damaged { what: WHAT, cause: cause.to_string() }
}

fn store_error(error: sqlx::Error) -> StoreError {
    StoreError::Port(port_error(error))
}

/// A number that the tables hold as a wider, signed one.
fn number<T: TryFrom<i64>>(row: &PgRow, column: &str) -> PortResult<T> {
    let value: i64 = row.try_get(column).map_err(port_error)?;
    T::try_from(value).map_err(|_| damaged(format!("{column} is {value}")))
}

fn shard(row: &PgRow) -> PortResult<Shard> {
    let value: i32 = row.try_get("shard").map_err(port_error)?;
    u16::try_from(value).map(Shard).map_err(|_| damaged(format!("shard is {value}")))
}

fn filter_of(row: &PgRow) -> PortResult<FilterRecord> {
    let name: Option<&str> = row.try_get("name").map_err(port_error)?;
    Ok(FilterRecord {
        id: FilterId(number(row, "id")?),
        subscriber: SubscriberId::new(row.try_get("subscriber").map_err(port_error)?).map_err(damaged)?,
        shard: shard(row)?,
        slot: Slot(number(row, "slot")?),
        name: name.map(ConsumerName::new).transpose().map_err(damaged)?,
        spec: row.try_get("spec").map_err(port_error)?,
        version: FilterVersion(number(row, "version")?),
        created_ms: number(row, "created_ms")?,
        updated_ms: number(row, "updated_ms")?,
    })
}

fn subscriber_of(row: &PgRow) -> PortResult<SubscriberRecord> {
    let filters: i32 = row.try_get("filters").map_err(port_error)?;
    Ok(SubscriberRecord {
        id: SubscriberId::new(row.try_get("id").map_err(port_error)?).map_err(damaged)?,
        shard: shard(row)?,
        slot: Slot(number(row, "slot")?),
        filters: u32::try_from(filters).map_err(damaged)?,
        created_ms: number(row, "created_ms")?,
    })
}

/// A change under way: it holds the lock on the version.
struct Change {
    transaction: Transaction<'static, Postgres>,
    version: i64,
    last_id: i64,
    now_ms: i64,
}

impl Change {
    fn bump(&mut self) -> FilterVersion {
        self.version += 1;
        FilterVersion(self.version.unsigned_abs())
    }

    async fn filter(&mut self, id: FilterId) -> Result<Option<FilterRecord>, StoreError> {
        let row = sqlx::query("SELECT * FROM filters WHERE id = $1").bind(i64::from(id.0));
        let row = row.fetch_optional(&mut *self.transaction).await.map_err(store_error)?;
        Ok(row.as_ref().map(filter_of).transpose()?)
    }

    /// The subscribers of these ids; those that are missing are made, each with the next slot of its shard.
    async fn subscribers(
        &mut self,
        ids: &[&SubscriberId],
        shards: u16,
    ) -> Result<HashMap<SubscriberId, SubscriberRecord>, StoreError> {
        let connection: &mut PgConnection = &mut self.transaction;
        let texts: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
        let rows = sqlx::query("SELECT * FROM subscribers WHERE id = ANY($1)").bind(&texts);
        let rows = rows.fetch_all(&mut *connection).await.map_err(store_error)?;
        let mut known = HashMap::with_capacity(ids.len());
        for row in &rows {
            let record = subscriber_of(row)?;
            known.insert(record.id.clone(), record);
        }
        let rows =
            sqlx::query("SELECT shard, next FROM slots").fetch_all(&mut *connection).await.map_err(store_error)?;
        let mut slots: BTreeMap<u16, u32> = BTreeMap::new();
        for row in &rows {
            slots.insert(shard(row)?.0, number(row, "next")?);
        }
        let (mut new_ids, mut new_shards, mut new_slots) = (Vec::new(), Vec::new(), Vec::new());
        for id in ids {
            if known.contains_key(*id) {
                continue;
            }
            let shard = id.shard(shards);
            let next = slots.entry(shard.0).or_default();
            let record =
                SubscriberRecord { id: (*id).clone(), shard, slot: Slot(*next), filters: 0, created_ms: self.now_ms };
            new_ids.push(id.as_str());
            new_shards.push(i32::from(shard.0));
            new_slots.push(i64::from(*next));
            *next += 1;
            known.insert((*id).clone(), record);
        }
        if !new_ids.is_empty() {
            sqlx::query(
                "INSERT INTO subscribers (id, shard, slot, created_ms) \
                 SELECT *, $4 FROM UNNEST($1::text[], $2::integer[], $3::bigint[])",
            )
            .bind(&new_ids)
            .bind(&new_shards)
            .bind(&new_slots)
            .bind(self.now_ms)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
            let (shards, nexts): (Vec<i32>, Vec<i64>) =
                slots.iter().map(|(shard, next)| (i32::from(*shard), i64::from(*next))).unzip();
            sqlx::query(
                "INSERT INTO slots (shard, next) SELECT * FROM UNNEST($1::integer[], $2::bigint[]) \
                 ON CONFLICT (shard) DO UPDATE SET next = EXCLUDED.next",
            )
            .bind(&shards)
            .bind(&nexts)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
        }
        Ok(known)
    }

    /// Writes filters whole, whatever was there under their ids.
    async fn write(&mut self, records: &[&FilterRecord]) -> Result<(), StoreError> {
        let numbers = |of: fn(&FilterRecord) -> i64| records.iter().map(|record| of(record)).collect::<Vec<i64>>();
        let subscribers: Vec<&str> = records.iter().map(|record| record.subscriber.as_str()).collect();
        let shards: Vec<i32> = records.iter().map(|record| i32::from(record.shard.0)).collect();
        let names: Vec<Option<&str>> =
            records.iter().map(|record| record.name.as_ref().map(ConsumerName::as_str)).collect();
        let specs: Vec<&str> = records.iter().map(|record| record.spec.as_str()).collect();
        sqlx::query(
            "INSERT INTO filters (id, subscriber, shard, slot, name, spec, version, created_ms, updated_ms) \
             SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::integer[], $4::bigint[], $5::text[], $6::text[], \
             $7::bigint[], $8::bigint[], $9::bigint[]) ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, \
             spec = EXCLUDED.spec, version = EXCLUDED.version, updated_ms = EXCLUDED.updated_ms",
        )
        .bind(numbers(|record| i64::from(record.id.0)))
        .bind(&subscribers)
        .bind(&shards)
        .bind(numbers(|record| i64::from(record.slot.0)))
        .bind(&names)
        .bind(&specs)
        .bind(numbers(|record| record.version.0.cast_signed()))
        .bind(numbers(|record| record.created_ms))
        .bind(numbers(|record| record.updated_ms))
        .execute(&mut *self.transaction)
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn remove(&mut self, records: &[FilterRecord]) -> Result<(), StoreError> {
        let ids: Vec<i64> = records.iter().map(|record| i64::from(record.id.0)).collect();
        let versions: Vec<i64> = ids.iter().map(|_| self.bump().0.cast_signed()).collect();
        let connection: &mut PgConnection = &mut self.transaction;
        sqlx::query("DELETE FROM filters WHERE id = ANY($1)")
            .bind(&ids)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
        sqlx::query("INSERT INTO removed_filters (version, id) SELECT * FROM UNNEST($1::bigint[], $2::bigint[])")
            .bind(&versions)
            .bind(&ids)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn count(&mut self, counts: &HashMap<SubscriberId, SubscriberRecord>) -> Result<(), StoreError> {
        let (ids, filters): (Vec<&str>, Vec<i32>) =
            counts.values().map(|record| (record.id.as_str(), record.filters.cast_signed())).unzip();
        sqlx::query(
            "UPDATE subscribers SET filters = new.filters \
             FROM UNNEST($1::text[], $2::integer[]) AS new (id, filters) WHERE subscribers.id = new.id",
        )
        .bind(&ids)
        .bind(&filters)
        .execute(&mut *self.transaction)
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn commit(mut self, store: &PostgresFilters) -> Result<(), StoreError> {
        let connection: &mut PgConnection = &mut self.transaction;
        sqlx::query("UPDATE filter_version SET version = $1, last_id = $2")
            .bind(self.version)
            .bind(self.last_id)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
        sqlx::query("SELECT pg_notify($1, $2)")
            .bind(CHANNEL)
            .bind(self.version.to_string())
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
        self.transaction.commit().await.map_err(store_error)?;
        store.wake.heard(self.version.unsigned_abs());
        Ok(())
    }
}

impl PostgresFilters {
    async fn change(&self) -> Result<Change, StoreError> {
        let mut transaction = self.pool.begin().await.map_err(store_error)?;
        let row = sqlx::query("SELECT version, last_id FROM filter_version FOR UPDATE")
            .fetch_one(&mut *transaction)
            .await
            .map_err(store_error)?;
        let (version, last_id) = (number(&row, "version")?, number(&row, "last_id")?);
        Ok(Change { transaction, version, last_id, now_ms: self.clock.now_ms() })
    }
}

fn check(record: &FilterRecord, expected: Option<FilterVersion>) -> Result<(), StoreError> {
    match expected {
        Some(expected) if expected != record.version => Err(StoreError::Changed { actual: record.version }),
        _ => Ok(()),
    }
}

#[async_trait]
impl FilterStore for PostgresFilters {
    async fn put(&self, drafts: Vec<FilterDraft>) -> Result<Vec<Put>, StoreError> {
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        let mut change = self.change().await?;
        let mut ids: Vec<&SubscriberId> = drafts.iter().map(|draft| &draft.subscriber).collect();
        ids.sort_unstable();
        ids.dedup();
        let subscribers = change.subscribers(&ids, self.shards).await?;

        let named = drafts.iter().filter_map(|draft| Some((draft.subscriber.as_str(), draft.name.as_ref()?.as_str())));
        let (of, names): (Vec<&str>, Vec<&str>) = named.unzip();
        let rows = sqlx::query(
            "SELECT filters.* FROM filters \
             JOIN (SELECT DISTINCT * FROM UNNEST($1::text[], $2::text[])) AS wanted (subscriber, name) \
             ON filters.subscriber = wanted.subscriber AND filters.name = wanted.name",
        );
        let rows = rows.bind(&of).bind(&names).fetch_all(&mut *change.transaction).await.map_err(store_error)?;
        let mut by_name: HashMap<(SubscriberId, ConsumerName), FilterRecord> = HashMap::new();
        for row in &rows {
            let record = filter_of(row)?;
            if let Some(name) = record.name.clone() {
                by_name.insert((record.subscriber.clone(), name), record);
            }
        }

        let (version, last_id) = (change.version.unsigned_abs(), change.last_id.unsigned_abs());
        let mut putting = Putting { now_ms: change.now_ms, version, last_id, subscribers, by_name };
        let puts = putting.put(drafts)?;
        let changed = put::changed(&puts);
        if !changed.is_empty() {
            (change.version, change.last_id) = (putting.version.cast_signed(), putting.last_id.cast_signed());
            change.write(&changed).await?;
            change.count(&putting.subscribers).await?;
            change.commit(self).await?;
        }
        Ok(puts)
    }

    async fn update(
        &self,
        id: FilterId,
        draft: FilterDraft,
        expected: Option<FilterVersion>,
    ) -> Result<Option<FilterRecord>, StoreError> {
        let mut change = self.change().await?;
        let Some(record) = change.filter(id).await? else { return Ok(None) };
        if record.subscriber != draft.subscriber {
            return Err(StoreError::OtherSubscriber);
        }
        check(&record, expected)?;
        if record.name == draft.name && record.spec == draft.spec {
            return Ok(Some(record));
        }
        let taken: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM filters WHERE subscriber = $1 AND name = $2 AND id <> $3)",
        )
        .bind(draft.subscriber.as_str())
        .bind(draft.name.as_ref().map(ConsumerName::as_str))
        .bind(i64::from(id.0))
        .fetch_one(&mut *change.transaction)
        .await
        .map_err(store_error)?;
        if taken {
            return Err(StoreError::NameTaken);
        }
        let (version, updated_ms) = (change.bump(), change.now_ms);
        let record = FilterRecord { name: draft.name, spec: draft.spec, version, updated_ms, ..record };
        change.write(&[&record]).await?;
        change.commit(self).await?;
        Ok(Some(record))
    }

    async fn delete(&self, id: FilterId, expected: Option<FilterVersion>) -> Result<Option<FilterRecord>, StoreError> {
        let mut change = self.change().await?;
        let Some(record) = change.filter(id).await? else { return Ok(None) };
        check(&record, expected)?;
        change.remove(std::slice::from_ref(&record)).await?;
        sqlx::query("UPDATE subscribers SET filters = filters - 1 WHERE id = $1")
            .bind(record.subscriber.as_str())
            .execute(&mut *change.transaction)
            .await
            .map_err(store_error)?;
        change.commit(self).await?;
        Ok(Some(record))
    }

    async fn delete_subscriber(&self, id: &SubscriberId) -> Result<Option<SubscriberRecord>, StoreError> {
        let mut change = self.change().await?;
        let connection: &mut PgConnection = &mut change.transaction;
        let row = sqlx::query("SELECT * FROM subscribers WHERE id = $1").bind(id.as_str());
        let Some(row) = row.fetch_optional(&mut *connection).await.map_err(store_error)? else { return Ok(None) };
        let subscriber = subscriber_of(&row)?;
        let rows = sqlx::query("SELECT * FROM filters WHERE subscriber = $1 ORDER BY id").bind(id.as_str());
        let rows = rows.fetch_all(&mut *connection).await.map_err(store_error)?;
        let filters = rows.iter().map(filter_of).collect::<PortResult<Vec<_>>>()?;
        change.remove(&filters).await?;
        sqlx::query("DELETE FROM subscribers WHERE id = $1")
            .bind(id.as_str())
            .execute(&mut *change.transaction)
            .await
            .map_err(store_error)?;
        change.commit(self).await?;
        Ok(Some(subscriber))
    }

    async fn filter(&self, id: FilterId) -> PortResult<Option<FilterRecord>> {
        let row = sqlx::query("SELECT * FROM filters WHERE id = $1").bind(i64::from(id.0));
        row.fetch_optional(&self.pool).await.map_err(port_error)?.as_ref().map(filter_of).transpose()
    }

    async fn filters(
        &self,
        subscriber: Option<&SubscriberId>,
        after: FilterId,
        max: usize,
    ) -> PortResult<Vec<FilterRecord>> {
        let query = match subscriber {
            Some(subscriber) => {
                sqlx::query("SELECT * FROM filters WHERE id > $1 AND subscriber = $3 ORDER BY id LIMIT $2")
                    .bind(i64::from(after.0))
                    .bind(limit(max))
                    .bind(subscriber.as_str().to_owned())
            }
            None => sqlx::query("SELECT * FROM filters WHERE id > $1 ORDER BY id LIMIT $2")
                .bind(i64::from(after.0))
                .bind(limit(max)),
        };
        query.fetch_all(&self.pool).await.map_err(port_error)?.iter().map(filter_of).collect()
    }

    async fn subscriber(&self, id: &SubscriberId) -> PortResult<Option<SubscriberRecord>> {
        let row = sqlx::query("SELECT * FROM subscribers WHERE id = $1").bind(id.as_str());
        row.fetch_optional(&self.pool).await.map_err(port_error)?.as_ref().map(subscriber_of).transpose()
    }

    async fn subscribers(&self, after: Option<&SubscriberId>, max: usize) -> PortResult<Vec<SubscriberRecord>> {
        // No id is empty, so the empty text comes before the first.
        let rows = sqlx::query("SELECT * FROM subscribers WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(after.map_or("", SubscriberId::as_str))
            .bind(limit(max));
        rows.fetch_all(&self.pool).await.map_err(port_error)?.iter().map(subscriber_of).collect()
    }

    async fn at_slots(&self, shard: Shard, slots: &[Slot]) -> PortResult<Vec<(Slot, SubscriberId)>> {
        let numbers: Vec<i64> = slots.iter().map(|slot| i64::from(slot.0)).collect();
        let rows = sqlx::query("SELECT * FROM subscribers WHERE shard = $1 AND slot = ANY($2) ORDER BY slot")
            .bind(i32::from(shard.0))
            .bind(numbers);
        let rows = rows.fetch_all(&self.pool).await.map_err(port_error)?;
        rows.iter().map(|row| subscriber_of(row).map(|record| (record.slot, record.id))).collect()
    }

    async fn version(&self) -> PortResult<FilterVersion> {
        let row = sqlx::query("SELECT version FROM filter_version").fetch_one(&self.pool).await.map_err(port_error)?;
        let version = number(&row, "version")?;
        self.wake.heard(version);
        Ok(FilterVersion(version))
    }

    async fn changes_since(&self, version: FilterVersion, max: usize) -> PortResult<Vec<FilterChange>> {
        // One statement sees one moment.
        let rows = sqlx::query(
            "(SELECT false AS removed, id, subscriber, shard, slot, name, spec, version, created_ms, updated_ms \
              FROM filters WHERE version > $1 ORDER BY version LIMIT $2) UNION ALL \
             (SELECT true, id, '', 0, 0, NULL, '', version, 0, 0 \
              FROM removed_filters WHERE version > $1 ORDER BY version LIMIT $2) ORDER BY version LIMIT $2",
        )
        .bind(i64::try_from(version.0).unwrap_or(i64::MAX))
        .bind(limit(max));
        let rows = rows.fetch_all(&self.pool).await.map_err(port_error)?;
        let change = |row: &PgRow| {
            if row.try_get("removed").map_err(port_error)? {
                let (id, version) = (FilterId(number(row, "id")?), FilterVersion(number(row, "version")?));
                return Ok(FilterChange::Removed { id, version });
            }
            filter_of(row).map(FilterChange::Put)
        };
        rows.iter().map(change).collect()
    }

    async fn changed(&self, version: FilterVersion, wait: Duration) {
        self.wake.wait(version.0, wait).await;
    }

    async fn keep_above(&self, shard: Shard, slots: u32, version: FilterVersion) -> Result<(), StoreError> {
        let row = sqlx::query("SELECT version, (SELECT next FROM slots WHERE shard = $1) AS next FROM filter_version")
            .bind(i32::from(shard.0))
            .fetch_one(&self.pool)
            .await
            .map_err(store_error)?;
        let next: Option<i64> = row.try_get("next").map_err(store_error)?;
        let wanted = version.0.cast_signed();
        if next.unwrap_or(0) >= i64::from(slots) && number::<i64>(&row, "version")? >= wanted {
            return Ok(());
        }
        let mut change = self.change().await?;
        if change.version < wanted {
            let began = next_history(version);
            tracing::error!(
                store = change.version,
                seen = wanted,
                now = began.0,
                "the filter store went back: a new history"
            );
            change.version = began.0.cast_signed();
        }
        sqlx::query(
            "INSERT INTO slots (shard, next) VALUES ($1, $2) \
             ON CONFLICT (shard) DO UPDATE SET next = greatest(slots.next, EXCLUDED.next)",
        )
        .bind(i32::from(shard.0))
        .bind(i64::from(slots))
        .execute(&mut *change.transaction)
        .await
        .map_err(store_error)?;
        change.commit(self).await
    }

    async fn announce(&self, key: &str, until_ms: i64) -> PortResult<()> {
        sqlx::query(
            "WITH gone AS (DELETE FROM notices WHERE until_ms <= $3 AND key <> $1) \
             INSERT INTO notices (key, until_ms) VALUES ($1, $2) \
             ON CONFLICT (key) DO UPDATE SET until_ms = greatest(notices.until_ms, EXCLUDED.until_ms)",
        )
        .bind(key)
        .bind(until_ms)
        .bind(self.clock.now_ms())
        .execute(&self.pool)
        .await
        .map_err(port_error)?;
        Ok(())
    }

    async fn notices(&self, now_ms: i64) -> PortResult<Vec<(String, i64)>> {
        let rows = sqlx::query("SELECT key, until_ms FROM notices WHERE until_ms > $1 ORDER BY key");
        let rows = rows.bind(now_ms).fetch_all(&self.pool).await.map_err(port_error)?;
        let notice =
            |row: &PgRow| Ok((row.try_get("key").map_err(port_error)?, row.try_get("until_ms").map_err(port_error)?));
        rows.iter().map(notice).collect()
    }

    async fn report(&self, report: InstanceReport) -> PortResult<()> {
        let text = serde_json::to_string(&report).map_err(damaged)?;
        sqlx::query(
            "WITH gone AS (DELETE FROM instance_reports WHERE at < clock_timestamp() - interval '1 day' AND id <> $1) \
             INSERT INTO instance_reports (id, report, at) VALUES ($1, $2, clock_timestamp()) \
             ON CONFLICT (id) DO UPDATE SET report = EXCLUDED.report, at = EXCLUDED.at",
        )
        .bind(&report.id)
        .bind(text)
        .execute(&self.pool)
        .await
        .map_err(port_error)?;
        Ok(())
    }

    async fn reports(&self) -> PortResult<Vec<InstanceReport>> {
        // The age is measured by the database's clock alone, so the machines' clocks need not agree.
        let rows = sqlx::query(
            "SELECT report, extract(epoch FROM clock_timestamp() - at)::float8 AS age_s FROM instance_reports \
             WHERE at > clock_timestamp() - make_interval(secs => $1) ORDER BY id",
        );
        let rows = rows.bind(INSTANCE_TTL_S).fetch_all(&self.pool).await.map_err(port_error)?;
        let report = |row: &PgRow| {
            let text: &str = row.try_get("report").map_err(port_error)?;
            let report: InstanceReport = serde_json::from_str(text).map_err(damaged)?;
            let age_s: f64 = row.try_get("age_s").map_err(port_error)?;
            Ok(InstanceReport { age_s: age_s.max(0.0), ..report })
        };
        rows.iter().map(report).collect()
    }
}

fn limit(max: usize) -> i64 {
    i64::try_from(max).unwrap_or(i64::MAX)
}
