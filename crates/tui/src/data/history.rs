//! The past of the stats, one point for each report, with holes where none came.

use std::collections::VecDeque;

use evs_api::stats::Stats;

/// An hour of reports, one a second.
pub const POINTS_MAX: usize = 3600;
/// A longer silence is drawn as a hole.
const HOLE_MS: i64 = 2_500;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    pub time_ms: i64,
    pub in_per_s: f64,
    /// Unknown for the first report and after the server restarted.
    pub matched_per_s: Option<f64>,
    pub delivered_per_s: f64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub log_lag: f64,
    pub depth: f64,
    /// The report before this one is missing.
    pub after_hole: bool,
}

#[derive(Clone, Debug, Default)]
pub struct History {
    points: VecDeque<Point>,
    last: Option<Totals>,
}

#[derive(Clone, Copy, Debug)]
struct Totals {
    time_ms: i64,
    matched: u64,
    uptime_s: f64,
}

impl History {
    pub fn push(&mut self, stats: &Stats, now_ms: i64) {
        let totals = Totals { time_ms: stats.time_ms, matched: stats.events_matched_total, uptime_s: stats.uptime_s };
        let matched_per_s = self.last.and_then(|last| {
            let restarted = totals.uptime_s < last.uptime_s || totals.matched < last.matched;
            let seconds = (totals.time_ms - last.time_ms) as f64 / 1000.0;
            (!restarted && seconds > 0.05).then(|| (totals.matched - last.matched) as f64 / seconds)
        });
        self.last = Some(totals);
        let after_hole = self.points.back().is_some_and(|p| now_ms - p.time_ms > HOLE_MS);
        // Two reports at one time would draw a vertical line.
        if self.points.back().is_some_and(|p| p.time_ms >= now_ms) {
            self.points.pop_back();
        }
        self.points.push_back(Point {
            time_ms: now_ms,
            in_per_s: stats.events_in_per_s,
            matched_per_s,
            delivered_per_s: stats.deliveries_sent_per_s,
            p50_ms: stats.latency.p50_ms,
            p95_ms: stats.latency.p95_ms,
            p99_ms: stats.latency.p99_ms,
            log_lag: stats.partitions.iter().map(|p| p.lag as f64).sum(),
            depth: stats.shards.iter().map(|s| s.depth as f64).sum(),
            after_hole,
        });
        if self.points.len() > POINTS_MAX {
            self.points.pop_front();
        }
    }

    pub fn since(&self, from_ms: i64) -> impl DoubleEndedIterator<Item = &Point> {
        let start = self.points.partition_point(|p| p.time_ms < from_ms);
        self.points.range(start..)
    }

    #[must_use]
    pub fn last(&self) -> Option<&Point> {
        self.points.back()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.points.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Points for a chart, x in seconds before `now_ms` (so at most 0), one run for each stretch without a hole.
    pub fn runs(&self, now_ms: i64, window_s: f64, value: impl Fn(&Point) -> Option<f64>) -> Vec<Vec<(f64, f64)>> {
        let from = now_ms - (window_s * 1000.0) as i64;
        let mut runs: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
        for point in self.since(from) {
            if point.after_hole {
                runs.push(Vec::new());
            }
            match value(point) {
                Some(y) if y.is_finite() => {
                    let x = (point.time_ms - now_ms) as f64 / 1000.0;
                    runs.last_mut().expect("one run at least").push((x, y));
                }
                _ => runs.push(Vec::new()),
            }
        }
        runs.retain(|run| !run.is_empty());
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(time_ms: i64, matched: u64, uptime_s: f64) -> Stats {
        Stats { time_ms, events_matched_total: matched, uptime_s, ..Stats::default() }
    }

    #[test]
    fn matched_is_a_difference_and_unknown_after_a_restart() {
        let mut history = History::default();
        for (t, matched, uptime) in [(1000, 100, 1.0), (2000, 350, 2.0), (3000, 10, 0.5), (4000, 20, 1.5)] {
            history.push(&report(t, matched, uptime), t);
        }
        let rates: Vec<_> = history.since(0).map(|p| p.matched_per_s).collect();
        assert_eq!(rates, [None, Some(250.0), None, Some(10.0)]);
    }

    #[test]
    fn a_silence_is_a_hole_and_not_a_line() {
        let mut history = History::default();
        for t in [1000, 2000, 9000, 10_000] {
            history.push(&report(t, 0, t as f64), t);
        }
        assert_eq!(history.runs(10_000, 60.0, |_| Some(1.0)).len(), 2);
    }

    #[test]
    fn memory_is_bounded() {
        let mut history = History::default();
        for t in 0..5000 {
            history.push(&report(t * 1000, 0, 1.0), t * 1000);
        }
        assert_eq!(history.len(), POINTS_MAX);
    }
}
