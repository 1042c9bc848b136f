//! Connections and the files that the process may have open: what a crowd of sockets must leave for everything else.

/// For the stores' connections, the log, and what the runtime opens: a store that cannot be reached for want of a file is
/// worse than a client that is told to come back.
const RESERVE: usize = 256;

/// How many connections of the REST port and of the gateway fit, of those that are wanted, where the process may have
/// `files` open. REST has a quarter at the most: without it nobody looks or mends anything.
pub(super) fn fitting(files: usize, http: usize, gateway: usize) -> (usize, usize) {
    // However few there are, somebody is served.
    let free = files.saturating_sub(RESERVE).max(files / 2);
    let http = http.min((free / 4).max(free.saturating_sub(gateway)));
    (http, gateway.min(free - http))
}

/// The soft limit of open files, where it is known.
pub(super) fn limit() -> Option<usize> {
    read(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

/// `None` too where there is no limit.
fn read(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_leave_files_for_everything_else() {
        assert_eq!(fitting(1_000_000, 4_096, 200_000), (4_096, 200_000));
        assert_eq!(fitting(20_000, 4_096, 200_000), (4_096, 15_648));
        assert_eq!(fitting(1_024, 4_096, 200_000), (192, 576));
        assert_eq!(fitting(1_024, 4_096, 100), (668, 100));
        assert_eq!(fitting(64, 4_096, 200_000), (8, 24));
        let text = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024      4096      files \n";
        assert_eq!(read(text), Some(1024));
        assert_eq!(read("Max open files            unlimited      unlimited      files \n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_limit_of_this_process_is_known() {
        assert!(limit().is_some());
    }
}
