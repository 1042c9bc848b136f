//! `evs-server`: one binary, three roles.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use evs_server::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        None => evs_server::cli::serve(cli.settings, cli.config.as_deref()),
        Some(Command::Demo(demo)) => evs_server::demo::run(cli.settings, &demo),
        Some(Command::Healthcheck) => evs_server::cli::healthcheck(cli.settings, cli.config.as_deref()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("evs-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}
