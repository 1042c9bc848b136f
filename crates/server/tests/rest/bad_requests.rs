//! A table of what is refused: the request, the status, the code, and where the mistake is said to be.

use serde_json::json;

use crate::harness::{Answer, TestServer};
use reqwest::Method;

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

struct Bad {
    path: &'static str,
    content_type: &'static str,
    body: Vec<u8>,
    answer: (u16, &'static str),
    /// Of the first error; empty where the mistake is not in one place.
    pointer: &'static str,
    /// Part of the sentence.
    says: &'static str,
}

fn bad(
    path: &'static str,
    content_type: &'static str,
    body: impl Into<Vec<u8>>,
    answer: (u16, &'static str),
    pointer: &'static str,
    says: &'static str,
) -> Bad {
    Bad { path, content_type, body: body.into(), answer, pointer, says }
}

fn table() -> Vec<Bad> {
    let (events, filters) = ("/events", "/filters");
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100), "]".repeat(100));
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(1024 * 1024));
    let filter = |rest: &str| format!("{{\"subscriber_id\":\"user_1\",{rest}}}");
    vec![
        bad(events, JSON, "{\"a\":", (400, "invalid_json"), "", "line 1"),
        bad(events, JSON, "{\"a\":1} x", (400, "invalid_json"), "", ""),
        bad(events, JSON, "\"text\"", (422, "not_an_object"), "", "must be a JSON object"),
        bad(events, JSON, "7", (422, "not_an_object"), "", ""),
        bad(events, JSON, "", (400, "empty_body"), "", ""),
        bad(events, NDJSON, "\n \n", (400, "empty_body"), "", ""),
        bad(events, JSON, large.clone(), (413, "too_large"), "", "1048576"),
        bad(events, JSON, format!("[{{}},{large}]"), (413, "too_large"), "/1", "event 1"),
        bad(events, JSON, "x".repeat(17 * 1024 * 1024), (413, "body_too_large"), "", "16777216"),
        bad(events, JSON, deep, (422, "too_deep"), "", "64 levels"),
        bad(events, JSON, "{\"a\":NaN}", (400, "invalid_json"), "", ""),
        bad(events, JSON, "{\"a\":1e999}", (400, "invalid_json"), "", ""),
        bad(events, JSON, b"{\"a\":\"\xff\"}".to_vec(), (400, "invalid_utf8"), "", "byte 6"),
        bad(events, JSON, b"[{\"a\":\"\xff\"}]".to_vec(), (400, "invalid_utf8"), "", ""),
        bad(events, JSON, "{\"a\":1,\"a\":2}", (422, "duplicate_key"), "", "\"a\""),
        bad(events, JSON, "{\"a\":{\"b\":1,\"\\u0062\":2}}", (422, "duplicate_key"), "", "\"b\""),
        bad(events, JSON, "[{},{\"a\":1,\"a\":2},{}]", (422, "duplicate_key"), "/1", "event 1: "),
        bad(events, NDJSON, "{}\n[]\n", (422, "not_an_object"), "/1", "line 2: "),
        bad(events, "text/plain", "{}", (415, "unsupported_media_type"), "", "application/json"),
        bad(filters, JSON, "{\"subscriber_id\":", (400, "invalid_json"), "", ""),
        bad(filters, JSON, "[]", (422, "invalid_type"), "", ""),
        bad(filters, JSON, "{}", (422, "missing_field"), "/subscriber_id", "subscriber_id"),
        bad(filters, JSON, "{\"subscriber_id\":\"a b\"}", (422, "invalid_name"), "/subscriber_id", "' '"),
        bad(filters, JSON, "{\"subscriber_id\":7}", (422, "invalid_type"), "/subscriber_id", "string"),
        bad(filters, JSON, filter("\"event_type\":[\"a\"]"), (422, "unknown_field"), "/event_type", "event_type"),
        bad(filters, JSON, filter("\"event_types\":\"a\""), (422, "invalid_type"), "/event_types", "sequence"),
        bad(filters, JSON, filter("\"event_types\":[\"a\",7]"), (422, "invalid_type"), "/event_types/1", ""),
        bad(filters, JSON, filter("\"event_types\":[\"a\",\"\"]"), (422, "invalid_filter"), "/event_types/1", "empty"),
        bad(filters, JSON, filter("\"min_amount\":\"5\""), (422, "invalid_type"), "/min_amount", ""),
        bad(filters, JSON, filter("\"min_amount\":NaN"), (400, "invalid_json"), "", ""),
        bad(filters, JSON, filter("\"name\":\"a/b\""), (422, "invalid_name"), "/name", "'/'"),
        bad(filters, JSON, filter("\"name\":\"a\",\"name\":\"b\""), (422, "duplicate_key"), "", "name"),
        bad(filters, JSON, filter("\"where\":\"amount >= \""), (422, "invalid_where"), "/where", "^"),
        bad(filters, JSON, filter("\"where\":\"amount > 10 && amount < 5\""), (422, "never_matches"), "", "no event"),
        bad(filters, JSON, b"{\"subscriber_id\":\"\xff\"}".to_vec(), (400, "invalid_utf8"), "", "byte 18"),
        bad(filters, "application/x-www-form-urlencoded", "a=b", (415, "unsupported_media_type"), "", "form"),
        bad("/filters?wait=long", JSON, filter("\"min_amount\":1"), (400, "invalid_query"), "", "wait=active"),
        bad("/filters?wait=active&timeout=x", JSON, filter("\"min_amount\":1"), (400, "invalid_query"), "", "10s"),
        bad("/filters?wiat=active", JSON, filter("\"min_amount\":1"), (400, "invalid_query"), "", "wiat"),
        bad("/filters/test", JSON, "{\"since\":\"yesterday\"}", (400, "invalid_since"), "", "10m"),
        bad("/filters/test", JSON, "{\"samples\":1000}", (422, "invalid_filter"), "/samples", "100"),
        bad("/filters/import", NDJSON, "{}\n", (422, "missing_field"), "/0/subscriber_id", "line 1: "),
        bad("/filters/import", JSON, "{}", (415, "unsupported_media_type"), "", "x-ndjson"),
        bad("/subscribers/nobody/reset?to=latest", JSON, "", (404, "unknown_subscriber"), "", "nobody"),
        bad("/nowhere", JSON, "{}", (404, "unknown_route"), "", "/nowhere"),
        bad("/stats", JSON, "{}", (405, "method_not_allowed"), "", "POST"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bodies_are_refused_with_a_reason_and_nothing_is_stored() {
    let server = TestServer::start().await;
    for Bad { path, content_type, body, answer: (status, code), pointer, says } in table() {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let answer = server.post_text(path, content_type, body).await;
        assert_eq!((answer.status.as_u16(), answer.body["code"].as_str()), (status, Some(code)), "{shown}: {answer:?}");
        answer.expect_problem(status, code);
        let named = answer.body["errors"][0]["pointer"].as_str().unwrap_or_default();
        assert_eq!(named, pointer, "{shown}: {answer:?}");
        assert!(answer.body["detail"].as_str().unwrap().contains(says), "{shown}: {answer:?}");
    }
    assert_eq!(server.get("/filters").await.body["items"], json!([]));
    assert_eq!(server.get("/events?since=beginning").await.body["items"], json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_paths_and_queries_are_refused_with_a_reason() {
    let server = TestServer::start().await;
    for (path, status, code) in [
        ("/filters/abc", 400, "invalid_path"),
        ("/filters/4294967296", 400, "invalid_path"),
        ("/filters/9", 404, "unknown_filter"),
        ("/filters?limit=0", 400, "invalid_query"),
        ("/filters?limit=1001", 400, "invalid_query"),
        ("/filters?limit=x", 400, "invalid_query"),
        ("/filters?page=x", 400, "invalid_query"),
        ("/filters?subscriber=x", 400, "invalid_query"),
        ("/subscribers?sort=size", 400, "invalid_query"),
        ("/subscribers?page=x", 400, "invalid_query"),
        ("/subscribers?state=live,idle", 400, "invalid_query"),
        ("/subscribers/nobody", 404, "unknown_subscriber"),
        ("/subscribers/a%20b", 422, "invalid_name"),
        ("/subscribers/%ff", 400, "invalid_path"),
        ("/events?where=a%20%3D%3D", 422, "invalid_where"),
        ("/events?since=never", 400, "invalid_since"),
        ("/events?from=x", 400, "invalid_position"),
        ("/events/stream?where=a%20%3D%3D", 422, "invalid_where"),
        ("/explain?subscriber=nobody&event=0:0", 404, "unknown_subscriber"),
        ("/explain?subscriber=nobody", 400, "invalid_query"),
        ("/dead-letters?page=x", 400, "invalid_query"),
        ("/log?after=x", 400, "invalid_query"),
        ("/", 404, "unknown_route"),
    ] {
        server.get(path).await.expect_problem(status, code);
    }
    let etag = Answer::of(server.request(Method::DELETE, "/filters/9").header("if-match", "x")).await;
    etag.expect_problem(400, "invalid_if_match");
    server.delete("/filters").await.expect_problem(405, "method_not_allowed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_is_refused_with_its_place_and_a_hint() {
    let server = TestServer::start().await;
    let answer = server
        .post("/filters", json!({ "subscriber_id": "user_1", "where": "amount >= 100 and country == \"DE\"" }))
        .await;
    answer.expect_problem(422, "invalid_where");
    let error = &answer.body["errors"][0];
    assert_eq!(error["span"], json!([14, 17]), "{answer:?}");
    assert!(error["hint"].as_str().unwrap().contains("&&"), "{answer:?}");
    let lines: Vec<&str> = answer.body["detail"].as_str().unwrap().lines().collect();
    assert!(lines[1].contains("amount >= 100 and country") && lines[2].contains("^^^"), "{lines:?}");
    server.stop().await;
}
