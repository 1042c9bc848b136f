//! `evs`, the command line.

#![forbid(unsafe_code)]

mod app;
mod args;
mod commands;
mod complete;
mod exit;
mod help;
mod interrupt;
mod meter;
mod output;
mod quantity;
mod settings;

use std::process::ExitCode;

use clap::FromArgMatches;

fn main() -> ExitCode {
    // `COMPLETE=bash evs` writes the script that asks this program; with a line to complete it answers and ends.
    clap_complete::CompleteEnv::with_factory(help::command).complete();
    let matches = help::command().get_matches();
    let cli = match args::Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    output::choose_color(cli.global.color);
    let json_errors = matches!(
        cli.global.output,
        Some(args::Format::Json | args::Format::Ndjson | args::Format::Yaml | args::Format::Template(_))
    );
    match app::run(cli, &matches) {
        Ok(status) => status.into(),
        Err(failure) => {
            app::report(&failure, json_errors);
            failure.status.into()
        }
    }
}
