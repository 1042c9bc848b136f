//! Help, errors, exit codes, pipes.

use std::process::Stdio;

use expect_test::{expect, expect_file};

use crate::{command, run, run_with};

/// Nothing listens there: the port is reserved and never given out.
const NOWHERE: &str = "http://127.0.0.1:1";

#[test]
fn help_is_as_documented() {
    expect_file!["snapshots/help.txt"].assert_eq(&run(&["-h"]).stdout);
    for name in ["produce", "tail", "bench", "doctor"] {
        let text = run(&[name, "-h"]).stdout;
        let more = if name == "produce" && cfg!(feature = "kafka") { "-kafka" } else { "" };
        expect_file![format!("snapshots/help-{name}{more}.txt")].assert_eq(&text);
    }
    expect_file!["snapshots/help-filter.txt"].assert_eq(&run(&["filter", "-h"]).stdout);
}

#[test]
fn usage_errors_exit_with_2_and_name_the_likely_word() {
    expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: unrecognized subcommand 'prodcue'

          tip: a similar subcommand exists: 'produce'

        Usage: evs [OPTIONS] <COMMAND>

        For more information, try '--help'.
    "#]]
    .assert_eq(&run(&["prodcue"]).all());
    let rate = run(&["produce", "--rate", "fast"]);
    assert_eq!(rate.status, 2);
    assert!(rate.stderr.contains("\"fast\" is not a rate; write for example 1000, 10k, 500/s, 30/m or max"));
}

#[test]
fn an_unreachable_server_exits_with_6_and_a_hint() {
    for args in [&["stats"][..], &["tail", "user_1"], &["tail"], &["filter", "list"], &["produce", "-n", "1"]] {
        let args = [&["--server", NOWHERE, "--gateway", NOWHERE], args].concat();
        let ran = run(&args);
        assert_eq!(ran.status, 6, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("hint:"), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn errors_are_problems_where_json_is_asked_for() {
    let ran = run(&["--server", NOWHERE, "-o", "json", "stats"]);
    let problem: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((ran.status, problem["code"].as_str()), (6, Some("unreachable")));
    assert!(problem["detail"].as_str().unwrap().contains(NOWHERE));
}

#[test]
fn doctor_finds_a_server_that_is_not_there() {
    let ran = run(&["--server", NOWHERE, "--gateway", NOWHERE, "doctor", "-o", "ndjson"]);
    assert_eq!(ran.status, 8);
    let findings: Vec<serde_json::Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let api = findings.iter().find(|finding| finding["check"] == "api").unwrap();
    assert_eq!(api["verdict"], "failed");
    assert_eq!(api["cause"], "nothing listens on that port");
    assert!(api["fix"].as_str().unwrap().contains("start evs-server"));
    assert!(findings.iter().any(|finding| finding["check"] == "round trip" && finding["verdict"] == "skipped"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = tempfile::tempdir().unwrap();
    let mut child = command(home.path())
        .args(["produce", "--count", "100k", "--dry-run", "-q"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn colour_is_for_terminals_or_when_asked_for() {
    let args = ["filter", "test", "--type", "a", "--event", "-"];
    let event = r#"{"event_type":"a"}"#;
    assert!(!run_with(&args, event).stdout.contains('\u{1b}'));
    assert!(run_with(&[&args[..], &["--color", "always"]].concat(), event).stdout.contains('\u{1b}'));
}

#[test]
fn changes_can_be_looked_at_before_they_are_made() {
    let args = ["filter", "create", "--subscriber", "it's", "--type", "login", "--dry-run"];
    assert!(run(&args).stderr.contains("subscriber_id '\\'' at byte 2 is not allowed"));
    let args = ["filter", "create", "--subscriber", "u", "--where", "a == 'x'", "--dry-run", "--token", "t"];
    expect![[r#"
        exit 0
        --- stdout
        --- stderr
        printf 'Authorization: Bearer %s' "$EVS_TOKEN" | curl -X POST 'http://localhost:8001/filters?wait=active&timeout=10s' -H @- -H 'content-type: application/json' --data-binary '{"subscriber_id":"u","where":"a == '\''x'\''"}'
    "#]]
    .assert_eq(&run(&args).all());
}

#[test]
fn deleting_asks_or_needs_a_yes() {
    expect![[r#"
        exit 2
        --- stdout
        --- stderr
        error: will not delete subscriber u with its filters and all that waits in its queue without being asked to twice
        hint: add --yes
    "#]]
    .assert_eq(&run(&["subscribers", "delete", "u"]).all());
}

#[test]
fn completions_and_manual_pages_are_made() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(run(&["completions", shell]).stdout.contains("produce"), "{shell}");
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("man");
    assert_eq!(run(&["man", "--dir", dir.to_str().unwrap()]).status, 0);
    let page = std::fs::read_to_string(dir.join("evs-filter-create.1")).unwrap();
    assert!(page.contains(".TH"));
    assert!(run(&["man"]).stdout.contains("evs"));
    assert!(run(&["cheat"]).stdout.contains("evs produce --rate 1000"));
}

#[test]
fn every_format_is_taken_and_no_other() {
    let home = tempfile::tempdir().unwrap();
    for format in ["table", "pretty", "wide", "json", "ndjson", "yaml", "name", "template={id}"] {
        let ran = crate::run_in(home.path(), &["-o", format, "config", "view"], "");
        assert_eq!(ran.status, 0, "{format}: {}", ran.stderr);
    }
    let ran = run(&["-o", "xml", "config", "view"]);
    assert!(ran.status == 2 && ran.stderr.contains("template="), "{}", ran.stderr);
}

/// The script asks this program; without a server it completes what needs none, and is quick about the rest.
#[test]
fn a_shell_completes_by_asking_the_program() {
    let home = tempfile::tempdir().unwrap();
    let complete = |words: &[&str]| {
        let mut command = command(home.path());
        command.env("COMPLETE", "bash").env("EVS_SERVER", NOWHERE).env("_CLAP_IFS", "\n");
        command.env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string()).env("_CLAP_COMPLETE_COMP_TYPE", "9");
        command.arg("--").args(words);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(complete(&["evs", "prod"]).contains("produce"));
    assert_eq!(complete(&["evs", "tail", "us"]).trim(), "", "nobody is there to be asked");
    let script = command(home.path()).env("COMPLETE", "bash").output().unwrap();
    assert!(String::from_utf8(script.stdout).unwrap().contains("COMPLETE"));
}
