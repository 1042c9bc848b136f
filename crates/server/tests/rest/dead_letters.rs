//! `/dead-letters`: listed, put back, dropped.

use bytes::Bytes;
use evs_core::Position;
use evs_server::ports::event_log::DeadLetter;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::harness::{Answer, TestServer};

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_read_is_listed_put_back_and_dropped() {
    let server = TestServer::start().await;
    let position: Position = "0:0".parse().unwrap();
    for payload in ["{\"a\":1}", "not json", "{\"b\":2}"] {
        let letter = DeadLetter {
            id: String::new(),
            reason: "invalid_json".into(),
            detail: "for the test".into(),
            position,
            time_ms: 1,
            payload: Bytes::from_static(payload.as_bytes()),
        };
        server.app.log.bury(letter).await.unwrap();
    }
    let page = server.get("/dead-letters?limit=2").await.body;
    assert_eq!((page["items"].as_array().unwrap().len(), &page["next"]), (2, &json!("2")));
    let rest = server.get("/dead-letters?page=2").await.body;
    assert_eq!(rest["items"][0]["payload_base64"], "eyJhIjoxfQ==");
    let first = rest["items"][0]["id"].as_str().unwrap();

    let replay = |query: String| Answer::of(server.request(Method::POST, &format!("/dead-letters/replay{query}")));
    assert_eq!(replay(format!("?id={first}")).await.body, json!({ "replayed": 1, "failed": 0 }));
    assert_eq!(replay(String::new()).await.body, json!({ "replayed": 1, "failed": 1 }));
    assert_eq!(server.get("/events/0:0").await.body["data"], json!({ "a": 1 }));
    assert_eq!(server.get("/dead-letters").await.body["items"].as_array().unwrap().len(), 1);
    replay("?ids=1".to_owned()).await.expect_problem(400, "invalid_query");

    assert_eq!(server.delete("/dead-letters").await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.get("/dead-letters").await.body, json!({ "items": [] }));
    server.stop().await;
}
