//! `evs filter test` and `explain`: by the very code of the server, here or there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use evs_client::api::filters::TestRequest;
use evs_core::Event;
use evs_core::filter::{Explanation, Outcome};
use serde::Serialize;

use super::missing;
use super::spec::{ConditionArgs, compile, read_text, shown, spec_of};
use crate::app::App;
use crate::exit::{ExitStatus, Failure};
use crate::output::{DIM, GREEN, RED, YELLOW, one_line, time_ms};

#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    #[command(flatten)]
    condition: ConditionArgs,
    /// A filter of the server instead of a condition
    #[arg(long, value_name = "ID", conflicts_with_all = ["types", "tiers", "min_amount", "where_"])]
    filter: Option<u32>,
    /// Events to try it on, one JSON object a line; - for standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "since")]
    event: Option<PathBuf>,
    /// Try it on the server's traffic since then: 10m, 1h, or RFC 3339
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Matches to show
    #[arg(long, value_name = "N", default_value_t = 5)]
    samples: u32,
}

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    condition: ConditionArgs,
}

pub(crate) async fn run(app: &App, args: TestArgs) -> Result<ExitStatus, Failure> {
    let spec = match args.filter {
        Some(id) => spec_of(&app.client()?.filter(id).await?.ok_or_else(|| missing(id))?.filter),
        None if args.condition.is_empty() => {
            return Err(
                Failure::usage("which filter?").hint("give --where, --type, --tier, --min-amount or --filter ID")
            );
        }
        None => args.condition.spec(),
    };
    let filter = compile(&spec)?;
    if let Some(reason) = filter.never_matches() {
        app.out.say(format!("{YELLOW}warning:{YELLOW:#} it can never match: {reason}"));
    }
    match (&args.event, &args.since) {
        (Some(file), _) => offline(app, &filter, file),
        (None, Some(_)) => {
            let request = TestRequest {
                event_types: spec.event_types,
                user_tiers: spec.user_tiers,
                min_amount: spec.min_amount,
                where_: spec.where_,
                since: args.since,
                samples: Some(args.samples),
            };
            online(app, &request).await
        }
        (None, None) => Err(Failure::usage("try it on what?")
            .hint("--event FILE (or - for standard input) works offline, --since 1h asks the server")),
    }
}

#[derive(Serialize)]
struct Verdict<'a> {
    line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    matches: bool,
    clauses: Vec<ClauseVerdict<'a>>,
}

#[derive(Serialize)]
struct ClauseVerdict<'a> {
    field: &'static str,
    text: &'a str,
    outcome: String,
    seen: Vec<String>,
}

fn offline(app: &App, filter: &evs_core::Filter, file: &Path) -> Result<ExitStatus, Failure> {
    let text = read_text(file)?;
    let mut matched = 0_u64;
    let mut tried = 0_u64;
    for (line, bytes) in events(&text) {
        let event = Event::parse(bytes)
            .map_err(|error| Failure::new(ExitStatus::Rejected, format!("{}, line {line}: {error}", shown(file))))?;
        let explanation = filter.explain(&event);
        tried += 1;
        matched += u64::from(explanation.matches);
        tell(app, line, &event, &explanation)?;
    }
    if tried == 0 {
        return Err(Failure::usage(format!("{} holds no event", shown(file))));
    }
    if tried > 1 {
        app.out.say(format!("{matched} of {tried} events match"));
    }
    Ok(if matched > 0 { ExitStatus::Success } else { ExitStatus::CheckFailed })
}

/// One pretty-printed object, or one a line.
fn events(text: &str) -> Vec<(usize, Bytes)> {
    if serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok() {
        return vec![(1, Bytes::copy_from_slice(text.as_bytes()))];
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(at, line)| (at + 1, Bytes::copy_from_slice(line.as_bytes()))).collect()
}

fn tell(app: &App, line: usize, event: &Event, explanation: &Explanation) -> Result<(), Failure> {
    if app.out.is_json() {
        let clauses = explanation.clauses.iter().map(|clause| ClauseVerdict {
            field: clause.field,
            text: &clause.text,
            outcome: outcome(&clause.outcome),
            seen: seen(clause),
        });
        return app.out.json(&Verdict {
            line,
            event_id: event.event_id().map(|id| id.into_owned()),
            matches: explanation.matches,
            clauses: clauses.collect(),
        });
    }
    let verdict = if explanation.matches { format!("{GREEN}match{GREEN:#}") } else { format!("{RED}no match{RED:#}") };
    let id = event.event_id().map(|id| format!(" {DIM}{}{DIM:#}", one_line(&id))).unwrap_or_default();
    app.out.line(format!("line {line}: {verdict}{id}"))?;
    for clause in &explanation.clauses {
        let mark = if clause.outcome.is_true() { format!("{GREEN}+{GREEN:#}") } else { format!("{RED}-{RED:#}") };
        let saw = seen(clause).join(", ");
        let saw = if saw.is_empty() { saw } else { format!("   {DIM}{saw}{DIM:#}") };
        let error = match &clause.outcome {
            Outcome::Error(error) => format!("   {YELLOW}error: {error}{YELLOW:#}"),
            Outcome::True | Outcome::False => String::new(),
        };
        app.out.line(format!("  {mark} {}{saw}{error}", one_line(&clause.text)))?;
    }
    Ok(())
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::True => "true".to_owned(),
        Outcome::False => "false".to_owned(),
        Outcome::Error(error) => format!("error: {error}"),
    }
}

fn seen(clause: &evs_core::filter::Clause) -> Vec<String> {
    let seen = clause.seen.iter();
    seen.map(|seen| format!("{} is {}", seen.path, one_line(seen.value.as_deref().unwrap_or("absent")))).collect()
}

async fn online(app: &App, request: &TestRequest) -> Result<ExitStatus, Failure> {
    let answer = app.client()?.test_filter(request).await?;
    let status = if answer.matched > 0 { ExitStatus::Success } else { ExitStatus::CheckFailed };
    if app.out.is_json() {
        app.out.json(&answer)?;
        return Ok(status);
    }
    if let Some(warning) = &answer.warning {
        app.out.say(format!("{YELLOW}warning:{YELLOW:#} {warning}"));
    }
    let share = answer.matched as f64 / answer.scanned.max(1) as f64 * 100.0;
    app.out.line(format!("condition  {}", one_line(&answer.canonical)))?;
    app.out.line(format!(
        "matched    {} of {} events ({share:.2} %), {:.2}/s over {}{}",
        answer.matched,
        answer.scanned,
        answer.matched_per_s,
        crate::quantity::seconds(answer.span_s),
        if answer.truncated { ", not all that there are" } else { "" }
    ))?;
    for sample in &answer.samples {
        app.out.line(format!(
            "{DIM}{} {}{DIM:#} {}",
            time_ms(sample.time_ms),
            sample.position,
            one_line(sample.data.get())
        ))?;
    }
    Ok(status)
}

#[derive(Serialize)]
struct Meaning {
    canonical: String,
    fields: BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    never_matches: Option<String>,
}

pub(crate) fn explain(app: &App, args: &ExplainArgs) -> Result<ExitStatus, Failure> {
    if args.condition.is_empty() {
        return Err(Failure::usage("explain what?").hint("give --where, --type, --tier or --min-amount"));
    }
    let filter = compile(&args.condition.spec())?;
    let condition = filter.condition();
    let mut fields = BTreeSet::new();
    condition.for_each_path(&mut |path| {
        fields.insert(path.to_string());
    });
    let meaning = Meaning { canonical: condition.to_string(), fields, never_matches: filter.never_matches() };
    if app.out.is_json() {
        app.out.json(&meaning)?;
    } else {
        app.out.line(format!("condition  {}", meaning.canonical))?;
        app.out.line(format!("fields     {}", meaning.fields.iter().cloned().collect::<Vec<_>>().join(", ")))?;
        if let Some(reason) = &meaning.never_matches {
            app.out.line(format!("{YELLOW}matches    never: {reason}{YELLOW:#}"))?;
        }
    }
    Ok(ExitStatus::Success)
}
