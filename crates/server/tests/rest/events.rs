//! `/events`: publish in every form, exactly once with a key, read back, follow.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::harness::{Answer, Sse, TestServer};

#[tokio::test(flavor = "multi_thread")]
async fn events_come_back_byte_for_byte() {
    let server = TestServer::start().await;
    let one = server.post_text("/events", "application/json", r#"{"a" : 1.0}"#).await;
    assert_eq!((one.status, &one.body), (StatusCode::ACCEPTED, &json!({ "accepted": 1, "positions": ["0:0"] })));
    let two = server.post_text("/events", "application/json; charset=utf-8", r#"[{"b":2}, {"c":3}]"#).await;
    assert_eq!(two.body["positions"], json!(["0:1", "0:2"]));
    let lines = server.post_text("/events", "application/x-ndjson", "{\"d\":4}\n\n{\"e\":5}\n").await;
    assert_eq!(lines.body["positions"], json!(["0:3", "0:4"]));
    let none = server.post_text("/events", "application/json", "[]").await;
    assert_eq!((none.status, &none.body["accepted"]), (StatusCode::ACCEPTED, &json!(0)));

    let read = server.get("/events/0:0").await;
    assert!(read.text.contains(r#""data":{"a" : 1.0}"#), "{read:?}");
    server.get("/events/0:5").await.expect_problem(404, "unknown_event");
    server.get("/events/7:0").await.expect_problem(404, "unknown_event");
    server.get("/events/x").await.expect_problem(400, "invalid_position");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stores_once() {
    let server = TestServer::start().await;
    let send = |key: &str, body: &'static str| {
        let request = server.request(Method::POST, "/events").header("content-type", "application/json");
        Answer::of(request.header("idempotency-key", key).body(body))
    };
    let first = send("k1", "[{\"a\":1}]").await;
    let again = send("k1", "[{\"a\":1}]").await;
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    assert_eq!(again.header("idempotency-replayed"), "true");
    send("k1", "[{\"a\":2}]").await.expect_problem(422, "idempotency_key_reused");
    send("", "[{\"a\":2}]").await.expect_problem(400, "invalid_idempotency_key");
    // A refused batch leaves its key free.
    send("k2", "[{\"a\":2},7]").await.expect_problem(422, "not_an_object");
    assert_eq!(send("k2", "[{\"a\":2}]").await.body["positions"], json!(["0:1"]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_listed() {
    let server = TestServer::start().await;
    let events: Vec<_> = (0..10).map(|at| json!({ "n": at })).collect();
    server.publish(json!(events)).await;
    let numbers = |body: &serde_json::Value| -> Vec<u64> {
        body["items"].as_array().unwrap().iter().map(|item| item["data"]["n"].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers(&server.get("/events?limit=3").await.body), [7, 8, 9]);
    assert_eq!(numbers(&server.get("/events?from=0:8").await.body), [8, 9]);
    assert_eq!(numbers(&server.get("/events?since=1h&where=n%20%3E%206").await.body), [7, 8, 9]);
    let first = server.get("/events?since=beginning&limit=4").await.body;
    assert_eq!(numbers(&first), [0, 1, 2, 3]);
    let next = first["next"].as_str().unwrap();
    assert_eq!(numbers(&server.get(&format!("/events?limit=100&page={next}")).await.body), [4, 5, 6, 7, 8, 9]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_followed() {
    let server = TestServer::start().await;
    server.publish(json!([{ "n": 0 }, { "n": 1 }])).await;
    let mut stream = Sse::open(server.request(Method::GET, "/events/stream?since=1h&where=n%20!%3D%201")).await;
    let first = stream.next().await.unwrap();
    assert_eq!((first.name.as_str(), first.id.as_deref(), &first.data["data"]["n"]), ("event", Some("0:0"), &json!(0)));
    assert_eq!(stream.next().await.unwrap().name, "caught_up");
    server.publish(json!([{ "n": 1 }, { "n": 2 }])).await;
    assert_eq!(stream.next().await.unwrap().data["position"], "0:3");

    let resumed = server.request(Method::GET, "/events/stream").header("last-event-id", "0:2");
    assert_eq!(Sse::open(resumed).await.next().await.unwrap().data["position"], "0:3");
    let none_yet = server.request(Method::GET, "/events/stream?since=1h").header("last-event-id", "");
    assert_eq!(Sse::open(none_yet).await.next().await.unwrap().data["position"], "0:0");
    server.shutdown.cancel();
    assert!(stream.next().await.is_none(), "a stopping server ends its streams");
    server.stop().await;
}
