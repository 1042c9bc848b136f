//! What the server counts, for `/metrics` and `/stats`. Labels are bounded: no subscriber, filter or event is one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use evs_api::stats::Latency;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds in seconds: from a loopback delivery to a lag that somebody is called for.
const LATENCY_BUCKETS_S: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

macro_rules! metrics {
    ($($(#[$help:meta])* $name:ident: $kind:ty, $metric:literal, $text:literal;)*) => {
        /// Every metric of the process. Cheap to count: an atomic add.
        #[derive(Debug)]
        pub struct Metrics {
            $(#[doc = $text] pub $name: $kind,)*
            /// From the log's acknowledgement to the socket write.
            pub delivery_latency: Histogram,
            latency_window: Mutex<LatencyWindow>,
            registry: Registry,
        }

        impl Default for Metrics {
            fn default() -> Self {
                let mut registry = Registry::with_prefix("evs");
                $(
                    let $name = <$kind>::default();
                    registry.register($metric, $text, $name.clone());
                )*
                let delivery_latency = Histogram::new(LATENCY_BUCKETS_S);
                let text = "Seconds from the event log's acknowledgement to the socket write";
                registry.register("delivery_latency_seconds", text, delivery_latency.clone());
                Self { $($name,)* delivery_latency, latency_window: Mutex::default(), registry }
            }
        }
    };
}

metrics! {
    events_in: Counter, "events_in", "Events acknowledged by the event log through this instance";
    events_refused: Counter, "events_refused", "Events refused at the REST API";
    events_consumed: Counter, "events_consumed", "Events read by the matcher";
    events_matched: Counter, "events_matched", "Events with at least one match";
    deliveries: Counter, "deliveries", "Deliveries written to the delivery log";
    appends: Counter, "appends", "Appends to the delivery log that were applied";
    appends_already: Counter, "appends_already_applied", "Appends that had been applied before, their answer lost";
    appends_fenced: Counter, "appends_fenced", "Appends refused because another matcher owns the partition";
    appends_conflict: Counter, "appends_conflict", "Appends refused because they do not follow the checkpoint";
    appends_stale: Counter, "appends_stale", "Appends refused because their filter version is too old";
    appends_full: Counter, "appends_full", "Appends refused because the delivery log is at its limit";
    epoch_changes: Counter, "epoch_changes", "New epochs made or met";
    dead_letters: Counter, "dead_letters", "Records put aside because they could not be read as events";
    deliveries_sent: Counter, "deliveries_sent", "Deliveries written to sockets";
    socket_writes: Counter, "socket_writes", "Write calls on sockets";
    acks: Counter, "acks", "Acks stored";
    gaps: Counter, "gaps", "Gap frames sent";
    superseded: Counter, "superseded", "Connections closed because a newer one of the same consumer came";
    closed_slow: Counter, "closed_slow", "Connections closed because they did not ack or answer";
    auth_failures: Counter, "auth_failures", "Requests and connections refused for their credentials";
    rate_limited: Counter, "rate_limited", "Requests and connections refused by a limit";
    compactions: Counter, "compactions", "Compaction steps applied";
    spilled: Counter, "spilled", "Deliveries spilled into their subscriber's queue";
    expired: Counter, "expired", "Deliveries dropped by retention before they were acked";
    drops: Counter, "operator_stream_drops", "Events left out of an operator's stream that could not keep up";
    connections: Gauge, "connections", "Open WebSocket and SSE connections";
    connections_behind: Gauge, "connections_behind", "Connections that are not caught up";
    filter_version: Gauge, "filter_version", "Filter version that the matcher has applied";
    filters: Gauge, "filters", "Filters in the match index";
    filters_unindexable: Gauge, "filters_unindexable", "Filters that are tried on every event";
    index_classes: Gauge, "index_classes", "Distinct filters in the match index";
    index_memory_bytes: Gauge, "index_memory_bytes", "Memory of the match index";
    index_rekeyed: Counter, "index_rekeyed", "Filters placed anew in the match index, for what events were seen to have";
    match_candidates: Counter, "match_candidates", "Filters that the index had to try";
    match_matches: Counter, "match_matches", "Filters that were found to match; candidates by matches is what the index wastes";
    partitions: Gauge, "partitions", "Partitions of the event log that this matcher works on";
    rebalances: Counter, "rebalances", "Times that the log's consumer group gave this matcher partitions or took some";
    last_rebalance: Gauge, "last_rebalance_timestamp_seconds", "When it did so last, seconds since the Unix epoch; 0 if never";
    log_lag: Gauge, "log_lag", "Events in the log that are not matched yet";
    delivery_log_bytes: Gauge, "delivery_log_bytes", "Bytes of the hot delivery log";
    ready: Gauge, "ready", "1 if this instance is ready";
}

impl Metrics {
    /// Filters that were looked at for each that matched.
    #[must_use]
    pub fn candidates_per_match(&self) -> f64 {
        self.match_candidates.get() as f64 / self.match_matches.get().max(1) as f64
    }

    /// The Prometheus text format (OpenMetrics).
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }

    /// One delivery took so many milliseconds from the log's acknowledgement to the socket.
    pub fn observe_latency(&self, latency_ms: i64) {
        let latency_ms = latency_ms.max(0);
        self.delivery_latency.observe(latency_ms as f64 / 1000.0);
        let mut window = self.latency_window.lock().unwrap_or_else(PoisonError::into_inner);
        window.push(u32::try_from(latency_ms).unwrap_or(u32::MAX));
    }

    /// Percentiles of the newest samples.
    #[must_use]
    pub fn latency(&self) -> Latency {
        self.latency_window.lock().unwrap_or_else(PoisonError::into_inner).percentiles()
    }
}

/// The newest latency samples, enough for a p99.
#[derive(Debug, Default)]
struct LatencyWindow {
    samples_ms: Vec<u32>,
    next: usize,
}

const LATENCY_SAMPLES: usize = 2048;

impl LatencyWindow {
    fn push(&mut self, sample_ms: u32) {
        if self.samples_ms.len() < LATENCY_SAMPLES {
            self.samples_ms.push(sample_ms);
        } else {
            self.samples_ms[self.next] = sample_ms;
        }
        self.next = (self.next + 1) % LATENCY_SAMPLES;
    }

    fn percentiles(&self) -> Latency {
        let mut sorted = self.samples_ms.clone();
        sorted.sort_unstable();
        let at = |share: f64| sorted.get((share * sorted.len() as f64) as usize).copied().map_or(0.0, f64::from);
        Latency { p50_ms: at(0.50), p95_ms: at(0.95), p99_ms: at(0.99), samples: sorted.len() as u64 }
    }
}

/// Turns a total into a rate per second, measured between calls.
#[derive(Debug, Default)]
pub struct Rate {
    last: AtomicU64,
    last_ms: AtomicU64,
}

impl Rate {
    /// Call it about once a second; 0 at the first call.
    pub fn tick(&self, total: u64, now_ms: i64) -> f64 {
        let now_ms = now_ms.unsigned_abs();
        let (last, last_ms) = (self.last.swap(total, Ordering::Relaxed), self.last_ms.swap(now_ms, Ordering::Relaxed));
        if last_ms == 0 || now_ms <= last_ms {
            return 0.0;
        }
        total.saturating_sub(last) as f64 * 1000.0 / (now_ms - last_ms) as f64
    }
}
