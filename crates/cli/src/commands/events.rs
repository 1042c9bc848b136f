//! `evs events`: looks into the event log.

use evs_client::EventsQuery;
use evs_client::api::events::LoggedEvent;

use crate::app::App;
use crate::args::Format;
use crate::exit::{ExitStatus, Failure};
use crate::output::{Column, DIM, one_line, time_ms};

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  evs events --since 5m --where 'amount > 1000'
  evs events 0:1234                               one event
  evs events --from 0:1000 -n 10 -o ndjson")]
pub(crate) struct Args {
    /// One event, partition:offset
    #[arg(value_name = "POSITION", conflicts_with_all = ["since", "from", "where_"])]
    position: Option<String>,
    /// Since then: 10m, RFC 3339, or beginning
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// From this one on, partition:offset
    #[arg(long, value_name = "POSITION", conflicts_with = "since")]
    from: Option<String>,
    /// Only events that match this
    #[arg(short, long = "where", value_name = "EXPR")]
    where_: Option<String>,
    /// At most this many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

const COLUMNS: &[Column<LoggedEvent>] = &[
    Column::new("POSITION", |it| it.position.clone()),
    Column::new("TIME", |it| time_ms(it.time_ms)),
    Column::new("EVENT", |it| one_line(it.data.get())),
];

pub(crate) async fn run(app: &App, args: Args) -> Result<ExitStatus, Failure> {
    let client = app.client()?;
    if let Some(position) = &args.position {
        let event = client.event(position).await?;
        let event =
            event.ok_or_else(|| Failure::new(ExitStatus::NotFound, format!("there is no event at {position}")))?;
        match app.out.format {
            Format::Json | Format::Ndjson | Format::Yaml | Format::Template(_) => app.out.json(&event)?,
            Format::Name => app.out.line(&event.position)?,
            Format::Table | Format::Wide => {
                app.out.line(format!("{DIM}{} {}{DIM:#}", event.position, time_ms(event.time_ms)))?;
                // As it was published: parsing would change the order of its fields and its numbers.
                app.out.line(one_line(event.data.get()))?;
            }
        }
        return Ok(ExitStatus::Success);
    }
    let mut query = EventsQuery { since: args.since, from: args.from, where_: args.where_, ..EventsQuery::default() };
    let mut items = Vec::new();
    loop {
        query.limit = Some((args.limit - items.len()).min(1_000));
        let page = client.events(&query).await?;
        items.extend(page.items);
        query.page = page.next;
        if query.page.is_none() || items.len() >= args.limit {
            break;
        }
    }
    app.out.list(&items, COLUMNS)?;
    Ok(ExitStatus::Success)
}
