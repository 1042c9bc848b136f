//! What was expected, what came, and how fast.

use std::sync::atomic::Ordering;

use serde::Serialize;

use super::Args;
use super::fleet::Fleet;
use super::load::{Expected, Load};
use crate::app::App;
use crate::commands::LatencySummary;
use crate::exit::Failure;
use crate::output::{BOLD, GREEN, RED};
use crate::quantity::{Rate, seconds, thousands};

#[derive(Serialize)]
pub(super) struct Verdict {
    connections: u64,
    connect_s: f64,
    asked_events_per_s: Option<f64>,
    events: u64,
    events_per_s: f64,
    publish_s: f64,
    expected_deliveries: u64,
    received_deliveries: u64,
    /// Deliveries that subscribers did not get.
    missing: u64,
    /// Deliveries that subscribers got and should not have got, or not again.
    surplus: u64,
    /// Subscribers with the right number of deliveries, but not the right ones.
    wrong_subscribers: u64,
    deliveries_per_s: f64,
    gaps: u64,
    reconnects: u64,
    latency_ms: LatencySummary,
    publish_latency_ms: LatencySummary,
}

impl Verdict {
    pub(super) fn new(args: &Args, load: &Load, expected: &[Expected], fleet: &Fleet, connect_s: f64) -> Self {
        let (mut missing, mut surplus, mut wrong) = (0, 0, 0);
        for (expected, received) in expected.iter().zip(&fleet.by_subscriber) {
            let (count, sum) = (received.count.load(Ordering::Relaxed), received.sum.load(Ordering::Relaxed));
            missing += expected.count.saturating_sub(count);
            surplus += count.saturating_sub(expected.count);
            wrong += u64::from(count == expected.count && sum != expected.sum);
        }
        let received = fleet.received.load(Ordering::Relaxed);
        let publish_s = load.elapsed.as_secs_f64();
        Self {
            connections: args.connections,
            connect_s,
            asked_events_per_s: match args.rate {
                Rate::PerSecond(rate) => Some(rate),
                Rate::Max => None,
            },
            events: load.published,
            events_per_s: load.published as f64 / publish_s.max(f64::EPSILON),
            publish_s,
            expected_deliveries: expected.iter().map(|it| it.count).sum(),
            received_deliveries: received,
            missing,
            surplus,
            wrong_subscribers: wrong,
            deliveries_per_s: received as f64 / publish_s.max(f64::EPSILON),
            gaps: fleet.gaps.load(Ordering::Relaxed),
            reconnects: fleet.reconnects.load(Ordering::Relaxed),
            latency_ms: LatencySummary::of_us(fleet.latencies().as_ref()),
            publish_latency_ms: LatencySummary::of_us(load.ack_latencies_us.as_ref()),
        }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.missing == 0 && self.surplus == 0 && self.wrong_subscribers == 0
    }

    pub(super) fn tell(&self, app: &App) -> Result<(), Failure> {
        if app.out.is_json() {
            return app.out.json(self);
        }
        let asked = self.asked_events_per_s.map(|rate| format!(" (asked: {rate:.0}/s)")).unwrap_or_default();
        app.out.line(format!(
            "{BOLD}connections{BOLD:#}  {} in {}",
            thousands(self.connections),
            seconds(self.connect_s)
        ))?;
        app.out.line(format!(
            "{BOLD}published{BOLD:#}    {} events in {}, {:.0}/s{asked}",
            thousands(self.events),
            seconds(self.publish_s),
            self.events_per_s
        ))?;
        app.out.line(format!(
            "{BOLD}delivered{BOLD:#}    {} of {}, {:.0}/s",
            thousands(self.received_deliveries),
            thousands(self.expected_deliveries),
            self.deliveries_per_s
        ))?;
        app.out.line(format!("{BOLD}latency{BOLD:#}      {}", self.latency_ms))?;
        app.out.line(format!("{BOLD}publish{BOLD:#}      {}", self.publish_latency_ms))?;
        let verdict = if self.is_clean() {
            format!("{GREEN}complete{GREEN:#}: nothing missing, nothing doubled, nothing that was not asked for")
        } else {
            format!(
                "{RED}NOT complete{RED:#}: {} missing, {} surplus, {} subscribers with the wrong ones",
                self.missing, self.surplus, self.wrong_subscribers
            )
        };
        app.out.line(format!("{BOLD}verdict{BOLD:#}      {verdict}"))?;
        if self.gaps + self.reconnects > 0 {
            app.out.line(format!("{BOLD}trouble{BOLD:#}      {} gaps, {} reconnects", self.gaps, self.reconnects))?;
        }
        Ok(())
    }
}
