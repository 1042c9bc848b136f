//! `/openapi.json` and `/docs`: the description is whole, and docs/API.md names the same routes.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::TestServer;

fn described() -> (Value, BTreeSet<String>) {
    let openapi = serde_json::to_value(evs_server::http::openapi()).unwrap();
    let mut routes = BTreeSet::new();
    for (path, item) in openapi["paths"].as_object().unwrap() {
        routes.extend(item.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase())));
    }
    (openapi, routes)
}

#[test]
fn the_document_names_every_route_and_no_other() {
    let documented: BTreeSet<String> = include_str!("../../../../docs/API.md")
        .lines()
        .take_while(|line| !line.starts_with("## gateway"))
        .filter_map(|line| line.strip_prefix("| `"))
        .flat_map(|line| line.split('|').next().unwrap_or_default().split('`').map(str::to_owned).collect::<Vec<_>>())
        .filter(|text| {
            text.contains(" /") && !text.contains("openapi") && !text.contains("asyncapi") && !text.contains("/docs")
        })
        .collect();
    assert_eq!(documented, described().1);
}

#[test]
fn operations_are_told_apart_and_references_lead_somewhere() {
    let (openapi, _) = described();
    assert_eq!(openapi["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for item in openapi["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} twice");
            assert!(operation["summary"].is_string() && operation["tags"][0].is_string(), "{id}");
            assert!(operation["responses"]["4XX"].is_object(), "{id} says how it refuses");
        }
    }
    let text = openapi.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(openapi.pointer(pointer).is_some(), "{pointer} leads nowhere");
    }
}

/// A change of the API must be seen by whoever reads the change. Run with `UPDATE_EXPECT=1` to accept it.
#[test]
fn the_description_is_as_it_was() {
    let (openapi, _) = described();
    let text = serde_json::to_string_pretty(&openapi).unwrap() + "\n";
    expect_test::expect_file!["../../../../docs/openapi.json"].assert_eq(&text);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_are_served_and_the_page_is_whole() {
    let server = TestServer::start().await;
    let served = server.get("/openapi.json").await;
    assert_eq!(served.body, described().0);
    assert_eq!(server.get("/asyncapi.json").await.body, evs_server::http::asyncapi::document());
    let page = server.get("/docs").await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(!page.text.contains("http://") && !page.text.contains("https://"), "nothing from elsewhere");
    server.stop().await;
}

/// The same for the stream. Its messages are the frames that the types have, by the names that they are sent with.
#[test]
fn the_stream_is_described_as_it_is_sent() {
    let document = evs_server::http::asyncapi::document();
    let text = serde_json::to_string_pretty(&document).unwrap() + "\n";
    expect_test::expect_file!["../../../../docs/asyncapi.json"].assert_eq(&text);
    for reference in text.split("\"$ref\": \"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
    }
    let messages: BTreeSet<&str> =
        document["components"]["messages"].as_object().unwrap().keys().map(String::as_str).collect();
    let transcript = include_str!("../../../../docs/PROTOCOL.md");
    let mut seen = BTreeSet::new();
    for line in transcript.lines().filter_map(|line| line.strip_prefix("< {").or_else(|| line.strip_prefix("> {"))) {
        let frame: Value = serde_json::from_str(&format!("{{{line}")).unwrap();
        let name = frame["t"].as_str().unwrap();
        if name == "confetti" {
            continue;
        }
        seen.insert(name.to_owned());
        assert!(messages.contains(name), "{name} is not described");
        let payload = document["components"]["messages"][name]["payload"].to_string();
        let schemas = document["components"]["schemas"].to_string();
        for field in frame.as_object().unwrap().keys() {
            let field = format!("\"{field}\":");
            assert!(payload.contains(&field) || schemas.contains(&field), "{name} has no {field}");
        }
    }
    assert!(seen.len() >= 5, "{seen:?}");
    for row in transcript.lines().filter_map(|line| line.strip_prefix("| `")) {
        let name = row.split('`').next().unwrap();
        let is_frame = row.split('|').nth(1).is_some_and(|fields| fields.contains('`'));
        if is_frame
            && ["welcome", "event", "gap", "checkpoint", "acked", "pong", "ack", "ping", "refresh"].contains(&name)
        {
            assert!(messages.contains(name), "{name} is not described");
        }
    }
}
