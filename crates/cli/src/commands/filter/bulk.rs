//! `evs filter import`, `export`, `diff` and `apply`: many filters at once.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;
use evs_client::api::filters::{FilterSpec, ImportResponse};
use futures_util::StreamExt;

use super::spec::{check, condition, read_specs, spec_of};
use crate::app::App;
use crate::exit::{ExitStatus, Failure};
use crate::output::{GREEN, RED, YELLOW};
use crate::quantity::thousands;

/// Filters in one request: each is one transaction, and its answer moves the progress bar.
const IMPORT_LINES_MAX: usize = 5_000;

#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// NDJSON of filters; - for standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// Only those of this subscriber
    #[arg(short, long, value_name = "ID")]
    subscriber: Option<String>,
    /// Also what the server adds: id, version, times
    #[arg(long)]
    full: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ApplyArgs {
    /// Filters as JSON or NDJSON, each with a name; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Also delete the named filters of these subscribers that the file does not have
    #[arg(long)]
    prune: bool,
}

pub(crate) async fn import(app: &App, args: ImportArgs) -> Result<ExitStatus, Failure> {
    let specs = read_specs(&args.file)?;
    for (line, spec) in &specs {
        check(spec).map_err(|failure| at_line(failure, *line))?;
    }
    let specs: Vec<_> = specs.into_iter().map(|(_, spec)| spec).collect();
    let total = send(app, &specs).await?;
    told(app, &total)
}

async fn send(app: &App, specs: &[FilterSpec]) -> Result<ImportResponse, Failure> {
    let client = app.client()?;
    let mut meter = app.meter(Some(specs.len() as u64), "filters");
    let mut total = ImportResponse::default();
    let mut done = 0_u64;
    for chunk in specs.chunks(IMPORT_LINES_MAX) {
        let mut lines = Vec::new();
        for spec in chunk {
            serde_json::to_writer(&mut lines, spec)?;
            lines.push(b'\n');
        }
        let answer = tokio::select! {
            answer = client.import_filters(lines) => match answer {
                Err(evs_client::Error::NotSent) => continue,
                answer => answer?,
            },
            status = app.interrupt.wait() => {
                meter.finish();
                return Err(Failure::new(status, format!("stopped after {done} of {} filters", specs.len()))
                    .hint("filters with a name can be imported again"));
            }
        };
        total.created += answer.created;
        total.updated += answer.updated;
        total.unchanged += answer.unchanged;
        total.version = answer.version;
        done += chunk.len() as u64;
        meter.update(done, String::new);
    }
    meter.finish();
    Ok(total)
}

fn told(app: &App, total: &ImportResponse) -> Result<ExitStatus, Failure> {
    if app.out.is_json() {
        app.out.json(total)?;
    } else if !app.global.dry_run {
        app.out.say(format!(
            "{GREEN}{} created{GREEN:#}, {} updated, {} unchanged",
            thousands(total.created),
            thousands(total.updated),
            thousands(total.unchanged)
        ));
    }
    Ok(ExitStatus::Success)
}

pub(crate) async fn export(app: &App, args: ExportArgs) -> Result<ExitStatus, Failure> {
    use std::io::Write;
    let mut filters = app.client()?.export_filters(args.subscriber.as_deref()).await?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    while let Some(filter) = filters.next().await {
        let filter = filter?;
        if args.full {
            serde_json::to_writer(&mut out, &filter)?;
        } else {
            serde_json::to_writer(&mut out, &spec_of(&filter))?;
        }
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(ExitStatus::Success)
}

#[derive(Debug, Default)]
struct Changes {
    create: Vec<FilterSpec>,
    update: Vec<(FilterSpec, FilterSpec)>,
    delete: Vec<(u32, FilterSpec)>,
    unchanged: usize,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.create.is_empty() && self.update.is_empty() && self.delete.is_empty()
    }
}

async fn changes(app: &App, args: &ApplyArgs) -> Result<Changes, Failure> {
    let mut wanted: HashMap<(String, String), FilterSpec> = HashMap::new();
    let mut order = Vec::new();
    for (line, spec) in read_specs(&args.file)? {
        check(&spec).map_err(|failure| at_line(failure, line))?;
        let Some(name) = spec.name.clone() else {
            let failure = Failure::new(ExitStatus::Rejected, "the filter has no name");
            return Err(at_line(failure, line)
                .hint("a name says which filter it is the next time; `import` takes those without"));
        };
        let key = (spec.subscriber_id.clone(), name);
        if wanted.insert(key.clone(), spec).is_some() {
            return Err(at_line(Failure::new(ExitStatus::Rejected, format!("{} has {:?} twice", key.0, key.1)), line));
        }
        order.push(key);
    }
    let client = app.client()?;
    let mut changes = Changes::default();
    let mut subscribers: Vec<_> = wanted.keys().map(|(subscriber, _)| subscriber.clone()).collect();
    subscribers.sort();
    subscribers.dedup();
    let mut present: HashMap<(String, String), FilterSpec> = HashMap::new();
    for subscriber in subscribers {
        let mut filters = client.export_filters(Some(&subscriber)).await?;
        while let Some(filter) = filters.next().await {
            let filter = filter?;
            let spec = spec_of(&filter);
            let Some(name) = spec.name.clone() else { continue };
            let key = (spec.subscriber_id.clone(), name);
            if wanted.contains_key(&key) {
                present.insert(key, spec);
            } else if args.prune {
                changes.delete.push((filter.id, spec));
            }
        }
    }
    for key in order {
        let Some(spec) = wanted.remove(&key) else { continue };
        match present.remove(&key) {
            None => changes.create.push(spec),
            Some(old) if same(&old, &spec) => changes.unchanged += 1,
            Some(old) => changes.update.push((old, spec)),
        }
    }
    Ok(changes)
}

/// By meaning, so that white space and quotes do not count.
fn same(a: &FilterSpec, b: &FilterSpec) -> bool {
    a == b || condition(a) == condition(b)
}

fn show(app: &App, changes: &Changes) -> Result<(), Failure> {
    let label = |spec: &FilterSpec| format!("{}/{}", spec.subscriber_id, spec.name.as_deref().unwrap_or("-"));
    for spec in &changes.create {
        app.out.line(format!("{GREEN}+ {}: {}{GREEN:#}", label(spec), condition(spec)))?;
    }
    for (old, new) in &changes.update {
        app.out.line(format!("{YELLOW}~ {}:{YELLOW:#}", label(new)))?;
        app.out.line(format!("{RED}  - {}{RED:#}", condition(old)))?;
        app.out.line(format!("{GREEN}  + {}{GREEN:#}", condition(new)))?;
    }
    for (id, spec) in &changes.delete {
        app.out.line(format!("{RED}- {} (filter {id}): {}{RED:#}", label(spec), condition(spec)))?;
    }
    app.out.say(format!(
        "{} to create, {} to update, {} to delete, {} unchanged",
        changes.create.len(),
        changes.update.len(),
        changes.delete.len(),
        changes.unchanged
    ));
    Ok(())
}

pub(crate) async fn diff(app: &App, args: ApplyArgs) -> Result<ExitStatus, Failure> {
    let changes = changes(app, &args).await?;
    show(app, &changes)?;
    Ok(if changes.is_empty() { ExitStatus::Success } else { ExitStatus::CheckFailed })
}

pub(crate) async fn apply(app: &App, args: ApplyArgs) -> Result<ExitStatus, Failure> {
    let changes = changes(app, &args).await?;
    show(app, &changes)?;
    if changes.is_empty() || app.global.dry_run {
        return Ok(ExitStatus::Success);
    }
    if !changes.delete.is_empty() {
        app.confirm(&format!("delete {} filters that the file does not have", changes.delete.len()))?;
    }
    let changed: Vec<_> = changes.create.into_iter().chain(changes.update.into_iter().map(|(_, new)| new)).collect();
    let total = send(app, &changed).await?;
    let client = app.client()?;
    for (id, _) in &changes.delete {
        match client.delete_filter(*id, None).await {
            Err(error) if error.is_not_found() => {}
            result => result?,
        }
    }
    told(app, &total)
}

fn at_line(mut failure: Failure, line: usize) -> Failure {
    failure.message = format!("line {line}: {}", failure.message);
    failure
}
