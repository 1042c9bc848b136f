//! `evs produce --dry-run`.

use crate::{run, run_with};

#[test]
fn a_seed_repeats_the_events() {
    let bare = |seed: &str| {
        let ran = run(&["produce", "--count", "5", "--dry-run", "--seed", seed]);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, "nothing was sent (--dry-run)\n"));
        let events = ran.stdout.lines().map(|line| {
            let mut event: serde_json::Value = serde_json::from_str(line).unwrap();
            // These two tell the time.
            event.as_object_mut().unwrap().remove("timestamp");
            event.as_object_mut().unwrap().remove("session");
            event
        });
        events.collect::<Vec<_>>()
    };
    assert_eq!(bare("7"), bare("7"));
    assert_ne!(bare("7"), bare("8"));
    assert_eq!(bare("7").len(), 5);
}

#[test]
fn files_and_templates_are_sources_too() {
    let ran = run_with(&["produce", "--file", "-", "--dry-run", "-q"], "{\"a\":1}\r\n\n  {\"a\":2}");
    assert_eq!(ran.stdout, "{\"a\":1}\n{\"a\":2}\n");
    let template = r#"{"n":{{count}},"user_id":"user_{{random 3 3}}"}"#;
    let ran = run(&["produce", "--template", template, "--count", "2", "--dry-run", "-q"]);
    assert_eq!(ran.stdout, "{\"n\":1,\"user_id\":\"user_3\"}\n{\"n\":2,\"user_id\":\"user_3\"}\n");
    let ran = run(&["produce", "--template", "{{nonsense}}", "--dry-run"]);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("it knows count, now"));
    let ran = run(&["produce", "--file", "no/such/file"]);
    assert_eq!((ran.status, ran.stderr.contains("cannot read no/such/file")), (2, true));
}

/// Nobody has to guess, and nobody has to wait: what was never taken has not arrived.
#[test]
fn a_server_that_was_never_there_is_told_at_once() {
    // Reserved and never given out, so the connection is refused.
    let nowhere = "http://127.0.0.1:1";
    let ran = run(&["--server", nowhere, "-o", "json", "produce", "--count", "7", "--rate", "max"]);
    let summary: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.status, &summary["accepted"], &summary["unknown"]), (6, &0.into(), &0.into()), "{}", ran.stderr);
    assert_eq!((&summary["not_arrived"], &summary["retries"]), (&7.into(), &0.into()));

    let ran = run(&["--server", nowhere, "produce", "--count", "7", "--rate", "max"]);
    assert_eq!(ran.status, 6);
    for words in ["7 events did not arrive", "cannot reach http://127.0.0.1:1/events", "refused", "hint: is the server"]
    {
        assert!(ran.stderr.contains(words), "{words:?} is not in {}", ran.stderr);
    }
    // Who says so is waited with.
    let ran = run(&["--server", nowhere, "-o", "json", "produce", "-n", "1", "--give-up-after", "3s"]);
    let summary: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(ran.status == 6 && summary["retries"].as_u64() > Some(0), "{summary}");
}

/// A server that takes the request and dies may have stored it.
#[test]
fn a_connection_that_broke_leaves_a_doubt() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut byte = [0];
        std::io::Read::read_exact(&mut socket, &mut byte).unwrap();
        // Both the listener and the socket go here.
    });
    let ran = run(&["--server", &url, "-o", "json", "produce", "-n", "1", "--give-up-after", "0s"]);
    let summary: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.status, &summary["unknown"], &summary["not_arrived"]), (6, &1.into(), &0.into()), "{}", ran.stderr);
}
