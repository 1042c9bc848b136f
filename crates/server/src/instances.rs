//! What a process tells the others through the filter store: that it lives, how it is, what it has counted, and which
//! filters it is asked about. The matcher reports besides, since filters become active by what it has applied.

mod elsewhere;
mod presence;
mod rebalances;

use std::time::Duration;

use evs_api::oplog::Level;
use evs_api::stats::IndexStats;
use tokio::time::MissedTickBehavior;

use crate::app::App;
use crate::config::Role;
use crate::door;
use crate::metrics::Rate;
use crate::ports::PortResult;
use crate::ports::filter_store::{Assignment, Counts, InstanceReport};
use elsewhere::Elsewhere;
use presence::Presence;
use rebalances::Assignments;

/// Three may be missed before the instance counts as dead.
const EVERY: Duration = Duration::from_secs(2);

/// A process with a matcher has two reports: the matcher's under the instance's name, and this one beside it.
const BESIDE: &str = "+doors";

/// How fast a process delivers, measured between two looks at its counters.
#[derive(Debug, Default)]
pub struct Rates {
    deliveries: Rate,
    sent: Rate,
}

/// What this process has counted.
pub fn counts(app: &App, rates: &Rates) -> Counts {
    let (metrics, now_ms) = (&app.metrics, app.clock.now_ms());
    let (deliveries, sent) = (metrics.deliveries.get(), metrics.deliveries_sent.get());
    Counts {
        events_in: metrics.events_in.get(),
        events_matched: metrics.events_matched.get(),
        deliveries,
        deliveries_sent: sent,
        acks: metrics.acks.get(),
        gaps: metrics.gaps.get(),
        dropped: metrics.expired.get(),
        dead_letters: metrics.dead_letters.get(),
        deliveries_per_s: rates.deliveries.tick(deliveries, now_ms),
        deliveries_sent_per_s: rates.sent.tick(sent, now_ms),
        latency: metrics.latency(),
        index: IndexStats { candidates_per_match: metrics.candidates_per_match(), ..app.activity.index() },
    }
}

/// Reports until the process stops.
pub async fn run(app: App) {
    let rates = Rates::default();
    let (mut assignments, mut elsewhere) = (Assignments::default(), Elsewhere::default());
    let mut presence = Presence::default();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return door::sweep(&app, true),
            _ = ticks.tick() => {}
        }
        door::sweep(&app, false);
        // The next tick tries again; readiness tells that the store is away.
        match report(&app, &rates).await {
            Ok(reports) => {
                let reports = by_process(reports);
                app.oplog.copy(elsewhere.news(&app.instance, &reports));
                for message in presence.lost(&reports) {
                    app.oplog.write_common(Level::Warn, "instance_lost", message);
                }
                for (level, message) in assignments.changes(&reports) {
                    app.oplog.write_common(level, "rebalance", message);
                }
            }
            Err(error) => tracing::debug!(%error, "this instance could not be reported"),
        }
    }
}

/// Reports this process; answers the reports that were there before.
async fn report(app: &App, rates: &Rates) -> PortResult<Vec<InstanceReport>> {
    let roles = [Role::Api, Role::Gateway].into_iter().filter(|role| app.config.runs(*role));
    let problem = app.readers.health().into_iter().find_map(|(shard, health)| {
        health.err().map(|problem| format!("the delivery log of shard {shard} cannot be followed: {problem}"))
    });
    let reports = app.filters.reports().await?;
    let id = format!("{}{BESIDE}", app.instance);
    app.activity.hear(reports.iter().filter(|report| report.id != id));
    let (asked, counted) = app.activity.report(app.config.runs(Role::Matcher), app.clock.now_ms());
    let report = InstanceReport {
        id,
        roles: roles.map(|role| role.name().to_owned()).collect(),
        // What it can answer from; it applies no filters itself.
        filter_version: app.filters.version().await?.0,
        connections: u64::try_from(app.metrics.connections.get()).unwrap_or_default(),
        uptime_s: (app.clock.now_ms() - app.started_ms).max(0) as f64 / 1000.0,
        problem,
        counts: counts(app, rates),
        assignment: Assignment::default(),
        log: app.oplog.recent(),
        asked,
        counted,
        age_s: 0.0,
    };
    app.filters.report(report).await?;
    Ok(reports)
}

/// One report per process, by name. The filter version is the matcher's where there is one.
#[must_use]
pub fn by_process(mut reports: Vec<InstanceReport>) -> Vec<InstanceReport> {
    // The matcher's own report sorts before the one beside it.
    reports.sort_by(|left, right| left.id.cmp(&right.id));
    let mut processes: Vec<InstanceReport> = Vec::with_capacity(reports.len());
    for mut report in reports {
        report.id.truncate(report.id.trim_end_matches(BESIDE).len());
        match processes.last_mut() {
            Some(process) if process.id == report.id => {
                process.roles.extend(report.roles);
                process.roles.sort_unstable();
                process.connections += report.connections;
                process.problem = process.problem.take().or(report.problem);
                process.counts = process.counts.with(&report.counts);
                process.age_s = process.age_s.max(report.age_s);
                process.log.extend(report.log);
                if process.assignment == Assignment::default() {
                    process.assignment = report.assignment;
                }
            }
            _ => processes.push(report),
        }
    }
    processes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reports_of_a_process_are_one() {
        let report = |id: &str, roles: &[&str], filter_version, connections| InstanceReport {
            id: id.to_owned(),
            roles: roles.iter().map(|&role| role.to_owned()).collect(),
            filter_version,
            connections,
            // Only the report beside the matcher's counts.
            counts: Counts { deliveries_sent: connections, ..Counts::default() },
            ..InstanceReport::default()
        };
        let merged = by_process(vec![
            report("b+doors", &["api", "gateway"], 9, 3),
            report("c", &["matcher"], 8, 0),
            report("b", &["matcher"], 7, 0),
            report("a+doors", &["gateway"], 9, 5),
        ]);
        let wanted = [
            report("a", &["gateway"], 9, 5),
            report("b", &["api", "gateway", "matcher"], 7, 3),
            report("c", &["matcher"], 8, 0),
        ];
        assert_eq!(merged, wanted);
    }
}
