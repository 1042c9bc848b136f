//! From one server to another, and the commands for a shell, against real servers.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use evs_tui::app::Settings;
use evs_tui::demo::stage::Stage;

use crate::pty::{Pty, binary};
use crate::server::{Server, beside};

#[test]
fn from_one_server_to_another_and_back() {
    let (one, two) = (Server::start(), Server::start());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let context = |name: &str, server: &Server| {
        format!("[contexts.{name}]\nserver = \"{}\"\ngateway = \"{}\"\n", server.api, server.gateway)
    };
    let text = format!(
        "current_context = \"one\"\n{}{}[contexts.broken]\nserver = \"http://[\"\n",
        context("one", &one),
        context("two", &two)
    );
    std::fs::write(&file, text).unwrap();
    let mut pty = Pty::start(&binary(), &[], &[("EVS_CONFIG", file.to_str().unwrap())], (120, 40));
    pty.until("the current context", |s| s.starts_with("one ") && s.contains("connected"));
    // The second is another server: it stays when the first goes.
    pty.press(":ctx tw\t\r");
    pty.until("the other", |s| s.starts_with("two ") && s.contains("connected") && s.contains("Throughput in"));
    pty.press("o");
    pty.until("its command", |s| s.contains("evs --context two stats") && s.contains(&two.api));
    pty.press("\x1b");
    pty.until("closed", |s| !s.contains("evs --context two stats"));
    pty.press("3");
    pty.until("its events", |s| s.contains("Events all") && s.contains("country="));
    drop(one);
    pty.press(":ctx one\r");
    pty.until("the loss", |s| s.starts_with("one ") && s.contains("retrying in"));
    pty.press(":ctx nowhere\r");
    pty.until("what there is", |s| s.contains("broken, one, two"));
    pty.press(":ctx two\r");
    // What was open there last time is open again.
    pty.until("the other again", |s| s.starts_with("two ") && s.contains("connected") && s.contains("Events all"));
    pty.press(":ctx broken\r");
    pty.until("it stays where it is", |s| s.starts_with("two ") && s.contains("connected") && s.contains("http://["));
    pty.press("q");
    assert_eq!(pty.exit_code(), 0);
    pty.assert_restored();
}

/// What a shell makes of the command: its first line, or all if it ends.
fn first_line(command: &str, path: &str) -> String {
    let mut child = Command::new("sh")
        .args(["-c", &format!("exec {command}")])
        .env("PATH", path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let n = BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if n > 0 {
        // Streams do not end by themselves.
        let _ = child.kill();
        child.wait().unwrap();
        return line;
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    line
}

#[test]
fn the_commands_for_a_shell_are_taken_by_evs_and_by_the_server() {
    let server = Server::start();
    let folder = beside("evs").parent().unwrap().to_owned();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let settings = Settings {
        server: server.api.clone(),
        gateway: server.gateway.clone(),
        evs_flags: format!(" --server {} --gateway {}", server.api, server.gateway),
        ..Settings::default()
    };
    let mut stage = Stage::running(settings, (120, 40), 5);
    for keys in [
        "1",
        "2",
        "s",
        "s",
        "s",
        "s",
        "s",
        "s",
        "S / \"fraud\" enter",
        ": \"sub fraud-desk\" enter",
        "v",
        "w \"amount > 0\" enter",
        "A",
        "esc",
        ": \"filter 1\" enter",
        "5",
        "6",
        "7",
    ] {
        stage.press(keys);
        let (command, curl) = (stage.app.command(), stage.app.curl());
        let line = first_line(&command, &path);
        assert!(!line.contains("error"), "{command}: {line}");
        let line = first_line(&curl, &path);
        // JSON that is no problem document, or the start of a stream.
        assert!(!line.is_empty() && !line.contains("\"status\":4"), "{curl}: {line}");
    }
}
