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
    assert_eq!(open("198.51.100.1").await.status(), StatusCode::NOT_FOUND);
    server.stop().await;

    let server = TestServer::start_with(limited).await;
    while ask(&server, "198.51.100.1").await != StatusCode::TOO_MANY_REQUESTS {}
    assert_eq!(ask(&server, "198.51.100.2").await, StatusCode::TOO_MANY_REQUESTS, "nobody is trusted by default");
    server.stop().await;
}
