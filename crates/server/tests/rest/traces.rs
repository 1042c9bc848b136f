//! Traces: one request's way from the POST to the socket, as a collector gets it.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, Sse, TestServer};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

type Spans = Arc<Mutex<Vec<Span>>>;

/// A collector that keeps what it gets: OTLP over HTTP with protobuf.
async fn collector() -> (String, Spans) {
    async fn take(State(spans): State<Spans>, headers: HeaderMap, body: Bytes) {
        assert_eq!(headers["content-type"], "application/x-protobuf");
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        for resource in request.resource_spans {
            let of_service = resource.resource.unwrap().attributes;
            assert!(of_service.iter().any(|it| it.key == "service.name"), "{of_service:?}");
            spans.lock().unwrap().extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    let spans = Spans::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/traces", post(take)).with_state(spans.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, spans)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_the_post_to_the_socket() {
    let (url, spans) = collector().await;
    let server = TestServer::start_with(|config| {
        config.otlp_endpoint = url;
        config.otlp_sample_ratio = 0.0;
    })
    .await;
    server.filter(json!({ "subscriber_id": "ann", "event_types": ["traced"] })).await;
    let stream = reqwest::Client::new().get(format!("{}/sse/ann", server.gateway));
    let mut stream = Sse::open(stream).await;
    // Not asked for, and none of the share of zero.
    server.publish(json!({ "event_type": "traced", "n": 0 })).await;
    let traced = server.request(Method::POST, "/events").header("traceparent", TRACEPARENT);
    assert_eq!(Answer::of(traced.json(&json!([{ "event_type": "traced", "n": 1 }, { "n": 2 }]))).await.status, 202);
    let mut seen = 0;
    while seen < 2 {
        seen += u64::from(stream.next().await.expect("the stream goes on").name == "event");
    }
    drop(stream);
    let logged = server.get("/events?from=0:0").await.body;
    assert!(logged["items"][0].get("headers").is_none(), "{logged}");
    for at in [1, 2] {
        let headers = &logged["items"][at]["headers"];
        assert_eq!((headers.as_array().unwrap().len(), &headers[0]["name"]), (1, &json!("traceparent")));
        assert_eq!(headers[0]["value"].as_str().unwrap()[..35], TRACEPARENT[..35], "{headers}");
    }
    // A server that ends sends what it has.
    server.stop().await;

    let spans = spans.lock().unwrap();
    let mut names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["POST /events", "deliver", "match"]);
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let (request, matched, delivered) = (named("POST /events"), named("match"), named("deliver"));
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACEPARENT[3..35]), "{spans:?}");
    assert_eq!(hex(&request.parent_span_id), &TRACEPARENT[36..52]);
    assert_eq!(matched.parent_span_id, request.span_id);
    assert_eq!(delivered.parent_span_id, matched.span_id);
    assert!(request.start_time_unix_nano <= delivered.end_time_unix_nano);
    let told = |span: &Span, key: &str| format!("{:?}", span.attributes.iter().find(|it| it.key == key));
    assert!(told(request, "evs.events").contains("IntValue(2)"), "{request:?}");
    assert!(told(delivered, "evs.subscriber").contains("ann"), "{delivered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_stops_nothing() {
    let server = TestServer::start_with(|config| {
        config.otlp_endpoint = "http://127.0.0.1:9".to_owned();
        config.otlp_sample_ratio = 1.0;
    })
    .await;
    server.filter(json!({ "subscriber_id": "ann", "event_types": ["x"] })).await;
    server.publish(json!({ "event_type": "x" })).await;
    server.until("/subscribers/ann", |body| body["top"] == 1).await;
    server.stop().await;
}
