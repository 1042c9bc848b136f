//! Connections and the files that the process may have open: what a crowd of sockets must leave for everything else.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For the stores' connections, the log, and what the runtime opens: a store that cannot be reached for want of a file is
/// worse than a client that is told to come back.
const RESERVE: usize = 256;

/// Connections too many that are told so at a time, at each of the two ports; more are closed without a word. Each has a
/// file too.
const REFUSING_MAX: usize = 64;

/// How a limit of open files is shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) http: usize,
    pub(super) gateway: usize,
    /// Refusals under way, at each port.
    pub(super) refusing: usize,
}

/// How many connections of the REST port and of the gateway fit, of those that are wanted, where the process may have
/// `files` open. REST has a quarter at the most: without it nobody looks or mends anything.
pub(super) fn fitting(files: Option<usize>, http: usize, gateway: usize) -> Shares {
    let Some(files) = files else { return Shares { http, gateway, refusing: REFUSING_MAX } };
    let refusing = REFUSING_MAX.min(files / 16);
    // However few there are, somebody is served.
    let free = files.saturating_sub(RESERVE).max(files / 2) - 2 * refusing;
    let http = http.min((free / 4).max(free.saturating_sub(gateway)));
    Shares { http, gateway: gateway.min(free - http), refusing }
}

/// What one address or subject may hold of `fitted` places, where fewer fit than are wanted: three of them leave places
/// for others. 0: no limit.
pub(super) fn share(each_max: usize, fitted: usize, wanted: usize) -> usize {
    if fitted < wanted { each_max.min((fitted / 4).max(1)) } else { each_max }
}

/// The soft limit of open files; `None` where there is none.
pub(super) fn limit() -> Option<usize> {
    getrlimit(Resource::Nofile).current.map(|files| usize::try_from(files).unwrap_or(usize::MAX))
}

/// Takes all the files that the process may have: the soft limit is low for the sake of programs that use `select`.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, "the limit of open files (ulimit -n) cannot be raised");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_leave_files_for_everything_else() {
        let fits = |files, http, gateway| {
            let Shares { http, gateway, refusing } = fitting(Some(files), http, gateway);
            (http, gateway, refusing)
        };
        assert_eq!(fits(1_000_000, 4_096, 200_000), (4_096, 200_000, 64));
        assert_eq!(fits(20_000, 4_096, 200_000), (4_096, 15_520, 64));
        assert_eq!(fits(1_024, 4_096, 200_000), (160, 480, 64));
        assert_eq!(fits(1_024, 4_096, 100), (540, 100, 64));
        assert_eq!(fits(64, 4_096, 200_000), (6, 18, 4));
        // With all places taken and all refusals under way there are files left.
        for files in 1..5_000 {
            let (http, gateway, refusing) = fits(files, 4_096, 200_000);
            let left = files - http - gateway - 2 * refusing;
            assert!(left >= RESERVE.min(files / 2), "{left} of {files}");
        }
        assert_eq!(fitting(None, 7, 9), Shares { http: 7, gateway: 9, refusing: 64 });
    }

    #[test]
    fn one_address_does_not_hold_every_place() {
        assert_eq!(share(10_000, 480, 200_000), 120);
        assert_eq!(share(100, 480, 200_000), 100);
        assert_eq!(share(0, 480, 200_000), 0, "off stays off");
        assert_eq!(share(1_000, 2, 200_000), 1);
        assert_eq!(share(1_000, 50, 50), 1_000, "what was configured fits");
    }

    #[test]
    fn the_limit_of_this_process_is_raised() {
        raise_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
