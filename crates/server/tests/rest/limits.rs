//! What one caller may use, and that a busy door stays open for others.

use reqwest::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Answer, TestServer, claims, lock, sign};

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_limited_per_token() {
    let mut server = TestServer::start_with(|config| {
        lock(config);
        config.limit_subject_requests_per_s = 5;
    })
    .await;
    server.set_token(Some(sign(&claims("busy", "operate"))));
    let first = server.get("/log").await;
    assert_eq!((first.header("ratelimit-limit"), first.header("ratelimit-remaining")), ("10", "9"));
    let mut refused = server.get("/log").await;
    for _ in 0..100 {
        if refused.status == StatusCode::TOO_MANY_REQUESTS {
            break;
        }
        refused = server.get("/log").await;
    }
    refused.expect_problem(429, "rate_limited");
    assert_eq!((refused.header("ratelimit-remaining"), refused.header("retry-after")), ("0", "1"));
    server.set_token(Some(sign(&claims("calm", "operate"))));
    assert!(server.get("/log").await.status.is_success());
    assert!(server.get("/livez").await.status.is_success());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tokens_are_limited_per_address() {
    let mut server = TestServer::start_with(|config| {
        lock(config);
        config.limit_loopback = true;
        config.limit_address_requests_per_s = 5;
        config.limit_address_auth_failures_per_s = 0;
    })
    .await;
    server.set_token(Some("bad".to_owned()));
    let mut last = server.get("/log").await;
    for _ in 0..100 {
        if last.status == StatusCode::TOO_MANY_REQUESTS {
            break;
        }
        last = server.get("/log").await;
    }
    last.expect_problem(429, "rate_limited");
    server.stop().await;
}

/// From an address that fails too often only what was good before is looked at, until it has been quiet for a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_bad_tokens_closes_its_address_to_new_ones_only() {
    let server = TestServer::start_with(|config| {
        lock(config);
        config.auth_tenant_claim = String::new();
        config.limit_loopback = true;
        config.limit_address_auth_failures_per_s = 1;
        config.trusted_proxies = vec!["127.0.0.0/8".to_owned()];
    })
    .await;
    let ask = async |from: &str, token: &str| {
        let request = server.request(Method::GET, "/filters").header("x-forwarded-for", from);
        Answer::of(request.bearer_auth(token)).await
    };
    let connect = async |from: &str, token: &str| {
        let request = reqwest::Client::new().get(format!("{}/sse/ann?observe=true", server.gateway));
        request.header("x-forwarded-for", from).bearer_auth(token).send().await.unwrap().status()
    };
    let (flooder, other) = ("198.51.100.1", "198.51.100.2");
    let fresh = |number: usize| {
        let mut claims = claims("ann", "subscribe filters:any");
        claims["jti"] = format!("{number}").into();
        sign(&claims)
    };
    let known = fresh(0);
    let request = server.request(Method::POST, "/filters?wait=active").header("x-forwarded-for", flooder);
    let spec = serde_json::json!({ "subscriber_id": "ann", "event_types": ["a"] });
    assert_eq!(Answer::of(request.json(&spec).bearer_auth(&known)).await.status, StatusCode::CREATED);

    // As long as the flood goes on: what is known is let in, and so is another address; what is new is refused at both
    // doors but for the one look a second that the address still has.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let flood = async || {
        loop {
            ask(flooder, "bad").await;
        }
    };
    let story = async {
        let (mut at_api, mut at_gateway) = (None, false);
        for number in 1.. {
            let (unheard, heard, elsewhere) = (fresh(3 * number), fresh(3 * number + 1), fresh(3 * number + 2));
            let (answer, connected) = tokio::join!(ask(flooder, &unheard), connect(flooder, &heard));
            at_api = at_api.or((answer.status == StatusCode::TOO_MANY_REQUESTS).then_some(answer));
            at_gateway |= connected == StatusCode::TOO_MANY_REQUESTS;
            let (of_known, stream, of_other) =
                tokio::join!(ask(flooder, &known), connect(flooder, &known), ask(other, &elsewhere));
            assert_eq!((of_known.status, stream, of_other.status), (StatusCode::OK, StatusCode::OK, StatusCode::OK));
            // A ticket that this server gave is as good as a known token.
            let request = server.request(Method::POST, "/tickets").header("x-forwarded-for", flooder);
            let ticket = Answer::of(request.bearer_auth(&known)).await.body["ticket"].as_str().unwrap().to_owned();
            let url = format!("{}/sse/ann?observe=true&ticket={ticket}", server.gateway);
            let request = reqwest::Client::new().get(url).header("x-forwarded-for", flooder);
            assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
            if at_api.is_some() && at_gateway {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "new tokens are looked at in spite of the flood");
        }
        // What is known is looked at all the same.
        server.app.auth.revoke("0", i64::MAX);
        ask(flooder, &known).await.expect_problem(401, "token_revoked");
        at_api.unwrap()
    };
    let floods = async { tokio::join!(flood(), flood(), flood(), flood(), flood(), flood(), flood(), flood()) };
    let refused = tokio::select! {
        refused = story => refused,
        _ = floods => unreachable!("it does not end by itself"),
    };
    refused.expect_problem(429, "too_many_auth_failures");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);

    // It is quiet, and a new token is let in.
    let late = fresh(usize::MAX);
    while ask(flooder, &late).await.status != StatusCode::OK {
        assert!(std::time::Instant::now() < deadline, "the address stays closed");
    }
    server.stop().await;
}

/// Who shows what was good before has a count of its own, so that a flood from a shared address does not use it up.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_leaves_what_is_known_its_rate() {
    let server = TestServer::start_with(|config| {
        lock(config);
        config.auth_tenant_claim = String::new();
        config.limit_loopback = true;
        config.limit_address_requests_per_s = 5;
        config.limit_address_auth_failures_per_s = 0;
    })
    .await;
    let ask = async |path: &str, token: &str| Answer::of(server.request(Method::GET, path).bearer_auth(token)).await;
    let connect = async |query: &str, token: &str| {
        let request = reqwest::Client::new().get(format!("{}/sse/ann?observe=true{query}", server.gateway));
        let request = if token.is_empty() { request } else { request.bearer_auth(token) };
        request.send().await.unwrap().status()
    };
    let known = sign(&claims("ann", "subscribe filters:any"));
    let spec = serde_json::json!({ "subscriber_id": "ann", "event_types": ["a"] });
    let request = server.request(Method::POST, "/filters?wait=active").json(&spec).bearer_auth(&known);
    assert_eq!(Answer::of(request).await.status, StatusCode::CREATED);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let in_time = || assert!(std::time::Instant::now() < deadline, "the limit is never reached");
    while ask("/log", "bad").await.status != StatusCode::TOO_MANY_REQUESTS {
        in_time();
    }
    assert_eq!(ask("/filters", &known).await.status, StatusCode::OK);
    assert_eq!(connect("", &known).await, StatusCode::OK);
    let ticket = Answer::of(server.request(Method::POST, "/tickets").bearer_auth(&known)).await;
    let ticket = format!("&ticket={}", ticket.body["ticket"].as_str().unwrap());
    while connect("", "bad").await != StatusCode::TOO_MANY_REQUESTS {
        in_time();
    }
    assert_eq!(connect(&ticket, "").await, StatusCode::OK);
    // No route is without a limit.
    while ask("/metrics", "bad").await.status != StatusCode::TOO_MANY_REQUESTS {
        in_time();
    }
    server.stop().await;
}

/// Connections too many have files too: there are so many refusals at a time, and each ends by itself.
#[tokio::test(flavor = "multi_thread")]
async fn refused_connections_do_not_stay() {
    let server = TestServer::start_with(|config| {
        config.limit_header_timeout_s = 3_600;
        config.limit_loopback = true;
        config.limit_address_connections = 1;
        config.limit_address_http_connections = 1;
    })
    .await;
    let said = async |url: &str, request: &str| {
        let mut socket = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut text = Vec::new();
        let ended = tokio::time::timeout(std::time::Duration::from_secs(30), socket.read_to_end(&mut text)).await;
        // A socket that is closed with something unread says so by an error.
        let _ = ended.expect("it is closed");
        String::from_utf8(text).unwrap()
    };
    let idle = async |url: &str| TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    let _places = (idle(&server.url).await, idle(&server.gateway).await);
    let stream = "GET /sse/ann HTTP/1.1\r\nhost: x\r\n\r\n";
    let refused = said(&server.gateway, stream).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("connection: close"), "{refused}");
    assert_eq!(said(&server.gateway, "").await, "", "one that asks nothing is closed too");
    assert!(said(&server.url, "").await.starts_with("HTTP/1.1 503 "));
    let limits = &server.app.limits;
    let held: Vec<_> =
        std::iter::from_fn(|| limits.refuse()).chain(std::iter::from_fn(|| limits.refuse_at_gateway())).collect();
    assert!((2..=128).contains(&held.len()), "{}", held.len());
    assert_eq!((said(&server.url, "").await, said(&server.gateway, stream).await), (String::new(), String::new()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_idle_connections_end_and_do_not_take_all_places() {
    let server = TestServer::start_with(|config| {
        config.limit_header_timeout_s = 1;
        config.limit_loopback = true;
        config.limit_address_http_connections = 8;
    })
    .await;
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut socket = TcpStream::connect(&address).await.unwrap();
        socket.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
        slow.push(socket);
    }
    let mut refused = TcpStream::connect(&address).await.unwrap();
    let mut text = String::new();
    refused.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("connection_limit"), "{text}");
    // Their time is over, and the places are free again.
    for mut socket in slow {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(std::time::Duration::from_secs(10), socket.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "a slow connection is closed");
    }
    server.until("/livez", |_| true).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_headers_are_refused() {
    let server = TestServer::start().await;
    let large = server.request(Method::GET, "/livez").header("x-large", "x".repeat(20_000));
    assert_eq!(Answer::of(large).await.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn web_pages_call_by_origin() {
    let server = TestServer::start_with(|config| config.cors_origins = vec!["https://app.test".into()]).await;
    let preflight = async |origin: &str| {
        let request = server.request(Method::OPTIONS, "/filters").header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        Answer::of(request.header("access-control-request-headers", "content-type, authorization")).await
    };
    let allowed = preflight("https://app.test").await;
    assert_eq!(allowed.header("access-control-allow-origin"), "https://app.test");
    assert!(allowed.headers.get("access-control-allow-credentials").is_none());
    assert!(preflight("https://evil.test").await.headers.get("access-control-allow-origin").is_none());
    // Without tokens a stranger's page is refused even where it needs no preflight.
    let from = async |origin: &str| Answer::of(server.request(Method::GET, "/filters").header("origin", origin)).await;
    from("https://evil.test").await.expect_problem(403, "forbidden");
    assert!(from("https://app.test").await.status.is_success());
    let own = server.url.clone();
    assert!(from(&own).await.status.is_success());
    server.stop().await;
}

/// Behind a proxy of the configuration each client is limited by itself; what a client writes into the header is not
/// believed, and a proxy that is not trusted stands for all.
#[tokio::test(flavor = "multi_thread")]
async fn clients_behind_a_trusted_proxy_are_told_apart() {
    let limited = |config: &mut evs_server::config::Config| {
        config.limit_loopback = true;
        config.limit_address_requests_per_s = 1;
        config.limit_address_connections = 1;
    };
    let ask = async |server: &TestServer, forwarded: &str| {
        let request = server.request(Method::GET, "/log").header("x-forwarded-for", forwarded);
        Answer::of(request).await.status
    };
    let server = TestServer::start_with(|config| {
        limited(config);
        config.trusted_proxies = vec!["127.0.0.0/8".to_owned()];
    })
    .await;
    while ask(&server, "198.51.100.1").await != StatusCode::TOO_MANY_REQUESTS {}
    assert_eq!(ask(&server, "198.51.100.2").await, StatusCode::OK);
    // The last address that no proxy of ours wrote is the client's.
    while ask(&server, "203.0.113.9, 198.51.100.3").await != StatusCode::TOO_MANY_REQUESTS {}
    assert_eq!(ask(&server, "203.0.113.8, 198.51.100.3").await, StatusCode::TOO_MANY_REQUESTS);
    let open = async |forwarded: &str| {
        let url = format!("{}/sse/nobody", server.gateway);
        let request = reqwest::Client::new().get(url).header("x-forwarded-for", forwarded.to_owned());
        request.send().await.unwrap()
    };
    // Unknown subscribers are refused after the connection was counted, and its place is free when it ends.
    assert_eq!(open("198.51.100.4").await.status(), StatusCode::NOT_FOUND);
    // Handshakes count like any request.
    while open("198.51.100.4").await.status() != StatusCode::TOO_MANY_REQUESTS {}
    assert_eq!(open("198.51.100.5").await.status(), StatusCode::NOT_FOUND);
    server.stop().await;

    let server = TestServer::start_with(limited).await;
    while ask(&server, "198.51.100.1").await != StatusCode::TOO_MANY_REQUESTS {}
    assert_eq!(ask(&server, "198.51.100.2").await, StatusCode::TOO_MANY_REQUESTS, "nobody is trusted by default");
    server.stop().await;
}
