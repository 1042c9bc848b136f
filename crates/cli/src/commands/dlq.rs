//! `evs dlq`: records that could not be read as events.

use base64::Engine as _;
use clap::Subcommand;
use evs_client::api::dead_letters::DeadLetter;

use crate::app::App;
use crate::exit::{ExitStatus, Failure};
use crate::output::{Column, GREEN, YELLOW, one_line, time_ms};

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// List dead letters
    #[command(
        visible_alias = "ls",
        after_help = "\
Examples:
  evs dlq list
  evs dlq list --raw -n 1000 > records"
    )]
    List {
        /// At most this many
        #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
        limit: usize,
        /// Write the records as they came, one a line, and nothing else
        #[arg(long)]
        raw: bool,
    },
    /// Try again to read dead letters as events
    #[command(after_help = "\
Examples:
  evs dlq replay --all")]
    Replay(Selection),
    /// Delete dead letters
    #[command(after_help = "\
Examples:
  evs dlq purge --all --yes")]
    Purge(Selection),
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Selection {
    /// Which ones
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All of them
    #[arg(long)]
    all: bool,
}

const COLUMNS: &[Column<DeadLetter>] = &[
    Column::new("ID", |it| it.id.clone()),
    Column::new("TIME", |it| time_ms(it.time_ms)),
    Column::new("POSITION", |it| it.position.clone()),
    Column::new("REASON", |it| it.reason.clone()),
    Column::new("DETAIL", |it| one_line(&it.detail)),
    Column::wide("RECORD", |it| one_line(&String::from_utf8_lossy(&payload(it)))),
];

fn payload(letter: &DeadLetter) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(&letter.payload_base64).unwrap_or_default()
}

pub(crate) async fn run(app: &App, command: DlqCommand) -> Result<ExitStatus, Failure> {
    let client = app.client()?;
    match command {
        DlqCommand::List { limit, raw } => {
            let mut items = Vec::new();
            let mut page = None;
            loop {
                let next = client.dead_letters(Some((limit - items.len()).min(1_000)), page.as_deref()).await?;
                items.extend(next.items);
                page = next.next;
                if page.is_none() || items.len() >= limit {
                    break;
                }
            }
            if raw {
                use std::io::Write;
                let mut stdout = std::io::stdout().lock();
                for letter in &items {
                    stdout.write_all(&payload(letter))?;
                    stdout.write_all(b"\n")?;
                }
                return Ok(ExitStatus::Success);
            }
            app.out.list(&items, COLUMNS)?;
            Ok(ExitStatus::Success)
        }
        DlqCommand::Replay(selection) => {
            let answer = client.replay_dead_letters(&selection.ids).await?;
            if app.out.is_json() {
                app.out.json(&answer)?;
            }
            app.out.say(format!("{GREEN}{} replayed{GREEN:#}, {} failed again", answer.replayed, answer.failed));
            if answer.failed > 0 {
                app.out.say(format!("{YELLOW}those that failed stay{YELLOW:#}: evs dlq list"));
                return Ok(ExitStatus::CheckFailed);
            }
            Ok(ExitStatus::Success)
        }
        DlqCommand::Purge(selection) => {
            let what = if selection.all {
                "all dead letters".to_owned()
            } else {
                format!("{} dead letters", selection.ids.len())
            };
            app.confirm(&format!("delete {what} for good"))?;
            client.purge_dead_letters(&selection.ids).await?;
            app.out.say(format!("{GREEN}deleted{GREEN:#} {what}"));
            Ok(ExitStatus::Success)
        }
    }
}
