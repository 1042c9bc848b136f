//! `/stats`, `/log`, health, version and metrics.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Sse, TestServer};

#[tokio::test(flavor = "multi_thread")]
async fn numbers_and_the_log_are_followed() {
    let server = TestServer::start().await;
    let mut log = Sse::open(server.request(Method::GET, "/log/stream?after=0")).await;
    server.filter(json!({ "subscriber_id": "user_1" })).await;
    server.publish(json!([{ "a": 1 }, { "a": 2 }])).await;
    let stats =
        server.until("/stats", |stats| stats["deliveries_total"] == 2 && stats["shards"][0]["depth"] == 2).await;
    assert_eq!(
        (&stats["events_in_total"], &stats["filters"], &stats["subscribers"]),
        (&json!(2), &json!(1), &json!(1))
    );
    assert_eq!(stats["partitions"], json!([{ "partition": 0, "low": 0, "high": 2, "matched": 2, "lag": 0 }]));
    assert_eq!((&stats["mode"], &stats["instances"][0]["healthy"]), (&json!("embedded"), &json!(true)));

    let mut ticks = Sse::open(server.request(Method::GET, "/stats/stream")).await;
    assert_eq!(ticks.next().await.unwrap().data["deliveries_total"], 2);
    assert_eq!(ticks.next().await.unwrap().name, "stats");

    loop {
        let entry = log.next().await.unwrap();
        assert_eq!(entry.id.unwrap(), entry.data["id"].to_string());
        if entry.data["kind"] == "filter_created" {
            assert_eq!(entry.data["subscriber"], "user_1");
            break;
        }
    }
    let listed = server.get("/log").await.body;
    assert!(listed["items"].as_array().unwrap().iter().any(|entry| entry["kind"] == "started"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_port_tells_its_health() {
    let server = TestServer::start().await;
    for base in [&server.url, &server.matcher, &server.gateway] {
        for path in ["/livez", "/readyz", "/version", "/metrics"] {
            server.until_at(&format!("{base}{path}"), |_| true).await;
        }
    }
    let ready = server.get("/readyz").await.body;
    assert_eq!(ready["checks"], json!({ "event_log": "ok", "delivery_queue": "ok", "filter_store": "ok" }));
    server.publish(json!({ "a": 1 })).await;
    let metrics = server.get("/metrics").await;
    assert!(metrics.text.contains("evs_events_in_total 1"), "{}", metrics.text);
    server.stop().await;
}
