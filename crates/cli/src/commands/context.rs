//! `evs context`: named sets of settings, as kubectl has them.

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use super::auth::store;
use crate::app::App;
use crate::exit::{ExitStatus, Failure};
use crate::output::{Column, GREEN, or_dash};
use crate::settings::{Profile, Settings};

#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// List contexts
    #[command(
        visible_alias = "ls",
        after_help = "\
Examples:
  evs context list
  evs context list -o json"
    )]
    List,
    /// Add or replace a context, from --server, --gateway, --token-file, -o and --timeout
    #[command(after_help = "\
Examples:
  evs context add prod --server https://evs.example.com --token-file token --use")]
    Add {
        #[arg(value_name = "NAME")]
        name: String,
        /// Use it from now on
        #[arg(long = "use")]
        use_it: bool,
    },
    /// Use a context from now on
    #[command(after_help = "\
Examples:
  evs context use prod
  evs -c prod stats                            only this once")]
    Use {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Show the context in use, or another one
    #[command(after_help = "\
Examples:
  evs context show")]
    Show {
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
    /// Remove a context
    #[command(
        visible_alias = "rm",
        after_help = "\
Examples:
  evs context remove prod"
    )]
    Remove {
        #[arg(value_name = "NAME")]
        name: String,
    },
}

#[derive(Serialize)]
struct Row {
    name: String,
    current: bool,
    server: Option<String>,
    gateway: Option<String>,
    token_file: Option<PathBuf>,
}

const COLUMNS: &[Column<Row>] = &[
    Column::new("NAME", |it| it.name.clone()),
    Column::new("CURRENT", |it| if it.current { "*" } else { "" }.to_owned()),
    Column::new("SERVER", |it| or_dash(it.server.as_ref())),
    Column::new("GATEWAY", |it| or_dash(it.gateway.as_ref())),
    Column::new("TOKEN FILE", |it| or_dash(it.token_file.as_ref().map(|path| path.display()))),
];

pub(crate) fn run(app: &App, command: ContextCommand) -> Result<ExitStatus, Failure> {
    let Settings { path, file, context, .. } = &app.settings;
    let current = context.as_ref().map(|context| context.value.as_str());
    let row = |name: &str, profile: &Profile| Row {
        name: name.to_owned(),
        current: current == Some(name),
        server: profile.server.clone(),
        gateway: profile.gateway.clone(),
        token_file: profile.token_file.clone(),
    };
    let mut file = file.clone();
    let missing = |name: &str| {
        Failure::new(ExitStatus::NotFound, format!("there is no context {name:?}"))
            .hint("`evs context list` shows those there are, `evs context add` makes one")
    };
    // The context that is gone and where its token was.
    let mut left = None::<(String, PathBuf)>;
    let done = match command {
        ContextCommand::List => {
            let rows: Vec<_> = file.contexts.iter().map(|(name, profile)| row(name, profile)).collect();
            app.out.list(&rows, COLUMNS)?;
            return Ok(ExitStatus::Success);
        }
        ContextCommand::Show { name } => {
            let name = name.as_deref().or(current).ok_or_else(|| {
                Failure::new(ExitStatus::NotFound, "no context is in use").hint("`evs context use NAME` uses one")
            })?;
            let profile = file.contexts.get(name).ok_or_else(|| missing(name))?;
            app.out.list(&[row(name, profile)], COLUMNS)?;
            return Ok(ExitStatus::Success);
        }
        ContextCommand::Add { name, use_it } => {
            let global = &app.global;
            let server =
                global.server.clone().ok_or_else(|| Failure::usage("which server?").hint("give --server URL"))?;
            let profile = Profile {
                server: Some(server),
                gateway: global.gateway.clone(),
                // Another folder later must not mean another file.
                token_file: global
                    .token_file
                    .as_ref()
                    .map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())),
                output: global.output.map(crate::args::Format::name),
                timeout: global.timeout.map(|timeout| format!("{}ms", timeout.as_millis())),
            };
            // So that a mistake is told now and not at the next command.
            app.settings.client_config()?;
            let replaced = file.contexts.insert(name.clone(), profile);
            left = replaced.and_then(|profile| Some((name.clone(), profile.token_file?)));
            if use_it || file.current_context.is_none() {
                file.current_context = Some(name.clone());
            }
            let in_use = if file.current_context.as_ref() == Some(&name) { ", in use" } else { "" };
            format!("context {name} saved{in_use}")
        }
        ContextCommand::Use { name } => {
            if !file.contexts.contains_key(&name) {
                return Err(missing(&name));
            }
            let done = format!("context {name} is in use");
            file.current_context = Some(name);
            done
        }
        ContextCommand::Remove { name } => {
            let removed = file.contexts.remove(&name).ok_or_else(|| missing(&name))?;
            left = removed.token_file.map(|path| (name.clone(), path));
            file.current_context = file.current_context.filter(|current| *current != name);
            format!("context {name} removed")
        }
    };
    if !app.global.dry_run {
        file.write(path)?;
        // A token that no context names any more must not stay on the disk.
        if let Some((name, token_file)) = left {
            store::remove(&app.settings, &file, &name, &token_file)?;
        }
        app.out.say(format!("{GREEN}{done}{GREEN:#}"));
    }
    Ok(ExitStatus::Success)
}
