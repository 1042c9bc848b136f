//! `evs tail`: what a subscriber gets, as it comes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use evs_client::api::frames::{Gap, GapReason, Resumed, Welcome};
use evs_client::{Ack, Delivery, Feed, FeedEvent, From, Options, StreamItem, Subscription};
use evs_core::Cursor;
use futures_util::StreamExt;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::app::App;
use crate::args::Format;
use crate::exit::{ExitStatus, Failure};
use crate::output::{BOLD, CYAN, DIM, GREEN, YELLOW, one_line};
use crate::quantity::{seconds, thousands};

/// The cursor file is written this often while events flow; what came after is repeated after a crash.
const CURSOR_EVERY: Duration = Duration::from_secs(1);

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  evs tail user_1                              follow, without consuming
  evs tail user_1 --since 10m                  first the last ten minutes, then live
  evs tail user_1 --where 'amount > 500' --raw | jq .
  evs tail user_1 --no-follow -o ndjson        what is there, then end
  evs tail user_1 --ack --consumer phone       consume: what was shown does not come again
  evs tail user_1 --cursor-file at.cursor      go on where it stopped
  evs tail                                     all events, as an operator sees them

Notices of gaps and reconnects go to stderr. `evs tail` observes unless --ack is given.")]
pub(crate) struct Args {
    /// Whose events; all events if absent
    #[arg(value_name = "SUBSCRIBER", add = clap_complete::engine::ArgValueCompleter::new(crate::complete::subscribers))]
    subscriber: Option<String>,
    /// Begin in the past: 10m, RFC 3339, a cursor, or beginning
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Begin at: latest, earliest (of the queue), or a cursor
    #[arg(long, value_name = "PLACE", conflicts_with = "since")]
    from: Option<String>,
    /// End after this many events
    #[arg(short = 'n', long, value_name = "N", value_parser = crate::quantity::count)]
    count: Option<u64>,
    /// End when all that is there has been shown
    #[arg(long)]
    no_follow: bool,
    /// Only events that also match this
    #[arg(short, long = "where", value_name = "EXPR")]
    where_: Option<String>,
    /// Only events of these types
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// The events as they were published, one a line, and nothing else
    #[arg(long)]
    raw: bool,
    /// Consume: move the consumer's position past what was shown
    #[arg(long, requires = "subscriber")]
    ack: bool,
    /// The named reader, whose position is kept by the server
    #[arg(long, value_name = "NAME", requires = "ack")]
    consumer: Option<String>,
    /// Read without consuming, which is the default
    #[arg(long, conflicts_with = "ack")]
    observe: bool,
    /// Keep the cursor in this file, and begin there if it exists
    #[arg(long, value_name = "FILE", requires = "subscriber", conflicts_with_all = ["since", "from"])]
    cursor_file: Option<PathBuf>,
    /// Wait for the server instead of giving up if it is not there at first
    #[arg(long)]
    wait: bool,
}

pub(crate) async fn run(app: &App, mut args: Args) -> Result<ExitStatus, Failure> {
    if let Some(where_) = &args.where_ {
        evs_core::filter::parse_where(where_)
            .map_err(|error| Failure::new(ExitStatus::Rejected, format!("where: {}", error.render(where_))))?;
    }
    args.where_ = condition(&args.types, args.where_.take());
    match &args.subscriber {
        Some(subscriber) => follow_subscriber(app, &args, subscriber).await,
        None => follow_all(app, &args).await,
    }
}

/// Both, in the language of filters.
fn condition(types: &[String], where_: Option<String>) -> Option<String> {
    if types.is_empty() {
        return where_;
    }
    let types: Vec<String> = types.iter().map(|it| serde_json::Value::from(it.as_str()).to_string()).collect();
    let types = format!("event_type in [{}]", types.join(", "));
    Some(where_.map_or_else(|| types.clone(), |where_| format!("{types} && ({where_})")))
}

fn options(args: &Args) -> Result<Options, Failure> {
    let mut options = Options {
        consumer: args.consumer.clone(),
        where_: args.where_.clone(),
        observe: !args.ack,
        ack: if args.ack { Ack::OnDelivery } else { Ack::Manual },
        ..Options::default()
    };
    match args.from.as_deref() {
        None => {}
        Some("latest") => options.from = From::Latest,
        Some("earliest" | "beginning") => options.from = From::Earliest,
        Some(text) if text.parse::<Cursor>().is_ok() => options.cursor = Some(text.to_owned()),
        Some(text) => {
            return Err(
                Failure::usage(format!("--from {text:?} is no place")).hint("it is latest, earliest or a cursor")
            );
        }
    }
    match args.since.as_deref() {
        Some(text) if text.parse::<Cursor>().is_ok() => options.cursor = Some(text.to_owned()),
        since => options.since = since.map(str::to_owned),
    }
    if let Some(path) = &args.cursor_file {
        options.cursor = read_cursor(path)?;
    }
    Ok(options)
}

async fn follow_subscriber(app: &App, args: &Args, subscriber: &str) -> Result<ExitStatus, Failure> {
    let mut subscription = app.client()?.subscribe(subscriber, options(args)?)?;
    let result = follow(app, args, &mut subscription).await;
    if let Some(path) = &args.cursor_file {
        keep_cursor(path, &subscription)?;
    }
    // Acks what was shown.
    subscription.close().await;
    result
}

async fn follow(app: &App, args: &Args, subscription: &mut Subscription) -> Result<ExitStatus, Failure> {
    let printer = Printer { app, raw: args.raw };
    let mut connected = false;
    let mut shown = 0_u64;
    let mut cursor_kept = Instant::now();
    let status = loop {
        if args.count.is_some_and(|count| shown >= count) {
            break ExitStatus::Success;
        }
        let item = tokio::select! {
            item = subscription.next() => item,
            status = app.interrupt.wait() => break status,
        };
        match item {
            None => break ExitStatus::Success,
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(StreamItem::Connected(welcome))) => {
                tell_welcome(app, &welcome, connected);
                connected = true;
            }
            Some(Ok(StreamItem::Event(delivery))) => {
                printer.delivery(&delivery)?;
                shown += 1;
                if let Some(path) = args.cursor_file.as_ref().filter(|_| cursor_kept.elapsed() >= CURSOR_EVERY) {
                    keep_cursor(path, subscription)?;
                    cursor_kept = Instant::now();
                }
            }
            // A gap is never to be overlooked, whatever `--quiet` says.
            Some(Ok(StreamItem::Gap(gap))) => {
                crate::output::complain(&format!("{YELLOW}gap:{YELLOW:#} {}", gap_text(&gap)))
            }
            Some(Ok(StreamItem::CaughtUp)) if args.no_follow => break ExitStatus::Success,
            Some(Ok(StreamItem::CaughtUp)) => app.out.say(format!("{DIM}caught up, now live{DIM:#}")),
            Some(Ok(StreamItem::Checkpoint { .. })) => {}
            Some(Ok(StreamItem::Notice { code, message })) => {
                app.out.say(format!("{YELLOW}server:{YELLOW:#} {} ({code})", one_line(&message)));
            }
            Some(Ok(StreamItem::Disconnected { reason, code, retry_in })) => {
                let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
                if !connected && !args.wait {
                    return Err(Failure::new(ExitStatus::Unreachable, format!("{reason}{code}"))
                        .hint("--wait keeps trying; `evs doctor` looks closer"));
                }
                app.out.say(format!(
                    "{YELLOW}disconnected:{YELLOW:#} {reason}{code}; trying again in {}",
                    seconds(retry_in.as_secs_f64())
                ));
            }
        }
    };
    app.out.say(format!("{DIM}{} events{DIM:#}", thousands(shown)));
    if let Some(cursor) = subscription.cursor().filter(|_| args.cursor_file.is_none() && !args.ack && !args.no_follow) {
        app.out.say(format!(
            "{DIM}go on here: evs tail {} --from {cursor}{DIM:#}",
            args.subscriber.as_deref().unwrap_or("")
        ));
    }
    Ok(status)
}

fn tell_welcome(app: &App, welcome: &Welcome, again: bool) {
    let how = match welcome.resumed {
        Resumed::New => "for the first time",
        Resumed::Exact => "where it stopped",
        Resumed::Gap => "after a gap",
        Resumed::NewEpoch => "in a new epoch, without what was seen",
        Resumed::Latest => "at the end",
        Resumed::Backfill => "from the event log",
    };
    let verb = if again { "reconnected" } else { "connected" };
    let who = match welcome.consumer.as_str() {
        // An observer is nobody to the server.
        "" => format!("observing {}", welcome.subscriber),
        consumer => format!("{} as {consumer}", welcome.subscriber),
    };
    let waiting = thousands((welcome.top + 1).saturating_sub(welcome.next));
    app.out.say(format!("{GREEN}{verb}{GREEN:#} {DIM}{who}, {how}; {waiting} waiting{DIM:#}"));
}

fn gap_text(gap: &Gap) -> String {
    let which = match gap.to {
        Some(to) if to == gap.from => format!("delivery {} will not come", gap.from),
        Some(to) => format!("deliveries {} to {to} ({}) will not come", gap.from, thousands(to + 1 - gap.from)),
        None => format!("deliveries from {} on will not come, how many is unknown", gap.from),
    };
    let why = match gap.reason {
        GapReason::Retention => "they were older than the retention, or more than the queue may hold",
        GapReason::Acked => "they were acked by every consumer before",
        GapReason::DataLoss => "the store lost them",
    };
    format!("{which}: {why}")
}

async fn follow_all(app: &App, args: &Args) -> Result<ExitStatus, Failure> {
    let printer = Printer { app, raw: args.raw };
    let since = args.since.clone().or_else(|| match args.from.as_deref() {
        Some("earliest" | "beginning") => Some("beginning".to_owned()),
        _ => args.no_follow.then(|| "10m".to_owned()),
    });
    let mut feed = app.client()?.events_stream(args.where_.clone(), since);
    let mut connected = false;
    let mut shown = 0_u64;
    loop {
        if args.count.is_some_and(|count| shown >= count) {
            return Ok(ExitStatus::Success);
        }
        let item = tokio::select! {
            item = feed.next() => item,
            status = app.interrupt.wait() => return Ok(status),
        };
        match item {
            None => return Ok(ExitStatus::Success),
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(Feed::Connected)) => connected = true,
            Some(Ok(Feed::Item(FeedEvent::Event(event)))) => {
                printer.logged(&event.position, &event.data)?;
                shown += 1;
            }
            Some(Ok(Feed::Item(FeedEvent::Drops(drops)))) => {
                app.out.say(format!(
                    "{YELLOW}dropped:{YELLOW:#} {} events, this reader is too slow",
                    thousands(drops.dropped)
                ));
            }
            Some(Ok(Feed::Item(FeedEvent::CaughtUp))) if args.no_follow => return Ok(ExitStatus::Success),
            Some(Ok(Feed::Item(FeedEvent::CaughtUp))) => {}
            Some(Ok(Feed::Disconnected { error, retry_in })) => {
                if !connected && !args.wait {
                    return Err(error.into());
                }
                app.out.say(format!(
                    "{YELLOW}disconnected:{YELLOW:#} {error}; trying again in {}",
                    seconds(retry_in.as_secs_f64())
                ));
            }
        }
    }
}

struct Printer<'a> {
    app: &'a App,
    raw: bool,
}

#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filters: Option<&'a [u32]>,
    data: &'a RawValue,
}

impl Printer<'_> {
    fn delivery(&self, delivery: &Delivery) -> Result<(), Failure> {
        let envelope = Envelope {
            seq: delivery.seq,
            epoch: delivery.seq.map(|_| &*delivery.epoch),
            position: delivery.position.as_deref(),
            filters: Some(&delivery.filters),
            data: &delivery.data,
        };
        let filters = delivery.filters.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let place = delivery.seq.map_or_else(|| delivery.position.clone().unwrap_or_default(), |seq| format!("#{seq}"));
        self.print(&envelope, &place, &filters)
    }

    fn logged(&self, position: &str, data: &RawValue) -> Result<(), Failure> {
        let envelope = Envelope { seq: None, epoch: None, position: Some(position), filters: None, data };
        self.print(&envelope, position, "")
    }

    /// A line, flushed, so that a pipe sees each event when it comes.
    fn print(&self, envelope: &Envelope<'_>, place: &str, filters: &str) -> Result<(), Failure> {
        if self.raw {
            let mut stdout = std::io::stdout().lock();
            // A line break between tokens would break the line format; it is white space there.
            let text = envelope.data.get();
            let text = if text.contains(['\n', '\r']) {
                text.replace(['\n', '\r'], " ").into()
            } else {
                std::borrow::Cow::Borrowed(text)
            };
            stdout.write_all(text.as_bytes())?;
            stdout.write_all(b"\n")?;
            return Ok(stdout.flush()?);
        }
        match self.app.out.format {
            Format::Yaml => {
                self.app.out.line("---")?;
                self.app.out.json(envelope)
            }
            Format::Template(_) => self.app.out.json(envelope),
            Format::Json | Format::Ndjson => {
                self.app.out.line(serde_json::to_string(envelope)?.replace(['\n', '\r'], " "))
            }
            Format::Name => self.app.out.line(field(envelope.data, "event_id").unwrap_or_default()),
            Format::Table | Format::Wide => {
                let wide = self.app.out.format == Format::Wide;
                self.app.out.line(for_people(envelope.data, place, filters, wide))
            }
        }
    }
}

/// Place, time, type, user, tier, amount; with `wide`, or if it has no such fields, the whole event.
fn for_people(data: &RawValue, place: &str, filters: &str, wide: bool) -> String {
    let known = |name: &str| field(data, name);
    let mut line = format!("{DIM}{place:>8}{DIM:#}");
    let mut any = false;
    if let Some(time) = known("timestamp") {
        line.push_str(&format!(" {DIM}{time}{DIM:#}"));
    }
    if let Some(event_type) = known("event_type") {
        any = true;
        line.push_str(&format!(" {CYAN}{event_type:<12}{CYAN:#}"));
    }
    if let Some(user) = known("user_id") {
        any = true;
        line.push_str(&format!(" {user:<10}"));
    }
    if let Some(tier) = known("user_tier") {
        line.push_str(&format!(" {tier:<10}"));
    }
    if let Some(amount) = known("amount") {
        line.push_str(&format!(" {BOLD}{amount:>9}{BOLD:#}"));
    }
    if !filters.is_empty() {
        line.push_str(&format!("  {DIM}filter {filters}{DIM:#}"));
    }
    if wide || !any {
        line.push_str("  ");
        line.push_str(&one_line(data.get()));
    }
    line
}

fn field(data: &RawValue, name: &str) -> Option<String> {
    let event = evs_core::Event::trusted(bytes::Bytes::copy_from_slice(data.get().as_bytes()));
    event.text(name).map(|text| one_line(&text))
}

fn read_cursor(path: &Path) -> Result<Option<String>, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::usage(format!("cannot read the cursor from {}: {error}", path.display()))),
    }
}

/// Whole or not at all.
fn keep_cursor(path: &Path, subscription: &Subscription) -> Result<(), Failure> {
    let Some(cursor) = subscription.cursor() else { return Ok(()) };
    let new = path.with_extension("new");
    std::fs::write(&new, format!("{cursor}\n")).and_then(|()| std::fs::rename(&new, path)).map_err(|error| {
        Failure::new(ExitStatus::Failure, format!("cannot write the cursor to {}: {error}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        let mut out = Vec::new();
        let mut stream = anstream::StripStream::new(&mut out);
        stream.write_all(text.as_bytes()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn types_and_a_condition_are_one_condition() {
        assert_eq!(condition(&[], None), None);
        let both = condition(&["a".into(), "b\"c".into()], Some("n > 1 || n < 0".into())).unwrap();
        assert_eq!(both, r#"event_type in ["a", "b\"c"] && (n > 1 || n < 0)"#);
        assert!(evs_core::filter::parse_where(&both).is_ok());
    }

    #[test]
    fn events_read_as_lines() {
        let data = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let event = data(r#"{"event_type":"purchase","user_id":"user_1","amount":120.50,"user_tier":"premium"}"#);
        assert_eq!(
            plain(&for_people(&event, "#7", "3", false)),
            "      #7 purchase     user_1     premium       120.50  filter 3"
        );
        assert_eq!(plain(&for_people(&data(r#"{"a":1}"#), "0:5", "", false)), "     0:5  {\"a\":1}");
        let evil = data(r#"{"event_type":"\u001b[31m"}"#);
        assert!(!plain(&for_people(&evil, "", "", false)).contains('\u{1b}'));
    }

    #[test]
    fn gaps_are_told_with_their_reason() {
        let gap = Gap { from: 5, to: Some(9), reason: GapReason::Retention };
        assert!(gap_text(&gap).starts_with("deliveries 5 to 9 (5) will not come: they were older"));
        assert!(gap_text(&Gap { to: Some(5), ..gap.clone() }).starts_with("delivery 5 will"));
        assert!(gap_text(&Gap { to: None, ..gap }).contains("unknown"));
    }
}
