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
    let own = server.get("/version").await.body["instance"].clone();
    let stats = server.until("/stats", |stats| stats["partitions"][0]["owner"] == own).await;
    assert_eq!(
        stats["partitions"],
        json!([{ "partition": 0, "low": 0, "high": 2, "matched": 2, "lag": 0, "owner": own }])
    );
    // An embedded log has no group.
    assert_eq!((&stats["instances"][0]["partitions"], &stats["instances"][0]["rebalances"]), (&json!([0]), &json!(0)));
    assert_eq!(stats["mode"], "embedded");
    // An instance says that its readers are not there yet while it starts.
    server.until("/stats", |stats| stats["instances"][0]["healthy"] == true).await;

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

/// Nothing tells beforehand that nearly all events are of one region, which half of the filters name; events do.
#[tokio::test(flavor = "multi_thread")]
async fn filters_are_placed_anew_for_what_events_show() {
    let server = TestServer::start().await;
    let lines: String = (0..600)
        .map(|n| {
            let region = if n % 2 == 0 { 0 } else { n };
            let text = format!("\\\"t{}\\\" in tags && region == \\\"r{region}\\\"", n % 100);
            format!("{{\"subscriber_id\": \"user_1\", \"where\": \"{text}\"}}\n")
        })
        .collect();
    assert!(server.post_text("/filters/import", "application/x-ndjson", lines).await.status.is_success());
    server.until("/stats", |stats| stats["index"]["filters"] == 600).await;
    let metrics = &server.app.metrics;
    let event = |n: usize| json!({ "region": "r0", "tags": [format!("t{}", n % 100)] });
    // What one event costs, once it is matched.
    let measure = async |n: usize| {
        let before = (metrics.match_candidates.get(), metrics.match_matches.get());
        server.publish(json!([event(n)])).await;
        server.until("/stats", |stats| stats["partitions"][0]["lag"] == 0).await;
        server.until("/stats", |_| metrics.match_matches.get() > before.1).await;
        (metrics.match_candidates.get() - before.0, metrics.match_matches.get() - before.1)
    };
    let (guessed, matches) = measure(2).await;
    assert_eq!(matches, 6);
    // Each batch gives the index a few hundred to look at, and filters move by counts of those.
    let (mut total, mut seen) = (1, guessed);
    for batch in 0..40 {
        server.publish((0..500).map(|n| event(2 * (500 * batch + n))).collect()).await;
        total += 500;
        server.until("/stats", |stats| stats["deliveries_total"] == total).await;
        let same;
        (seen, same) = measure(2).await;
        total += 1;
        assert_eq!(same, matches);
        if seen * 4 < guessed {
            break;
        }
    }
    assert!(seen * 4 < guessed, "{seen} candidates, {guessed} before");
    assert!(metrics.index_rekeyed.get() > 0);
    let stats = server.get("/stats").await.body;
    assert!(stats["index"]["candidates_per_match"].as_f64().unwrap() > 1.0, "{stats}");
    assert!(stats["index"]["memory_bytes"].as_u64().unwrap() > 0, "{stats}");
    let text = server.get("/metrics").await.text;
    for name in ["evs_filters_unindexable 0", "evs_index_memory_bytes", "evs_match_candidates_total"] {
        assert!(text.contains(name), "{name}: {text}");
    }
    server.stop().await;
}
