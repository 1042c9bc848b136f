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
