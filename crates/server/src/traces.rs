//! OpenTelemetry traces, on demand: what became of one request's events, from the POST to the socket.
//!
//! Three spans follow each other: `POST /events`, `match` (the matcher, until the deliveries are written) and `deliver`
//! (until the socket write). Between them the context travels with the event: in memory, in the headers of Kafka records,
//! in the entries of the delivery log. It does not survive in the segments of the embedded event log nor in spilled
//! deliveries, so an event that waited there for long is delivered outside of its trace. Without an endpoint nothing is
//! recorded, and a `traceparent` that came with a request still goes on, for a process that has one.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use evs_core::Trace;
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;

pub use opentelemetry::trace::SpanKind;

use crate::config::Config;
use crate::outbound::Outbound;

/// A collector that does not answer for so long is given up for this batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// What waits at the end of the process is tried for so long.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// An answer of a collector is a few bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where spans go. Cheap to clone; nowhere by default.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Exporting>>);

#[derive(Debug)]
struct Exporting {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
}

/// A span that ends when it is dropped.
#[derive(Debug)]
pub struct Span {
    recording: Option<opentelemetry_sdk::trace::Span>,
    trace: Option<Trace>,
}

impl Traces {
    /// # Errors
    /// A sentence on the endpoint that cannot be used.
    pub fn start(config: &Config, instance: &str) -> Result<Self, String> {
        if config.otlp_endpoint.is_empty() {
            return Ok(Self::default());
        }
        let ratio = config.otlp_sample_ratio;
        if !(0.0..=1.0).contains(&ratio) {
            return Err(format!("otlp_sample_ratio is {ratio}, but must be from 0 to 1"));
        }
        let mut url: url::Url = config.otlp_endpoint.parse().map_err(|error| format!("otlp_endpoint: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("otlp_endpoint must be an http or https URL of an OTLP/HTTP collector".to_owned());
        }
        if url.path() == "/" {
            url.set_path("/v1/traces");
        }
        let client = Client { outbound: Outbound::new()?, runtime: Handle::current() };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(url)
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|error| format!("otlp_endpoint: {error}"))?;
        let resource = Resource::builder()
            .with_service_name("evs-server")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
            .with_resource(resource)
            .build();
        Ok(Self(Some(Arc::new(Exporting { tracer: provider.tracer("evs"), provider }))))
    }

    /// Begins a span, now or at `start_ms`. Where nothing is recorded it stands for its parent.
    #[must_use]
    pub fn span(&self, name: &'static str, kind: SpanKind, parent: Option<Trace>, start_ms: Option<i64>) -> Span {
        let Some(exporting) = &self.0 else { return Span { recording: None, trace: parent } };
        let mut context = Context::new();
        if let Some(Trace { trace_id, span_id }) = parent {
            let (trace_id, span_id) = (TraceId::from_bytes(trace_id), SpanId::from_bytes(span_id));
            let parent = SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, true, TraceState::default());
            context = context.with_remote_span_context(parent);
        }
        let mut builder = exporting.tracer.span_builder(name).with_kind(kind);
        if let Some(start_ms) = start_ms {
            let since_epoch = Duration::from_millis(start_ms.max(0).unsigned_abs());
            builder = builder.with_start_time(SystemTime::UNIX_EPOCH + since_epoch);
        }
        let span = builder.start_with_context(&exporting.tracer, &context);
        let own = span.span_context();
        let trace =
            own.is_sampled().then(|| Trace { trace_id: own.trace_id().to_bytes(), span_id: own.span_id().to_bytes() });
        Span { recording: Some(span), trace }
    }

    /// Sends what waits, for a process that is about to end.
    pub async fn flush(&self) {
        let Some(exporting) = self.0.clone() else { return };
        let flushed = tokio::task::spawn_blocking(move || exporting.provider.shutdown_with_timeout(FLUSH_TIMEOUT));
        if let Ok(Err(error)) = flushed.await {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

impl Span {
    /// What its children continue; `None` where nobody records.
    #[must_use]
    pub fn trace(&self) -> Option<Trace> {
        self.trace
    }

    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.recording {
            span.set_attribute(KeyValue::new(name, value));
        }
    }
}

/// Sends from the exporter's own thread by the runtime of the server.
#[derive(Debug)]
struct Client {
    outbound: Outbound,
    runtime: Handle,
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let outbound = self.outbound.clone();
        let sent = self.runtime.spawn(async move {
            let sending = outbound.send(request, ANSWER_BYTES_MAX);
            tokio::time::timeout(EXPORT_TIMEOUT, sending).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
        });
        Ok(sent.await??)
    }
}
