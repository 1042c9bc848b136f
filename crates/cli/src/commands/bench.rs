//! `evs bench`: a load test that anyone can run, which checks that nothing is missing and nothing comes twice.

mod fleet;
mod load;
mod verdict;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use evs_client::api::filters::FilterSpec;

use crate::app::App;
use crate::exit::{ExitStatus, Failure};
use crate::output::{DIM, YELLOW};
use crate::quantity::{self, Rate, thousands};
use fleet::Fleet;
use load::Load;
use verdict::Verdict;

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  evs bench                                             100 connections, 1,000 events/s, 10 s
  evs bench --connections 1000 --rate 5000 --duration 30s -o json
  evs bench --where 'amount > 1000'                     all subscribers with one filter of your own

It makes a subscriber with a filter for each connection, connects, publishes, counts what each one got against what a
plain evaluation of its filter expects, and deletes the subscribers. Each subscriber wants one of 20 event types, one
tier or any, from some amount on. Latency is from just before the POST to the receipt. Exit code 8 if anything was
missing, doubled or not asked for.")]
pub(crate) struct Args {
    /// Subscribers, each with a filter and a connection
    #[arg(long, value_name = "N", value_parser = quantity::count, default_value = "100")]
    connections: u64,
    /// Events per second
    #[arg(short, long, value_name = "RATE", value_parser = quantity::rate, default_value = "1000")]
    rate: Rate,
    /// How long to publish
    #[arg(short, long, value_name = "DURATION", value_parser = quantity::duration, default_value = "10s")]
    duration: Duration,
    /// One filter for all, instead of one for each
    #[arg(short, long = "where", value_name = "EXPR")]
    where_: Option<String>,
    /// Pad events to this size
    #[arg(long, value_name = "BYTES", value_parser = quantity::bytes, default_value = "0")]
    size: usize,
    /// The same seed makes the same events
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How long to wait for the last deliveries
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration, default_value = "30s")]
    drain: Duration,
    /// Leave the subscribers for a look
    #[arg(long)]
    keep: bool,
}

/// Thresholds of the filters: the share of events that pass falls by half, roughly.
const AMOUNTS: [u32; 5] = [0, 20, 50, 100, 200];

/// The filter of the subscriber with this number. There are 500 different ones.
fn spec(number: u64, where_: Option<&str>) -> FilterSpec {
    if let Some(where_) = where_ {
        return FilterSpec { where_: Some(where_.to_owned()), ..FilterSpec::default() };
    }
    let number = number as usize;
    let tiers = evs_traffic::USER_TIERS;
    let tier = number / 20 % (tiers.len() + 1);
    FilterSpec {
        event_types: vec![evs_traffic::EVENT_TYPES[number % 20].to_owned()],
        user_tiers: tiers.get(tier).map(|(name, _)| (*name).to_owned()).into_iter().collect(),
        min_amount: Some(AMOUNTS[number / 100 % AMOUNTS.len()].into()),
        ..FilterSpec::default()
    }
}

pub(crate) async fn run(app: &App, args: Args) -> Result<ExitStatus, Failure> {
    if args.connections == 0 {
        return Err(Failure::usage("a load test needs connections").hint("--connections 100"));
    }
    // No other traffic may count, so the filters also ask for this run.
    let run = format!("{:016x}", rand::random::<u64>());
    let own = |spec: FilterSpec| {
        let condition = format!("bench_run == \"{run}\"");
        let where_ = Some(spec.where_.map_or(condition.clone(), |text| format!("({text}) && {condition}")));
        FilterSpec { where_, ..spec }
    };
    let specs: Vec<FilterSpec> = (0..args.connections)
        .map(|number| FilterSpec {
            subscriber_id: format!("bench-{run}-{number}"),
            name: Some("bench".to_owned()),
            ..own(spec(number, args.where_.as_deref()))
        })
        .collect();
    let client = app.client()?;
    let result = measure(app, &args, &client, &run, &specs).await;
    if !args.keep {
        let mut meter = app.meter(Some(args.connections), "subscribers deleted");
        for (done, spec) in specs.iter().enumerate() {
            // What was not created is not there to be deleted.
            let _ = client.delete_subscriber(&spec.subscriber_id).await;
            meter.update(done as u64 + 1, String::new);
        }
        meter.finish();
    }
    let verdict = result?;
    verdict.tell(app)?;
    Ok(match app.interrupt.status() {
        ExitStatus::Success if !verdict.is_clean() => ExitStatus::CheckFailed,
        status => status,
    })
}

async fn measure(
    app: &App,
    args: &Args,
    client: &evs_client::Client,
    run: &str,
    specs: &[FilterSpec],
) -> Result<Verdict, Failure> {
    app.out.say(format!("{DIM}creating {} filters{DIM:#}", thousands(args.connections)));
    for chunk in specs.chunks(1_000) {
        let mut lines = Vec::new();
        for spec in chunk {
            serde_json::to_writer(&mut lines, spec)?;
            lines.push(b'\n');
        }
        client.import_filters(lines).await?;
    }
    // Versions are in order: when the last filter is active, all are.
    if let Some(last) = specs.last() {
        client.create_filter(last, Some(Duration::from_secs(30))).await?;
    }

    app.out.say(format!("{DIM}connecting{DIM:#}"));
    let clock = Instant::now();
    let fleet = Arc::new(Fleet::new(specs.len(), clock));
    let tasks = fleet.connect(client, specs)?;
    let connecting = Instant::now();
    let mut meter = app.meter(Some(args.connections), "connections");
    while fleet.connected.load(Ordering::Relaxed) < args.connections {
        if let Some(error) = fleet.take_error() {
            return Err(error);
        }
        if connecting.elapsed() > Duration::from_secs(60) {
            return Err(Failure::new(ExitStatus::Unreachable, "the connections were not made within a minute")
                .hint("does the limit of open files allow so many? `ulimit -n` tells"));
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
            status = app.interrupt.wait() => return Err(Failure::new(status, "stopped while connecting")),
        }
        meter.update(fleet.connected.load(Ordering::Relaxed), String::new);
    }
    meter.finish();
    let connect_s = connecting.elapsed().as_secs_f64();

    let mut load = Load::new(args, run, clock, specs)?;
    load.publish(app, client, args, &fleet).await?;
    let expected = load.expected();
    let total: u64 = expected.iter().map(|it| it.count).sum();

    let draining = Instant::now();
    let mut meter = app.meter(Some(total), "deliveries");
    while fleet.received.load(Ordering::Relaxed) < total && draining.elapsed() < args.drain {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
            _ = app.interrupt.wait() => break,
        }
        meter.update(fleet.received.load(Ordering::Relaxed), String::new);
    }
    meter.finish();
    if fleet.received.load(Ordering::Relaxed) < total {
        app.out.say(format!("{YELLOW}not all deliveries came within {:?}{YELLOW:#}", args.drain));
    }
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(Verdict::new(args, &load, &expected, &fleet, connect_s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_five_hundred_filters() {
        let distinct: std::collections::HashSet<String> =
            (0..1_000).map(|number| format!("{:?}", spec(number, None))).collect();
        assert_eq!(distinct.len(), 500);
    }
}
