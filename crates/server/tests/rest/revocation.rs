//! A token that is revoked: refused at every door, its connections closed, and a restart does not bring it back.

use evs_client::{Client, Config as ClientConfig, Options, StreamError, Token};
use evs_server::config::Config;
use serde_json::{Value, json};

use crate::harness::{TestServer, claims, lock, sign};

fn named(sub: &str, scope: &str, jti: &str) -> Value {
    let mut claims = claims(sub, scope);
    claims["jti"] = jti.into();
    claims
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_opens_nothing_and_what_it_opened_ends() {
    let folder = tempfile::tempdir().unwrap();
    let at = |config: &mut Config| {
        lock(config);
        config.auth_tenant_claim = String::new();
        config.data_dir = folder.path().to_owned();
    };
    let mut server = TestServer::start_with(at).await;
    let (ann, other) = (sign(&named("ann", "subscribe produce", "t-1")), sign(&named("ann", "produce", "t-2")));
    server.set_token(Some(sign(&claims("root", "operate filters:any"))));
    server.filter(json!({ "subscriber_id": "ann", "event_types": ["x"] })).await;
    let config = ClientConfig::new(&server.url).unwrap().with_gateway(&server.gateway).unwrap();
    let client = Client::new(config.with_token(Token::Text(ann.clone()))).unwrap();
    let mut stream = client.subscribe("ann", Options::default()).unwrap();
    stream.next().await.expect("it goes on").expect("connected");

    // Only an operator of the installation may.
    server.set_token(Some(ann.clone()));
    server.post("/tokens/revoke", json!({ "jti": "t-1" })).await.expect_problem(403, "forbidden");
    server.post("/events", json!({ "event_type": "y" })).await;
    server.set_token(Some(sign(&claims("root", "operate filters:any"))));
    server.post("/tokens/revoke", json!({ "jti": "" })).await.expect_problem(422, "invalid_jti");
    let revoked = server.post("/tokens/revoke", json!({ "jti": "t-1" })).await;
    assert_eq!(revoked.status, 204, "{revoked:?}");

    server.set_token(Some(ann.clone()));
    server.post("/events", json!({ "event_type": "y" })).await.expect_problem(401, "token_revoked");
    let end = loop {
        match stream.next().await.expect("it is told why") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(end, StreamError::Closed { code: 4501, .. }), "{end}");
    server.set_token(Some(other));
    assert_eq!(server.post("/events", json!({ "event_type": "y" })).await.status, 202, "another token of hers is good");
    server.stop().await;

    let mut server = TestServer::start_with(at).await;
    server.set_token(Some(ann));
    server.post("/events", json!({ "event_type": "y" })).await.expect_problem(401, "token_revoked");
    server.stop().await;
}

/// Tickets hang on the token that they were given for.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_of_a_revoked_token_is_good_for_nothing() {
    let mut server = TestServer::locked().await;
    server.set_token(Some(sign(&claims("root", "operate filters:any"))));
    server.filter(json!({ "subscriber_id": "ann", "event_types": ["x"] })).await;
    server.set_token(Some(sign(&named("ann", "subscribe", "t-1"))));
    let ticket = server.post("/tickets", json!({})).await.body["ticket"].as_str().unwrap().to_owned();
    server.set_token(Some(sign(&claims("root", "operate"))));
    assert_eq!(server.post("/tokens/revoke", json!({ "jti": "t-1", "exp": 4_000_000_000_u64 })).await.status, 204);
    let answer = reqwest::get(format!("{}/sse/ann?ticket={ticket}", server.gateway)).await.unwrap();
    assert_eq!(answer.status(), 401);
    server.stop().await;
}
