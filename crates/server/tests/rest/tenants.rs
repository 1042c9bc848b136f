//! Two tenants with the same names for everything, crossed everywhere: neither sees a trace of the other.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, Sse, TestServer, claims, sign, tenant_token};

/// What only tenant a ever says; it must not come up in any answer to b.
const CANARY: &str = "canary-8c1f";

fn everything(tenant: &str) -> String {
    tenant_token(tenant, "user_1", "produce subscribe subscribe:* filters:any operate")
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_do_not_see_each_other() {
    let mut server = TestServer::start_locked().await;
    let (a, b) = (everything("a"), everything("b"));

    // Both have a subscriber and a filter of the same names.
    server.set_token(Some(a.clone()));
    let spec = json!({ "subscriber_id": "user_1", "name": "mine", "where": format!("note != \"{CANARY}x\"") });
    let of_a = server.filter(spec.clone()).await;
    server.filter(json!({ "subscriber_id": format!("{CANARY}-sub") })).await;
    server.set_token(Some(b.clone()));
    let of_b = server.filter(json!({ "subscriber_id": "user_1", "name": "mine" })).await;
    assert_ne!(of_a, of_b);

    // Events are their tenant's, and cannot be another's.
    server.post("/events", json!({ "tenant": "a", "note": "forged" })).await.expect_problem(422, "wrong_tenant");
    server
        .post("/events", json!([{ "tenant": "b" }, { "note": "of nobody" }]))
        .await
        .expect_problem(422, "wrong_tenant");
    let place_b = server.publish(json!([{ "tenant": "b", "event_id": "same", "note": "b" }])).await.remove(0);
    server.set_token(Some(a.clone()));
    let place_a = server.publish(json!([{ "tenant": "a", "event_id": "same", "note": CANARY }])).await.remove(0);
    server.until("/subscribers/user_1", |detail| detail["top"] == 1).await;

    // A sees its own things, as it wrote them.
    let read = server.get(&format!("/filters/{of_a}")).await.body;
    assert_eq!((&read["subscriber_id"], &read["where"]), (&spec["subscriber_id"], &spec["where"]));
    assert_eq!(server.get("/events").await.body["items"][0]["data"]["note"], CANARY);
    assert_eq!(server.get("/explain?subscriber=user_1&event=same").await.body["position"], place_a);
    assert_eq!(server.get("/subscribers").await.body["total"], 2);
    let cursor_of_a = server.get("/subscribers/user_1").await.body;

    // B sees nothing of it, wherever it asks.
    server.set_token(Some(b.clone()));
    server.until("/subscribers/user_1", |detail| detail["top"] == 1).await;
    let canary_sub = format!("/subscribers/{CANARY}-sub");
    for path in [
        format!("/filters/{of_a}"),
        format!("/events/{place_a}"),
        canary_sub.clone(),
        "/subscribers/a:user_1".to_owned(),
        format!("/explain?subscriber=user_1&event={place_a}"),
        "/explain?subscriber=a:user_1&event=same".to_owned(),
    ] {
        let answer = server.get(&path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {answer:?}");
    }
    let mut seen = String::new();
    for path in [
        "/filters",
        "/filters?limit=1",
        "/filters?subscriber_id=user_1",
        "/filters/export",
        "/events",
        "/events?since=beginning",
        "/events?from=0:0",
        "/events?since=beginning&where=tenant%20%3D%3D%20%22a%22",
        "/events?since=beginning&where=true)%20%7C%7C%20(true",
        "/subscribers",
        "/subscribers?q=canary",
        "/subscribers?q=a:",
        "/subscribers/user_1",
        "/explain?subscriber=user_1&event=same",
    ] {
        seen.push_str(&server.get(path).await.text);
    }
    seen.push_str(&server.post("/filters/test", json!({ "since": "1h", "samples": 100 })).await.text);
    let escaping = json!({ "subscriber_id": "user_1", "where": "true) || (true" });
    server.post("/filters", escaping).await.expect_problem(422, "invalid_where");
    assert!(!seen.contains("canary") && !seen.contains("a:") && !seen.contains("\"a\""), "{seen}");
    assert!(seen.contains(&place_b));
    let tried = server.post("/filters/test", json!({ "since": "1h" })).await.body;
    assert_eq!((&tried["scanned"], &tried["matched"]), (&json!(1), &json!(1)), "others' events do not even count");
    assert_eq!(server.get("/subscribers").await.body["total"], 1);

    // B changes nothing of it.
    for request in [
        server.request(Method::PUT, &format!("/filters/{of_a}")).json(&json!({})),
        server.request(Method::DELETE, &format!("/filters/{of_a}")),
        server.request(Method::DELETE, &canary_sub),
        server.request(Method::POST, &format!("{canary_sub}/reset?to=latest")),
    ] {
        assert_eq!(Answer::of(request).await.status, StatusCode::NOT_FOUND);
    }
    for path in ["/stats", "/stats/stream", "/log", "/log/stream", "/dead-letters", "/metrics"] {
        server.get(path).await.expect_problem(403, "forbidden");
    }
    assert_eq!(server.delete("/subscribers/user_1").await.status, StatusCode::NO_CONTENT);
    server.set_token(Some(a.clone()));
    let kept = server.get("/subscribers/user_1").await.body;
    assert_eq!((&kept["top"], &kept["epoch"]), (&cursor_of_a["top"], &cursor_of_a["epoch"]));

    // B follows the log while a speaks.
    server.set_token(Some(b));
    let mut stream = Sse::open(server.request(Method::GET, "/events/stream?since=beginning")).await;
    let mut notes: Vec<Value> = Vec::new();
    server.set_token(Some(a));
    server.publish(json!([{ "tenant": "a", "note": CANARY }])).await;
    server.set_token(Some(everything("b")));
    server.publish(json!([{ "tenant": "b", "note": "last" }])).await;
    while notes.last() != Some(&json!("last")) {
        let event = stream.next().await.unwrap();
        if event.name == "event" {
            notes.push(event.data["data"]["note"].clone());
        }
    }
    assert_eq!(notes, [json!("b"), json!("last")]);

    // Who operates the whole installation sees both, by their full names.
    server.set_token(Some(sign(&claims("root", "operate"))));
    let all = server.until("/subscribers?sort=id", |page| page["total"] == 2).await;
    assert_eq!(all["items"][1]["id"], "a:user_1");
    server.stop().await;
}
