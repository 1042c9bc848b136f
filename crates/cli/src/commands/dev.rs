//! `evs dev`: a whole server on this machine, for trying things out.

use std::path::PathBuf;

use crate::exit::{ExitStatus, Failure};

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  evs dev                              api, matcher and gateway; what is stored lies in ./evs-data
  evs dev -- --data-dir /tmp/try       the flags of evs-server go behind --
  evs dev -- demo                      with traffic of its own, and a subscriber that shows it

It is evs-server, which must lie beside evs or in the PATH; EVS_SERVER_BIN names another one.")]
pub(crate) struct Args {
    /// Given to evs-server as they are
    #[arg(value_name = "ARGS", last = true)]
    args: Vec<String>,
}

/// Answers only if the server cannot be started: it takes the place of this process.
pub(crate) fn run(args: &Args) -> Result<ExitStatus, Failure> {
    let beside = || Some(std::env::current_exe().ok()?.with_file_name("evs-server")).filter(|path| path.is_file());
    let program = std::env::var_os("EVS_SERVER_BIN").map(PathBuf::from).or_else(beside);
    let program = program.unwrap_or_else(|| PathBuf::from("evs-server"));
    let mut command = std::process::Command::new(&program);
    command.args(&args.args);
    let failed = |error: std::io::Error| {
        Failure::new(ExitStatus::Failure, format!("{} cannot be started: {error}", program.display()))
            .hint("put evs-server beside evs, or name it in EVS_SERVER_BIN")
    };
    #[cfg(unix)]
    return Err(failed(std::os::unix::process::CommandExt::exec(&mut command)));
    #[cfg(not(unix))]
    {
        let status = command.status().map_err(failed)?;
        Ok(if status.success() { ExitStatus::Success } else { ExitStatus::Failure })
    }
}
