//! `evs auth` beside a server that asks for tokens.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use evs_server::auth::config::{Algorithm, Secret};
use serde_json::{Value, json};

use crate::live::Live;
use crate::{Ran, program, run, run_in};

pub(crate) const SECRET: &str = "f2a1c0d9e8b7a6958473625140fedcba9876543210";

pub(crate) async fn locked() -> Live {
    Live::start_with(|config| {
        config.auth_algorithm = Algorithm::HS256;
        config.auth_secret = Secret::new(SECRET);
        config.auth_issuer = "evs".to_owned();
        config.auth_leeway_s = 0;
    })
    .await
}

/// A token of that subject, signed by that secret.
pub(crate) fn mint(secret: &str, sub: &str, more: &[&str]) -> String {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(secret.as_bytes()).unwrap();
    let args = ["token", "mint", "--secret-file", file.path().to_str().unwrap(), "--sub", sub, "--scope", "subscribe"];
    let minted = run(&[&args[..], &["--scope", "filters:own"], more].concat());
    assert_eq!(minted.status, 0, "{}", minted.stderr);
    minted.stdout
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_checked_kept_for_the_owner_used_and_forgotten() {
    let live = locked().await;
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str], stdin: &str| run_in(home.path(), args, stdin);
    let here = ["--server", &live.api, "--gateway", &live.gateway];
    let at = |args: &[&str], stdin: &str| run(&[&here[..], args].concat(), stdin);
    let expect = |ran: Ran, status: i32, said: &str| {
        assert_eq!((ran.status, ran.stderr.contains(said)), (status, true), "{}{}", ran.stdout, ran.stderr);
    };

    expect(at(&["auth", "status"], ""), 4, "no token is in use");
    expect(at(&["auth", "login"], &mint(&"x".repeat(40), "ann", &[])), 4, "signature is wrong");
    expect(at(&["auth", "login"], &mint(SECRET, "ann", &["--ttl", "0s"])), 4, "");
    expect(at(&["auth", "login"], "no token"), 5, "this is not a token");
    let token = mint(SECRET, "ann", &[]);
    expect(at(&["--token", token.trim(), "auth", "login"], ""), 2, "seen by others");
    expect(at(&["auth", "login", "--dry-run"], &token), 0, "nothing was kept");
    assert!(!home.path().join("evs").exists(), "what is refused leaves nothing");

    expect(at(&["auth", "login"], &token), 0, "ann is logged in to");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let kept = home.path().join("evs/tokens/127.0.0.1");
    assert_eq!((mode(&kept), mode(kept.parent().unwrap())), (0o600, 0o700));
    assert!(!std::fs::read_to_string(home.path().join("evs/config.toml")).unwrap().contains(token.trim()));

    // From now on without naming the server.
    let created = run(&["filter", "create", "--subscriber", "ann", "--type", "login"], "");
    assert_eq!(created.status, 0, "{}", created.stderr);
    let status = run(&["auth", "status", "-o", "json"], "");
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(
        (&status["accepted"], &status["subject"], &status["scopes"]),
        (&json!(true), &json!("ann"), &json!(["subscribe", "filters:own"]))
    );
    assert!(run(&["auth", "status"], "").stdout.contains("takes it"));
    assert_eq!(run(&["auth", "token"], "").stdout, token);

    // A token that the server has learned to refuse, and one for another server.
    std::fs::write(&kept, mint(&"x".repeat(40), "ann", &[])).unwrap();
    let refused = run(&["auth", "status"], "");
    assert_eq!((refused.status, refused.stdout.contains("refuses it")), (4, true), "{}", refused.stdout);
    expect(run(&["--server", &live.gateway, "auth", "login"], &token), 2, "the context 127.0.0.1 is of");
    expect(run(&["auth", "login"], &mint(SECRET, "bob", &[])), 0, "bob is logged in to");
    assert_eq!(mode(&kept), 0o600);

    expect(run(&["auth", "logout"], ""), 0, "removed");
    assert!(!kept.exists());
    expect(run(&["auth", "status"], ""), 4, "no token is in use");
    expect(run(&["auth", "logout"], ""), 3, "no context with a token");
    live.stop().await;
}

/// On a terminal it is asked for, and what is typed is not shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_typed_token_is_not_shown() {
    let live = locked().await;
    let (home, token) = (tempfile::tempdir().unwrap(), mint(SECRET, "ann", &[]));
    let line = format!("{} --server {} auth login", env!("CARGO_BIN_EXE_evs"), live.api);
    let mut terminal = program("script", home.path());
    terminal.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut terminal = terminal.spawn().unwrap();
    let (mut stdin, mut stdout) = (terminal.stdin.take().unwrap(), terminal.stdout.take().unwrap());
    let (mut shown, mut byte) = (Vec::new(), [0]);
    while !shown.ends_with(b"Token: ") {
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "it ended: {}", String::from_utf8_lossy(&shown));
        shown.push(byte[0]);
    }
    stdin.write_all(format!("{}\r", token.trim()).as_bytes()).unwrap();
    stdout.read_to_end(&mut shown).unwrap();
    let shown = String::from_utf8_lossy(&shown);
    assert!(terminal.wait().unwrap().success() && shown.contains("ann is logged in to"), "{shown}");
    assert!(!shown.contains(token.trim()), "{shown}");
    live.stop().await;
}
