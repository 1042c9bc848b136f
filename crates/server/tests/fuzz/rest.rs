//! Requests of every operation that `/openapi.json` describes, with parameters and bodies made strange.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use evs_server::app::App;
use http_body_util::BodyExt as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::campaign::Report;
use crate::mutate;

/// Longer than any answer takes, but those that wait because they were asked to.
const DEADLINE: Duration = Duration::from_secs(70);

/// Answers larger than this are not read to their end, nor are streams.
const READ_FRAMES_MAX: usize = 64;

pub(crate) struct Rest {
    router: Router,
    operations: Vec<Operation>,
}

/// One operation of the document.
struct Operation {
    method: String,
    path: String,
    /// Names of the query's parameters.
    query: Vec<String>,
    headers: Vec<String>,
    content_types: Vec<String>,
    statuses: Vec<String>,
}

impl Rest {
    pub(crate) fn new(app: App) -> Self {
        let document = serde_json::to_value(evs_server::http::openapi()).expect("our own document");
        let mut operations = Vec::new();
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in item.as_object().into_iter().flatten() {
                let parameters = |place: &str| {
                    let all = operation["parameters"].as_array().into_iter().flatten();
                    let of = all.filter(|parameter| parameter["in"] == place);
                    of.filter_map(|parameter| parameter["name"].as_str().map(str::to_owned)).collect()
                };
                let keys = |value: &Value| value.as_object().into_iter().flat_map(|all| all.keys().cloned()).collect();
                operations.push(Operation {
                    method: method.to_uppercase(),
                    path: path.clone(),
                    query: parameters("query"),
                    headers: parameters("header"),
                    content_types: keys(&operation["requestBody"]["content"]),
                    statuses: keys(&operation["responses"]),
                });
            }
        }
        Self { router: evs_server::http::router(app), operations }
    }

    /// One strange request, judged. Answers what was asked, for whoever has to find a mistake.
    pub(crate) async fn step(&self, rng: &mut StdRng, report: &mut Report) -> String {
        let operation = &self.operations[rng.random_range(0..self.operations.len())];
        let uri = uri(rng, operation);
        let mut request = Request::builder().method(operation.method.as_str()).uri(&uri);
        for name in &operation.headers {
            if rng.random_bool(0.5) {
                request = request.header(name, header(rng));
            }
        }
        let (content_type, body) = body(rng, operation);
        if let Some(content_type) = &content_type {
            request = request.header("content-type", content_type);
        }
        let input = format!(
            "{} {uri} {} {:?}",
            operation.method,
            content_type.unwrap_or_default(),
            String::from_utf8_lossy(&body[..body.len().min(2000)])
        );
        // A line that no HTTP library would send; the raw requests of `wire` cover those.
        let Ok(request) = request.body(Body::from(body)) else { return input };
        let (status, kind, text) = self.ask(request).await;
        report.count(format!("{status}"));
        if status >= 500 {
            report.finding(format!("{status} {text} to {input}"));
        }
        let class = format!("{}XX", status / 100);
        if !operation.statuses.iter().any(|known| *known == status.to_string() || *known == class) {
            report.finding(format!("{status} is not documented: {text} to {input}"));
        }
        let is_problem = kind == "application/problem+json";
        if (status >= 400) != is_problem {
            report.finding(format!("{status} as {kind:?} to {input}"));
        }
        input
    }

    /// Status, content type, and the beginning of the body.
    async fn ask(&self, request: Request<Body>) -> (u16, String, String) {
        let answered = tokio::time::timeout(DEADLINE, self.router.clone().oneshot(request)).await;
        let Ok(Ok(response)) = answered else { return (599, String::new(), "no answer in time".into()) };
        let status = response.status().as_u16();
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().to_owned();
        let mut text = Vec::new();
        if kind != "text/event-stream" {
            let mut body = response.into_body();
            for _ in 0..READ_FRAMES_MAX {
                let Some(Ok(frame)) = body.frame().await else { break };
                text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            }
        }
        text.truncate(500);
        (status, kind, String::from_utf8_lossy(&text).into_owned())
    }

    /// Two subscribers whose sockets will hear strange frames, and a few deliveries for them to ack.
    pub(crate) async fn prepare(&self) {
        for name in ["witness-0", "witness-1"] {
            let filter = json!({ "subscriber_id": name, "event_types": ["first"] });
            let made = self.ask(post("/filters?wait=active", &filter)).await;
            assert_eq!(made.0, 201, "{made:?}");
        }
        let events: Vec<Value> = (0..5).map(|n| json!({ "event_type": "first", "n": n })).collect();
        let published = self.ask(post("/events", &events.into())).await;
        assert_eq!(published.0, 202, "{published:?}");
    }

    /// After everything: a filter is made, an event published, and the event reaches the filter's subscriber.
    pub(crate) async fn still_delivers(&self, report: &mut Report) {
        let filter = json!({ "subscriber_id": "witness", "event_types": ["witness"] });
        let made = self.ask(post("/filters?wait=active", &filter)).await;
        let published = self.ask(post("/events", &json!({ "event_type": "witness" }))).await;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let looked = self.ask(Request::get("/subscribers/witness").body(Body::empty()).expect("a request")).await;
            if looked.2.contains("\"top\":1,") {
                return;
            }
            if tokio::time::Instant::now() > deadline {
                return report.finding(format!("it delivers no more: {made:?} {published:?} {looked:?}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn post(path: &str, body: &Value) -> Request<Body> {
    let request = Request::post(path).header("content-type", "application/json");
    request.body(Body::from(body.to_string())).expect("a plain request")
}

fn uri(rng: &mut StdRng, operation: &Operation) -> String {
    let mut uri = String::new();
    for segment in operation.path.split('/').skip(1) {
        uri.push('/');
        match segment.starts_with('{') {
            true => encode(&mut uri, &value(rng, segment.trim_matches(['{', '}']))),
            false => uri.push_str(segment),
        }
    }
    let mut names: Vec<&str> = operation.query.iter().map(String::as_str).filter(|_| rng.random_bool(0.4)).collect();
    if rng.random_bool(0.05) {
        names.push("nonsense");
    }
    for (at, name) in names.into_iter().enumerate() {
        uri.push(if at == 0 { '?' } else { '&' });
        uri.push_str(name);
        uri.push('=');
        encode(&mut uri, &value(rng, name));
    }
    uri
}

/// A value that fits a parameter, or nearly does.
fn value(rng: &mut StdRng, name: &str) -> Vec<u8> {
    let good: &[&str] = match name {
        "id" => &["1", "2", "4294967295", "ann", "bob", "0:1"],
        "position" | "event" => &["0:0", "0:5", "0:18446744073709551615", "no-such"],
        "since" => &["10m", "beginning", "2026-01-01T00:00:00Z", "1h"],
        "from" => &["0:0", "0:3", "9:1"],
        "where" => &["amount > 1", "event_type == \"a\" && has(b)", "country in [\"DE\"]"],
        "timeout" => &["0s", "10ms", "1s"],
        "wait" => &["active"],
        "limit" | "after" => &["0", "1", "10", "1000", "1001"],
        "sort" => &["lag_events", "id", "delivered_per_s", "state"],
        "order" => &["asc", "desc"],
        "to" => &["latest", "earliest", "3", "18446744073709551615"],
        "consumer" => &["default", "phone"],
        "subscriber" | "subscriber_id" | "q" => &["ann", "bob", "nobody"],
        _ => &["", "x", "1"],
    };
    let good = good[rng.random_range(0..good.len())].as_bytes();
    if rng.random_bool(0.4) { mutate::bytes(rng, good) } else { good.to_vec() }
}

/// Percent-encodes what a URI cannot hold; also a slash, which would be another path.
fn encode(uri: &mut String, bytes: &[u8]) {
    for &byte in bytes.iter().take(2000) {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':' => uri.push(byte as char),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    // An empty segment would be another route.
    if bytes.is_empty() && uri.ends_with('/') {
        uri.push('0');
    }
}

fn header(rng: &mut StdRng) -> String {
    let good = ["\"1\"", "*", "W/\"1\"", "key-1", "key-2", "\"7\", \"8\""];
    let good = good[rng.random_range(0..good.len())];
    let changed = if rng.random_bool(0.3) { mutate::bytes(rng, good.as_bytes()) } else { good.into() };
    changed.into_iter().filter(u8::is_ascii_graphic).map(char::from).take(300).collect()
}

fn body(rng: &mut StdRng, operation: &Operation) -> (Option<String>, Vec<u8>) {
    if operation.content_types.is_empty() {
        return (None, Vec::new());
    }
    let content_type = operation.content_types[rng.random_range(0..operation.content_types.len())].clone();
    let mut values = Vec::new();
    for _ in 0..rng.random_range(1..4) {
        let seed = seed(rng, &operation.path);
        values.push(mutate::tree(rng, seed));
    }
    let mut text = match (content_type.contains("ndjson"), &values[..]) {
        (true, values) => values.iter().map(|value| format!("{value}\n")).collect(),
        (false, [first, ..]) if values.len() < 3 => first.to_string(),
        (false, values) => Value::Array(values.to_vec()).to_string(),
    }
    .into_bytes();
    if rng.random_bool(0.25) {
        text = mutate::bytes(rng, &text);
    }
    let content_type = if rng.random_bool(0.03) { "text/plain".to_owned() } else { content_type };
    (Some(content_type), text)
}

fn seed(rng: &mut StdRng, path: &str) -> Value {
    let subscriber = ["ann", "bob", "user@1"][rng.random_range(0..3)];
    match path {
        "/events" => json!({ "event_id": "e1", "event_type": "purchase", "user_id": "u1", "user_tier": "premium",
            "amount": 12.5, "nested": { "list": [1, "x", null], "deep": { "a": true } } }),
        "/filters/test" => json!({ "event_types": ["purchase"], "user_tiers": ["premium"], "min_amount": 1,
            "where": "amount > 1 && !(country == \"DE\")", "since": "1m", "samples": 3 }),
        _ => json!({ "subscriber_id": subscriber, "name": "n1", "event_types": ["purchase", "refund"],
            "user_tiers": ["premium"], "min_amount": 10, "where": "nested.list[0] in [1, 2] || name matches \"^a+$\"" }),
    }
}
