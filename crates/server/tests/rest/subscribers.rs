//! `/subscribers` and `/explain`: lag, order, what became of an event, reset, deletion.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, TestServer};

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect()
}

fn steps(explanation: &Value) -> Vec<&str> {
    explanation["trail"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_are_listed_by_lag() {
    let server = TestServer::start().await;
    for (at, id) in ["small", "none", "large"].into_iter().enumerate() {
        server.filter(json!({ "subscriber_id": id, "where": format!("kind == {at} || kind == 9 && {at} == 2") })).await;
    }
    server.publish(json!([{ "kind": 0 }, { "kind": 2 }, { "kind": 2 }, { "kind": 9 }])).await;
    let page = server.until("/subscribers", |page| page["items"][0]["lag_events"] == 3).await;
    assert_eq!(ids(&page), ["large", "small", "none"]);
    assert_eq!(page["total"], 3);
    let large = &page["items"][0];
    assert_eq!(
        (&large["state"], &large["top"], &large["acked"], &large["filters"]),
        (&json!("new"), &json!(3), &json!(0), &json!(1))
    );
    assert!(large["lag_s"].as_f64().is_some() && page["items"][2]["lag_s"].is_null(), "{page}");

    assert_eq!(ids(&server.get("/subscribers?sort=id").await.body), ["large", "none", "small"]);
    assert_eq!(ids(&server.get("/subscribers?sort=id&order=desc").await.body), ["small", "none", "large"]);
    assert_eq!(ids(&server.get("/subscribers?q=al").await.body), ["small"]);
    assert_eq!(ids(&server.get("/subscribers?state=slow,new&q=al").await.body), ["small"]);
    let read = server.get("/subscribers?state=live,slow,away").await.body;
    assert_eq!((ids(&read).len(), &read["total"]), (0, &json!(0)));
    let first = server.get("/subscribers?sort=lag_s&limit=2").await.body;
    assert_eq!(ids(&first).len(), 2);
    assert_eq!(
        ids(&server.get(&format!("/subscribers?sort=lag_s&page={}", first["next"].as_str().unwrap())).await.body),
        ["none"]
    );

    let detail = server.get("/subscribers/large").await.body;
    assert_eq!(
        (&detail["lag_events"], &detail["filter_ids"], &detail["consumers"]),
        (&json!(3), &json!([3]), &json!([]))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_explained() {
    let server = TestServer::start().await;
    let filter = server.filter(json!({ "subscriber_id": "user_1", "event_types": ["purchase"], "where": "amount >= 100 && country == \"DE\"" })).await;
    server
        .publish(json!([
            { "event_id": "e1", "event_type": "purchase", "amount": 120, "country": "DE" },
            { "event_id": "e2", "event_type": "purchase", "amount": 20 },
        ]))
        .await;
    server.until("/subscribers/user_1", |detail| detail["top"] == 1).await;

    let got = server.get("/explain?subscriber=user_1&event=e1").await.body;
    assert_eq!((&got["matched"], &got["position"], &got["event_id"]), (&json!(true), &json!("0:0"), &json!("e1")));
    assert_eq!(steps(&got), ["logged", "matched", "queued", "pending"]);
    assert_eq!(got["trail"][2]["detail"], "as seq 1");

    let missed = server.get("/explain?subscriber=user_1&event=0:1").await.body;
    assert_eq!((&missed["matched"], steps(&missed)), (&json!(false), vec!["logged", "not_matched"]));
    let clauses = missed["filters"][0]["clauses"].as_array().unwrap();
    let told: Vec<_> =
        clauses.iter().map(|clause| (clause["text"].as_str().unwrap(), clause["outcome"].as_str().unwrap())).collect();
    assert_eq!(
        told,
        [("event_type in [\"purchase\"]", "true"), ("amount >= 100", "false"), ("country == \"DE\"", "error")]
    );
    assert_eq!(clauses[1]["saw"], "amount = 20");
    assert_eq!(missed["filters"][0]["id"], filter);

    // A filter that came later does not claim what was before it.
    server.filter(json!({ "subscriber_id": "late", "event_types": ["purchase"] })).await;
    let late = server.get("/explain?subscriber=late&event=e1").await.body;
    assert_eq!((&late["matched"], steps(&late)), (&json!(true), vec!["logged", "not_matched"]));
    server.get("/explain?subscriber=user_1&event=e9").await.expect_problem(404, "unknown_event");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_is_moved_and_a_subscriber_is_deleted() {
    let server = TestServer::start().await;
    let filter = server.filter(json!({ "subscriber_id": "user_1" })).await;
    server.publish(json!([{ "event_id": "e1" }, { "event_id": "e2" }, { "event_id": "e3" }])).await;
    server.until("/subscribers/user_1", |detail| detail["top"] == 3).await;
    let reset = |query: &str| Answer::of(server.request(Method::POST, &format!("/subscribers/user_1/reset?{query}")));
    reset("to=latest").await.expect_problem(404, "unknown_consumer");

    // A first connection makes the consumer.
    let mut stream =
        crate::harness::Sse::open(reqwest::Client::new().get(format!("{}/sse/user_1", server.gateway))).await;
    while stream.next().await.unwrap().data["data"]["event_id"] != "e3" {}
    drop(stream);
    server.until("/subscribers/user_1", |detail| detail["lag_events"] == 0 && detail["connections"] == 0).await;
    let got = server.get("/explain?subscriber=user_1&event=0:2").await.body;
    assert_eq!(steps(&got).last(), Some(&"acked"), "{got}");

    server.publish(json!([{ "event_id": "e4" }, { "event_id": "e5" }])).await;
    server.until("/subscribers/user_1", |detail| detail["lag_events"] == 2 && detail["state"] == "away").await;
    reset("to=9").await.expect_problem(422, "beyond_the_end");
    reset("to=soon").await.expect_problem(400, "invalid_query");
    assert_eq!(reset("to=4").await.status, StatusCode::NO_CONTENT);
    server
        .until("/subscribers/user_1", |detail| detail["consumers"][0]["acked"] == 4 && detail["lag_events"] == 1)
        .await;
    assert_eq!(reset("to=latest").await.status, StatusCode::NO_CONTENT);
    server.until("/subscribers/user_1", |detail| detail["lag_events"] == 0).await;

    assert_eq!(server.delete("/subscribers/user_1").await.status, StatusCode::NO_CONTENT);
    server.get("/subscribers/user_1").await.expect_problem(404, "unknown_subscriber");
    server.get(&format!("/filters/{filter}")).await.expect_problem(404, "unknown_filter");
    server.delete("/subscribers/user_1").await.expect_problem(404, "unknown_subscriber");
    server.until("/subscribers", |page| page["total"] == 0).await;
    server.stop().await;
}
