//! How the program ends: exit codes that scripts may rely on, and failures that say what, where and what to do.

use std::fmt;
use std::io;
use std::process::ExitCode;

use evs_client::api::Problem;
use evs_client::{Error, StreamError};

/// Listed by `evs --help` and in docs/CLI.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    Success = 0,
    Failure = 1,
    /// clap uses it too.
    Usage = 2,
    NotFound = 3,
    Unauthorized = 4,
    /// The server refused: invalid, or in conflict with something.
    Rejected = 5,
    Unreachable = 6,
    /// `doctor`, `filter diff`, `filter test`: it worked, and the answer is no.
    CheckFailed = 8,
    Interrupted = 130,
    Terminated = 143,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}

/// What ended a command early.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: ExitStatus,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) problem: Option<Box<Problem>>,
}

impl Failure {
    pub(crate) fn new(status: ExitStatus, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), hint: None, problem: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitStatus::Usage, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The reader of our output has gone, which is how `head` says thank you; and a dry run ends as it should.
    pub(crate) fn is_silent(&self) -> bool {
        self.message.is_empty()
    }

    fn silent() -> Self {
        Self::new(ExitStatus::Success, "")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::silent();
        }
        Self::new(ExitStatus::Failure, format!("cannot write the output: {error}"))
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        match error.io_error_kind() {
            Some(kind) => io::Error::from(kind).into(),
            None => Self::new(ExitStatus::Failure, format!("cannot write JSON: {error}")),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::NotSent => Self::silent(),
            Error::Problem(problem) => {
                let status = match problem.status {
                    404 => ExitStatus::NotFound,
                    408 | 429 | 502..=504 => ExitStatus::Unreachable,
                    400..=499 => ExitStatus::Rejected,
                    _ => ExitStatus::Failure,
                };
                let hint = problem.hint.clone();
                let message = if problem.detail.is_empty() { message } else { problem.detail.clone() };
                Self { status, message, hint, problem: Some(problem) }
            }
            Error::Unauthorized(problem) => Self {
                status: ExitStatus::Unauthorized,
                message,
                hint: Some("give a token that may do this with --token-file or EVS_TOKEN; `evs token inspect` shows what one allows".into()),
                problem: Some(problem),
            },
            Error::Unreachable { .. } => Self::new(ExitStatus::Unreachable, message)
                .hint("is the server running there? `evs-server` starts one, `--server` names another, `evs doctor` looks closer"),
            Error::Timeout { .. } => Self::new(ExitStatus::Unreachable, message).hint("wait longer with --timeout 60s"),
            Error::Protocol { .. } => Self::new(ExitStatus::Failure, message)
                .hint("is it the right port? The api role listens on 8001 by default, the gateway on 8003"),
            Error::Config(_) => Self::new(ExitStatus::Usage, message),
        }
    }
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Refused(error) => error.into(),
            StreamError::Closed { code, .. } => {
                let status = match code {
                    4501 | 4503 => ExitStatus::Unauthorized,
                    4504 => ExitStatus::NotFound,
                    _ => ExitStatus::Rejected,
                };
                Self::new(status, error.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_what_to_do() {
        let problem = |status: u16| Problem { status, detail: "d".into(), ..Problem::default() };
        let status = |error: Error| Failure::from(error).status as u8;
        assert_eq!(status(Error::Problem(problem(404).into())), 3);
        assert_eq!(status(Error::Unauthorized(problem(401).into())), 4);
        assert_eq!(status(Error::Problem(problem(409).into())), 5);
        assert_eq!(status(Error::Problem(problem(503).into())), 6);
        assert_eq!(status(Error::Problem(problem(500).into())), 1);
        assert_eq!(status(Error::Unreachable { url: String::new(), cause: String::new(), connected: false }), 6);
        assert_eq!(status(Error::NotSent), 0);
    }

    #[test]
    fn a_broken_pipe_is_not_an_error() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(failure.is_silent());
        assert_eq!(failure.status, ExitStatus::Success);
    }
}
