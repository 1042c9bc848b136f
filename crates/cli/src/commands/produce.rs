//! `evs produce`: sends events at a steady rate and tells how it went.

#[cfg(feature = "kafka")]
mod kafka;
mod pump;
mod report;
mod rest;
mod sink;
mod source;
mod template;

use std::path::PathBuf;
use std::time::Duration;

use evs_traffic::{Traffic, TrafficConfig};

use crate::app::App;
use crate::exit::{ExitStatus, Failure};
use crate::quantity::{self, Rate};
use pump::Plan;
pub(crate) use pump::now_ms;
pub(crate) use report::{LatencySummary, histogram_us};
use source::Source;

/// Events in one request: far below the server's limit, and a few milliseconds of work.
const BATCH_EVENTS_MAX: usize = 1_000;

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  evs produce --rate 1000                              until Ctrl-C
  evs produce --rate 10k --duration 30s -o json        a measured run
  evs produce --file events.ndjson                     as fast as the server takes
  zcat events.gz | evs produce --file - --rate 500/s
  evs produce --count 3 --dry-run                      shows the events instead of sending them
  evs produce --template '{\"event_type\":\"login\",\"user_id\":\"{{user}}\",\"n\":{{random 1 9}}}'

Events of one user keep their order. A batch whose answer was lost is sent again with the same
idempotency key.")]
pub(crate) struct Args {
    /// Events per second: 1000, 10k, 500/s, 30/m, or max [default: 100; max with --file]
    #[arg(short, long, value_name = "RATE", value_parser = quantity::rate)]
    rate: Option<Rate>,
    /// Stop after this many events
    #[arg(short = 'n', long, value_name = "N", value_parser = quantity::count)]
    count: Option<u64>,
    /// Stop after this time
    #[arg(short, long, value_name = "DURATION", value_parser = quantity::duration)]
    duration: Option<Duration>,
    /// Events from a file of NDJSON instead of generated ones; - for standard input
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["users", "user_skew", "types", "size", "seed", "template", "malformed"])]
    file: Option<PathBuf>,
    /// Events from a template with {{count}}, {{now}}, {{uuid}}, {{user}}, {{type}}, {{tier}}, {{random A B}}
    #[arg(long, value_name = "JSON", conflicts_with = "size")]
    template: Option<String>,
    /// Users, user_1 to user_N; the lower, the more active
    #[arg(long, value_name = "N", value_parser = quantity::count, default_value = "1000", help_heading = "Generated events")]
    users: u64,
    /// Zipf exponent of the users' activity; 0 for all alike
    #[arg(long, value_name = "S", default_value_t = 0.8, help_heading = "Generated events")]
    user_skew: f64,
    /// Event types, the most frequent first [default: 20 types]
    #[arg(long, value_name = "TYPE", value_delimiter = ',', help_heading = "Generated events")]
    types: Vec<String>,
    /// Pad events to this size, such as 2KiB
    #[arg(long, value_name = "BYTES", value_parser = quantity::bytes, default_value = "0", help_heading = "Generated events")]
    size: usize,
    /// The same seed makes the same events
    #[arg(long, value_name = "N", help_heading = "Generated events")]
    seed: Option<u64>,
    /// Share of broken events, 0 to 1, to see how they are refused
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0", help_heading = "Generated events")]
    malformed: f64,
    /// Requests under way at once; events of one user are never in two of them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64), default_value = "2", help_heading = "Sending")]
    in_flight: u8,
    /// Give up after this many refused events
    #[arg(long, value_name = "N", value_parser = quantity::count, default_value = "100", help_heading = "Sending")]
    max_errors: u64,
    /// Give up when the server has been out of reach for this long [default: at once if it was never there, else 30s]
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration, help_heading = "Sending")]
    give_up_after: Option<Duration>,
    /// Write to Kafka itself instead of through the server
    #[cfg(feature = "kafka")]
    #[arg(long, value_name = "HOST:PORT", help_heading = "Kafka")]
    brokers: Option<String>,
    /// The topic
    #[cfg(feature = "kafka")]
    #[arg(long, value_name = "TOPIC", default_value = "user-events", requires = "brokers", help_heading = "Kafka")]
    topic: String,
    /// The field whose value is the record's key; records of one key keep their order
    #[cfg(feature = "kafka")]
    #[arg(long, value_name = "FIELD", default_value = "user_id", requires = "brokers", help_heading = "Kafka")]
    key: String,
    /// A header of every record
    #[cfg(feature = "kafka")]
    #[arg(short = 'H', long, value_name = "NAME:VALUE", value_parser = kafka::header, requires = "brokers", help_heading = "Kafka")]
    header: Vec<(String, String)>,
    /// How records are written: the event alone, or with the headers of a CloudEvent besides
    #[cfg(feature = "kafka")]
    #[arg(long, value_enum, default_value = "json", requires = "brokers", help_heading = "Kafka")]
    format: kafka::Form,
    /// How batches are compressed [default: lz4]
    #[cfg(feature = "kafka")]
    #[arg(long, value_enum, value_name = "CODEC", requires = "brokers", help_heading = "Kafka")]
    compression: Option<kafka::Compression>,
    /// Who must have a record before it counts; with less than all, events may be lost or doubled [default: all]
    #[cfg(feature = "kafka")]
    #[arg(long, value_enum, value_name = "WHO", requires = "brokers", help_heading = "Kafka")]
    acks: Option<kafka::Acks>,
    /// Any property of librdkafka; goes before what is set by default
    #[cfg(feature = "kafka")]
    #[arg(short = 'X', value_name = "NAME=VALUE", requires = "brokers", help_heading = "Kafka")]
    property: Vec<String>,
}

/// How long a server that cannot be reached is waited for.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// Before it has ever answered: probably nobody started it, or the address is wrong.
    at_first: Duration,
    /// Once it has answered: it will come back.
    later: Duration,
}

impl Patience {
    const LATER: Duration = Duration::from_secs(30);

    fn of(given: Option<Duration>) -> Self {
        Self { at_first: given.unwrap_or_default(), later: given.unwrap_or(Self::LATER) }
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("{text:?} is not a share between 0 and 1")),
    }
}

pub(crate) async fn run(app: &App, args: Args) -> Result<ExitStatus, Failure> {
    let seed = args.seed.unwrap_or_else(rand::random);
    let source = match (&args.file, &args.template) {
        (Some(file), _) => Source::open(file).await?,
        (None, Some(template)) => {
            let template = template::Template::parse(template).map_err(Failure::usage)?;
            Source::Template(Box::new(template.fill(seed, traffic_config(&args))))
        }
        (None, None) => Source::Traffic {
            traffic: Box::new(Traffic::new(seed, traffic_config(&args))),
            malformed: args.malformed,
            dice: evs_traffic::dice::Dice::new(seed ^ 1),
        },
    };
    let rate = args.rate.unwrap_or(if args.file.is_some() { Rate::Max } else { Rate::PerSecond(100.0) });
    let plan = Plan {
        rate,
        count: args.count,
        duration: args.duration,
        lanes: usize::from(args.in_flight),
        max_errors: args.max_errors,
        patience: Patience::of(args.give_up_after),
    };
    if app.global.dry_run {
        return show(app, source, &plan).await;
    }
    let sink = sink(app, &args).await?;
    let report = pump::run(app, source, &sink, &plan).await?;
    report.tell(app)?;
    match report.failure {
        Some(failure) => Err(failure),
        None => Ok(app.interrupt.status()),
    }
}

fn traffic_config(args: &Args) -> TrafficConfig {
    TrafficConfig {
        users: args.users,
        user_skew: args.user_skew,
        types: args.types.clone(),
        size_bytes: args.size,
        ..TrafficConfig::default()
    }
}

#[cfg(not(feature = "kafka"))]
async fn sink(app: &App, _args: &Args) -> Result<sink::Sink, Failure> {
    Ok(sink::Sink::Rest(rest::Rest::new(app.client()?)))
}

#[cfg(feature = "kafka")]
async fn sink(app: &App, args: &Args) -> Result<sink::Sink, Failure> {
    match &args.brokers {
        Some(brokers) => {
            let (key, headers, form) = (args.key.clone(), args.header.clone(), args.format);
            let records = kafka::Records { key, headers, form };
            let patience = Patience::of(args.give_up_after).later;
            let properties = kafka::properties(args.compression, args.acks, &args.property)?;
            let kafka = kafka::Kafka::connect(brokers, &args.topic, records, properties, patience).await?;
            Ok(sink::Sink::Kafka(kafka))
        }
        None => Ok(sink::Sink::Rest(rest::Rest::new(app.client()?))),
    }
}

/// A dry run: what would be sent, as NDJSON.
async fn show(app: &App, mut source: Source, plan: &Plan) -> Result<ExitStatus, Failure> {
    use std::io::Write;
    let count = plan.count.unwrap_or(if matches!(source, Source::Lines { .. }) { u64::MAX } else { 10 });
    let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
    for _ in 0..count {
        let Some(record) = source.next(pump::now_ms()).await? else { break };
        stdout.write_all(&record.bytes)?;
        stdout.write_all(b"\n")?;
    }
    stdout.flush()?;
    app.out.say("nothing was sent (--dry-run)");
    Ok(ExitStatus::Success)
}
