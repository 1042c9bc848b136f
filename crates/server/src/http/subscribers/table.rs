//! A table of all subscribers, joined from store, queues and readers; made when somebody asks, and kept for a moment.
//!
//! At 100,000 subscribers a join takes a good part of a second. So one refresh serves everybody who asks, the next one
//! comes no sooner than ten times as long as the last one took, and the list of subscribers is only read again when
//! the filter version has changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use evs_api::subscribers::{Subscriber, SubscriberState};
use evs_core::{FilterVersion, Seq, Shard, Slot, SubscriberId};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::app::App;
use crate::auth::Subject;
use crate::config::Config;
use crate::ports::PortResult;
use crate::ports::delivery_queue::{Present, Standing};
use crate::ports::filter_store::SubscriberRecord;

/// A table this young is not made again.
const FRESH: Duration = Duration::from_secs(1);

/// A refresh may take this share of the time.
const COST_SHARE: u32 = 10;

/// Rows read from a backend at once.
const CHUNK: usize = 10_000;

/// Deliveries that one refresh walks back in the windows to find how old the oldest unacked ones are. What it does not
/// reach is found by the next refreshes, or was known before.
const WALK_MAX: u64 = 1_000_000;

/// A delivery that waits no longer than this makes nobody late: acks are written at most once a second.
const LATE_MS: i64 = 5_000;

/// A subscriber as an operator sees it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::http) struct Row {
    pub(super) id: SubscriberId,
    pub(super) shard: Shard,
    pub(super) slot: Slot,
    pub(super) filters: u32,
    pub(super) state: SubscriberState,
    pub(super) connections: u32,
    pub(super) top: Seq,
    pub(super) acked: Seq,
    /// When the log took the oldest delivery that is not acked.
    pub(super) oldest_ms: Option<i64>,
    pub(super) delivered_per_s: f64,
    pub(super) last_ack_ms: Option<i64>,
    pub(super) lost: Seq,
    pub(super) spilled: u64,
}

impl Row {
    pub(in crate::http) fn lag(&self) -> u64 {
        self.top.0.saturating_sub(self.acked.0.max(self.lost.0))
    }

    /// Whether what it has not acked has waited for long. Where nobody has looked yet how long, it has.
    pub(in crate::http) fn is_behind(&self, now_ms: i64) -> bool {
        self.lag() > 0 && self.oldest_ms.is_none_or(|oldest_ms| now_ms - oldest_ms > LATE_MS)
    }

    pub(in crate::http) fn filters(&self) -> u32 {
        self.filters
    }

    pub(in crate::http) fn shard(&self) -> Shard {
        self.shard
    }

    /// Retention drops by age and by count, whatever comes first. By bytes too, which nobody counts per queue here.
    fn data_loss_in_s(&self, config: &Config, now_ms: i64) -> Option<f64> {
        let age_s = (now_ms - self.oldest_ms?).max(0) as f64 / 1000.0;
        let by_age_s = config.retention_s as f64 - age_s;
        // A queue that is full already loses what is over when retention looks next, whether more comes or not.
        let by_count_s = match config.queue_events_max.saturating_sub(self.lag()) {
            0 => 0.0,
            room if self.delivered_per_s > 0.0 => room as f64 / self.delivered_per_s,
            _ => f64::INFINITY,
        };
        Some(by_age_s.min(by_count_s).max(0.0))
    }

    /// `None` for another tenant's.
    pub(super) fn wire(&self, subject: &Subject, app: &App) -> Option<Subscriber> {
        let now_ms = app.clock.now_ms();
        let Self {
            id,
            shard,
            slot,
            filters,
            state,
            connections,
            top,
            acked,
            oldest_ms,
            delivered_per_s,
            last_ack_ms,
            lost,
            spilled: _,
        } = self;
        Some(Subscriber {
            id: subject.external(id)?.to_string(),
            state: *state,
            filters: *filters,
            connections: *connections,
            top: top.0,
            acked: acked.0,
            lag_events: self.lag(),
            lag_s: oldest_ms.map(|oldest_ms| (now_ms - oldest_ms).max(0) as f64 / 1000.0),
            delivered_per_s: *delivered_per_s,
            data_loss_in_s: self.data_loss_in_s(&app.config, now_ms),
            last_ack_ms: *last_ack_ms,
            lost: lost.0,
            shard: shard.0,
            slot: slot.0,
        })
    }
}

#[derive(Debug, Default)]
pub(in crate::http) struct Table(Mutex<Option<Made>>);

#[derive(Debug)]
struct Made {
    at: Instant,
    took: Duration,
    version: FilterVersion,
    records: Arc<[SubscriberRecord]>,
    rows: Arc<[Row]>,
}

impl Table {
    pub(in crate::http) async fn rows(&self, app: &App) -> PortResult<Arc<[Row]>> {
        // Held while it is made: one refresh serves all who wait.
        let mut made = self.0.lock().await;
        if let Some(made) = &*made
            && made.at.elapsed() < FRESH.max(made.took * COST_SHARE)
        {
            return Ok(made.rows.clone());
        }
        let fresh = refresh(app, made.as_ref()).await?;
        let rows = fresh.rows.clone();
        *made = Some(fresh);
        Ok(rows)
    }
}

async fn refresh(app: &App, before: Option<&Made>) -> PortResult<Made> {
    let begun = Instant::now();
    let version = app.filters.version().await?;
    let records = match before.filter(|before| before.version == version) {
        Some(before) => before.records.clone(),
        None => read_records(app).await?,
    };
    let mut join = Join::new(app, before, read_standings(app).await?, read_present(app).await?);
    let rows = records.iter().map(|record| join.row(record)).collect();
    let at = Instant::now();
    Ok(Made { at, took: at - begun, version, records, rows })
}

async fn read_records(app: &App) -> PortResult<Arc<[SubscriberRecord]>> {
    let mut records: Vec<SubscriberRecord> = Vec::new();
    loop {
        let chunk = app.filters.subscribers(records.last().map(|record| &record.id), CHUNK).await?;
        let whole = chunk.len() == CHUNK;
        records.extend(chunk);
        if !whole {
            return Ok(records.into());
        }
    }
}

/// Who is connected, at the gateways of this process and of others.
async fn read_present(app: &App) -> PortResult<HashMap<(Shard, Slot), Present>> {
    let mut present: HashMap<(Shard, Slot), Present> = HashMap::new();
    for shard in (0..app.queue.shards()).map(Shard) {
        let elsewhere = app.queue.presence(shard, &app.instance).await?;
        for found in app.readers.attached().present(shard).into_iter().chain(elsewhere) {
            let sum = present.entry((shard, found.slot)).or_insert(Present { connections: 0, live: true, ..found });
            sum.connections += found.connections;
            sum.live &= found.live;
        }
    }
    Ok(present)
}

async fn read_standings(app: &App) -> PortResult<HashMap<(Shard, Slot), Standing>> {
    let mut standings = HashMap::new();
    for shard in (0..app.queue.shards()).map(Shard) {
        let mut after = None;
        loop {
            let chunk = app.queue.standings(shard, after, CHUNK).await?;
            let whole = chunk.len() == CHUNK;
            after = chunk.last().map(|standing| standing.slot);
            standings.extend(chunk.into_iter().map(|standing| ((shard, standing.slot), standing)));
            if !whole {
                break;
            }
        }
    }
    Ok(standings)
}

/// What rows are joined from.
struct Join<'a> {
    app: &'a App,
    standings: HashMap<(Shard, Slot), Standing>,
    tops: Vec<Vec<u64>>,
    present: HashMap<(Shard, Slot), Present>,
    before: HashMap<(Shard, Slot), &'a Row>,
    elapsed_s: f64,
    walk_left: u64,
}

impl<'a> Join<'a> {
    fn new(
        app: &'a App,
        before: Option<&'a Made>,
        standings: HashMap<(Shard, Slot), Standing>,
        present: HashMap<(Shard, Slot), Present>,
    ) -> Self {
        Self {
            app,
            standings,
            // Copied, so that the windows are not held while the rows are made.
            tops: app
                .readers
                .shards()
                .map(|reader| reader.with_window(|w| w.tops().to_vec()).unwrap_or_default())
                .collect(),
            present,
            before: before.iter().flat_map(|made| made.rows.iter()).map(|row| ((row.shard, row.slot), row)).collect(),
            elapsed_s: before.map_or(0.0, |before| before.at.elapsed().as_secs_f64()),
            walk_left: WALK_MAX,
        }
    }

    fn row(&mut self, record: &SubscriberRecord) -> Row {
        let SubscriberRecord { id, shard, slot, filters, created_ms: _ } = record;
        let key = (*shard, *slot);
        let standing = self.standings.get(&key).copied();
        let present = self.present.get(&key);
        let before = self.before.get(&key).copied();
        let tops = self.tops.get(usize::from(shard.0));
        let top = Seq(tops.and_then(|tops| tops.get(slot.0 as usize)).copied().unwrap_or_default());
        let grown = before.map_or(0, |before| top.0.saturating_sub(before.top.0));
        let state = match (present, standing) {
            (Some(Present { live: true, .. }), _) => SubscriberState::Live,
            (Some(_), _) => SubscriberState::Slow,
            (None, Some(standing)) if standing.has_consumer => SubscriberState::Away,
            (None, _) => SubscriberState::New,
        };
        let mut row = Row {
            id: id.clone(),
            shard: *shard,
            slot: *slot,
            filters: *filters,
            state,
            connections: present.map_or(0, |present| present.connections),
            top,
            acked: standing.map_or(Seq(0), |standing| standing.acked),
            oldest_ms: None,
            delivered_per_s: if self.elapsed_s > 0.0 { grown as f64 / self.elapsed_s } else { 0.0 },
            last_ack_ms: standing.and_then(|standing| standing.last_ack_ms),
            lost: standing.map_or(Seq(0), |standing| standing.lost),
            spilled: standing.map_or(0, |standing| standing.spilled),
        };
        row.oldest_ms = standing.and_then(|standing| standing.oldest_spilled_ms).or_else(|| self.oldest(&row, before));
        row
    }

    /// The age of the oldest unacked delivery, where it is in the window: finding it takes as many steps as the lag.
    fn oldest(&mut self, row: &Row, before: Option<&Row>) -> Option<i64> {
        let lag = row.lag();
        if lag == 0 {
            return None;
        }
        let read_to = row.acked.max(row.lost);
        // The same delivery is still the oldest.
        let known = before.filter(|before| before.lag() > 0 && before.acked.max(before.lost) == read_to);
        if let Some(oldest_ms) = known.and_then(|before| before.oldest_ms) {
            return Some(oldest_ms);
        }
        self.walk_left = self.walk_left.checked_sub(lag)?;
        oldest_ms(self.app, row.shard, row.slot, read_to)
    }
}

/// When the log took the first delivery after `read_to`, if it is in the window.
pub(super) fn oldest_ms(app: &App, shard: Shard, slot: Slot, read_to: Seq) -> Option<i64> {
    let found = app.readers.shard(shard).with_window(|window| window.oldest_after(slot, read_to))??;
    Some(found.entry.event(&found.route).time_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_lost_by_age_or_by_count_and_a_full_queue_loses_at_once() {
        let config = Config { queue_events_max: 1_000, retention_s: 3_600, ..Config::default() };
        let left = |top, delivered_per_s| {
            let row = Row {
                id: SubscriberId::new("user_1").unwrap(),
                shard: Shard(0),
                slot: Slot(0),
                filters: 1,
                state: SubscriberState::Away,
                connections: 0,
                top: Seq(top),
                acked: Seq(0),
                oldest_ms: Some(0),
                delivered_per_s,
                last_ack_ms: None,
                lost: Seq(0),
                spilled: 0,
            };
            row.data_loss_in_s(&config, 600_000)
        };
        assert_eq!(left(500, 10.0), Some(50.0), "by count");
        assert_eq!(left(500, 0.0), Some(3_000.0), "by age");
        assert_eq!(left(1_500, 0.0), Some(0.0), "over the count, though nothing more comes");
    }
}
