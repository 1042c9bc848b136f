//! Secrets and payloads never reach the logs: canaries go through a server that logs all that it can.

use std::process::Stdio;

use evs_client::Token;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;

use super::*;

const SECRET: &str = "canary7f3e9a1c5b8d2046e1f0a9b8c7d6e5f4a3b2c1d0";
const KAFKA_PASSWORD: &str = "canary-password";
const PAYLOAD: &str = "canary-payload";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_secret_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_evs-server"))
        .args(["--api-addr", "127.0.0.1:0", "--matcher-addr", "127.0.0.1:0", "--gateway-addr", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(folder.path())
        .env("EVS_LOG", "trace")
        .env("EVS_AUTH_ALGORITHM", "HS256")
        .env("EVS_AUTH_ISSUER", "canary")
        .env("EVS_AUTH_SECRET", SECRET)
        .env("EVS_AUTH_TICKET_SECRET", SECRET)
        .env("EVS_KAFKA_PROPERTIES", format!("sasl.password={KAFKA_PASSWORD}"))
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let (mut log, mut addrs) = (String::new(), std::collections::BTreeMap::new());
    while addrs.len() < 3 {
        let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.expect("it starts").unwrap().unwrap();
        if let Ok(entry) = serde_json::from_str::<serde_json::Value>(&line)
            && entry["message"] == "listening"
        {
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            addrs.insert(text("role"), text("addr"));
        }
        log.push_str(&line);
        log.push('\n');
    }
    let rest = tokio::spawn(async move {
        let mut rest = String::new();
        lines.into_inner().read_to_string(&mut rest).await.unwrap();
        rest
    });
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({ "sub": "ann", "iss": "canary", "aud": "evs", "iat": now_s, "exp": now_s + 600,
        "scope": "subscribe produce filters:any operate" });
    let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
    let config = ClientConfig::new(&format!("http://{}", addrs["api"])).unwrap();
    let config = config.with_gateway(&format!("http://{}", addrs["gateway"])).unwrap();
    let client = Client::new(config.clone().with_token(Token::Text(token.clone()))).unwrap();

    // The good way, and every way to be refused that carries something secret.
    let spec = FilterSpec { subscriber_id: "ann".into(), where_: Some("n > 0".into()), ..FilterSpec::default() };
    client.create_filter(&spec, Some(DEADLINE)).await.unwrap();
    let mut stream = client.subscribe("ann", Options::default()).unwrap();
    client.publish(format!("{{\"n\":1,\"text\":\"{PAYLOAD}\"}}"), Some("key")).await.unwrap();
    loop {
        if let StreamItem::Event(delivery) = next(&mut stream).await {
            assert!(delivery.data.get().contains(PAYLOAD));
            break;
        }
    }
    assert!(client.publish(format!("{{\"text\":\"{PAYLOAD}\",}}"), None).await.is_err());
    let broken = format!("{}x", &token);
    let stranger = Client::new(config.with_token(Token::Text(broken.clone()))).unwrap();
    assert!(stranger.publish(PAYLOAD, None).await.is_err());
    let http = reqwest::Client::new();
    let in_query = format!("http://{}/sse/ann?ticket={broken}", addrs["gateway"]);
    assert_eq!(http.get(in_query).send().await.unwrap().status(), 401);
    let ticket = http.post(format!("http://{}/tickets", addrs["api"])).bearer_auth(&token).send().await.unwrap();
    let ticket: serde_json::Value = ticket.json().await.unwrap();
    let ticket = ticket["ticket"].as_str().unwrap().to_owned();
    let used = format!("http://{}/sse/ann?observe=true&ticket={ticket}", addrs["gateway"]);
    assert_eq!(http.get(used).send().await.unwrap().status(), 200);
    stream.close().await;

    let pid = server.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    assert!(tokio::time::timeout(DEADLINE, server.wait()).await.expect("it stops").unwrap().success());
    log.push_str(&rest.await.unwrap());
    assert!(log.contains("authentication failed") && log.lines().count() > 20, "it logs all that it can:\n{log}");
    let failure = log.lines().find(|line| line.contains("authentication failed")).unwrap();
    assert!(failure.contains("\"address\":\"127.0.0.1\""), "who failed is told: {failure}");
    let signature = token.rsplit('.').next().unwrap();
    let ticket_signature = ticket.rsplit('.').next().unwrap();
    for canary in [SECRET, KAFKA_PASSWORD, PAYLOAD, signature, ticket_signature] {
        let found = log.lines().find(|line| line.contains(canary));
        assert!(found.is_none(), "{canary} is in the log: {found:?}");
    }
    assert!(log.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "JSON off a terminal");
}
