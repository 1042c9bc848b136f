//! `/stats`: the numbers of the installation as this instance sees it, once or every second.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use evs_api::error::Problem;
use evs_api::oplog::Level;
use evs_api::stats::{InstanceStats, PartitionStats, ShardStats, Stats};
use evs_core::Shard;
use futures_util::{StreamExt, stream};
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::guard::Caller;
use super::problem::ApiResult;
use super::subscribers::Row;
use super::{Api, sse};
use crate::app::App;
use crate::instances;
use crate::metrics::Rate;
use crate::ports::PortResult;
use crate::ports::filter_store::{Assignment, INSTANCE_TTL_S, InstanceReport};

/// Numbers this young are not collected again; rates are measured between collections.
const FRESH: Duration = Duration::from_millis(900);

const EVERY: Duration = Duration::from_secs(1);

/// So long the event log may take to say how far it is.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(get)).routes(routes!(follow))
}

/// Collects once for all who ask.
#[derive(Debug, Default)]
pub(super) struct StatsFeed {
    made: Mutex<Option<(Instant, Arc<Stats>)>>,
    events_in: Rate,
    rates: instances::Rates,
    /// As they were when the event log answered last, and whether it did now.
    log: Mutex<(Vec<PartitionStats>, bool)>,
}

/// Read the statistics
#[utoipa::path(get, path = "/stats", operation_id = "get_stats", tag = "operations", responses(
    (status = 200, body = Stats),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn get(State(api): State<Api>, Caller(subject): Caller) -> ApiResult<Json<Stats>> {
    subject.require_installation()?;
    Ok(Json(Stats::clone(&*now(&api).await?)))
}

/// Follow the statistics
///
/// Server-sent events: `stats`, once a second.
#[utoipa::path(get, path = "/stats/stream", operation_id = "follow_stats", tag = "operations", responses(
    (status = 200, description = "server-sent events", body = String, content_type = "text/event-stream"),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn follow(State(api): State<Api>, Caller(subject): Caller) -> ApiResult<Response> {
    subject.require_installation()?;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let shutdown = api.app.shutdown.clone();
    let looks = stream::unfold((api, ticks), async |(api, mut ticks)| {
        ticks.tick().await;
        let stats = now(&api).await;
        Some((stats, (api, ticks)))
    });
    // A second without numbers, because a backend does not answer, is left out.
    let events = looks.filter_map(async |stats| match stats {
        Ok(stats) => Some(sse::event("stats", &*stats)),
        Err(error) => {
            tracing::warn!(%error, "the statistics cannot be collected now");
            None
        }
    });
    Ok(sse::answer(&shutdown, events))
}

async fn now(api: &Api) -> PortResult<Arc<Stats>> {
    // Held while collecting: one collection serves all who wait.
    let mut made = api.stats.made.lock().await;
    if let Some((at, stats)) = &*made
        && at.elapsed() < FRESH
    {
        return Ok(stats.clone());
    }
    let stats = Arc::new(collect(api).await?);
    *made = Some((Instant::now(), stats.clone()));
    Ok(stats)
}

async fn collect(api: &Api) -> PortResult<Stats> {
    let (app, feed) = (&api.app, &api.stats);
    let metrics = &app.metrics;
    let now_ms = app.clock.now_ms();
    let rows = api.subscribers.rows(app).await?;
    let reports = instances::by_process(app.filters.reports().await?);
    // Our own count is newer than our report.
    let elsewhere = || reports.iter().filter(|report| *report.id != *app.instance);
    let counts = elsewhere().fold(instances::counts(app, &feed.rates), |sum, report| sum.with(&report.counts));
    let connections = elsewhere().map(|report| report.connections).sum::<u64>() + positive(metrics.connections.get());
    let (partitions, problems) = partitions_now_or_before(app, feed, &reports).await;
    // Whoever has written them: producers need not come through our API.
    let logged: u64 = partitions.iter().map(|partition| partition.high).sum();
    // What is not known is no growth; the next answer is measured from the last one.
    let events_in_per_s = if problems.is_empty() { feed.events_in.tick(logged, now_ms) } else { 0.0 };
    Ok(Stats {
        time_ms: now_ms,
        uptime_s: (now_ms - app.started_ms).max(0) as f64 / 1000.0,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mode: mode(app).to_owned(),
        topic: app.log.topic().map(str::to_owned),
        events_in_total: counts.events_in,
        events_matched_total: counts.events_matched,
        deliveries_total: counts.deliveries,
        deliveries_sent_total: counts.deliveries_sent,
        acks_total: counts.acks,
        events_in_per_s,
        deliveries_per_s: counts.deliveries_per_s,
        deliveries_sent_per_s: counts.deliveries_sent_per_s,
        latency: counts.latency,
        connections,
        subscribers: rows.len() as u64,
        subscribers_behind: rows.iter().filter(|row| row.is_behind(now_ms)).count() as u64,
        filters: rows.iter().map(|row| u64::from(row.filters())).sum(),
        filter_version: app.filters.version().await?.0,
        gaps_total: counts.gaps,
        dropped_total: counts.dropped,
        dead_letters_total: counts.dead_letters,
        index: counts.index,
        partitions,
        shards: shards(app, &rows).await?,
        problems,
        instances: reports.into_iter().map(instance).collect(),
    })
}

/// `distributed` as soon as one of the ports leaves this machine.
fn mode(app: &App) -> &'static str {
    let backends = [&app.config.event_log, &app.config.delivery_queue, &app.config.filter_store];
    if backends.iter().all(|backend| *backend == "sqlite") { "embedded" } else { "distributed" }
}

fn positive(gauge: i64) -> u64 {
    u64::try_from(gauge).unwrap_or_default()
}

/// An event log that does not answer leaves the other numbers: it is then that an operator looks.
async fn partitions_now_or_before(
    app: &App,
    feed: &StatsFeed,
    reports: &[InstanceReport],
) -> (Vec<PartitionStats>, Vec<String>) {
    let mut seen = feed.log.lock().await;
    let (known, was_away) = &mut *seen;
    let cause = match tokio::time::timeout(PATIENCE, partitions(app, reports)).await {
        Ok(Ok(partitions)) => {
            known.clone_from(&partitions);
            if std::mem::take(was_away) {
                app.oplog.write(Level::Info, "dependency_back", None, "the event log answers again");
            }
            return (partitions, Vec::new());
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
    };
    if !std::mem::replace(was_away, true) {
        tracing::warn!(cause, "the event log does not answer; its partitions are told as they were");
        app.oplog.write(Level::Error, "dependency_lost", None, "the event log does not answer");
    }
    let problem = "the event log does not answer; partitions are as they were before".to_owned();
    (known.clone(), vec![problem])
}

async fn partitions(app: &App, reports: &[InstanceReport]) -> PortResult<Vec<PartitionStats>> {
    // A partition is matched as far as the last shard is: quiet ones catch up within seconds.
    let mut checkpoints = Vec::new();
    for shard in (0..app.queue.shards()).map(Shard) {
        checkpoints.extend(app.queue.checkpoints(shard).await?);
    }
    let stats = app.log.partitions().await?.into_iter().map(|range| {
        let (low, high) = (range.low.0, range.high.0);
        let of_shards = checkpoints.iter().filter(|checkpoint| checkpoint.partition == range.partition);
        let matched = of_shards.map(|checkpoint| checkpoint.next.0).min().unwrap_or(low).clamp(low, high);
        let owner = owner(reports, range.partition.0);
        PartitionStats { partition: range.partition.0, low, high, matched, lag: high - matched, owner }
    });
    Ok(stats.collect())
}

/// Of two that say they have it, because one has not reported since it was taken, the one that was given something last.
fn owner(reports: &[InstanceReport], partition: u32) -> Option<String> {
    let holders = reports.iter().filter(|report| report.assignment.partitions.contains(&partition));
    holders.max_by_key(|report| report.assignment.last_rebalance_ms).map(|report| report.id.clone())
}

async fn shards(app: &App, rows: &[Row]) -> PortResult<Vec<ShardStats>> {
    let mut shards = Vec::new();
    for shard in (0..app.queue.shards()).map(Shard) {
        let state = app.queue.state(shard).await?;
        shards.push(ShardStats {
            shard: shard.0,
            epoch: state.epoch.to_string(),
            entries: state.top.saturating_sub(state.position.n),
            log_bytes: state.log_bytes,
            depth: rows.iter().filter(|row| row.shard() == shard).map(Row::lag).sum(),
            min_filter_version: state.min_version.0,
        });
    }
    Ok(shards)
}

fn instance(report: InstanceReport) -> InstanceStats {
    let InstanceReport { id, roles, filter_version, connections, uptime_s, problem, assignment, age_s, .. } = report;
    let Assignment { partitions, rebalances, last_rebalance_ms } = assignment;
    let healthy = problem.is_none() && age_s < INSTANCE_TTL_S;
    InstanceStats {
        id,
        roles,
        healthy,
        problem,
        filter_version,
        connections,
        uptime_s,
        age_s,
        partitions,
        rebalances,
        last_rebalance_ms,
    }
}
