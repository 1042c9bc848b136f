//! `evs filter`: who gets which events.

mod bulk;
mod spec;
mod test;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use evs_client::api::filters::{Filter, FilterStatus};

use crate::app::App;
use crate::args::Format;
use crate::exit::{ExitStatus, Failure};
use crate::output::{Column, DIM, GREEN, or_dash, time_ms};
use crate::quantity;
use spec::{SpecArgs, read_specs, spec_of};
pub(crate) use spec::{compile, read_text};

#[derive(Debug, Subcommand)]
pub(crate) enum FilterCommand {
    /// Create a filter; one with a name replaces the one of that name
    #[command(after_help = "\
Examples:
  evs filter create --subscriber user_1 --type purchase --tier premium --min-amount 100
  evs filter create --subscriber user_1 --name eu --where 'country in [\"DE\",\"FR\"] && amount > 50'
  echo '{\"subscriber_id\":\"user_1\",\"event_types\":[\"login\"]}' | evs filter create -f -")]
    Create(CreateArgs),
    /// List filters
    #[command(
        visible_alias = "ls",
        after_help = "\
Examples:
  evs filter list
  evs filter list -o 'template={id} {where}'"
    )]
    List(ListArgs),
    /// Show one filter
    #[command(after_help = "\
Examples:
  evs filter get 7
  evs filter get 7 -o yaml")]
    Get {
        #[arg(value_name = "ID", add = clap_complete::engine::ArgValueCompleter::new(crate::complete::filters))]
        id: u32,
    },
    /// Replace a filter: what is not given goes
    #[command(after_help = "\
Examples:
  evs filter update 7 --type purchase --min-amount 500")]
    Update(UpdateArgs),
    /// Delete filters
    #[command(
        visible_alias = "rm",
        after_help = "\
Examples:
  evs filter delete 7 8 --yes"
    )]
    Delete {
        #[arg(value_name = "ID", required = true, add = clap_complete::engine::ArgValueCompleter::new(crate::complete::filters))]
        ids: Vec<u32>,
    },
    /// Try a filter: on an event here, or on recent traffic of the server
    #[command(after_help = "\
Examples:
  evs filter test --where 'amount >= 100' --event event.json     offline, by the server's own code
  evs produce --count 100 --dry-run | evs filter test --type purchase --event -
  evs filter test --where 'amount >= 100' --since 1h             what it would have delivered

Exit code 8 if no event matched.")]
    Test(test::TestArgs),
    /// What a filter means: its canonical form and the fields it reads; offline
    #[command(after_help = "\
Examples:
  evs filter explain --where 'amount > 100 && !(tier == \"free\")'")]
    Explain(test::ExplainArgs),
    /// Create filters from NDJSON; lines with a name can be sent again
    #[command(after_help = "\
Examples:
  evs filter import filters.ndjson
  zcat filters.gz | evs filter import -")]
    Import(bulk::ImportArgs),
    /// Write filters as NDJSON that `import` and `apply` take
    #[command(after_help = "\
Examples:
  evs filter export > filters.ndjson
  evs filter export --subscriber user_1")]
    Export(bulk::ExportArgs),
    /// What `apply` would change; exit code 8 if anything
    #[command(after_help = "\
Examples:
  evs filter diff -f filters.ndjson")]
    Diff(bulk::ApplyArgs),
    /// Make the server's named filters like those of a file
    #[command(after_help = "\
Examples:
  evs filter apply -f filters.ndjson
  evs filter apply -f filters.ndjson --prune --dry-run")]
    Apply(bulk::ApplyArgs),
}

#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// A file with one or more filters as JSON; - for standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "SpecArgs")]
    file: Option<PathBuf>,
    /// Return at once instead of when the filter is active
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for it to be active
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = quantity::duration)]
    wait: Duration,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only those of this subscriber
    #[arg(short, long, value_name = "ID", add = clap_complete::engine::ArgValueCompleter::new(crate::complete::subscribers))]
    subscriber: Option<String>,
    /// At most this many; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

#[derive(Args, Debug)]
pub(crate) struct UpdateArgs {
    #[arg(value_name = "ID")]
    id: u32,
    #[command(flatten)]
    spec: SpecArgs,
    /// A file with the filter as JSON; - for standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "SpecArgs")]
    file: Option<PathBuf>,
    /// Replace it even if someone changed it in the meantime
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(app: &App, command: FilterCommand) -> Result<ExitStatus, Failure> {
    match command {
        FilterCommand::Create(args) => create(app, args).await,
        FilterCommand::List(args) => list(app, args).await,
        FilterCommand::Get { id } => get(app, id).await,
        FilterCommand::Update(args) => update(app, args).await,
        FilterCommand::Delete { ids } => delete(app, &ids).await,
        FilterCommand::Test(args) => test::run(app, args).await,
        FilterCommand::Explain(args) => test::explain(app, &args),
        FilterCommand::Import(args) => bulk::import(app, args).await,
        FilterCommand::Export(args) => bulk::export(app, args).await,
        FilterCommand::Diff(args) => bulk::diff(app, args).await,
        FilterCommand::Apply(args) => bulk::apply(app, args).await,
    }
}

pub(crate) const COLUMNS: &[Column<Filter>] = &[
    Column::right("ID", |filter| filter.id.to_string()),
    Column::new("SUBSCRIBER", |filter| filter.spec.subscriber_id.clone()),
    Column::new("NAME", |filter| or_dash(filter.spec.name.as_ref())),
    Column::new("STATUS", |filter| status(filter.status).to_owned()),
    Column::right("MATCHED/S", |filter| or_dash(filter.activity.map(|it| format!("{:.1}", it.matched_per_s)))),
    Column::right_wide("MATCHED", |filter| or_dash(filter.activity.map(|it| quantity::thousands(it.matched_total)))),
    Column::wide("LAST MATCH", |filter| or_dash(filter.activity.and_then(|it| it.last_match_ms).map(time_ms))),
    Column::wide("UPDATED", |filter| filter.updated_at.clone()),
    Column::new("CONDITION", |filter| spec::condition(&spec_of(filter))),
];

fn status(status: FilterStatus) -> &'static str {
    match status {
        FilterStatus::Pending => "pending",
        FilterStatus::Active => "active",
    }
}

async fn create(app: &App, args: CreateArgs) -> Result<ExitStatus, Failure> {
    let specs = match &args.file {
        Some(file) => read_specs(file)?.into_iter().map(|(_, spec)| spec).collect(),
        None => vec![args.spec.complete()?],
    };
    for spec in &specs {
        spec::check(spec)?;
    }
    let client = app.client()?;
    let wait = (!args.no_wait).then_some(args.wait);
    let mut saved = Vec::new();
    for spec in &specs {
        let answer = match client.create_filter(spec, wait).await {
            // A dry run shows all requests.
            Err(evs_client::Error::NotSent) => continue,
            answer => answer?,
        };
        let verb = if answer.created { "created" } else { "replaced" };
        let filter = &answer.filter;
        app.out.say(format!(
            "{GREEN}{verb}{GREEN:#} filter {} of {}, {}",
            filter.id,
            filter.spec.subscriber_id,
            status(filter.status)
        ));
        saved.push(answer.filter);
    }
    if let Some(first) = saved.first() {
        app.out.say(format!("{DIM}next: evs tail {}{DIM:#}", first.spec.subscriber_id));
    }
    match app.out.format {
        // What was created has been told already, if anything was to be told.
        Format::Table => {}
        Format::Json | Format::Yaml if saved.len() == 1 => app.out.json(&saved[0])?,
        _ => app.out.list(&saved, COLUMNS)?,
    }
    Ok(ExitStatus::Success)
}

async fn list(app: &App, args: ListArgs) -> Result<ExitStatus, Failure> {
    let client = app.client()?;
    let wanted = if args.limit == 0 { usize::MAX } else { args.limit };
    let mut items = Vec::new();
    let mut page = None;
    let mut total = None;
    loop {
        let limit = (wanted - items.len()).min(1_000);
        let next = client.filters(args.subscriber.as_deref(), Some(limit), page.as_deref()).await?;
        items.extend(next.items);
        total = next.total.or(total);
        page = next.next;
        if page.is_none() || items.len() >= wanted {
            break;
        }
    }
    app.out.list(&items, COLUMNS)?;
    if page.is_some() {
        let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
        app.out.say(format!("{DIM}{}{of} shown; -n 0 for all{DIM:#}", items.len()));
    }
    Ok(ExitStatus::Success)
}

async fn get(app: &App, id: u32) -> Result<ExitStatus, Failure> {
    let saved = app.client()?.filter(id).await?.ok_or_else(|| missing(id))?;
    match app.out.format {
        Format::Json | Format::Ndjson | Format::Yaml | Format::Template(_) => app.out.json(&saved.filter)?,
        _ => app.out.list(&[saved.filter], COLUMNS)?,
    }
    Ok(ExitStatus::Success)
}

async fn update(app: &App, args: UpdateArgs) -> Result<ExitStatus, Failure> {
    let client = app.client()?;
    let old = client.filter(args.id).await?.ok_or_else(|| missing(args.id))?;
    let spec = match &args.file {
        Some(file) => match read_specs(file)?.as_slice() {
            [(_, spec)] => spec.clone(),
            specs => return Err(Failure::usage(format!("expected one filter, found {}", specs.len()))),
        },
        None => args.spec.with_defaults_of(&old.filter),
    };
    spec::check(&spec)?;
    let etag = if args.force { None } else { old.etag.as_deref() };
    let saved = client.update_filter(args.id, &spec, etag, Some(app.settings.timeout.value)).await?;
    app.out.say(format!("{GREEN}updated{GREEN:#} filter {}, {}", args.id, status(saved.filter.status)));
    if app.out.is_json() {
        app.out.json(&saved.filter)?;
    }
    Ok(ExitStatus::Success)
}

async fn delete(app: &App, ids: &[u32]) -> Result<ExitStatus, Failure> {
    let client = app.client()?;
    let list = ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    app.confirm(&format!("delete filter {list}"))?;
    for id in ids {
        match client.delete_filter(*id, None).await {
            Err(evs_client::Error::NotSent) => {}
            Err(error) if error.is_not_found() => return Err(missing(*id)),
            result => {
                result?;
                app.out.say(format!("{GREEN}deleted{GREEN:#} filter {id}"));
            }
        }
    }
    Ok(ExitStatus::Success)
}

fn missing(id: u32) -> Failure {
    Failure::new(ExitStatus::NotFound, format!("there is no filter {id}"))
        .hint("`evs filter list` shows those there are")
}
