//! What a run achieved.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::app::App;
use crate::exit::Failure;
use crate::output::{BOLD, RED, YELLOW};
use crate::quantity::{Rate, seconds, thousands};

/// Ten minutes in microseconds: longer waits are counted as that.
const LATENCY_US_MAX: u64 = 600_000_000;

/// Different reasons that are counted apart.
const REASONS_MAX: usize = 20;

pub(super) struct Report {
    rate: Rate,
    pub(super) accepted: u64,
    pub(super) refused_as_meant: u64,
    pub(super) retries: u64,
    pub(super) retried_for: BTreeMap<String, u64>,
    /// Sent, and whether they were taken is not known.
    pub(super) unknown: u64,
    /// Given up without having reached the server.
    pub(super) not_arrived: u64,
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
    pub(super) failure: Option<Failure>,
    reasons: BTreeMap<String, u64>,
    latencies_us: Option<Histogram<u64>>,
    fell_behind: bool,
}

#[derive(Serialize)]
struct Summary<'a> {
    accepted: u64,
    refused: u64,
    refused_as_meant: u64,
    unknown: u64,
    not_arrived: u64,
    retries: u64,
    /// By cause: `storage_full` is a 507, `unavailable` a 503, and so on.
    retried_for: &'a BTreeMap<String, u64>,
    bytes: u64,
    elapsed_s: f64,
    /// Absent for `max`.
    asked_per_s: Option<f64>,
    achieved_per_s: f64,
    fell_behind: bool,
    ack_latency_ms: LatencySummary,
    errors: &'a BTreeMap<String, u64>,
}

#[derive(Serialize)]
pub(crate) struct LatencySummary {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    pub(crate) samples: u64,
}

impl LatencySummary {
    pub(crate) fn of_us(histogram: Option<&Histogram<u64>>) -> Self {
        let ms = |us: u64| us as f64 / 1_000.0;
        let at = |quantile: f64| histogram.map_or(0.0, |it| ms(it.value_at_quantile(quantile)));
        Self {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            max: histogram.map_or(0.0, |it| ms(it.max())),
            samples: histogram.map_or(0, Histogram::len),
        }
    }
}

impl std::fmt::Display for LatencySummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, max {:.1} ms", self.p50, self.p95, self.p99, self.max)
    }
}

/// Three significant digits are enough for a latency.
pub(crate) fn histogram_us() -> Option<Histogram<u64>> {
    Histogram::new_with_max(LATENCY_US_MAX, 3).ok()
}

impl Report {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            accepted: 0,
            refused_as_meant: 0,
            retries: 0,
            retried_for: BTreeMap::new(),
            unknown: 0,
            not_arrived: 0,
            bytes: 0,
            elapsed: Duration::ZERO,
            failure: None,
            reasons: BTreeMap::new(),
            latencies_us: histogram_us(),
            fell_behind: false,
        }
    }

    pub(super) fn latency(&mut self, latency: Duration) {
        if let Some(histogram) = &mut self.latencies_us {
            histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        }
    }

    pub(super) fn refuse(&mut self, reason: String) {
        let known = self.reasons.len() < REASONS_MAX || self.reasons.contains_key(&reason);
        *self.reasons.entry(if known { reason } else { "other reasons".to_owned() }).or_default() += 1;
    }

    pub(super) fn refused(&self) -> u64 {
        self.reasons.values().sum()
    }

    /// More than a second of events behind the schedule, when it had time to start.
    pub(super) fn note_behind(&mut self, behind: u64, elapsed: Duration, rate: Rate) {
        if let Rate::PerSecond(rate) = rate {
            self.fell_behind |= elapsed > Duration::from_secs(2) && behind as f64 > rate.max(10.0);
        }
    }

    /// For the progress line.
    pub(super) fn note(&self) -> String {
        let latency = LatencySummary::of_us(self.latencies_us.as_ref());
        let refused = match self.refused() {
            0 => String::new(),
            refused => format!(", {} refused", thousands(refused)),
        };
        let behind = if self.fell_behind { ", behind the asked rate" } else { "" };
        format!("(ack p50 {:.1} ms, p99 {:.1} ms{refused}{behind})", latency.p50, latency.p99)
    }

    pub(super) fn tell(&self, app: &App) -> Result<(), Failure> {
        let elapsed_s = self.elapsed.as_secs_f64();
        let achieved_per_s = self.accepted as f64 / elapsed_s.max(f64::EPSILON);
        let latency = LatencySummary::of_us(self.latencies_us.as_ref());
        let asked_per_s = match self.rate {
            Rate::PerSecond(rate) => Some(rate),
            Rate::Max => None,
        };
        if app.out.is_json() {
            return app.out.json(&Summary {
                accepted: self.accepted,
                refused: self.refused(),
                refused_as_meant: self.refused_as_meant,
                unknown: self.unknown,
                not_arrived: self.not_arrived,
                retries: self.retries,
                retried_for: &self.retried_for,
                bytes: self.bytes,
                elapsed_s,
                asked_per_s,
                achieved_per_s,
                fell_behind: self.fell_behind,
                ack_latency_ms: latency,
                errors: &self.reasons,
            });
        }
        let asked = asked_per_s.map(|rate| format!(" (asked: {rate:.0}/s)")).unwrap_or_default();
        app.out.say(format!(
            "{BOLD}{} events{BOLD:#} in {}, {}/s{asked}; ack {latency}",
            thousands(self.accepted),
            seconds(elapsed_s),
            thousands(achieved_per_s.round() as u64),
        ));
        if self.fell_behind {
            app.out.say(format!("{YELLOW}the asked rate was not kept{YELLOW:#}: the server, or this machine, took longer; --in-flight may help"));
        }
        for (reason, count) in &self.reasons {
            app.out.say(format!("{RED}{} refused{RED:#}: {reason}", thousands(*count)));
        }
        if self.refused_as_meant > 0 {
            app.out
                .say(format!("{} malformed events were refused, as they should be", thousands(self.refused_as_meant)));
        }
        if self.retries > 0 {
            let causes: Vec<String> =
                self.retried_for.iter().map(|(cause, count)| format!("{} {cause}", thousands(*count))).collect();
            app.out.say(format!("{} requests were repeated: {}", thousands(self.retries), causes.join(", ")));
        }
        if self.not_arrived > 0 {
            app.out.say(format!("{YELLOW}{} events did not arrive{YELLOW:#}", thousands(self.not_arrived)));
        }
        if self.unknown > 0 {
            app.out.say(format!(
                "{YELLOW}of {} events it is not known whether they arrived{YELLOW:#}",
                thousands(self.unknown)
            ));
        }
        Ok(())
    }
}
