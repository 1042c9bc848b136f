//! `evs doctor`: checks everything between here and the server; each finding with its cause and what to do.

mod checks;

use std::time::Duration;

use serde::Serialize;

use crate::app::App;
use crate::exit::{ExitStatus, Failure};
use crate::output::{BOLD, CYAN, DIM, GREEN, RED, YELLOW};

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  evs doctor
  evs doctor --no-round-trip -o json           changes nothing

The round trip creates a filter for a subscriber of its own, publishes one event, waits for it,
and deletes the subscriber. Exit code 8 if a check failed. Paste the output into a bug report: it holds no secrets.")]
pub(crate) struct Args {
    /// Do not create, publish or delete anything
    #[arg(long)]
    no_round_trip: bool,
    /// How long the round trip may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = crate::quantity::duration)]
    round_trip_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Ok,
    Warning,
    Failed,
    /// It could not be looked at, because of a check before.
    Skipped,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    check: &'static str,
    verdict: Verdict,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn new(check: &'static str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { check, verdict, detail: detail.into(), cause: None, fix: None }
    }

    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, detail)
    }

    fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

pub(crate) async fn run(app: &App, args: Args) -> Result<ExitStatus, Failure> {
    let mut report = Report { app, findings: Vec::new() };
    let working = checks::all(app, &args, &mut report);
    tokio::select! {
        result = working => result?,
        status = app.interrupt.wait() => return Ok(status),
    }
    let count = |verdict| report.findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (failed, warnings) = (count(Verdict::Failed), count(Verdict::Warning));
    match app.out.format {
        crate::args::Format::Json | crate::args::Format::Yaml => app.out.json(&report.findings)?,
        crate::args::Format::Ndjson | crate::args::Format::Template(_) => {
            report.findings.iter().try_for_each(|finding| app.out.json(finding))?
        }
        _ => app.out.line(format!(
            "\n{BOLD}{}{BOLD:#} {} ok, {warnings} warnings, {failed} failed, {} skipped",
            if failed > 0 { "not well:" } else { "well:" },
            count(Verdict::Ok),
            count(Verdict::Skipped)
        ))?,
    }
    Ok(if failed > 0 { ExitStatus::CheckFailed } else { ExitStatus::Success })
}

/// Tells each finding as it is made: a check may take its time.
struct Report<'a> {
    app: &'a App,
    findings: Vec<Finding>,
}

impl Report<'_> {
    fn add(&mut self, finding: Finding) -> Result<Verdict, Failure> {
        if !self.app.out.is_json() {
            let mark = match finding.verdict {
                Verdict::Ok => format!("{GREEN}ok     {GREEN:#}"),
                Verdict::Warning => format!("{YELLOW}warning{YELLOW:#}"),
                Verdict::Failed => format!("{RED}FAILED {RED:#}"),
                Verdict::Skipped => format!("{DIM}skipped{DIM:#}"),
            };
            self.app.out.line(format!("{mark} {:<14} {}", finding.check, crate::output::one_line(&finding.detail)))?;
            if let Some(cause) = &finding.cause {
                self.app.out.line(format!("        {DIM}cause{DIM:#} {cause}"))?;
            }
            if let Some(fix) = &finding.fix {
                self.app.out.line(format!("        {CYAN}fix{CYAN:#}   {fix}"))?;
            }
        }
        let verdict = finding.verdict;
        self.findings.push(finding);
        Ok(verdict)
    }
}
