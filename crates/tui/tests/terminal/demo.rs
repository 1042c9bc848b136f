//! The demo: every view, sizes, keys, signals; and the terminal as it was afterwards.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::pty::{Pty, binary};

#[test]
fn a_walk_through_the_demo() {
    let mut pty = Pty::dashboard(&["--demo", "--no-persist"], (120, 40));
    pty.until("the overview", |s| s.contains("Throughput in") && s.contains("connected"));
    for (key, title) in [
        ("2", "by lag"),
        ("3", "Events all"),
        ("4", "condition"),
        ("5", "following"),
        ("6", "invalid_json"),
        ("7", "matcher-1"),
    ] {
        pty.press(key);
        pty.until(title, |s| s.contains(title));
    }
    // Filter, drill down, and back.
    pty.press("2");
    pty.until("rows", |s| s.contains("user_"));
    pty.press("/fraud");
    pty.until("the filter acts while typed", |s| {
        s.contains("1 match") && s.contains("fraud-desk") && !s.contains("user_")
    });
    pty.press("\r\r");
    pty.until("the subscriber", |s| s.contains("Consumers 2") && s.contains("Filters 2") && s.contains("Live events"));
    pty.press("v");
    pty.until("its events", |s| s.contains("fraud-desk") && s.contains("following") && s.contains("purchase"));
    // Leave the tail, look at one, ask why.
    pty.press("\x1b[A\r");
    pty.until("the detail", |s| s.contains("\"event_id\"") && s.contains("new below"));
    pty.press("x");
    pty.until("why", |s| s.contains("fraud-desk matches it") && s.contains("What became of it"));
    pty.press("\x1b");
    pty.until("closed", |s| !s.contains("What became of it"));
    pty.press("1 ");
    pty.until("the pause", |s| s.contains("PAUSED"));
    pty.press(" ");
    pty.until("no pause", |s| !s.contains("PAUSED"));
    for size in [(60, 20), (40, 12), (200, 50), (20, 5), (80, 24)] {
        pty.resize(size);
        let (width, _) = size;
        pty.until("the new size", |s| if width < 40 { s.contains("too small") } else { s.contains("1 Overview") });
    }
    pty.press("q");
    assert_eq!(pty.exit_code(), 0);
    pty.assert_restored();
}

#[test]
fn without_a_server_the_first_picture_says_so_and_counts_down() {
    let mut pty = Pty::dashboard(&["--server", "http://127.0.0.1:9", "--no-persist"], (100, 30));
    pty.until("the first picture", |s| s.contains("1 Overview"));
    pty.until("the countdown", |s| {
        s.contains("retrying in") && s.contains("attempt 2") && s.contains("Is the server running?")
    });
    pty.press("q");
    assert_eq!(pty.exit_code(), 0);
    pty.assert_restored();
}

#[test]
fn signals_end_it_and_restore_the_terminal() {
    for (signal, code) in [(rustix::process::Signal::TERM, 143), (rustix::process::Signal::HUP, 129)] {
        let mut pty = Pty::dashboard(&["--demo", "--no-persist"], (80, 24));
        pty.until("the overview", |s| s.contains("Throughput in"));
        pty.kill(signal);
        assert_eq!(pty.exit_code(), code);
        pty.assert_restored();
    }
}

#[test]
fn a_panic_restores_the_terminal_before_it_is_printed() {
    let mut pty = Pty::dashboard(&["--demo", "--no-persist", "--panic"], (80, 24));
    pty.until("the panic", |s| s.contains("on purpose"));
    assert_ne!(pty.exit_code(), 0);
    pty.assert_restored();
}

#[test]
fn to_the_background_and_back() {
    let shell = std::path::PathBuf::from("/bin/sh");
    let mut pty = Pty::start(&shell, &["-i"], &[("PS1", "ready> ")], (100, 30));
    pty.until("a prompt", |s| s.contains("ready>"));
    pty.press(&format!("{} --demo --no-persist\r", binary().display()));
    pty.until("the overview", |s| s.contains("Throughput in"));
    pty.press("\x1a");
    pty.until("stopped", |s| s.contains("Stopped"));
    assert!(!pty.is_alternate(), "the shell has its own screen");
    pty.press("fg\r");
    pty.until("back again", |s| s.contains("Throughput in"));
    pty.press("2");
    pty.until("and alive", |s| s.contains("by lag"));
    pty.press("q");
    pty.until("the shell", |s| s.contains("ready>"));
    pty.press("exit\r");
    pty.exit_code();
}

#[test]
fn no_color_means_no_color() {
    let mut pty = Pty::start(&binary(), &["--demo", "--no-persist"], &[("NO_COLOR", "1")], (120, 40));
    pty.until("the overview", |s| s.contains("Throughput in"));
    pty.press("2");
    pty.until("rows", |s| s.contains("user_"));
    let (colored, inverse) = pty.count_cells();
    assert_eq!(colored, 0);
    assert!(inverse > 0, "the selected row is still seen");
    pty.press("q");
    pty.exit_code();
}

#[test]
fn without_a_terminal_it_says_what_to_use_instead() {
    let output = Command::new(binary()).arg("--demo").stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("evs top --once"));
    let output = Command::new(binary()).arg("--print-keys").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("# Keys of evs-tui"));
}

#[test]
fn with_reduced_motion_data_moves_the_picture_once_a_second_at_most() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("evs")).unwrap();
    std::fs::write(folder.path().join("evs/tui.toml"), "reduced_motion = true\n").unwrap();
    let started = Instant::now();
    let variables = [("XDG_CONFIG_HOME", folder.path().to_str().unwrap())];
    let mut pty = Pty::start(&binary(), &["--demo", "--no-persist"], &variables, (100, 30));
    pty.press("3");
    pty.until("events, hundreds a second", |s| s.contains("Events all") && s.contains("page_view"));
    let wanted = pty.pictures() + 5;
    pty.until("five pictures more", |_| pty.pictures() >= wanted);
    // The first and that of the key, and then one a second; however slow the machine is, there are no more.
    let pictures = pty.pictures();
    let seconds = started.elapsed().as_secs() as usize;
    assert!(pictures <= 3 + seconds, "{pictures} pictures in {seconds} seconds");
    pty.press("q");
    assert_eq!(pty.exit_code(), 0);
}
