//! Faults put in on purpose, each found by name with its cause and what to do.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::run;

/// What stands where the server should: answers each path as it is told, until the program ends.
fn impostor(answer: impl Fn(&str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).is_ok_and(|len| len == 1) {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let _ = socket.write_all(answer(&path).as_bytes());
        }
    });
    url
}

fn http(status: &str, date: &str, body: &str) -> String {
    let len = body.len();
    format!("HTTP/1.1 {status}\r\ndate: {date}\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{body}")
}

/// Now, as HTTP writes it, and `ago_s` earlier.
fn date(ago_s: i64) -> String {
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    (time::OffsetDateTime::now_utc() - time::Duration::seconds(ago_s)).format(format).unwrap()
}

/// A good server but for what `change` says: `Some` is the answer to that path.
fn server(change: impl Fn(&str) -> Option<String> + Send + 'static) -> String {
    impostor(move |path| {
        let path = path.split('?').next().unwrap_or_default();
        change(path).unwrap_or_else(|| match path {
            "/version" => {
                let version = json!({ "name": "evs-server", "version": env!("CARGO_PKG_VERSION"), "instance": "x" });
                http("200 OK", &date(0), &version.to_string())
            }
            "/stats" => http("200 OK", &date(0), &stats(|_| {})),
            _ => http("200 OK", &date(0), "ok"),
        })
    })
}

fn stats(change: impl Fn(&mut Value)) -> String {
    let mut stats = serde_json::to_value(evs_client::api::stats::Stats::default()).unwrap();
    let roles = ["api", "matcher", "gateway"];
    let mut instance = serde_json::to_value(evs_client::api::stats::InstanceStats::default()).unwrap();
    instance["id"] = "a".into();
    instance["roles"] = roles.into();
    instance["healthy"] = true.into();
    stats["instances"] = json!([instance]);
    change(&mut stats);
    stats.to_string()
}

fn token(claims: &Value) -> String {
    format!("{}.{}.sig", URL_SAFE_NO_PAD.encode("{\"alg\":\"HS256\"}"), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// What doctor says of one check, which must be no praise, with all that must be in it.
#[track_caller]
fn found(args: &[&str], check: &str, verdict: &str, words: &[&str]) {
    let base = ["--timeout", "2s", "doctor", "--no-round-trip", "-o", "ndjson"];
    let ran = run(&[args, &base].concat());
    let findings: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = findings.iter().find(|finding| finding["check"] == check && finding["verdict"] != "ok");
    let told = told.unwrap_or_else(|| panic!("no finding of {check} in {}{}", ran.stdout, ran.stderr));
    assert_eq!(told["verdict"], verdict, "{told}");
    for word in words {
        assert!(told.to_string().contains(word), "{word:?} is not in {told}");
    }
    assert_eq!(ran.status, if verdict == "failed" { 8 } else { 0 }, "{}", ran.stdout);
}

#[test]
fn each_of_ten_faults_is_found_by_name() {
    let at = |url: &str| [String::from("--server"), url.to_owned(), String::from("--gateway"), url.to_owned()];
    let check = |url: &str, more: &[&str], check: &str, verdict: &str, words: &[&str]| {
        let at = at(url);
        let args: Vec<&str> = at.iter().map(String::as_str).chain(more.iter().copied()).collect();
        found(&args, check, verdict, words);
    };
    // 1: nothing listens. Port 1 is reserved and never given out.
    check("http://127.0.0.1:1", &[], "api", "failed", &["nothing listens", "start evs-server"]);
    // 2: the name is not known.
    check("http://evs.invalid:8001", &[], "api", "failed", &["name is not known", "DNS"]);
    // 3: another program listens.
    let ssh = impostor(|_| "SSH-2.0-OpenSSH_9.2\r\n".to_owned());
    check(&ssh, &[], "api", "failed", &["another program listens"]);
    // 4: it is there and answers nothing.
    let stuck = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", stuck.local_addr().unwrap());
    check(&url, &[], "api", "failed", &["stuck", "--timeout"]);
    // 5, 6, 7: tokens that are over, none, or not there.
    let good = server(|_| None);
    let over = token(&json!({ "sub": "ann", "exp": 1_000_000_000 }));
    check(&good, &["--token", &over], "token", "failed", &["expired", "get a new one"]);
    check(&good, &["--token", "secret"], "token", "failed", &["not a JWT", "evs token mint"]);
    check(&good, &["--token-file", "/nowhere/token"], "token", "failed", &["cannot read", "EVS_TOKEN_FILE"]);
    // 8: a dependency is away.
    let away = server(|path| {
        let body = "{\"ready\":false,\"checks\":{\"event_log\":\"ok\",\"delivery_queue\":\"away\"}}";
        (path == "/readyz").then(|| http("503 Service Unavailable", &date(0), body))
    });
    check(&away, &[], "api ready", "failed", &["delivery_queue: away"]);
    // 9: clocks differ.
    let late = server(|path| (path == "/livez").then(|| http("200 OK", &date(3600), "ok")));
    check(&late, &[], "clock", "failed", &["ahead of the server's", "time server"]);
    // 10: another release.
    let old = server(|path| {
        (path == "/version").then(|| http("200 OK", &date(0), "{\"name\":\"evs-server\",\"version\":\"9.8.7\"}"))
    });
    check(&old, &[], "version", "warning", &["9.8.7", "same version"]);
    // 11: no matcher is alive.
    let headless = server(|path| {
        (path == "/stats")
            .then(|| http("200 OK", &date(0), &stats(|stats| stats["instances"][0]["roles"] = json!(["api"]))))
    });
    check(&headless, &[], "roles", "failed", &["matcher"]);
    // 12: records that could not be read.
    let letters = server(|path| {
        (path == "/stats").then(|| http("200 OK", &date(0), &stats(|stats| stats["dead_letters_total"] = 3.into())))
    });
    check(&letters, &[], "dead letters", "warning", &["evs dlq"]);
    // 13: the token is not accepted.
    let closed = server(|path| {
        let problem = json!({ "type": "/problems/forbidden", "title": "Forbidden", "status": 403, "code": "forbidden",
            "detail": "this needs the scope operate" });
        (path == "/stats").then(|| http("403 Forbidden", &date(0), &problem.to_string()))
    });
    check(&closed, &[], "system", "failed", &["operate"]);
}
