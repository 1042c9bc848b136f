//! `evs stats`: throughput, latency and lag.

use std::io::IsTerminal;

use evs_client::Feed;
use evs_client::api::stats::Stats;
use futures_util::StreamExt;

use crate::app::App;
use crate::exit::{ExitStatus, Failure};
use crate::output::{BOLD, DIM, GREEN, RED, YELLOW};
use crate::quantity::{seconds, thousands};

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  evs stats
  evs stats --watch
  evs stats -o json | jq .events_in")]
pub(crate) struct Args {
    /// Keep showing them, once a second; NDJSON with -o json
    #[arg(short, long)]
    watch: bool,
}

pub(crate) async fn run(app: &App, args: Args) -> Result<ExitStatus, Failure> {
    let client = app.client()?;
    if !args.watch {
        let stats = client.stats().await?;
        if app.out.is_json() {
            app.out.json(&stats)?;
        } else {
            app.out.line(describe(&stats))?;
        }
        return Ok(ExitStatus::Success);
    }
    let mut feed = client.stats_stream();
    let mut connected = false;
    loop {
        let item = tokio::select! {
            item = feed.next() => item,
            status = app.interrupt.wait() => return Ok(status),
        };
        match item {
            None => return Ok(ExitStatus::Success),
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(Feed::Connected)) => connected = true,
            Some(Ok(Feed::Disconnected { error, .. })) if !connected => return Err(error.into()),
            Some(Ok(Feed::Disconnected { error, retry_in })) => {
                app.out.say(format!(
                    "{YELLOW}disconnected:{YELLOW:#} {error}; trying again in {}",
                    seconds(retry_in.as_secs_f64())
                ));
            }
            Some(Ok(Feed::Item(stats))) => {
                if app.out.is_json() {
                    app.out.line(serde_json::to_string(&stats)?)?;
                } else if std::io::stdout().is_terminal() {
                    app.out.line(format!("{CLEAR}{}", describe(&stats)))?;
                } else {
                    app.out.line(one_line(&stats))?;
                }
            }
        }
    }
}

/// Home, and clear to the end of the screen.
pub(crate) const CLEAR: &str = "\x1b[H\x1b[J";

fn one_line(stats: &Stats) -> String {
    format!(
        "{}\tin {:.0}/s\tdelivered {:.0}/s\tp99 {:.1} ms\tconnections {}\tbehind {}",
        crate::output::time_ms(stats.time_ms),
        stats.events_in_per_s,
        stats.deliveries_sent_per_s,
        stats.latency.p99_ms,
        stats.connections,
        stats.subscribers_behind
    )
}

fn mode(stats: &Stats) -> String {
    match &stats.topic {
        Some(topic) => format!("{}, topic {topic}", stats.mode),
        None => stats.mode.clone(),
    }
}

pub(crate) fn describe(stats: &Stats) -> String {
    let mut lines = vec![
        format!("{BOLD}evs {}{BOLD:#} {DIM}{}, up {}{DIM:#}", stats.version, mode(stats), seconds(stats.uptime_s)),
        format!(
            "events       {} in, {:.0}/s; {} matched",
            thousands(stats.events_in_total),
            stats.events_in_per_s,
            thousands(stats.events_matched_total)
        ),
        format!(
            "deliveries   {} queued, {:.0}/s; {} sent, {:.0}/s; {} acks",
            thousands(stats.deliveries_total),
            stats.deliveries_per_s,
            thousands(stats.deliveries_sent_total),
            stats.deliveries_sent_per_s,
            thousands(stats.acks_total)
        ),
        format!(
            "latency      p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms",
            stats.latency.p50_ms, stats.latency.p95_ms, stats.latency.p99_ms
        ),
        format!(
            "subscribers  {}, {} behind; {} connections",
            thousands(stats.subscribers),
            thousands(stats.subscribers_behind),
            thousands(stats.connections)
        ),
        format!(
            "filters      {}, version {}; {} not indexable",
            thousands(stats.filters),
            stats.filter_version,
            thousands(stats.index.unindexable_filters)
        ),
    ];
    let trouble =
        [("gaps", stats.gaps_total), ("dropped", stats.dropped_total), ("dead letters", stats.dead_letters_total)];
    let trouble: Vec<_> = trouble
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{} {name}", thousands(*count)))
        .collect();
    if !trouble.is_empty() {
        lines.push(format!("{YELLOW}trouble      {}{YELLOW:#}", trouble.join(", ")));
    }
    for it in &stats.partitions {
        let lag = thousands(it.lag);
        let matcher =
            it.owner.as_ref().map_or_else(|| format!("{YELLOW}no matcher{YELLOW:#}"), |id| format!("matcher {id}"));
        lines.push(format!(
            "partition {}  offsets {}..{}, {lag} to be matched; {matcher}",
            it.partition, it.low, it.high
        ));
    }
    for it in &stats.instances {
        let health = match &it.problem {
            _ if it.healthy => format!("{GREEN}healthy{GREEN:#}"),
            problem => format!("{RED}{}{RED:#}", problem.as_deref().unwrap_or("not healthy")),
        };
        lines.push(format!(
            "instance {}  {health}; {}; {} connections, up {}",
            it.id,
            it.roles.join(", "),
            it.connections,
            seconds(it.uptime_s)
        ));
    }
    lines.join("\n")
}
