//! `evs token`.

use crate::{run, run_with};

#[test]
fn a_token_can_be_minted_and_looked_into() {
    let home = tempfile::tempdir().unwrap();
    let secret = home.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef\n").unwrap();
    let secret = secret.to_str().unwrap();
    let minted = run(&[
        "token",
        "mint",
        "--secret-file",
        secret,
        "--sub",
        "user_1",
        "--scope",
        "subscribe",
        "--scope",
        "produce",
    ]);
    assert_eq!(minted.status, 0, "{}", minted.stderr);
    let ran = run_with(&["token", "inspect", "--secret-file", secret], &minted.stdout);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("scope      subscribe produce"), "{}", ran.stdout);
    assert!(ran.stdout.contains("signature  good"), "{}", ran.stdout);

    std::fs::write(secret, "another secret that is long enough\n").unwrap();
    let ran = run_with(&["token", "inspect", "--secret-file", secret, "-o", "json"], &minted.stdout);
    let value: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.status, value["signature_verified"].as_bool()), (8, Some(false)));
    assert_eq!(value["claims"]["sub"], "user_1");
}

#[test]
fn expired_tokens_and_no_tokens_are_told() {
    let home = tempfile::tempdir().unwrap();
    let secret = home.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef\n").unwrap();
    let minted = run(&[
        "token",
        "mint",
        "--secret-file",
        secret.to_str().unwrap(),
        "--sub",
        "a",
        "--scope",
        "produce",
        "--ttl",
        "0s",
    ]);
    let ran = run_with(&["token", "inspect"], &minted.stdout);
    assert_eq!(ran.status, 8);
    assert!(ran.stdout.contains("ago"), "{}", ran.stdout);
    assert_eq!(run_with(&["token", "inspect"], "not a token").status, 5);
    assert!(run(&["token", "mint", "--sub", "a", "--scope", "produce"]).stderr.contains("--secret-file for HS256"));
}
