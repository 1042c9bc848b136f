//! What was recorded is played, in every view, also in those that are opened after its end.

use crate::pty::Pty;

#[test]
fn a_recording_is_played() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.ndjson");
    let name = file.to_str().unwrap();
    let mut pty = Pty::dashboard(&["--demo", "--no-persist", "--record", name], (120, 40));
    pty.until("the overview", |s| s.contains("Throughput in"));
    pty.press("2");
    pty.until("rows", |s| s.contains("by lag") && s.contains("user_"));
    pty.press("4");
    pty.until("filters", |s| s.contains("condition"));
    pty.press("3");
    pty.until("events", |s| s.contains("Events all") && s.contains("purchase"));
    pty.press("q");
    assert_eq!(pty.exit_code(), 0);

    let mut pty = Pty::dashboard(&["--replay", name, "--no-persist"], (120, 40));
    pty.until("the overview", |s| s.starts_with("replay") && s.contains("Throughput in"));
    pty.press("3");
    pty.until("the recorded events", |s| s.contains("Events all") && s.contains("purchase"));
    // They all came before this view was opened.
    pty.press("wevent_type == \"purchase\"\r");
    pty.until("a condition", |s| s.contains("where event_type") && s.contains("purchase") && !s.contains("page_view"));
    pty.press("2");
    pty.until("the recorded subscribers", |s| s.contains("by lag") && s.contains("user_"));
    pty.press("\r");
    pty.until("what it cannot show", |s| s.contains("this is a recording"));
    pty.press("4");
    pty.until("the recorded filters", |s| s.contains("condition"));
    pty.press("q");
    assert_eq!(pty.exit_code(), 0);
    pty.assert_restored();
    let again = Pty::dashboard(&["--demo", "--record", name], (80, 24));
    again.until("a recording is not written over", |s| s.contains("cannot record to"));
}

#[test]
fn plain_events_are_a_recording_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.ndjson");
    std::fs::write(&file, "{\"event_id\":\"e1\",\"amount\":5}\n{\"event_id\":\"e2\",\"amount\":50}\n").unwrap();
    let mut pty = Pty::dashboard(&["--replay", file.to_str().unwrap(), "--no-persist"], (100, 30));
    pty.until("the first picture", |s| s.starts_with("replay"));
    pty.press("3");
    pty.until("both", |s| s.contains("e1") && s.contains("e2"));
    pty.press("q");
    assert_eq!(pty.exit_code(), 0);
}
