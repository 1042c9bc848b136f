//! Which server gets a token to see: the one that it was kept for, and first of all the token.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::auth::{SECRET, locked, mint};
use crate::{Ran, command, run_in};

/// Some server: knows who asks and lets it do nothing, and remembers the heads of its requests.
struct Witness {
    /// Without a scheme, as people write it.
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Witness {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = heads.clone();
        thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(mut socket) = socket else { return };
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).is_ok_and(|len| len == 1) {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).to_lowercase();
                let (status, body) = match head.starts_with("get /version ") {
                    true => ("200 OK", "{\"version\":\"1\",\"authentication\":false}"),
                    false => ("403 Forbidden", "{\"status\":403,\"code\":\"forbidden\",\"detail\":\"no\"}"),
                };
                kept.lock().unwrap().push(head);
                let len = body.len();
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{body}");
                let _ = socket.write_all(answer.as_bytes());
            }
        });
        Self { address, heads }
    }

    /// Of the requests since the last look, without those that need no token: whether each showed one.
    fn shown(&self) -> Vec<bool> {
        let heads = std::mem::take(&mut *self.heads.lock().unwrap());
        let asked = heads.iter().filter(|head| !head.starts_with("get /version "));
        asked.map(|head| head.contains("authorization: bearer ")).collect()
    }
}

fn expect(ran: &Ran, status: i32, said: &str) {
    assert_eq!((ran.status, ran.stderr.contains(said)), (status, true), "{}{}", ran.stdout, ran.stderr);
}

fn kept(home: &Path, name: &str) -> bool {
    home.join("evs/tokens").join(name).exists()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_goes_to_the_server_that_it_was_kept_for_only() {
    let (live, other) = (locked().await, Witness::start());
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str], stdin: &str| run_in(home.path(), args, stdin);
    let token = mint(SECRET, "ann", &[]);
    // As people write it: without a scheme.
    let bare = live.api.strip_prefix("http://").unwrap();
    expect(&run(&["--server", bare, "auth", "login"], &token), 0, "ann is logged in to");
    expect(&run(&["--server", bare, "filter", "list"], ""), 0, "");
    expect(&run(&["--server", &live.api, "filter", "list"], ""), 0, "");

    expect(&run(&["--server", &other.address, "filter", "list"], ""), 4, "");
    let mut there = command(home.path());
    assert!(!there.env("EVS_SERVER", &other.address).args(["filter", "list"]).status().unwrap().success());
    assert_eq!(other.shown(), [false, false]);
    expect(&run(&["--server", &other.address, "auth", "status"], ""), 0, "");
    // Neither address is a URL by itself, and they are not the same for that.
    expect(&run(&["--server", &other.address, "auth", "login"], &token), 2, "the context 127.0.0.1 is of");
    assert!(other.shown().iter().all(|shown| !shown));
    // What is given together goes together.
    let file = home.path().join("evs/tokens/127.0.0.1");
    run(&["--server", &other.address, "--token-file", file.to_str().unwrap(), "filter", "list"], "");
    assert_eq!(other.shown(), [true]);
    live.stop().await;
}

/// A request without a token is a failure that counts against the address, and may be refused where the token is not.
#[test]
fn the_token_is_asked_with_first() {
    let (server, home) = (Witness::start(), tempfile::tempdir().unwrap());
    let token = mint(SECRET, "ann", &[]);
    let login = run_in(home.path(), &["--server", &server.address, "--print-curl", "auth", "login"], &token);
    expect(&login, 0, "everybody may do everything");
    assert!(login.stderr.contains("curl -X GET"), "{}", login.stderr);
    expect(&run_in(home.path(), &["auth", "status"], ""), 0, "");
    assert_eq!(server.shown(), [true, true]);

    // Whatever goes before the token of the context is told.
    let file = home.path().join("another");
    std::fs::write(&file, &token).unwrap();
    for subcommand in ["login", "logout"] {
        let mut line = command(home.path());
        line.env("EVS_TOKEN_FILE", &file).args(["auth", subcommand]).stdin(std::fs::File::open(&file).unwrap());
        let told = String::from_utf8(line.output().unwrap().stderr).unwrap();
        assert!(told.contains("EVS_TOKEN_FILE"), "{told}");
    }
}

#[test]
fn a_token_goes_with_its_context() {
    let (server, home) = (Witness::start(), tempfile::tempdir().unwrap());
    let run = |args: &[&str], stdin: &str| run_in(home.path(), args, stdin);
    let token = mint(SECRET, "ann", &[]);
    let log_in = |name: &str| {
        assert_eq!(run(&["context", "add", name, "--server", &server.address], "").status, 0);
        expect(&run(&["-c", name, "auth", "login"], &token), 0, "is logged in");
        assert!(kept(home.path(), name));
    };
    // The name of one context must not be that of another's file while it is written.
    for name in ["a.new", "a"] {
        log_in(name);
    }
    assert!(kept(home.path(), "a.new"));
    expect(&run(&["context", "remove", "a"], ""), 0, "removed");
    expect(&run(&["context", "add", "a.new", "--server", &server.address], ""), 0, "saved");
    assert!(!kept(home.path(), "a") && !kept(home.path(), "a.new"));

    // Another's file, and one that is still in use, stay.
    log_in("b");
    let file = home.path().join("evs/tokens/b");
    let add = ["context", "add", "c", "--server", &server.address, "--token-file", file.to_str().unwrap()];
    expect(&run(&add, ""), 0, "saved");
    expect(&run(&["context", "remove", "b"], ""), 0, "removed");
    assert!(kept(home.path(), "b"));
    expect(&run(&["context", "remove", "c"], ""), 0, "removed");
    assert!(kept(home.path(), "b"), "the context c had it from elsewhere");

    // However its path is written.
    log_in("d");
    let config = home.path().join("evs/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("evs/tokens/d", "evs/../evs/tokens/d")).unwrap();
    expect(&run(&["-c", "d", "auth", "logout"], ""), 0, "is removed");
    assert!(!kept(home.path(), "d"));
}
