//! The events, and what each subscriber should get of them by a plain evaluation of its filter.

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

use evs_client::Client;
use evs_client::api::filters::FilterSpec;
use evs_core::filter::ast::Expr;
use evs_core::filter::eval;
use evs_traffic::{Traffic, TrafficConfig};
use hdrhistogram::Histogram;

use super::Args;
use super::fleet::Fleet;
use crate::app::App;
use crate::commands::{compile, histogram_us, now_ms};
use crate::exit::Failure;

const BATCH_EVENTS_MAX: u64 = 1_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) count: u64,
    pub(super) sum: u64,
}

pub(super) struct Load {
    traffic: Traffic,
    run: String,
    clock: Instant,
    /// Subscribers with equal filters are one class: the evaluation costs once.
    classes: Vec<(Expr, Expected)>,
    /// Classes that ask for one event type, by that type; an event is tried on those and on the others only.
    by_type: HashMap<String, Vec<usize>>,
    of_any_type: Vec<usize>,
    class_of: Vec<usize>,
    pub(super) published: u64,
    pub(super) elapsed: Duration,
    pub(super) ack_latencies_us: Option<Histogram<u64>>,
}

impl Load {
    pub(super) fn new(args: &Args, run: &str, clock: Instant, specs: &[FilterSpec]) -> Result<Self, Failure> {
        let config = TrafficConfig { size_bytes: args.size, ..TrafficConfig::default() };
        let mut numbers = HashMap::new();
        let mut classes = Vec::new();
        let mut by_type: HashMap<String, Vec<usize>> = HashMap::new();
        let mut of_any_type = Vec::new();
        let mut class_of = Vec::with_capacity(specs.len());
        for spec in specs {
            let condition = compile(spec)?.condition();
            let number = *numbers.entry(condition.to_string()).or_insert_with(|| {
                let number = classes.len();
                classes.push((condition, Expected::default()));
                match spec.event_types.as_slice() {
                    [one] => by_type.entry(one.clone()).or_default().push(number),
                    _ => of_any_type.push(number),
                }
                number
            });
            class_of.push(number);
        }
        Ok(Self {
            traffic: Traffic::new(args.seed, config),
            run: run.to_owned(),
            clock,
            classes,
            by_type,
            of_any_type,
            class_of,
            published: 0,
            elapsed: Duration::ZERO,
            ack_latencies_us: histogram_us(),
        })
    }

    /// One batch at a time: what falls due meanwhile is the next one.
    pub(super) async fn publish(
        &mut self,
        app: &App,
        client: &Client,
        args: &Args,
        fleet: &Fleet,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        let mut meter = app.meter(None, "events");
        let mut numbers = 0_u64;
        while started.elapsed() < args.duration {
            let due = args.rate.due(started.elapsed()).saturating_sub(numbers).min(BATCH_EVENTS_MAX);
            if due == 0 {
                let at = tokio::time::Instant::from_std(started + args.rate.due_at(numbers));
                tokio::select! {
                    () = tokio::time::sleep_until(at) => continue,
                    _ = app.interrupt.wait() => break,
                }
            }
            let batch: Vec<Vec<u8>> = (0..due).map(|step| self.event(numbers + step + 1)).collect();
            let sent = Instant::now();
            let key = format!("{}-{numbers}", self.run);
            let answer = tokio::select! {
                answer = client.publish(batch.concat(), Some(&key)) => answer,
                _ = app.interrupt.wait() => break,
            };
            meter.update(self.published, || {
                format!("({} delivered)", fleet.received.load(std::sync::atomic::Ordering::Relaxed))
            });
            answer.inspect_err(|_| meter.finish())?;
            if let Some(histogram) = &mut self.ack_latencies_us {
                histogram.saturating_record(u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
            // While the server works on it, so that the evaluation does not slow down the sending.
            for (step, event) in batch.into_iter().enumerate() {
                self.expect(numbers + step as u64 + 1, event)?;
            }
            numbers += due;
            self.published = numbers;
        }
        self.elapsed = started.elapsed();
        meter.finish();
        Ok(())
    }

    /// An event with its number, its run and its time, and a newline.
    fn event(&mut self, number: u64) -> Vec<u8> {
        let mut event = self.traffic.next_event(now_ms());
        event.pop();
        let now_us = self.clock.elapsed().as_micros();
        // Writing to a vector cannot fail.
        let _ = writeln!(event, r#","bench_run":"{}","bench_n":{number},"bench_us":{now_us}}}"#, self.run);
        event
    }

    fn expect(&mut self, number: u64, event: Vec<u8>) -> Result<(), Failure> {
        let value: serde_json::Value = serde_json::from_slice(&event)?;
        let event_type = value.get("event_type").and_then(serde_json::Value::as_str).unwrap_or_default();
        let of_its_type = self.by_type.get(event_type).into_iter().flatten();
        for class in of_its_type.chain(&self.of_any_type) {
            let (condition, expected) = &mut self.classes[*class];
            if eval(condition, &value).is_true() {
                expected.count += 1;
                expected.sum += number;
            }
        }
        Ok(())
    }

    /// For each subscriber.
    pub(super) fn expected(&self) -> Vec<Expected> {
        self.class_of.iter().map(|class| self.classes[*class].1).collect()
    }
}
