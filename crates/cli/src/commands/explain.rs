//! `evs explain`: why a subscriber did or did not get an event.

use crate::app::App;
use crate::exit::{ExitStatus, Failure};
use crate::output::{BOLD, DIM, GREEN, RED, YELLOW, one_line};

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  evs explain user_1 0:1234
  evs explain user_1 f893a2ee-fb32-455e-b1c1-8690ee42c90b")]
pub(crate) struct Args {
    #[arg(value_name = "SUBSCRIBER", add = clap_complete::engine::ArgValueCompleter::new(crate::complete::subscribers))]
    subscriber: String,
    /// A position (partition:offset) or an event's id
    #[arg(value_name = "EVENT")]
    event: String,
}

pub(crate) async fn run(app: &App, args: Args) -> Result<ExitStatus, Failure> {
    let explanation = app.client()?.explain(&args.subscriber, &args.event).await?;
    if app.out.is_json() {
        app.out.json(&explanation)?;
        return Ok(ExitStatus::Success);
    }
    let verdict =
        if explanation.matched { format!("{GREEN}matches{GREEN:#}") } else { format!("{RED}does not match{RED:#}") };
    let id = explanation.event_id.as_deref().map(|id| format!(" {DIM}({}){DIM:#}", one_line(id))).unwrap_or_default();
    app.out.line(format!("event {}{id} {verdict} {}", explanation.position, explanation.subscriber))?;
    for filter in &explanation.filters {
        let verdict = if filter.matched { format!("{GREEN}match{GREEN:#}") } else { format!("{RED}no match{RED:#}") };
        app.out.line(format!("\n{BOLD}filter {}{BOLD:#} {verdict}", filter.id))?;
        for clause in &filter.clauses {
            let mark = match clause.outcome.as_str() {
                "true" => format!("{GREEN}+{GREEN:#}"),
                "false" => format!("{RED}-{RED:#}"),
                _ => format!("{YELLOW}!{YELLOW:#}"),
            };
            let saw = clause.saw.as_deref().map(|saw| format!("   {DIM}{}{DIM:#}", one_line(saw))).unwrap_or_default();
            app.out.line(format!("  {mark} {}{saw}", one_line(&clause.text)))?;
        }
    }
    if !explanation.trail.is_empty() {
        app.out.line(format!("\n{BOLD}what became of it{BOLD:#}"))?;
    }
    for step in &explanation.trail {
        app.out.line(format!("  {:<12} {DIM}{}{DIM:#}", step.step, one_line(&step.detail)))?;
    }
    Ok(ExitStatus::Success)
}
