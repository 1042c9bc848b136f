//! The loop: takes what is due, keeps the order of each key, sends what has gathered, and counts.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::report::Report;
use super::sink::{Outcome, Sink};
use super::source::{Record, Source};
use super::{BATCH_EVENTS_MAX, Patience};
use crate::app::App;
use crate::exit::{ExitStatus, Failure};
use crate::meter::Meter;
use crate::output::YELLOW;
use crate::quantity::Rate;

/// Bytes in one request, well below the server's limit; one event may exceed it alone.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Events that wait in one lane; past it the source waits.
const LANE_EVENTS_MAX: usize = 2 * BATCH_EVENTS_MAX;

/// Refused events that are told one by one.
const REFUSED_TOLD_MAX: u64 = 10;

pub(super) struct Plan {
    pub(super) rate: Rate,
    pub(super) count: Option<u64>,
    pub(super) duration: Option<Duration>,
    pub(super) lanes: usize,
    pub(super) max_errors: u64,
    pub(super) patience: Patience,
}

/// Records of some of the keys, of which one batch at most is under way, so that they keep their order. What gathers
/// meanwhile is the next batch: it grows with the server's latency, and no timer is needed.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<(Record, Instant)>,
    busy: bool,
}

impl Lane {
    fn take_batch(&mut self) -> (Vec<Record>, Vec<Instant>) {
        let (mut records, mut due, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some((record, _)) = self.waiting.front() {
            // What is meant to be refused goes alone, since a batch is refused as a whole.
            let alone = record.malformed || records.last().is_some_and(|last: &Record| last.malformed);
            let full = records.len() == BATCH_EVENTS_MAX || bytes + record.bytes.len() > BATCH_BYTES_MAX || alone;
            if full && !records.is_empty() {
                break;
            }
            bytes += record.bytes.len();
            if let Some((record, at)) = self.waiting.pop_front() {
                records.push(record);
                due.push(at);
            }
        }
        (records, due)
    }
}

pub(super) async fn run(app: &App, mut source: Source, sink: &Sink, plan: &Plan) -> Result<Report, Failure> {
    let mut report = Report::new(plan.rate);
    let mut meter = app.meter(plan.count, "events");
    let mut lanes: Vec<Lane> = (0..plan.lanes).map(|_| Lane::default()).collect();
    let mut under_way = FuturesUnordered::new();
    let mut held: Option<(Record, Instant)> = None;
    let mut taken = 0_u64;
    let mut ended = false;
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let stop = app.interrupt.wait();
    tokio::pin!(stop);
    loop {
        // Take what is due, as far as there is room for it.
        let mut blocked = false;
        while !ended {
            let due_at = started + plan.rate.due_at(taken);
            if held.is_none() {
                let over = plan.duration.is_some_and(|duration| started.elapsed() >= duration);
                if over || plan.count.is_some_and(|count| taken >= count) {
                    ended = true;
                    break;
                }
                if taken >= plan.rate.due(started.elapsed()) {
                    break;
                }
                let next = tokio::select! {
                    biased;
                    next = source.next(now_ms()) => next?,
                    // Standard input may be silent for ever.
                    _ = &mut stop, if matches!(source, Source::Lines { .. }) => None,
                    Some(done) = under_way.next(), if !under_way.is_empty() => {
                        settle(app, &meter, &mut report, &mut lanes, done, plan);
                        break;
                    }
                };
                let Some(record) = next else {
                    ended = true;
                    break;
                };
                let due_at = if plan.rate == Rate::Max { Instant::now() } else { due_at };
                held = Some((record, due_at));
            }
            let Some((record, due_at)) = held.take() else { break };
            let lane = (record.key % plan.lanes as u64) as usize;
            if lanes[lane].waiting.len() >= LANE_EVENTS_MAX {
                held = Some((record, due_at));
                blocked = true;
                break;
            }
            report.bytes += record.bytes.len() as u64;
            lanes[lane].waiting.push_back((record, due_at));
            taken += 1;
            // A file that is read faster than it is sent must not starve the answers.
            if taken.is_multiple_of(BATCH_EVENTS_MAX as u64) && !under_way.is_empty() {
                break;
            }
        }
        if report.failure.is_some() {
            ended = true;
            lanes.iter_mut().for_each(|lane| lane.waiting.clear());
            held = None;
        }
        for (at, lane) in lanes.iter_mut().enumerate() {
            if !lane.busy && !lane.waiting.is_empty() {
                lane.busy = true;
                let (records, due) = lane.take_batch();
                under_way.push(async move { (at, due, sink.send(records, plan.patience).await) });
            }
        }
        if ended && under_way.is_empty() && held.is_none() {
            break;
        }
        let wake_at = tokio::time::Instant::from_std(started + plan.rate.due_at(taken));
        tokio::select! {
            Some(done) = under_way.next(), if !under_way.is_empty() => settle(app, &meter, &mut report, &mut lanes, done, plan),
            _ = &mut stop, if !ended => ended = true,
            () = tokio::time::sleep_until(wake_at), if !ended && !blocked => {}
            _ = ticks.tick() => {
                let behind = plan.rate.due(started.elapsed()).min(plan.count.unwrap_or(u64::MAX)).saturating_sub(taken);
                report.note_behind(behind, started.elapsed(), plan.rate);
                meter.update(report.accepted, || report.note());
            }
        }
    }
    report.elapsed = started.elapsed();
    meter.finish();
    Ok(report)
}

/// Counts what became of a batch.
fn settle(
    app: &App,
    meter: &Meter,
    report: &mut Report,
    lanes: &mut [Lane],
    (lane, due, outcome): (usize, Vec<Instant>, Outcome),
    plan: &Plan,
) {
    lanes[lane].busy = false;
    let now = Instant::now();
    let lost = outcome.failure.is_some();
    let refused = outcome.refused_as_meant + outcome.refused.len() as u64;
    let rest = (due.len() as u64).saturating_sub(outcome.accepted + refused);
    if !lost {
        // From the moment an event was due, not from when it was sent: a server that stalls cannot hide it.
        due.iter().for_each(|at| report.latency(now.saturating_duration_since(*at)));
    }
    report.accepted += outcome.accepted;
    report.refused_as_meant += outcome.refused_as_meant;
    report.retries += outcome.retries;
    for (cause, count) in outcome.retried_for {
        *report.retried_for.entry(cause).or_default() += count;
    }
    for (record, reason) in outcome.refused {
        if report.refused() < REFUSED_TOLD_MAX && !app.out.quiet {
            let place = if record.line > 0 { format!("line {}: ", record.line) } else { String::new() };
            meter.say(&format!("{YELLOW}refused:{YELLOW:#} {place}{reason}"));
        }
        report.refuse(reason);
    }
    if let Some(failure) = outcome.failure {
        // A clear no, such as to a token, leaves no doubt.
        if outcome.not_arrived {
            report.not_arrived += rest;
        } else if matches!(failure.status, ExitStatus::Unreachable | ExitStatus::Failure) {
            report.unknown += rest;
        }
        report.failure.get_or_insert(failure);
    } else if report.refused() > plan.max_errors {
        report.failure.get_or_insert_with(|| {
            Failure::new(ExitStatus::Rejected, format!("more than {} events were refused", plan.max_errors))
                .hint("--max-errors allows more")
        });
    }
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970 fit for millions of years")]
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn batches_are_bounded_and_bad_records_go_alone() {
        let mut lane = Lane::default();
        let now = Instant::now();
        let record =
            |malformed, bytes: usize| Record { bytes: Bytes::from(vec![b'x'; bytes]), key: 0, line: 0, malformed };
        lane.waiting.extend([(record(false, 1), now), (record(true, 1), now), (record(false, 1), now)]);
        for _ in 0..3 {
            assert_eq!(lane.take_batch().0.len(), 1);
        }
        lane.waiting.extend((0..1_500).map(|_| (record(false, 1), now)));
        assert_eq!(lane.take_batch().0.len(), BATCH_EVENTS_MAX);
        assert_eq!(lane.take_batch().0.len(), 500);
        lane.waiting.extend([(record(false, BATCH_BYTES_MAX + 1), now), (record(false, 1), now)]);
        assert_eq!(lane.take_batch().0.len(), 1);
    }
}
