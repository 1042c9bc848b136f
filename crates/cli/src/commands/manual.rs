//! Completions, manual pages, examples, versions.

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_complete::Shell;

use crate::app::App;
use crate::args::Cli;
use crate::exit::{ExitStatus, Failure};
use crate::output::DIM;

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  evs completions bash > /etc/bash_completion.d/evs
  evs completions zsh > \"${fpath[1]}/_evs\"
  evs completions fish > ~/.config/fish/completions/evs.fish
  source <(COMPLETE=bash evs)                  also completes subscribers and filters, by asking the server")]
pub(crate) struct CompletionsArgs {
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  evs man --dir man
  evs man | man -l -")]
pub(crate) struct ManArgs {
    /// Write a page for each command into this folder instead of the main one to stdout
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

pub(crate) fn completions(app: &App, args: &CompletionsArgs) -> Result<ExitStatus, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "evs", &mut script);
    app.out.line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitStatus::Success)
}

pub(crate) fn man(app: &App, args: &ManArgs) -> Result<ExitStatus, Failure> {
    let mut command = Cli::command();
    command.build();
    match &args.dir {
        None => app.out.line(String::from_utf8_lossy(&page(command)?).trim_end())?,
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(|error| unwritable(dir, &error))?;
            write_pages(dir, "evs", command)?;
            app.out.say(format!("the pages are in {}; man -l {}", dir.display(), dir.join("evs.1").display()));
        }
    }
    Ok(ExitStatus::Success)
}

fn page(command: clap::Command) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    clap_mangen::Man::new(command).render(&mut bytes)?;
    Ok(bytes)
}

fn write_pages(dir: &Path, name: &str, command: clap::Command) -> Result<(), Failure> {
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        write_pages(dir, &format!("{name}-{}", sub.get_name()), sub.clone())?;
    }
    let path = dir.join(format!("{name}.1"));
    std::fs::write(&path, page(command)?).map_err(|error| unwritable(&path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot write {}: {error}", path.display()))
}

pub(crate) fn cheat(app: &App) -> Result<ExitStatus, Failure> {
    app.out.line(include_str!("../../cheat.md").trim_end())?;
    Ok(ExitStatus::Success)
}

/// As docs/CLI.md has them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    it worked; also when the reader of a pipe went away
  1    it failed
  2    the command line or the configuration is wrong
  3    not found
  4    the token is missing, wrong, or does not allow it
  5    rejected: invalid, or in conflict with something
  6    unreachable, overloaded, or too slow
  8    a check says no: doctor, bench, filter test, filter diff, subscribers get --max-lag,
       subscribers lag --max, token inspect
  130  ended by Ctrl-C, after a summary; a second one ends at once
  143  ended by SIGTERM, likewise";

pub(crate) fn exit_codes(app: &App) -> Result<ExitStatus, Failure> {
    app.out.line(EXIT_CODES)?;
    Ok(ExitStatus::Success)
}

pub(crate) async fn version(app: &App) -> Result<ExitStatus, Failure> {
    let client = app.client()?;
    let config = client.config();
    let answer = client.probe(&config.server_url, "version").await;
    let server = answer.as_ref().ok().map(|text| {
        serde_json::from_str::<serde_json::Value>(text)
            .unwrap_or_else(|_| serde_json::Value::String(text.trim().to_owned()))
    });
    if app.out.is_json() {
        app.out.json(&serde_json::json!({ "client": env!("CARGO_PKG_VERSION"), "server": server }))?;
        return Ok(ExitStatus::Success);
    }
    app.out.line(format!("client  {}", env!("CARGO_PKG_VERSION")))?;
    match (server, answer) {
        (Some(server), _) => {
            let version = server.get("version").and_then(|version| version.as_str()).map(str::to_owned);
            app.out.line(format!("server  {}", version.unwrap_or_else(|| server.to_string())))?;
        }
        (None, Err(error)) => app.out.line(format!("server  {DIM}{error}{DIM:#}"))?,
        (None, Ok(_)) => {}
    }
    Ok(ExitStatus::Success)
}
