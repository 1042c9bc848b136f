//! `evs subscribers`: who gets events, and how far behind they are.

use clap::{Subcommand, ValueEnum};
use evs_client::api::subscribers::{Consumer, Subscriber, SubscriberDetail, SubscriberState};
use evs_client::{Client, ResetTo, SubscriberSort, SubscribersQuery};

use crate::app::App;
use crate::args::Format;
use crate::exit::{ExitStatus, Failure};
use crate::output::{BOLD, Column, DIM, GREEN, or_dash, time_ms};
use crate::quantity::{seconds, thousands};

#[derive(Debug, Subcommand)]
pub(crate) enum SubscribersCommand {
    /// List subscribers, the furthest behind first
    #[command(
        visible_alias = "ls",
        after_help = "\
Examples:
  evs subscribers list --sort lag-time
  evs subscribers list -o name"
    )]
    List(ListArgs),
    /// One subscriber with its consumers
    #[command(after_help = "\
Examples:
  evs subscribers get user_1
  evs subscribers get user_1 --max-lag 1k      exit code 8 if it is further behind")]
    Get {
        #[arg(value_name = "ID", add = clap_complete::engine::ArgValueCompleter::new(crate::complete::subscribers))]
        id: String,
        /// Exit with 8 if it is more events behind than this
        #[arg(long, value_name = "EVENTS", value_parser = crate::quantity::count)]
        max_lag: Option<u64>,
    },
    /// How many events a subscriber is behind, and nothing else
    #[command(after_help = "\
Examples:
  evs subscribers lag user_1
  evs subscribers lag user_1 --max 1k          exit code 8 if it is further behind")]
    Lag {
        #[arg(value_name = "ID", add = clap_complete::engine::ArgValueCompleter::new(crate::complete::subscribers))]
        id: String,
        /// Exit with 8 if it is more events behind than this
        #[arg(long, value_name = "EVENTS", value_parser = crate::quantity::count)]
        max: Option<u64>,
    },
    /// Delete a subscriber with its filters and its queue
    #[command(
        visible_alias = "rm",
        after_help = "\
Examples:
  evs subscribers delete user_1 --yes"
    )]
    Delete {
        #[arg(value_name = "ID", add = clap_complete::engine::ArgValueCompleter::new(crate::complete::subscribers))]
        id: String,
    },
    /// Put a consumer elsewhere in its queue
    #[command(after_help = "\
Examples:
  evs subscribers reset user_1 --to latest
  evs subscribers reset user_1 --consumer phone --to earliest")]
    Reset {
        #[arg(value_name = "ID", add = clap_complete::engine::ArgValueCompleter::new(crate::complete::subscribers))]
        id: String,
        /// Which consumer [default: the default one]
        #[arg(long, value_name = "NAME")]
        consumer: Option<String>,
        /// latest, earliest, or a seq, as if all up to it were acked
        #[arg(long, value_name = "PLACE", value_parser = place)]
        to: ResetTo,
    },
}

#[derive(clap::Args, Debug)]
pub(crate) struct ListArgs {
    /// Order by
    #[arg(long, value_name = "COLUMN", default_value = "lag")]
    sort: Sort,
    /// The smallest first
    #[arg(long)]
    ascending: bool,
    /// Only ids that contain this
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Only those in one of these states: live, slow, away, new (nobody has read it yet)
    #[arg(long, value_name = "STATES")]
    state: Option<String>,
    /// At most this many; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Sort {
    Lag,
    LagTime,
    Id,
    Rate,
    Filters,
    State,
    LastAck,
}

impl From<Sort> for SubscriberSort {
    fn from(sort: Sort) -> Self {
        match sort {
            Sort::Lag => Self::LagEvents,
            Sort::LagTime => Self::LagSeconds,
            Sort::Id => Self::Id,
            Sort::Rate => Self::DeliveredPerSecond,
            Sort::Filters => Self::Filters,
            Sort::State => Self::State,
            Sort::LastAck => Self::LastAck,
        }
    }
}

fn place(text: &str) -> Result<ResetTo, String> {
    match text {
        "latest" => Ok(ResetTo::Latest),
        "earliest" => Ok(ResetTo::Earliest),
        _ => text.parse().map(ResetTo::Seq).map_err(|_| format!("{text:?} is neither latest, earliest nor a seq")),
    }
}

pub(crate) const COLUMNS: &[Column<Subscriber>] = &[
    Column::new("SUBSCRIBER", |it| it.id.clone()),
    Column::new("STATE", |it| state(it.state).to_owned()),
    Column::right("LAG", |it| thousands(it.lag_events)),
    Column::right("LAG TIME", |it| or_dash(it.lag_s.map(seconds))),
    Column::right("RATE/S", |it| format!("{:.1}", it.delivered_per_s)),
    Column::right("FILTERS", |it| it.filters.to_string()),
    Column::right("LOSS IN", |it| or_dash(it.data_loss_in_s.map(seconds))),
    Column::right("LOST", |it| thousands(it.lost)),
    Column::right_wide("CONNECTIONS", |it| it.connections.to_string()),
    Column::right_wide("TOP", |it| it.top.to_string()),
    Column::right_wide("ACKED", |it| it.acked.to_string()),
    Column::wide("LAST ACK", |it| or_dash(it.last_ack_ms.map(time_ms))),
    Column::right_wide("SHARD", |it| it.shard.to_string()),
    Column::right_wide("SLOT", |it| it.slot.to_string()),
];

const CONSUMER_COLUMNS: &[Column<Consumer>] = &[
    Column::new("CONSUMER", |it| it.name.clone()),
    Column::new("CONNECTED", |it| if it.connected { "yes" } else { "no" }.to_owned()),
    Column::right("LAG", |it| thousands(it.lag_events)),
    Column::right("ACKED", |it| it.acked.to_string()),
    Column::new("LAST ACK", |it| or_dash(it.last_ack_ms.map(time_ms))),
    Column::new("CURSOR", |it| it.cursor.clone()),
];

fn state(state: SubscriberState) -> &'static str {
    match state {
        SubscriberState::Live => "live",
        SubscriberState::Slow => "slow",
        SubscriberState::Away => "away",
        SubscriberState::New => "new",
    }
}

pub(crate) async fn run(app: &App, command: SubscribersCommand) -> Result<ExitStatus, Failure> {
    let client = app.client()?;
    match command {
        SubscribersCommand::List(args) => list(app, &client, args).await,
        SubscribersCommand::Get { id, max_lag } => get(app, &client, &id, max_lag).await,
        SubscribersCommand::Lag { id, max } => {
            let subscriber = find(&client, &id).await?.subscriber;
            if app.out.is_json() {
                let lag = serde_json::json!({
                    "id": subscriber.id,
                    "lag_events": subscriber.lag_events,
                });
                app.out.json(&lag)?;
            } else {
                app.out.line(subscriber.lag_events.to_string())?;
            }
            Ok(judge(app, &id, subscriber.lag_events, max))
        }
        SubscribersCommand::Delete { id } => {
            app.confirm(&format!("delete subscriber {id} with its filters and all that waits in its queue"))?;
            client.delete_subscriber(&id).await?;
            app.out.say(format!("{GREEN}deleted{GREEN:#} subscriber {id}"));
            Ok(ExitStatus::Success)
        }
        SubscribersCommand::Reset { id, consumer, to } => {
            let name = consumer.as_deref().unwrap_or("default");
            app.confirm(&format!("put consumer {name} of {id} to {to}"))?;
            client.reset_subscriber(&id, consumer.as_deref(), to).await?;
            app.out.say(format!("{GREEN}reset{GREEN:#} consumer {name} of {id} to {to}"));
            Ok(ExitStatus::Success)
        }
    }
}

async fn list(app: &App, client: &Client, args: ListArgs) -> Result<ExitStatus, Failure> {
    let wanted = if args.limit == 0 { usize::MAX } else { args.limit };
    let mut query = SubscribersQuery {
        sort: Some(args.sort.into()),
        ascending: Some(args.ascending || matches!(args.sort, Sort::Id)),
        search: args.search,
        states: args.state,
        ..SubscribersQuery::default()
    };
    let mut items = Vec::new();
    let mut total = None;
    loop {
        query.limit = Some((wanted - items.len()).min(1_000));
        let page = client.subscribers(&query).await?;
        items.extend(page.items);
        total = page.total.or(total);
        query.page = page.next;
        if query.page.is_none() || items.len() >= wanted {
            break;
        }
    }
    app.out.list(&items, COLUMNS)?;
    if query.page.is_some() {
        let of = total.map(|total| format!(" of {}", thousands(total))).unwrap_or_default();
        app.out.say(format!("{DIM}{}{of} shown; -n 0 for all{DIM:#}", items.len()));
    }
    Ok(ExitStatus::Success)
}

async fn find(client: &Client, id: &str) -> Result<SubscriberDetail, Failure> {
    client.subscriber(id).await?.ok_or_else(|| {
        Failure::new(ExitStatus::NotFound, format!("there is no subscriber {id:?}"))
            .hint("a subscriber comes to be with its first filter: evs filter create --subscriber …")
    })
}

fn judge(app: &App, id: &str, lag: u64, max: Option<u64>) -> ExitStatus {
    match max.filter(|max| lag > *max) {
        Some(max) => {
            app.out.say(format!("{id} is {} events behind, more than {}", thousands(lag), thousands(max)));
            ExitStatus::CheckFailed
        }
        None => ExitStatus::Success,
    }
}

async fn get(app: &App, client: &Client, id: &str, max_lag: Option<u64>) -> Result<ExitStatus, Failure> {
    let detail = find(client, id).await?;
    let lag = detail.subscriber.lag_events;
    match app.out.format {
        Format::Json | Format::Ndjson | Format::Yaml | Format::Template(_) => app.out.json(&detail)?,
        Format::Name => app.out.line(&detail.subscriber.id)?,
        Format::Table | Format::Wide => {
            app.out.list(std::slice::from_ref(&detail.subscriber), COLUMNS)?;
            app.out.line("")?;
            app.out.list(&detail.consumers, CONSUMER_COLUMNS)?;
            let filters = detail.filter_ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            app.out.line(format!(
                "\n{BOLD}filters{BOLD:#} {filters}   {BOLD}epoch{BOLD:#} {}   {BOLD}spilled{BOLD:#} {}",
                detail.epoch,
                thousands(detail.spilled)
            ))?;
        }
    }
    Ok(judge(app, id, lag, max_lag))
}
