//! What stands before every handler: the token first, HTTP/1.1 only, limits that drop nothing, and metrics that name
//! nobody.

use std::collections::BTreeSet;

use evs_client::{Client, Config as ClientConfig, Token};
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite;

use crate::harness::{Answer, TestServer, claims, lock, sign};

/// A request that is wrong in every way is told of its token alone: nothing was looked up for it, and nothing read.
#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_looked_at_before_anything_else() {
    let mut server = TestServer::start_with(lock).await;
    let document = server.get("/openapi.json").await.body;
    let open = ["/livez", "/readyz", "/version", "/openapi.json", "/asyncapi.json", "/docs"];
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        if open.iter().any(|it| path.starts_with(it)) {
            continue;
        }
        let nowhere = path.replace("{id}", "nobody's").replace("{position}", "x:y");
        for method in operations.as_object().unwrap().keys() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
            for token in [None, Some("no.good.token".to_owned())] {
                let code = if token.is_some() { "invalid_token" } else { "missing_token" };
                server.set_token(token);
                let request = server.request(method.clone(), &format!("{nowhere}?page=%00&since=never"));
                let answer = Answer::of(request.header("content-type", "image/png").body("{")).await;
                assert_eq!(
                    (answer.status.as_u16(), answer.body["code"].as_str()),
                    (401, Some(code)),
                    "{method} {path}"
                );
                asked += 1;
            }
        }
    }
    assert!(asked > 40, "only {asked} requests were made");
    let sse = reqwest::get(format!("{}/sse/nobody?cursor=bad", server.gateway)).await.unwrap();
    assert_eq!(sse.status(), StatusCode::UNAUTHORIZED);
    let ws = format!("{}/ws/nobody?where=%28", server.gateway.replacen("http", "ws", 1));
    assert_eq!(refused(ws).await, 401);
    server.stop().await;
}

/// The status that a handshake is refused with.
async fn refused(url: String) -> u16 {
    match tokio_tungstenite::connect_async(url).await {
        Err(tungstenite::Error::Http(answer)) => answer.status().as_u16(),
        other => panic!("it must be refused: {other:?}"),
    }
}

/// A ticket as a program gets it, and as a browser uses it: once.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_a_ticket_that_opens_one_connection() {
    let mut server = TestServer::locked().await;
    server.set_token(Some(sign(&claims("root", "filters:any"))));
    server.filter(json!({ "subscriber_id": "ann", "event_types": ["x"] })).await;
    let config = ClientConfig::new(&server.url).unwrap();
    let token = |sub, scope| Token::Text(sign(&claims(sub, scope)));
    let ann = Client::new(config.clone().with_token(token("ann", "subscribe"))).unwrap();
    let ticket = ann.ticket().await.unwrap();
    assert!((1..=30).contains(&ticket.expires_in_s), "{ticket:?}");

    let url = |subscriber: &str, ticket: &str| {
        format!("{}/ws/{subscriber}?ticket={ticket}", server.gateway.replacen("http", "ws", 1))
    };
    let (mut socket, _) = tokio_tungstenite::connect_async(url("ann", &ticket.ticket)).await.unwrap();
    let first = futures_util::StreamExt::next(&mut socket).await.unwrap().unwrap();
    assert!(first.to_text().unwrap().contains("\"t\":\"welcome\""), "{first}");
    // While the first connection is open, and after it has gone.
    assert_eq!(refused(url("ann", &ticket.ticket)).await, 401);
    drop(socket);
    assert_eq!(refused(url("ann", &ticket.ticket)).await, 401);
    // Nor does it open another's queue, or make more tickets.
    let ticket = ann.ticket().await.unwrap();
    assert!(matches!(refused(url("bob", &ticket.ticket)).await, 403 | 404));
    let by_ticket = Client::new(config.clone().with_token(Token::Text(ticket.ticket))).unwrap();
    assert_eq!(by_ticket.ticket().await.unwrap_err().status(), Some(401));
    // Who may not subscribe gets none.
    let producer = Client::new(config.with_token(token("ann", "produce"))).unwrap();
    assert_eq!(producer.ticket().await.unwrap_err().status(), Some(403));
    server.stop().await;
}

/// HTTP/2 would bring streams that can be opened and reset for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_not_spoken() {
    let server = TestServer::start().await;
    for base in [&server.url, &server.gateway, &server.matcher] {
        let mut socket = TcpStream::connect(base.strip_prefix("http://").unwrap()).await.unwrap();
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut answer = Vec::new();
        // The end may come as a reset, since the frames after the preface were not read.
        let _ = socket.read_to_end(&mut answer).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{base}: {answer:?}");
    }
    assert!(server.get("/livez").await.status.is_success());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_under_a_limit_is_kept_and_nothing_else() {
    let mut server = TestServer::start_with(|config| {
        lock(config);
        config.auth_tenant_claim = String::new();
        config.limit_subject_requests_per_s = 5;
    })
    .await;
    server.set_token(Some(sign(&claims("busy", "produce"))));
    let (mut taken, mut refused) = (BTreeSet::new(), 0);
    for n in 0..60 {
        match server.post("/events", json!({ "n": n })).await.status {
            StatusCode::ACCEPTED => _ = taken.insert(n),
            StatusCode::TOO_MANY_REQUESTS => refused += 1,
            status => panic!("{status}"),
        }
    }
    assert!(refused > 0, "the limit was never met");
    server.set_token(Some(sign(&claims("root", "operate"))));
    let listed = server.get("/events?since=beginning&limit=1000").await.body;
    let kept = listed["items"].as_array().unwrap().iter().map(|event| event["data"]["n"].as_i64().unwrap());
    assert_eq!(kept.collect::<BTreeSet<_>>(), taken);
    server.stop().await;
}

/// Labels are few and fixed, so that no caller can make them grow, and none of them is somebody's name.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_name_nobody() {
    let server = TestServer::start().await;
    server.filter(json!({ "subscriber_id": "canary-subscriber", "name": "canary-filter", "where": "n > 0" })).await;
    server.publish(json!([{ "event_id": "canary-event", "user_id": "canary-user", "n": 1 }])).await;
    server.until("/subscribers/canary-subscriber", |it| it.to_string().contains("canary-subscriber")).await;
    for base in [&server.url, &server.gateway, &server.matcher] {
        let text = reqwest::get(format!("{base}/metrics")).await.unwrap().text().await.unwrap();
        assert!(text.contains("evs_events_in_total") && !text.contains("canary"), "{text}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((_, labels)) = line.split_once('{') else { continue };
            assert!(labels.starts_with("le=\""), "a label that is not a bucket's: {line}");
        }
    }
    server.stop().await;
}
