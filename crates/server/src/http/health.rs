//! `/livez`, `/readyz`, `/version` and `/metrics`, on the port of every role.
//!
//! Alive means that the process answers; only a restart helps if it is not. Ready means that what it depends on
//! answers too; a load balancer looks at that, and it changes only after several equal looks, so that one slow moment
//! does not take every instance out at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use evs_api::oplog::Level;
use evs_core::Shard;
use serde::Serialize;

use super::guard;
use super::problem::{ApiError, ApiResult};
use crate::app::App;
use crate::auth::Credential;
use crate::door;

/// A dependency that does not answer a small question for so long is not of use.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Looks are shared by everybody who asks within this time.
const PROBE_MS: i64 = 1000;

/// Equal looks in a row that change the answer to "not ready"; one good look makes it ready again.
const FAILURES_MAX: u32 = 3;

#[derive(Clone, Debug)]
struct Health {
    app: App,
    seen: Arc<tokio::sync::Mutex<Option<Seen>>>,
    failures: Arc<Mutex<BTreeMap<&'static str, u32>>>,
}

#[derive(Clone, Debug)]
struct Seen {
    at_ms: i64,
    readiness: Readiness,
}

/// Answer of `/readyz`.
#[derive(Clone, Debug, Serialize)]
struct Readiness {
    ready: bool,
    /// `ok`, or that it is away; never why, which is in the log.
    checks: BTreeMap<&'static str, &'static str>,
}

#[derive(Debug, Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
    instance: String,
    /// Whether requests need a token. Asking without one would count as a failure.
    authentication: bool,
}

/// The routes that every role serves.
pub fn router(app: App) -> Router {
    let health = Health { app, seen: Arc::default(), failures: Arc::default() };
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(health): State<Health>) -> Response {
    let readiness = health.look().await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

async fn version(State(health): State<Health>) -> Json<Version> {
    let instance = health.app.instance.to_string();
    let authentication = health.app.auth.is_on();
    Json(Version { name: "evs-server", version: env!("CARGO_PKG_VERSION"), instance, authentication })
}

async fn metrics(State(health): State<Health>, request: Request) -> ApiResult<Response> {
    let (app, headers) = (&health.app, request.headers());
    let (client, shown) = (guard::client(app, request.extensions(), headers), Credential::of_request(headers));
    door::approach(app, client, &shown)?;
    if !app.auth.metrics_open() {
        door::enter(app, client, shown).await?.require_installation()?;
    }
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], health.app.metrics.encode()).into_response())
}

impl Health {
    async fn look(&self) -> Readiness {
        // Held while probing, so that a crowd of askers makes one probe.
        let mut seen = self.seen.lock().await;
        let now_ms = self.app.clock.now_ms();
        if let Some(seen) = &*seen
            && now_ms.abs_diff(seen.at_ms) < PROBE_MS.unsigned_abs()
        {
            return self.stopping(seen.readiness.clone());
        }
        let readiness = self.probe().await;
        self.app.metrics.ready.set(i64::from(readiness.ready));
        *seen = Some(Seen { at_ms: now_ms, readiness: readiness.clone() });
        self.stopping(readiness)
    }

    /// A server that drains takes no new clients.
    fn stopping(&self, mut readiness: Readiness) -> Readiness {
        if self.app.shutdown.is_cancelled() {
            readiness.ready = false;
            readiness.checks.insert("server", "stopping");
        }
        readiness
    }

    async fn probe(&self) -> Readiness {
        let app = &self.app;
        let within = |probe| tokio::time::timeout(PROBE_TIMEOUT, probe);
        let (log, queue, filters) = tokio::join!(
            tokio::time::timeout(PROBE_TIMEOUT, app.log.partitions()),
            tokio::time::timeout(PROBE_TIMEOUT, app.queue.state(Shard(0))),
            within(app.filters.version()),
        );
        let checks = [
            ("event_log", failure(log.map(|answer| answer.map(drop)))),
            ("delivery_queue", failure(queue.map(|answer| answer.map(drop)))),
            ("filter_store", failure(filters.map(|answer| answer.map(drop)))),
        ];
        let checks = checks.map(|(name, failure)| (name, self.judge(name, failure)));
        Readiness { ready: checks.iter().all(|(_, word)| *word != "away"), checks: checks.into() }
    }

    fn judge(&self, name: &'static str, failure: Option<String>) -> &'static str {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(name).or_default();
        let before = *count;
        let Some(cause) = failure else {
            *count = 0;
            if before >= FAILURES_MAX {
                self.app.oplog.write(Level::Info, "dependency_back", None, format!("{name} answers again"));
            }
            return "ok";
        };
        *count = count.saturating_add(1);
        tracing::warn!(dependency = name, failures = *count, cause, "a dependency does not answer");
        if *count == FAILURES_MAX {
            self.app.oplog.write(Level::Error, "dependency_lost", None, format!("{name} does not answer"));
        }
        // At the start there is nothing to be patient about: not ready until the first good look.
        let ever_ready = self.app.metrics.ready.get() == 1;
        if *count >= FAILURES_MAX || !ever_ready { "away" } else { "failing" }
    }
}

fn failure<E: std::fmt::Display>(answer: Result<Result<(), E>, tokio::time::error::Elapsed>) -> Option<String> {
    match answer {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {} s", PROBE_TIMEOUT.as_secs())),
    }
}

/// For roles without other routes.
pub fn router_alone(app: App) -> Router {
    router(app).fallback(super::problem::unknown_route).method_not_allowed_fallback(super::problem::unknown_method)
}

/// Some role's own reason not to be ready, such as a reader that has not caught up.
#[must_use]
pub fn not_ready(what: &str) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", format!("{what} is not ready")).retry_after_s(1)
}
