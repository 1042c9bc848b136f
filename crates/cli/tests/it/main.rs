//! The program as a user runs it, as far as no server is needed.

mod auth;
mod auth_servers;
mod contexts;
mod doctor;
mod examples;
mod filters;
#[cfg(feature = "test-services")]
mod kafka;
mod live;
mod produce;
mod talk;
mod tokens;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a run left behind.
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// All three, for a snapshot.
    pub(crate) fn all(&self) -> String {
        format!("exit {}\n--- stdout\n{}--- stderr\n{}", self.status, self.stdout, self.stderr)
    }
}

/// A home of its own, without the variables of whoever runs the tests.
pub(crate) fn command(home: &Path) -> Command {
    program(env!("CARGO_BIN_EXE_evs"), home)
}

/// The same for another program, such as a shell.
pub(crate) fn program(name: &str, home: &Path) -> Command {
    let mut command = Command::new(name);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("EVS_") {
            command.env_remove(name);
        }
    }
    command.env("XDG_CONFIG_HOME", home).env_remove("COLUMNS").env_remove("CLICOLOR_FORCE").env("LC_ALL", "C");
    command
}

pub(crate) fn run_in(home: &Path, args: &[&str], stdin: &str) -> Ran {
    let mut child = command(home)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // A program that does not read its input has closed it by now, which is no failure.
    let _ = child.stdin.take().expect("stdin is a pipe").write_all(stdin.as_bytes());
    let output = child.wait_with_output().expect("the program ends");
    Ran {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

pub(crate) fn run(args: &[&str]) -> Ran {
    run_with(args, "")
}

pub(crate) fn run_with(args: &[&str], stdin: &str) -> Ran {
    let home = tempfile::tempdir().expect("a temporary folder");
    run_in(home.path(), args, stdin)
}
