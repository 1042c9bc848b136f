//! The dashboard and the alert rules in `deploy/` name only metrics that a running server exports.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::TestServer;

const DASHBOARD: &str = include_str!("../../../../deploy/grafana-dashboard.json");
const RULES: &str = include_str!("../../../../deploy/prometheus-rules.yml");

/// Words that begin like our metrics.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    words.filter(|word| word.starts_with("evs_")).collect()
}

/// Series that `/metrics` shows, by name.
fn exported(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(['{', ' ']).next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboard_and_alerts_name_what_is_exported() {
    let server = TestServer::start().await;
    let metrics = server.get("/metrics").await.text;
    let exported = exported(&metrics);
    assert!(exported.contains("evs_events_in_total") && exported.len() > 30, "{exported:?}");
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    for panel in panels {
        for target in panel["targets"].as_array().unwrap() {
            let names = named(target["expr"].as_str().unwrap());
            assert!(!names.is_empty() && names.is_subset(&exported), "{}: {names:?}", panel["title"]);
        }
    }
    let rules = named(RULES);
    assert!(rules.len() >= 8, "{rules:?}");
    for name in rules {
        assert!(exported.contains(name), "an alert watches {name}, which nobody exports");
    }
    // What everybody should see is on the dashboard: nothing is exported in vain.
    let shown = named(DASHBOARD);
    let hidden = ["evs_socket_writes_total", "evs_appends_total", "evs_operator_stream_drops_total"];
    for name in exported.iter().filter(|name| !hidden.contains(name)) {
        let family = name.trim_end_matches("_sum").trim_end_matches("_count");
        let bucket = format!("{family}_bucket");
        assert!(shown.contains(name) || shown.contains(bucket.as_str()), "{name} is on no panel");
    }
    server.stop().await;
}
