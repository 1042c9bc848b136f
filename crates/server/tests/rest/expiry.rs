//! A connection lives as long as its token: it ends with its own code, unless a `refresh` frame brought a new one.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::harness::{TestServer, claims, lock, sign};

const DEADLINE: Duration = Duration::from_secs(60);

struct Listener(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Listener {
    async fn connect(server: &TestServer, consumer: &str, token: &str) -> Self {
        let url = format!("{}/ws/ann?consumer={consumer}", server.gateway.replacen("http", "ws", 1));
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request.headers_mut().insert("sec-websocket-protocol", "evs.v1.json".parse().unwrap());
        let mut listener = Self(tokio_tungstenite::connect_async(request).await.unwrap().0);
        listener.until("welcome").await.expect("it is welcomed");
        listener
    }

    async fn refresh(&mut self, token: &str) {
        let frame = json!({ "t": "refresh", "token": token });
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The next frame of this kind, or the code that the connection was closed with.
    async fn until(&mut self, kind: &str) -> Result<Value, u16> {
        loop {
            let message = tokio::time::timeout(DEADLINE, self.0.next()).await.expect("it comes in time");
            match message.expect("it is closed properly").unwrap() {
                Message::Text(text) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    if frame["t"] == kind {
                        return Ok(frame);
                    }
                }
                Message::Close(frame) => return Err(frame.expect("a code").code.into()),
                _ => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_its_token_unless_a_frame_brings_a_new_one() {
    let mut server = TestServer::locked().await;
    server.set_token(Some(sign(&claims("root", "filters:any produce"))));
    server.filter(json!({ "subscriber_id": "ann", "where": "n > 0" })).await;
    let mut short = claims("ann", "subscribe");
    short["exp"] = (short["iat"].as_u64().unwrap() + 5).into();
    let short = sign(&short);
    let mut left = Listener::connect(&server, "left", &short).await;
    let mut renewed = Listener::connect(&server, "renewed", &short).await;
    let mut cheated = Listener::connect(&server, "cheated", &short).await;
    renewed.refresh(&sign(&claims("ann", "subscribe"))).await;
    // Another's token, however good, is no renewal.
    cheated.refresh(&sign(&claims("bob", "subscribe"))).await;
    assert_eq!(cheated.until("error").await.unwrap()["code"], "forbidden");
    assert_eq!(cheated.until("event").await, Err(4005));
    assert_eq!(left.until("event").await, Err(4005));
    server.publish(json!([{ "n": 7 }])).await;
    assert_eq!(renewed.until("event").await.unwrap()["data"]["n"], 7);
    server.stop().await;
}

/// A `refresh` frame is a look at a token like any other: it counts for its address, is refused where new tokens are, and
/// comes one at a time.
#[tokio::test(flavor = "multi_thread")]
async fn refreshes_go_through_the_same_door() {
    let mut server = TestServer::start_with(|config| {
        lock(config);
        config.auth_tenant_claim = String::new();
        config.limit_loopback = true;
        config.limit_address_auth_failures_per_s = 1;
    })
    .await;
    server.set_token(Some(sign(&claims("root", "filters:any"))));
    server.filter(json!({ "subscriber_id": "ann", "where": "n > 0" })).await;
    let good = sign(&claims("ann", "subscribe"));
    let mut client = Listener::connect(&server, "first", &good).await;
    let before = server.app.metrics.auth_failures.get();
    client.refresh("bad").await;
    assert_eq!(client.until("error").await.unwrap()["code"], "invalid_token");
    assert_eq!(server.app.metrics.auth_failures.get(), before + 1);

    // Nothing but refreshes closes the address; the token of the connections is known.
    let started = std::time::Instant::now();
    let mut said = std::collections::BTreeSet::new();
    while !(said.contains("too_many_auth_failures") && said.contains("refresh_under_way")) {
        assert!(started.elapsed() < DEADLINE, "only {said:?}");
        let mut client = Listener::connect(&server, "next", &good).await;
        client.refresh("bad").await;
        client.refresh("bad").await;
        for _ in 0..2 {
            let error = client.until("error").await.unwrap();
            said.insert(error["code"].as_str().unwrap().to_owned());
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_with_no_good_token_left_ends() {
    let mut server = TestServer::locked().await;
    server.set_token(Some(sign(&claims("root", "filters:any"))));
    server.filter(json!({ "subscriber_id": "ann", "where": "n > 0" })).await;
    let mut client = Listener::connect(&server, "one", &sign(&claims("ann", "subscribe"))).await;
    let foreign = sign(&claims("bob", "subscribe"));
    for (token, wanted) in [("bad", "invalid_token"), (&foreign, "forbidden"), ("bad", "invalid_token")] {
        client.refresh(token).await;
        assert_eq!(client.until("error").await.unwrap()["code"], wanted);
    }
    assert_eq!(client.until("error").await, Err(4501));
    server.stop().await;
}
