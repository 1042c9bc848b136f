//! `evs-server demo`: a whole installation on a temporary folder, with filters, traffic and one subscriber to watch.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use evs_api::filters::FilterFields;
use evs_api::frames::EventFrame;
use evs_core::Event;
use evs_traffic::{Traffic, TrafficConfig};
use futures_util::StreamExt as _;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use crate::cli::{runtime, stop_on_signal};
use crate::config::{Config, Role, Settings};
use crate::run::Server;
use crate::spec;

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End after so many seconds; without it the demo runs until Ctrl-C
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Events per second
    #[arg(long, default_value_t = 200)]
    pub rate: u32,
    /// Plain lines even on a terminal
    #[arg(long)]
    pub plain: bool,
}

/// The subscriber whose events are shown, and its neighbours.
const FILTERS: [(&str, &str); 4] = [
    ("user_1", r#"{"event_types":["purchase"],"user_tiers":["premium","enterprise"],"min_amount":50}"#),
    ("user_2", r#"{"event_types":["login"],"where":"country in [\"DE\", \"FR\"] && device.os.startsWith(\"iOS\")"}"#),
    ("fraud-desk", r#"{"event_types":["purchase","refund"],"min_amount":200}"#),
    ("growth", r#"{"where":"event_type == \"signup\" || event_type == \"upgrade\""}"#),
];
const WATCHED: &str = "user_1";

/// Runs the demo.
///
/// # Errors
/// A sentence for the terminal.
pub fn run(settings: Settings, args: &DemoArgs) -> anyhow::Result<()> {
    // The demo's output is its own; the log would break it up. Only what goes wrong is shown.
    tracing_subscriber::fmt()
        .with_env_filter("warn")
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .with_target(false)
        .init();
    runtime()?.block_on(demo(settings, args))
}

async fn demo(settings: Settings, args: &DemoArgs) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("evs-demo-").tempdir().context("cannot make a temporary folder")?;
    let settings = Settings { data_dir: Some(folder.path().to_owned()), ..settings };
    let config = Config::load(settings, None)?;
    let shutdown = CancellationToken::new();
    tokio::spawn(stop_on_signal(shutdown.clone()));
    let server = Server::start(config, shutdown.clone()).await?;
    let addr_of = |role| server.addr(role).context("the demo needs the api and the gateway");
    let (api, gateway) = (addr_of(Role::Api)?, addr_of(Role::Gateway)?);
    let app = server.app().clone();
    let running = tokio::spawn(server.run());

    let mut drafts = Vec::new();
    for (subscriber, fields) in FILTERS {
        let mut fields: serde_json::Value = serde_json::from_str(fields)?;
        fields["subscriber_id"] = subscriber.into();
        let fields: FilterFields = serde_json::from_value(fields)?;
        drafts.push(spec::draft(&fields)?.0);
    }
    let puts = app.filters.put(drafts).await?;
    let version = puts.iter().map(|put| put.record.version).max().unwrap_or_default();
    crate::matcher::raise(&app, version).await?;

    let style =
        Style { colour: std::io::stdout().is_terminal() && !args.plain && std::env::var_os("NO_COLOR").is_none() };
    introduce(&style, api, gateway, folder.path())?;
    let shown = tokio::spawn(show(style, format!("ws://{gateway}/ws/{WATCHED}"), shutdown.clone()));
    let made = tokio::spawn(produce(app.clone(), args.rate, shutdown.clone()));

    if let Some(seconds) = args.seconds {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(seconds)) => shutdown.cancel(),
            () = shutdown.cancelled() => {}
        }
    }
    let produced = made.await??;
    let shown = shown.await??;
    running.await??;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(
        out,
        "\n{produced} events in, {} deliveries to {} subscribers, {shown} shown here.",
        app.metrics.deliveries.get(),
        FILTERS.len()
    );
    Ok(())
}

struct Style {
    colour: bool,
}

impl Style {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn introduce(
    style: &Style,
    api: std::net::SocketAddr,
    gateway: std::net::SocketAddr,
    folder: &std::path::Path,
) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let command = |text: String| style.paint("36", &text);
    writeln!(out, "{}", style.paint("1", "evs is running; everything is in one temporary folder:"))?;
    writeln!(out, "  {}\n", folder.display())?;
    writeln!(out, "In a second terminal:")?;
    let flags = format!("--server http://{api} --gateway http://{gateway}");
    let flags = if (api.port(), gateway.port()) == (8001, 8003) { String::new() } else { format!(" {flags}") };
    writeln!(out, "  {}", command(format!("cargo run --release -p evs-tui --{flags}")))?;
    writeln!(out, "  {}", command(format!("cargo run --release -p evs --{flags} tail fraud-desk")))?;
    writeln!(out, "  {}", command(format!("websocat ws://{gateway}/ws/user_2")))?;
    writeln!(out, "  {}", command(format!("curl -N http://{gateway}/sse/growth")))?;
    writeln!(
        out,
        "  {}\n",
        command(format!(
            "curl -X POST http://{api}/filters -H 'Content-Type: application/json' -d \
             '{{\"subscriber_id\": \"me\", \"where\": \"amount > 500\"}}'"
        ))
    )?;
    writeln!(out, "{WATCHED} gets purchases of premium and enterprise users of at least 50:")?;
    Ok(())
}

/// Publishes at an absolute schedule, so that the rate does not drift.
async fn produce(app: crate::app::App, rate: u32, shutdown: CancellationToken) -> anyhow::Result<u64> {
    let mut traffic = Traffic::new(rand::random(), TrafficConfig::default());
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let started = tokio::time::Instant::now();
    let mut produced = 0_u64;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(produced),
            _ = tick.tick() => {}
        }
        let due = (started.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        let now_ms = app.clock.now_ms();
        let events = (produced..due).map(|_| Event::parse(Bytes::from(traffic.next_event(now_ms))));
        let events = events.collect::<Result<Vec<_>, _>>()?;
        let count = events.len() as u64;
        app.log.append(events).await?;
        app.metrics.events_in.inc_by(count);
        produced += count;
    }
}

/// A plain listening client on the real socket: prints every event of the watched subscriber.
async fn show(style: Style, url: String, shutdown: CancellationToken) -> anyhow::Result<u64> {
    let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.context("cannot listen to the gateway")?;
    let mut shown = 0;
    loop {
        let message = tokio::select! {
            () = shutdown.cancelled() => return Ok(shown),
            message = socket.next() => message,
        };
        let Some(Ok(message)) = message else { return Ok(shown) };
        let Message::Text(text) = message else { continue };
        if !text.starts_with("{\"t\":\"event\"") {
            continue;
        }
        let frame: EventFrame = serde_json::from_str(&text)?;
        let data: serde_json::Value = serde_json::from_str(frame.data.get())?;
        let field = |name: &str| match &data[name] {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let mut out = std::io::stdout().lock();
        let line = format!(
            "{:>6}  {}  {}  {}  {}",
            style.paint("2", &format!("#{}", frame.seq.unwrap_or(0))),
            style.paint("32", &format!("{:<10}", field("event_type"))),
            style.paint("35", &format!("{:<10}", field("user_tier"))),
            style.paint("1", &format!("{:>9}", field("amount"))),
            style.paint("2", &field("user_id")),
        );
        if writeln!(out, "{line}").is_err() {
            // Whoever read us has gone.
            shutdown.cancel();
            return Ok(shown);
        }
        shown += 1;
    }
}
