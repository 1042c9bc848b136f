//! A server whose log nobody reads any more.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::harness::DEADLINE;

/// The program at the other end of stderr died: lines that cannot be written must not take the server's tasks with
/// them, the one that waits for signals least of all.
#[tokio::test]
async fn a_server_whose_log_nobody_reads_is_stopped_by_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_evs-server"));
    command.args(["--api-addr", "127.0.0.1:0", "--matcher-addr", "127.0.0.1:0", "--gateway-addr", "127.0.0.1:0"]);
    command.arg("--data-dir").arg(folder.path()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut server = command.spawn().unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let mut doors = 0;
    while doors < 3 {
        let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap().expect("it goes on");
        doors += usize::from(line.contains("\"addr\""));
    }
    drop(lines);
    let term = Command::new("kill").arg(server.id().unwrap().to_string()).status().await.unwrap();
    assert!(term.success());
    let status = tokio::time::timeout(Duration::from_secs(30), server.wait()).await;
    assert!(status.expect("it stops").unwrap().success());
}
