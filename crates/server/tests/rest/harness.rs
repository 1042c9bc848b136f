//! A whole embedded server on a folder and ports of its own, and a client that speaks JSON with it.

use std::time::Duration;

use evs_server::app::App;
use evs_server::config::{Config, Durability};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::embedded::{self, Embedded};

pub(crate) const SECRET: &str = "f2a1c0d9e8b7a6958473625140fedcba9876543210";
pub(crate) const ISSUER: &str = "https://issuer.test";

/// Longer than anything takes on a busy machine, short enough for a person who waits for a failing test.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct TestServer {
    pub(crate) app: App,
    pub(crate) url: String,
    pub(crate) gateway: String,
    pub(crate) matcher: String,
    pub(crate) shutdown: CancellationToken,
    client: reqwest::Client,
    token: Option<String>,
    server: Embedded,
    _folder: TempDir,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = embedded::config_in(folder.path());
        // Power losses are not what these tests are about.
        config.durability = Durability::Relaxed;
        change(&mut config);
        let server = embedded::start(config).await;
        Self {
            app: server.app.clone(),
            url: server.api(),
            gateway: server.gateway(),
            matcher: format!("http://{}", server.config.matcher_addr),
            shutdown: server.app.shutdown.clone(),
            client: reqwest::Client::builder().timeout(DEADLINE).build().unwrap(),
            token: None,
            server,
            _folder: folder,
        }
    }

    /// With HS256 and tenants in the claim `tenant`.
    pub(crate) async fn start_locked() -> Self {
        Self::start_with(lock).await
    }

    pub(crate) fn set_token(&mut self, token: Option<String>) {
        self.token = token;
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(&body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request(Method::PUT, path).json(&body)).await
    }

    pub(crate) async fn post_text(&self, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        Answer::of(self.request(Method::POST, path).header("content-type", content_type).body(body)).await
    }

    /// One that asks for tokens, all of one tenant.
    pub(crate) async fn locked() -> Self {
        Self::start_with(|config| {
            lock(config);
            config.auth_tenant_claim = String::new();
        })
        .await
    }

    /// A filter that is active.
    pub(crate) async fn filter(&self, spec: Value) -> u32 {
        let answer = self.post("/filters?wait=active", spec).await;
        assert!(answer.status.is_success(), "{answer:?}");
        assert_eq!(answer.body["status"], "active", "{answer:?}");
        answer.body["id"].as_u64().unwrap().try_into().unwrap()
    }

    pub(crate) async fn publish(&self, events: Value) -> Vec<String> {
        let answer = self.post("/events", events).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        serde_json::from_value(answer.body["positions"].clone()).unwrap()
    }

    /// Asks until `there` says so.
    pub(crate) async fn until(&self, path: &str, there: impl FnMut(&Value) -> bool) -> Value {
        self.until_at(&format!("{}{path}", self.url), there).await
    }

    /// [`Self::until`] on any port.
    pub(crate) async fn until_at(&self, url: &str, mut there: impl FnMut(&Value) -> bool) -> Value {
        let ask = async || {
            let request = self.client.get(url);
            let answer = Answer::of(self.token.iter().fold(request, |request, token| request.bearer_auth(token))).await;
            if answer.status.is_success() && there(&answer.body) { Ok(answer.body) } else { Err(answer) }
        };
        crate::poll::poll(DEADLINE, ask, |answer| format!("{url} did not come to be as wanted: {answer:?}")).await
    }

    /// Stops the server, which must end by itself.
    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }
}

pub(crate) fn lock(config: &mut Config) {
    config.auth_algorithm = evs_server::auth::config::Algorithm::HS256;
    config.auth_secret = evs_server::auth::config::Secret::new(SECRET);
    config.auth_issuer = ISSUER.to_owned();
    config.auth_tenant_claim = "tenant".to_owned();
}

/// The claims of a token that passes.
pub(crate) fn claims(sub: &str, scope: &str) -> Value {
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    json!({ "sub": sub, "iss": ISSUER, "aud": "evs", "iat": now_s, "exp": now_s + 600, "scope": scope })
}

pub(crate) fn sign(claims: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

pub(crate) fn tenant_token(tenant: &str, sub: &str, scope: &str) -> String {
    let mut claims = claims(sub, scope);
    claims["tenant"] = tenant.into();
    sign(&claims)
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        Self::read(request.send().await.unwrap()).await
    }

    async fn read(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or_default();
        Self { status, headers, text, body }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}")).to_str().unwrap()
    }

    /// It is a problem of this status and code, as RFC 9457 says.
    #[track_caller]
    pub(crate) fn expect_problem(&self, status: u16, code: &str) -> &Self {
        assert_eq!((self.status.as_u16(), self.body["code"].as_str()), (status, Some(code)), "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["type"], format!("/problems/{code}"));
        assert!(self.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self:?}");
        self
    }
}

/// Server-sent events of a stream, one by one.
pub(crate) struct Sse {
    response: Response,
    text: String,
}

#[derive(Debug)]
pub(crate) struct SseEvent {
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
}

impl Sse {
    pub(crate) async fn open(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// `None` when the server ended the stream.
    pub(crate) async fn next(&mut self) -> Option<SseEvent> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| {
                    let lines = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                    lines.map(str::trim_start).next().map(str::to_owned)
                };
                if let (Some(name), Some(data)) = (field("event"), field("data")) {
                    return Some(SseEvent { name, id: field("id"), data: serde_json::from_str(&data).unwrap() });
                }
            }
            let chunk = tokio::time::timeout(DEADLINE, self.response.chunk()).await.expect("an event in time");
            self.text.push_str(std::str::from_utf8(&chunk.ok()??).unwrap());
        }
    }
}
