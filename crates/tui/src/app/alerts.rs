//! Alert rules: a measure above a bound for some time colours its row, shows in the header, and may ring the bell.

use evs_api::stats::Stats;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Events of the log that are not matched yet, all partitions.
    LogLag,
    /// Subscribers that are behind.
    SubscribersBehind,
    /// Latency from log to socket, 99th percentile.
    P99Ms,
    /// Deliveries that are not acked, all shards.
    QueueDepth,
    DeadLetters,
    Dropped,
    UnhealthyInstances,
    /// Age of the oldest unacked delivery of one subscriber: colours its row.
    SubscriberLagS,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub measure: Measure,
    pub above: f64,
    /// Seconds it must stay above before the alert is raised.
    #[serde(default)]
    pub for_s: u32,
}

#[must_use]
pub fn default_rules() -> Vec<Rule> {
    let rule = |measure, above, for_s| Rule { measure, above, for_s };
    vec![
        rule(Measure::UnhealthyInstances, 0.0, 0),
        rule(Measure::LogLag, 10_000.0, 10),
        rule(Measure::P99Ms, 1_000.0, 30),
        rule(Measure::SubscriberLagS, 60.0, 0),
    ]
}

#[derive(Clone, Debug, Default)]
pub struct Alerts {
    rules: Vec<Rule>,
    /// Since when each is above its bound.
    above_since: Vec<Option<i64>>,
    raised: Vec<bool>,
}

impl Alerts {
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        let n = rules.len();
        Self { rules, above_since: vec![None; n], raised: vec![false; n] }
    }

    /// A few words for each alert that was not there before.
    pub fn look(&mut self, stats: &Stats, now_ms: i64) -> Vec<String> {
        let mut news = Vec::new();
        for (at, rule) in self.rules.iter().enumerate() {
            let value = measure(rule.measure, stats);
            let above = value.is_some_and(|value| value > rule.above);
            let since = above.then(|| self.above_since[at].unwrap_or(now_ms));
            let raised = since.is_some_and(|since| now_ms - since >= i64::from(rule.for_s) * 1000);
            if let (Some(value), true, false) = (value, raised, self.raised[at]) {
                news.push(words(rule.measure, value));
            }
            self.above_since[at] = since;
            self.raised[at] = raised;
        }
        news
    }

    /// A few words for each alert that stands.
    #[must_use]
    pub fn raised(&self, stats: &Stats) -> Vec<String> {
        self.rules
            .iter()
            .zip(&self.raised)
            .filter(|(_, raised)| **raised)
            .filter_map(|(rule, _)| measure(rule.measure, stats).map(|value| words(rule.measure, value)))
            .collect()
    }

    #[must_use]
    pub fn subscriber_lag_s(&self) -> f64 {
        self.rules
            .iter()
            .filter(|r| r.measure == Measure::SubscriberLagS)
            .map(|r| r.above)
            .fold(f64::INFINITY, f64::min)
    }
}

fn measure(measure: Measure, stats: &Stats) -> Option<f64> {
    Some(match measure {
        Measure::LogLag => stats.partitions.iter().map(|p| p.lag as f64).sum(),
        Measure::SubscribersBehind => stats.subscribers_behind as f64,
        Measure::P99Ms => stats.latency.p99_ms,
        Measure::QueueDepth => stats.shards.iter().map(|s| s.depth as f64).sum(),
        Measure::DeadLetters => stats.dead_letters_total as f64,
        Measure::Dropped => stats.dropped_total as f64,
        Measure::UnhealthyInstances => stats.instances.iter().filter(|i| !i.healthy).count() as f64,
        Measure::SubscriberLagS => return None,
    })
}

fn words(measure: Measure, value: f64) -> String {
    // Counts, all but the two that are times.
    let n = crate::format::short_count(value as u64);
    match measure {
        Measure::LogLag => format!("log lag {n}"),
        Measure::SubscribersBehind => format!("{n} behind"),
        Measure::P99Ms => format!("p99 {}", crate::format::millis(value)),
        Measure::QueueDepth => format!("queues {n}"),
        Measure::DeadLetters => format!("{n} dead letters"),
        Measure::Dropped => format!("{n} dropped"),
        Measure::UnhealthyInstances if value == 1.0 => "1 instance unhealthy".into(),
        Measure::UnhealthyInstances => format!("{n} instances unhealthy"),
        Measure::SubscriberLagS => format!("lag {}", crate::format::seconds(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_raised_after_its_time_and_once() {
        let mut alerts = Alerts::new(vec![Rule { measure: Measure::P99Ms, above: 100.0, for_s: 5 }]);
        let mut stats = Stats::default();
        stats.latency.p99_ms = 500.0;
        assert!(alerts.look(&stats, 1_000).is_empty());
        assert!(alerts.look(&stats, 5_000).is_empty());
        assert_eq!(alerts.look(&stats, 6_000), ["p99 500ms"]);
        assert!(alerts.look(&stats, 7_000).is_empty(), "told once");
        assert_eq!(alerts.raised(&stats), ["p99 500ms"]);
        stats.latency.p99_ms = 1.0;
        alerts.look(&stats, 8_000);
        assert!(alerts.raised(&stats).is_empty());
        stats.latency.p99_ms = 500.0;
        assert!(alerts.look(&stats, 9_000).is_empty(), "the time starts again");
    }
}
