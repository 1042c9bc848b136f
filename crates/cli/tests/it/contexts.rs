//! Contexts and where settings come from.

use expect_test::expect;

use crate::{command, run_in};

#[test]
fn contexts_are_kept_and_used() {
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| run_in(home.path(), args, "");
    assert_eq!(run(&["context", "add", "dev", "--server", "http://dev:8001"]).stderr, "context dev saved, in use\n");
    assert_eq!(run(&["context", "add", "prod", "--server", "https://evs.example", "-o", "json"]).status, 0);
    expect![[r#"
        NAME	CURRENT	SERVER	GATEWAY	TOKEN FILE
        dev	*	http://dev:8001	-	-
        prod		https://evs.example	-	-
    "#]]
    .assert_eq(&run(&["context", "list"]).stdout);
    assert_eq!(run(&["context", "use", "nope"]).status, 3);
    assert_eq!(run(&["context", "use", "prod"]).status, 0);
    expect![[r#"
        SETTING	VALUE	ORIGIN
        server	https://evs.example/	context prod
        gateway	https://evs.example/	default
        context	prod	flag --context
        output	table	flag --output
        timeout	10s	default
    "#]]
    .assert_eq(&run(&["config", "view", "--show-origin", "-c", "prod", "-o", "table"]).stdout);
    assert_eq!(run(&["context", "remove", "prod"]).status, 0);
    assert!(run(&["config", "view", "--show-origin"]).stdout.contains("http://localhost:8001/\tdefault"));
    assert_eq!(run(&["-c", "prod", "config", "view"]).status, 2);
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join("evs")).unwrap();
    std::fs::write(home.path().join("evs/config.toml"), "server = \"http://file:1\"\ntimeout = \"5s\"\n").unwrap();
    let output = |args: &[&str]| {
        let mut command = command(home.path());
        command.env("EVS_SERVER", "http://env:1").env("EVS_TOKEN", "a secret");
        String::from_utf8(command.args(args).output().unwrap().stdout).unwrap()
    };
    let text = output(&["config", "view", "--show-origin"]);
    assert!(text.contains("server\thttp://env:1/\tenvironment EVS_SERVER"), "{text}");
    assert!(text.contains("timeout\t5s\t"), "{text}");
    assert!(text.contains("token\t(redacted)\tenvironment EVS_TOKEN") && !text.contains("a secret"), "{text}");
    let text = output(&["config", "view", "--show-origin", "--server", "http://flag:1"]);
    assert!(text.contains("server\thttp://flag:1/\tflag --server"), "{text}");
    let text = output(&["--server", "http://flag:1", "config", "view", "--show-origin"]);
    assert!(text.contains("server\thttp://flag:1/\tflag --server"), "{text}");
}

#[test]
fn a_typo_in_the_file_is_told() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join("evs")).unwrap();
    std::fs::write(home.path().join("evs/config.toml"), "sever = \"http://file:1\"\n").unwrap();
    let ran = run_in(home.path(), &["stats"], "");
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("unknown setting \"sever\""), "{}", ran.stderr);
}
