//! The program beside a running server: every documented command does what it says, and the shell completes what the
//! server has.

use std::path::Path;

use clap::Parser as _;
use evs_server::config::{Config, Role};
use evs_server::run::Server;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::examples::{documented, line_of};
use crate::{command, run};

pub(crate) struct Live {
    folder: tempfile::TempDir,
    pub(crate) api: String,
    pub(crate) gateway: String,
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Live {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let any = ([127, 0, 0, 1], 0).into();
        let data_dir = folder.path().join("data");
        let mut config =
            Config { data_dir, api_addr: any, matcher_addr: any, gateway_addr: any, drain_s: 1, ..Config::default() };
        change(&mut config);
        let shutdown = CancellationToken::new();
        let server = Server::start(config, shutdown.clone()).await.unwrap();
        let url = |role| format!("http://{}", server.addr(role).unwrap());
        let (api, gateway) = (url(Role::Api), url(Role::Gateway));
        Self { folder, api, gateway, shutdown, running: tokio::spawn(server.run()) }
    }

    /// Runs a command line as a shell does, in the server's folder; a home of its own each time.
    fn shell(&self, line: &str) -> crate::Ran {
        self.shell_in(tempfile::tempdir().unwrap().path(), line)
    }

    fn shell_in(&self, home: &Path, line: &str) -> crate::Ran {
        let program = Path::new(env!("CARGO_BIN_EXE_evs"));
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = crate::program("sh", home);
        let output = shell
            .env("PATH", format!("{}:{path}", program.parent().unwrap().display()))
            .env("EVS_SERVER", &self.api)
            .env("EVS_GATEWAY", &self.gateway)
            .env("EVS_TIMEOUT", "30s")
            .args(["-c", line])
            .current_dir(self.folder.path())
            .stdin(std::process::Stdio::null())
            .output();
        let output = output.unwrap();
        crate::Ran {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

/// What runs until Ctrl-C gets an end, and a load test the size of a test.
fn ended(line: &str) -> String {
    let mut line = line
        .replace("--connections 1000 --rate 5000 --duration 30s", "--connections 4 --rate 50 --duration 1s")
        .replace("--duration 30s", "--duration 1s")
        .replace("--where EXPR", "--where 'amount > 5'");
    let has = |words: &[&str]| words.iter().any(|word| line.contains(word));
    if line.starts_with("evs tail") && !has(&["--no-follow"]) {
        line.push_str(" --no-follow");
    } else if line.starts_with("evs produce") && !has(&["--count", "--duration", "--file"]) {
        line.push_str(" --count 20");
    }
    line
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_command_works() {
    let live = Live::start().await;
    let file = |name: &str, text: &str| std::fs::write(live.folder.path().join(name), text).unwrap();
    file(
        "events.ndjson",
        "{\"event_type\":\"login\",\"user_id\":\"u\"}\n{\"event_type\":\"logout\",\"user_id\":\"u\"}\n",
    );
    file("event.json", "{\"amount\":100}");
    file("secret", &"0123456789abcdef".repeat(4));
    file("private.pem", PRIVATE);
    // The reader of the docs has made a filter and let events come; the explained one is among them.
    for line in [
        "evs filter create -s user_1 --type purchase",
        "evs filter create -s user_2 --where 'amount > 1'",
        "evs produce --count 1500 --rate max",
    ] {
        let ran = live.shell(line);
        assert_eq!(ran.status, 0, "{line}: {}", ran.stderr);
    }
    let mut tried = 0;
    for (page, line) in documented() {
        // `evs dev` is a server, and may not be built here; `dev_takes_the_place_of_the_server` runs it.
        if line.contains("--brokers") || line.contains("| jq") || line.starts_with("evs dev") {
            continue;
        }
        let ran = live.shell(&ended(&line));
        assert_eq!(ran.status, 0, "{page}: {line}\n{}{}", ran.stdout, ran.stderr);
        let silent = ["evs produce", "evs context", "evs filter create", "> token", "auth login"];
        assert!(!ran.stdout.is_empty() || silent.iter().any(|it| line.contains(it)) || line.starts_with("evs tail"));
        tried += 1;
    }
    assert!(tried > 20, "only {tried} commands were found");
    live.stop().await;
}

/// From nothing to a server that asks for tokens, as docs/SECURITY.md says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authentication_is_switched_on_as_documented() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/SECURITY.md")).unwrap();
    let (_, section) = page.split_once("## Switching it on\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let lines = |of: &str| -> Vec<String> {
        let lines = section.lines().filter_map(|line| line.strip_prefix("    "));
        lines.filter(|line| line.split(' ').next() == Some(of)).map(|line| line_of(line).to_owned()).collect()
    };
    let [flags] = &lines("evs-server")[..] else { panic!("one server: {section}") };
    let cli = evs_server::cli::Cli::try_parse_from(flags.split(' ')).unwrap();
    let documented = Config::load(cli.settings, None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [secret] = &lines("openssl")[..] else { panic!("one secret: {section}") };
    let made = crate::program("sh", folder.path()).args(["-c", secret]).current_dir(folder.path()).status().unwrap();
    assert!(made.success());
    let live = Live::start_with(|config| {
        config.auth_algorithm = documented.auth_algorithm;
        config.auth_secret_file = folder.path().join(&documented.auth_secret_file);
        config.auth_issuer = documented.auth_issuer;
    })
    .await;
    std::fs::copy(folder.path().join("secret"), live.folder.path().join("secret")).unwrap();
    // Nobody comes in without.
    assert_eq!(live.shell("evs filter list").status, 4);
    let home = tempfile::tempdir().unwrap();
    let commands = lines("evs");
    assert!(commands.len() > 5, "{section}");
    for line in commands {
        let ran = live.shell_in(home.path(), &ended(&line));
        assert_eq!(ran.status, 0, "{line}\n{}{}", ran.stdout, ran.stderr);
    }
    live.stop().await;
}

/// What a script asks about one queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lag_is_told_and_judged() {
    let live = Live::start().await;
    for line in ["evs filter create -s user_1 --where 'n > 0'", "echo '{\"n\":1}' | evs produce --file -"] {
        let ran = live.shell(line);
        assert_eq!(ran.status, 0, "{line}: {}", ran.stderr);
    }
    let started = std::time::Instant::now();
    while live.shell("evs subscribers lag user_1").stdout != "1\n" {
        assert!(started.elapsed() < std::time::Duration::from_secs(30), "nothing is delivered");
    }
    let json = live.shell("evs subscribers lag user_1 --max 1 -o json");
    let told: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json.status, told), (0, serde_json::json!({ "id": "user_1", "lag_events": 1 })));
    let behind = live.shell("evs subscribers lag user_1 --max 0");
    assert_eq!((behind.status, &*behind.stdout), (8, "1\n"), "{}", behind.stderr);
    assert!(behind.stderr.contains("user_1 is 1 events behind, more than 0"), "{}", behind.stderr);
    assert_eq!(live.shell("evs subscribers lag nobody --max 0").status, 3);
    live.stop().await;
}

#[test]
fn dev_takes_the_place_of_the_server() {
    let home = tempfile::tempdir().unwrap();
    let dev = |server: &str, more: &[&str]| {
        let mut command = command(home.path());
        command.env("EVS_SERVER_BIN", server).args(["dev", "--"]).args(more).output().unwrap()
    };
    let ran = dev("/bin/echo", &["demo", "--seconds", "1"]);
    assert_eq!((ran.status.code(), &*ran.stdout), (Some(0), &b"demo --seconds 1\n"[..]));
    let ran = dev("/no/such/server", &[]);
    let told = String::from_utf8(ran.stderr).unwrap();
    assert_eq!((ran.status.code(), told.contains("/no/such/server cannot be started")), (Some(1), true), "{told}");
}

/// Ed25519 keys of RFC 8037, appendix A.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";

/// The protocol of clap's scripts: the variable `COMPLETE`, the words of the line, and which of them is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shell_completes_subscribers_and_filters_of_the_server() {
    let live = Live::start().await;
    let at = ["--server", &live.api, "--gateway", &live.gateway];
    for subscriber in ["user_1", "user_2", "other"] {
        let ran =
            run(&[&at[..], &["filter", "create", "-s", subscriber, "--name", "mine", "--type", "login"]].concat());
        assert_eq!(ran.status, 0, "{}", ran.stderr);
    }
    let home = tempfile::tempdir().unwrap();
    let complete = |words: &[&str]| {
        let mut command = command(home.path());
        command.env("COMPLETE", "bash").env("EVS_SERVER", &live.api).env("_CLAP_IFS", "\n");
        command.env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string()).env("_CLAP_COMPLETE_COMP_TYPE", "9");
        command.arg("--").args(words);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let mut lines: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    // A machine that is busy may not answer within the shell's patience; the next key press asks again.
    let until = |words: &[&str], expected: &[&str]| {
        let started = std::time::Instant::now();
        loop {
            let got = complete(words);
            if got == expected {
                return;
            }
            assert!(started.elapsed() < std::time::Duration::from_secs(30), "{words:?}: {got:?}");
        }
    };
    until(&["evs", "tail", "us"], &["user_1", "user_2"]);
    until(&["evs", "explain", "ot"], &["other"]);
    until(&["evs", "subscribers", "get", "user_2"], &["user_2"]);
    until(&["evs", "filter", "list", "--subscriber", "user"], &["user_1", "user_2"]);
    until(&["evs", "filter", "delete", "1"], &["1"]);
    until(&["evs", "filter", "get", "9"], &[]);
    live.stop().await;
}
