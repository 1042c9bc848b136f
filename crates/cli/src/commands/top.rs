//! `evs top`: the subscribers that are furthest behind.

use std::io::IsTerminal;
use std::time::Duration;

use evs_client::SubscribersQuery;

use super::{stats, subscribers};
use crate::app::App;
use crate::exit::{ExitStatus, Failure};

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  evs top
  evs top --once -n 50")]
pub(crate) struct Args {
    /// Show them once instead of again and again; so it is where the output is no terminal
    #[arg(long)]
    once: bool,
    /// How many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 15)]
    limit: usize,
    /// How often
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = crate::quantity::duration)]
    every: Duration,
}

pub(crate) async fn run(app: &App, args: Args) -> Result<ExitStatus, Failure> {
    let client = app.client()?;
    let query = SubscribersQuery { limit: Some(args.limit), ..SubscribersQuery::default() };
    let again = !args.once && !app.out.is_json() && std::io::stdout().is_terminal();
    loop {
        let (stats, page) = (client.stats().await?, client.subscribers(&query).await?);
        if !app.out.is_json() {
            let clear = if again { stats::CLEAR } else { "" };
            app.out.line(format!("{clear}{}\n", stats::describe(&stats)))?;
        }
        app.out.list(&page.items, subscribers::COLUMNS)?;
        if !again {
            return Ok(ExitStatus::Success);
        }
        tokio::select! {
            () = tokio::time::sleep(args.every.max(Duration::from_millis(200))) => {}
            status = app.interrupt.wait() => return Ok(status),
        }
    }
}
