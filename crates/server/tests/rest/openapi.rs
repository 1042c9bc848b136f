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
        .filter(|text| text.contains(" /") && !text.contains("openapi") && !text.contains("/docs"))
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
    let page = server.get("/docs").await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(!page.text.contains("http://") && !page.text.contains("https://"), "nothing from elsewhere");
    server.stop().await;
}
