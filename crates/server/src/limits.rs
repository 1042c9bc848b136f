//! What one caller may use: requests per second, connections, sizes and times, each with its reason.
//!
//! Limits refuse new work; they never drop what was acknowledged. They are counted by this instance alone and need no
//! backend, so that a slow backend cannot open or close the door.

mod connections;
mod failures;
mod files;
mod proxies;
mod rate;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use rand::Rng as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::auth::Subject;
use crate::config::Config;
use crate::http::problem::ApiResult;
pub use connections::{ConnectionGuard, Connections};
pub use failures::{Failures, Tell};
pub use files::raise_limit as raise_limit_of_files;
pub use proxies::Proxies;
use rate::RateLimit;

/// The settings `limit_…`. 0 switches a limit off where it says so.
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    /// REST requests of one token, per second, with a burst of twice that; 0: no limit. A batch of events is one.
    pub subject_requests_per_s: u32,
    /// REST requests from one address, per second, with a burst of twice that; 0: no limit. More than for a token,
    /// because offices share addresses.
    pub address_requests_per_s: u32,
    /// Failed authentications from one address, per second, with a burst of twice that; 0: no limit. Above it only
    /// credentials that were good before are looked at. More than people and their programs mistake themselves, and so
    /// few that a flood costs no signatures.
    pub address_auth_failures_per_s: u32,
    /// WebSocket and SSE connections to the gateway, in all.
    pub connections_max: usize,
    /// Connections to the REST port; each costs a task and a buffer.
    pub http_connections_max: usize,
    /// WebSocket and SSE connections to the gateway from one address; 0: no limit.
    pub address_connections_max: usize,
    /// Connections to the REST port from one address; 0: no limit. So many slow ones cannot take all places.
    pub address_http_connections_max: usize,
    /// WebSocket and SSE connections of one token's subject; 0: no limit.
    pub subject_connections_max: usize,
    /// Who may say for whom it asks.
    pub trusted_proxies: Proxies,
    /// Whether loopback addresses count too; off, because a proxy on this machine stands for all its clients.
    pub limit_loopback: bool,
    /// A connection must have sent its next request's headers within this time: ends slow and idle ones.
    pub header_timeout_s: u64,
    /// All headers of a request: a token and some cookies fit many times.
    pub header_bytes_max: usize,
    /// Header lines of a request.
    pub headers_max: usize,
    /// A request, with its body, must be answered within this time. Longer than any `?timeout=`.
    pub request_timeout_s: u64,
    /// The same for `POST /filters/import`, whose body may hold millions of filters.
    pub import_timeout_s: u64,
    /// Filters that the index cannot narrow down and tries on every event, in the whole installation.
    pub unindexable_filters_max: u64,
    /// Web pages of these origins may call the REST API, exactly as browsers send them; `*` allows any.
    pub cors_origins: Vec<String>,
}

impl From<&Config> for LimitsConfig {
    fn from(config: &Config) -> Self {
        Self {
            subject_requests_per_s: config.limit_subject_requests_per_s,
            address_requests_per_s: config.limit_address_requests_per_s,
            address_auth_failures_per_s: config.limit_address_auth_failures_per_s,
            connections_max: config.connections_max,
            http_connections_max: config.limit_http_connections,
            address_connections_max: config.limit_address_connections,
            address_http_connections_max: config.limit_address_http_connections,
            subject_connections_max: config.limit_subject_connections,
            // Checked at the start; none is trusted by mistake.
            trusted_proxies: Proxies::new(&config.trusted_proxies).unwrap_or_default(),
            limit_loopback: config.limit_loopback,
            header_timeout_s: config.limit_header_timeout_s,
            header_bytes_max: HEADER_BYTES_MAX,
            headers_max: HEADERS_MAX,
            request_timeout_s: config.limit_request_timeout_s,
            import_timeout_s: config.limit_import_timeout_s,
            unindexable_filters_max: config.limit_unindexable_filters,
            cors_origins: config.cors_origins.clone(),
        }
    }
}

/// All headers of a request: a token of the largest size and some cookies fit.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Header lines of a request: browsers behind proxies send about 40.
const HEADERS_MAX: usize = 64;

/// The counters behind [`LimitsConfig`], one set for the process.
#[derive(Debug)]
pub struct Limits {
    by_address: RateLimit<IpAddr>,
    /// Apart from all others: a flood from an address that they share must not use up what they have.
    by_address_known: RateLimit<IpAddr>,
    by_subject: RateLimit<Box<str>>,
    failures: Failures,
    http: Connections,
    gateway: Connections,
    refusing_http: Arc<Semaphore>,
    refusing_gateway: Arc<Semaphore>,
    config: LimitsConfig,
}

impl Limits {
    #[must_use]
    pub fn new(config: LimitsConfig) -> Self {
        let (loopback, proxies) = (config.limit_loopback, &config.trusted_proxies);
        let wanted = (config.http_connections_max, config.connections_max);
        let files = files::limit();
        let files::Shares { http, gateway, refusing } = files::fitting(files, wanted.0, wanted.1);
        let of_address_http = files::share(config.address_http_connections_max, http, wanted.0);
        let of_gateway = |each_max| files::share(each_max, gateway, wanted.1);
        let of_address = of_gateway(config.address_connections_max);
        let of_subject = of_gateway(config.subject_connections_max);
        let usual = Config::default();
        if (http, gateway) != wanted && wanted == (usual.limit_http_connections, usual.connections_max) {
            tracing::info!(
                files,
                http_connections = http,
                connections = gateway,
                "connections are limited by the open files that a process may have; ulimit -n raises it"
            );
        } else if (http, gateway) != wanted {
            tracing::warn!(
                files,
                limit_http_connections = http,
                limit_address_http_connections = of_address_http,
                connections_max = gateway,
                limit_address_connections = of_address,
                limit_subject_connections = of_subject,
                "fewer connections than configured fit, by the limit of open files (ulimit -n); raise it"
            );
        }
        let http = Connections::new(http, of_address_http, 0, loopback, proxies);
        let gateway = Connections::new(gateway, of_address, of_subject, loopback, proxies);
        Self {
            by_address: RateLimit::new(config.address_requests_per_s),
            by_address_known: RateLimit::new(config.address_requests_per_s),
            by_subject: RateLimit::new(config.subject_requests_per_s),
            failures: Failures::new(config.address_auth_failures_per_s, loopback),
            http,
            gateway,
            refusing_http: Arc::new(Semaphore::new(refusing)),
            refusing_gateway: Arc::new(Semaphore::new(refusing)),
            config,
        }
    }

    #[must_use]
    pub fn config(&self) -> &LimitsConfig {
        &self.config
    }

    /// The headers that tell the caller where it stands. `known`: it shows a credential that was good before.
    ///
    /// # Errors
    /// 429 with `Retry-After`.
    pub fn check_address(&self, address: Option<IpAddr>, known: bool) -> ApiResult<HeaderMap> {
        let limit = if known { &self.by_address_known } else { &self.by_address };
        match address {
            Some(address) if self.config.limit_loopback || !address.is_loopback() => {
                limit.check(connections::network(address), "this address")
            }
            Some(_) | None => Ok(HeaderMap::new()),
        }
    }

    /// # Errors
    /// 429 with `Retry-After`.
    pub fn check_subject(&self, subject: &Subject) -> ApiResult<HeaderMap> {
        self.by_subject.check(format!("{}{}", subject.prefix(), subject.name()).into(), "this token's subject")
    }

    /// Failed authentications per address.
    #[must_use]
    pub fn failures(&self) -> &Failures {
        &self.failures
    }

    /// The deadline of a connection's headers, a tenth shorter or longer by chance: those that came together are not
    /// ended together.
    #[must_use]
    pub fn header_timeout(&self) -> Duration {
        Duration::from_secs(self.config.header_timeout_s).mul_f64(rand::rng().random_range(0.9..1.1))
    }

    /// A place for a connection to the REST port.
    #[must_use]
    pub fn connect(&self, address: IpAddr) -> Option<ConnectionGuard> {
        self.http.enter(address)
    }

    /// Leave to tell one connection more that it is one too many; without it there is nothing to be said.
    #[must_use]
    pub fn refuse(&self) -> Option<OwnedSemaphorePermit> {
        self.refusing_http.clone().try_acquire_owned().ok()
    }

    /// The same at the gateway.
    #[must_use]
    pub fn refuse_at_gateway(&self) -> Option<OwnedSemaphorePermit> {
        self.refusing_gateway.clone().try_acquire_owned().ok()
    }

    /// Places for the gateway's connections.
    #[must_use]
    pub fn gateway(&self) -> &Connections {
        &self.gateway
    }
}

/// Which web pages may call the REST API. Credentials are tokens in a header, never cookies, so none are allowed.
pub fn cors(config: &LimitsConfig) -> CorsLayer {
    let exposed: [HeaderName; 6] = [
        header::ETAG,
        header::LOCATION,
        header::RETRY_AFTER,
        HeaderName::from_static("ratelimit-limit"),
        HeaderName::from_static("ratelimit-remaining"),
        HeaderName::from_static("ratelimit-reset"),
    ];
    let allowed = [
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::IF_MATCH,
        HeaderName::from_static("idempotency-key"),
        HeaderName::from_static("last-event-id"),
    ];
    let origins = match config.cors_origins.iter().any(|origin| origin == "*") {
        true => AllowOrigin::any(),
        false => AllowOrigin::list(config.cors_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok())),
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers(allowed)
        .expose_headers(exposed)
        .max_age(std::time::Duration::from_secs(3600))
}

/// Whether the request comes from a page that may call the REST API.
#[must_use]
pub fn is_cors_origin(config: &LimitsConfig, headers: &HeaderMap) -> bool {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    origin.is_none_or(|origin| config.cors_origins.iter().any(|allowed| allowed == "*" || allowed == origin))
}
