//! Puts filters: a few statements for a whole batch, since each of them costs two switches between threads.

use std::collections::{BTreeMap, HashMap};

use evs_core::{ConsumerName, Slot, SubscriberId};
use serde_json::json;
use sqlx::SqliteConnection;

use super::{number, record, subscriber_record};
use crate::backend::put::{Putting, changed};
use crate::ports::filter_store::{FilterDraft, FilterRecord, Put, StoreError, SubscriberRecord};

/// Damage and refusals are inside; outside is a failure of the transaction.
type Attempt<T> = Result<Result<T, StoreError>, sqlx::Error>;

pub(super) async fn put(
    connection: &mut SqliteConnection,
    drafts: Vec<FilterDraft>,
    shards: u16,
    now_ms: i64,
) -> Attempt<Vec<Put>> {
    let subscribers = match subscribers(connection, &drafts, shards, now_ms).await? {
        Ok(subscribers) => subscribers,
        Err(error) => return Ok(Err(error)),
    };
    let by_name = match by_name(connection, &drafts).await? {
        Ok(by_name) => by_name,
        Err(error) => return Ok(Err(error)),
    };
    let row = sqlx::query(
        "SELECT version, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'filters'), 0) AS last_id \
         FROM filter_version",
    );
    let row = row.fetch_one(&mut *connection).await?;
    let (version, last_id) = (number(&row, "version"), number(&row, "last_id"));
    let mut putting = Putting { now_ms, version, last_id, subscribers, by_name };
    let puts = match putting.put(drafts) {
        Ok(puts) => puts,
        Err(error) => return Ok(Err(error)),
    };
    let changed = changed(&puts);
    if !changed.is_empty() {
        write(connection, &changed).await?;
        let sql = "UPDATE filter_version SET version = ?1";
        sqlx::query(sql).bind(putting.version as i64).execute(connection).await?;
    }
    Ok(Ok(puts))
}

/// The subscribers of drafts; those that are missing are made, each with the next slot of its shard.
async fn subscribers(
    connection: &mut SqliteConnection,
    drafts: &[FilterDraft],
    shards: u16,
    now_ms: i64,
) -> Attempt<HashMap<SubscriberId, SubscriberRecord>> {
    let ids: Vec<&str> = drafts.iter().map(|draft| draft.subscriber.as_str()).collect();
    let rows = sqlx::query(
        "SELECT s.*, (SELECT count(*) FROM filters f WHERE f.subscriber = s.id) AS filters \
         FROM subscribers s WHERE s.id IN (SELECT value FROM json_each(?1))",
    );
    let rows = rows.bind(json!(ids).to_string()).fetch_all(&mut *connection).await?;
    let mut known = HashMap::with_capacity(rows.len());
    for row in &rows {
        match subscriber_record(row) {
            Ok(record) => drop(known.insert(record.id.clone(), record)),
            Err(error) => return Ok(Err(error.into())),
        }
    }
    let rows = sqlx::query("SELECT shard, next FROM slots").fetch_all(&mut *connection).await?;
    let mut slots: BTreeMap<u64, u64> = rows.iter().map(|row| (number(row, "shard"), number(row, "next"))).collect();
    let mut new = Vec::new();
    for FilterDraft { subscriber: id, .. } in drafts {
        if known.contains_key(id) {
            continue;
        }
        let shard = id.shard(shards);
        let next = slots.entry(shard.0.into()).or_default();
        new.push(json!([id.as_str(), shard.0, *next]));
        let slot = Slot(*next as u32);
        *next += 1;
        let record = SubscriberRecord { id: id.clone(), shard, slot, filters: 0, created_ms: now_ms };
        known.insert(id.clone(), record);
    }
    if !new.is_empty() {
        sqlx::query(
            "INSERT INTO subscribers (id, shard, slot, created_ms) \
             SELECT value ->> 0, value ->> 1, value ->> 2, ?2 FROM json_each(?1)",
        )
        .bind(json!(new).to_string())
        .bind(now_ms)
        .execute(&mut *connection)
        .await?;
        sqlx::query(
            "INSERT INTO slots (shard, next) SELECT value ->> 0, value ->> 1 FROM json_each(?1) WHERE true \
             ON CONFLICT (shard) DO UPDATE SET next = excluded.next",
        )
        .bind(json!(slots.iter().collect::<Vec<_>>()).to_string())
        .execute(connection)
        .await?;
    }
    Ok(Ok(known))
}

/// The filters that are there under the names of drafts.
async fn by_name(
    connection: &mut SqliteConnection,
    drafts: &[FilterDraft],
) -> Attempt<HashMap<(SubscriberId, ConsumerName), FilterRecord>> {
    let names = drafts.iter().filter_map(|draft| Some((draft.subscriber.as_str(), draft.name.as_ref()?.as_str())));
    let names: Vec<(&str, &str)> = names.collect();
    // In this order, or the whole table could be looked at.
    let rows = sqlx::query(
        "SELECT f.*, s.shard, s.slot FROM json_each(?1) AS wanted \
         CROSS JOIN filters f ON f.subscriber = wanted.value ->> 0 AND f.name = wanted.value ->> 1 \
         CROSS JOIN subscribers s ON s.id = f.subscriber",
    );
    let rows = rows.bind(json!(names).to_string()).fetch_all(connection).await?;
    let mut by_name = HashMap::with_capacity(rows.len());
    for row in &rows {
        let record = match record(row) {
            Ok(record) => record,
            Err(error) => return Ok(Err(error.into())),
        };
        if let Some(name) = record.name.clone() {
            by_name.insert((record.subscriber.clone(), name), record);
        }
    }
    Ok(Ok(by_name))
}

/// Writes filters whole, whatever was there under their ids.
async fn write(connection: &mut SqliteConnection, records: &[&FilterRecord]) -> Result<(), sqlx::Error> {
    let row = |record: &&FilterRecord| {
        let FilterRecord { id, subscriber, shard: _, slot: _, name, spec, version, created_ms, updated_ms } = record;
        let (subscriber, name) = (subscriber.as_str(), name.as_ref().map(ConsumerName::as_str));
        json!([id.0, subscriber, name, spec, version.0, created_ms, updated_ms])
    };
    let rows: Vec<serde_json::Value> = records.iter().map(row).collect();
    sqlx::query(
        "INSERT INTO filters (id, subscriber, name, spec, version, created_ms, updated_ms) \
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6 \
         FROM json_each(?1) WHERE true ON CONFLICT (id) DO UPDATE SET name = excluded.name, spec = excluded.spec, \
         version = excluded.version, updated_ms = excluded.updated_ms",
    )
    .bind(json!(rows).to_string())
    .execute(connection)
    .await
    .map(|_| ())
}
