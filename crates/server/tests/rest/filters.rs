//! `/filters`: create, read, change, delete, list, import, export, try.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, TestServer};

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_lives() {
    let server = TestServer::start().await;
    let spec =
        json!({ "subscriber_id": "user_1", "event_types": ["purchase"], "user_tiers": ["premium"], "min_amount": 100 });
    let made = server.post("/filters?wait=active", spec.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED);
    assert_eq!(made.body["status"], "active");
    for (field, value) in spec.as_object().unwrap() {
        assert_eq!(&made.body[field], value);
    }
    let path = made.header("location").to_owned();
    let etag = made.header("etag").to_owned();

    let read = server.get(&path).await;
    assert_eq!((read.status, read.header("etag")), (StatusCode::OK, etag.as_str()));

    // What was read can be sent back, changed.
    let mut changed = read.body.clone();
    changed["where"] = "country in [\"DE\", \"FR\"]".into();
    let put = Answer::of(
        server.request(Method::PUT, &format!("{path}?wait=active")).json(&changed).header("if-match", &etag),
    )
    .await;
    assert_eq!((put.status, &put.body["where"]), (StatusCode::OK, &changed["where"]));
    assert_ne!(put.header("etag"), etag);

    let stale = Answer::of(server.request(Method::PUT, &path).json(&changed).header("if-match", &etag)).await;
    stale.expect_problem(412, "version_mismatch");
    let stale = Answer::of(server.request(Method::DELETE, &path).header("if-match", &etag)).await;
    stale.expect_problem(412, "version_mismatch");

    let gone = Answer::of(server.request(Method::DELETE, &path).header("if-match", put.header("etag"))).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    server.get(&path).await.expect_problem(404, "unknown_filter");
    server.delete(&path).await.expect_problem(404, "unknown_filter");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_put_again() {
    let server = TestServer::start().await;
    let spec = |min: u32| json!({ "subscriber_id": "user_1", "name": "big", "min_amount": min });
    let first = server.post("/filters", spec(1)).await;
    let second = server.post("/filters", spec(2)).await;
    let again = server.post("/filters", spec(2)).await;
    assert_eq!([first.status, second.status, again.status].map(|status| status.as_u16()), [201, 200, 200]);
    assert_eq!((&first.body["id"], &second.body["id"]), (&second.body["id"], &again.body["id"]));
    assert_eq!(second.body["version"], again.body["version"]);

    let other = server.post("/filters", json!({ "subscriber_id": "user_1", "name": "small" })).await;
    let path = other.header("location");
    server.put(path, json!({ "name": "big" })).await.expect_problem(409, "name_taken");
    let moved = server.put(path, json!({ "subscriber_id": "user_2" })).await;
    moved.expect_problem(422, "other_subscriber");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_pages() {
    let server = TestServer::start().await;
    for at in 0..7 {
        let subscriber = format!("user_{}", at % 2);
        assert!(
            server.post("/filters", json!({ "subscriber_id": subscriber, "min_amount": at })).await.status.is_success()
        );
    }
    let mut seen = Vec::new();
    let mut path = "/filters?limit=3".to_owned();
    loop {
        let page = server.get(&path).await.body;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 3);
        seen.extend(items.iter().map(|filter| filter["min_amount"].as_u64().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/filters?limit=3&page={next}");
    }
    assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6]);
    let of_one = server.get("/filters?subscriber_id=user_1").await.body;
    assert_eq!(of_one["items"].as_array().unwrap().len(), 3);
    assert_eq!(server.get("/filters?subscriber_id=nobody").await.body["items"], json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_are_imported_and_exported_and_imported_again() {
    let server = TestServer::start().await;
    let lines: String = (0..6_000)
        .map(|at| json!({ "subscriber_id": format!("user_{at}"), "name": "big", "min_amount": at }).to_string() + "\n")
        .collect();
    let import = |body: String| server.post_text("/filters/import", "application/x-ndjson", body);
    let first = import(lines.clone()).await;
    assert_eq!((first.status, &first.body["created"]), (StatusCode::OK, &json!(6_000)), "{first:?}");
    let again = import(lines).await;
    assert_eq!(again.body, json!({ "created": 0, "updated": 0, "unchanged": 6_000, "version": first.body["version"] }));

    let exported = server.get("/filters/export").await;
    assert_eq!(exported.header("content-type"), "application/x-ndjson");
    assert_eq!(exported.text.lines().count(), 6_000);
    let back = import(exported.text).await;
    assert_eq!(back.body["unchanged"], 6_000);
    let one = server.get("/filters/export?subscriber_id=user_7").await;
    let filter: Value = serde_json::from_str(&one.text).unwrap();
    assert_eq!(filter["min_amount"], 7);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_is_named_and_its_chunk_is_not_stored() {
    let server = TestServer::start().await;
    let good = |at: usize| json!({ "subscriber_id": format!("user_{at}") }).to_string() + "\n";
    let lines: String = (0..5_001).map(good).collect::<String>() + "{\"subscriber_id\": \"x\", \"where\": \"a ==\"}\n";
    let answer = server.post_text("/filters/import", "application/x-ndjson", lines).await;
    answer.expect_problem(422, "invalid_where");
    assert!(answer.body["detail"].as_str().unwrap().starts_with("line 5002: "), "{answer:?}");
    assert_eq!(answer.body["errors"][0]["pointer"], "/5001/where");
    assert_eq!(answer.body["hint"], "lines 1 to 5000 are stored; mend the rest, and send from line 5001 on");
    assert_eq!(server.get("/filters/export").await.text.lines().count(), 5_000);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_is_tried_on_recent_events() {
    let server = TestServer::start().await;
    server.publish(json!([{ "event_type": "purchase", "amount": 5 }, { "event_type": "purchase", "amount": 50 }, { "event_type": "login" }])).await;
    let tried = server
        .post("/filters/test", json!({ "event_types": ["purchase"], "where": "amount > 10", "since": "1h" }))
        .await
        .body;
    assert_eq!((&tried["scanned"], &tried["matched"], &tried["truncated"]), (&json!(3), &json!(1), &json!(false)));
    assert_eq!(tried["canonical"], "event_type in [\"purchase\"] && amount > 10");
    assert_eq!(tried["samples"][0]["data"]["amount"], 50);
    let never = server.post("/filters/test", json!({ "where": "amount > 10 && amount < 5" })).await.body;
    assert!(never["warning"].as_str().unwrap().contains("no event can match"), "{never}");
    let slip = server.post("/filters/test", json!({ "where": "contry == \"DE\" || amount > 10 || has(x)" })).await.body;
    assert_eq!(slip["warning"], "no event of these has `contry`", "{slip}");
    assert!(tried["warning"].is_null(), "{tried}");
    assert_eq!(server.get("/filters").await.body["items"], json!([]), "nothing is stored");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_has_so_many_filters_and_no_more() {
    let server = TestServer::start().await;
    let lines: String =
        (0..1_000).map(|at| format!("{{\"subscriber_id\": \"user_1\", \"min_amount\": {at}}}\n")).collect();
    assert!(server.post_text("/filters/import", "application/x-ndjson", lines).await.status.is_success());
    server.post("/filters", json!({ "subscriber_id": "user_1" })).await.expect_problem(422, "too_many_filters");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_that_are_tried_on_every_event_are_limited() {
    let server = TestServer::start_with(|config| config.limit_unindexable_filters = 1).await;
    let scanned = |at: u32| json!({ "subscriber_id": "user_1", "where": format!("name.contains(\"{at}\")") });
    server.filter(scanned(1)).await;
    server.until("/stats", |stats| stats["index"]["unindexable_filters"] == 1).await;
    let refused = server.post("/filters", scanned(2)).await;
    refused.expect_problem(422, "too_many_scanned");
    assert!(refused.body["hint"].as_str().unwrap().contains("event_types"), "{refused:?}");
    assert!(refused.body["detail"].as_str().unwrap().contains("limit_unindexable_filters"), "{refused:?}");
    server.filter(json!({ "subscriber_id": "user_1", "event_types": ["a"], "where": "name.contains(\"2\")" })).await;
    let tried = server.post("/filters/test", json!({ "where": "name.contains(\"2\")" })).await.body;
    assert!(tried["warning"].as_str().unwrap().contains("every event"), "{tried}");
    server.stop().await;
}
