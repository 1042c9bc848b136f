//! Settings: flags, then `EVS_…`, then `evs.toml`, then defaults. One table says it all, so that the flag, the
//! variable, the key in the file and the default of a setting cannot drift apart.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::auth::config::{Algorithm, Secret};

/// A part of the server. One process may run any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Api,
    Matcher,
    Gateway,
}

impl Role {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Matcher => "matcher",
            Self::Gateway => "gateway",
        }
    }
}

/// When an answer may be given for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// After fsync: survives a power loss.
    Full,
    /// After the write: survives a crash of the process; a power loss may undo the last moments.
    Relaxed,
}

/// What goes to librdkafka as it is. Written `[kafka.properties]` in the file, and `name=value;name=value` elsewhere.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaSettings {
    pub properties: BTreeMap<String, String>,
}

impl std::fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be passwords.
        f.debug_set().entries(self.properties.keys()).finish()
    }
}

impl std::str::FromStr for KafkaSettings {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pairs = text.split(';').filter(|pair| !pair.trim().is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not name=value"))?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        });
        Ok(Self { properties: pairs.collect::<Result<_, String>>()? })
    }
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:ty = $default:expr, $env:literal $(, [$($clap:tt)+])?;)*) => {
        /// The settings as given: by flag, by variable or in the file. What is absent has its default.
        #[derive(Clone, Debug, Default, Args, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Settings {
            $(
                $(#[doc = $doc])+
                #[arg(long, env = $env, global = true $(, $($clap)+)?)]
                pub $name: Option<$kind>,
            )*
        }

        /// The settings in force.
        #[derive(Clone, Debug)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $name: $kind,)*
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Config {
            /// `given` first, then `file`, then the default.
            fn layered(given: Settings, file: Settings) -> Self {
                let default = Self::default();
                Self { $($name: given.$name.or(file.$name).unwrap_or(default.$name),)* }
            }
        }
    };
}

settings! {
    /// Roles that this process runs
    role: Vec<Role> = vec![Role::Api, Role::Matcher, Role::Gateway], "EVS_ROLE", [value_delimiter = ','];
    /// Folder of the embedded store
    data_dir: PathBuf = PathBuf::from("evs-data"), "EVS_DATA_DIR";
    /// Address of the REST API
    api_addr: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8001)), "EVS_API_ADDR";
    /// Address of the matcher's health and metrics
    matcher_addr: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8002)), "EVS_MATCHER_ADDR";
    /// Address of WebSocket and SSE
    gateway_addr: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8003)), "EVS_GATEWAY_ADDR";
    /// Event log: `sqlite`, or `kafka://host:9092/topic`
    event_log: String = "sqlite".into(), "EVS_EVENT_LOG";
    /// Properties of librdkafka, such as `security.protocol=SASL_SSL;sasl.username=…`
    kafka: KafkaSettings = KafkaSettings::default(), "EVS_KAFKA_PROPERTIES", [long = "kafka-properties"];
    /// Delivery queue: `sqlite`, `redis://host:6379`, `rediss://…`, or `redis+cluster://host:7000,host:7001`
    delivery_queue: String = "sqlite".into(), "EVS_DELIVERY_QUEUE";
    /// Filter store: `sqlite`, or `postgres://user:password@host/database`
    filter_store: String = "sqlite".into(), "EVS_FILTER_STORE";
    /// When the embedded store answers a write
    durability: Durability = Durability::Full, "EVS_DURABILITY", [value_enum];
    /// Shards of the delivery log; fixed when the store is made
    queue_shards: u16 = 1, "EVS_QUEUE_SHARDS", [value_parser = clap::value_parser!(u16).range(1..=1024)];
    /// Seconds that deliveries stay in the hot log before they are compacted
    hot_s: u64 = 120, "EVS_HOT_S";
    /// Bytes of the hot log, per shard, above which its oldest entries are compacted early
    hot_bytes_max: u64 = 64 * 1024 * 1024, "EVS_HOT_BYTES_MAX";
    /// Bytes of the hot log, per shard, above which the matcher holds back; in memory it takes up to three times as much
    queue_log_bytes_max: u64 = 1024 * 1024 * 1024, "EVS_QUEUE_LOG_BYTES_MAX";
    /// Seconds that unread deliveries, unused consumers and events are kept
    retention_s: u64 = 24 * 3600, "EVS_RETENTION_S";
    /// Unread deliveries that one queue keeps
    queue_events_max: u64 = 100_000, "EVS_QUEUE_EVENTS_MAX";
    /// Bytes of unread deliveries that one queue keeps
    queue_bytes_max: u64 = 64 * 1024 * 1024, "EVS_QUEUE_BYTES_MAX";
    /// Bytes that the embedded event log keeps
    log_bytes_max: u64 = 8 * 1024 * 1024 * 1024, "EVS_LOG_BYTES_MAX";
    /// Unacked events after which a session is not sent more
    session_events_max: usize = evs_core::limits::SESSION_EVENTS_MAX, "EVS_SESSION_EVENTS_MAX";
    /// Unacked bytes after which a session is not sent more
    session_bytes_max: usize = evs_core::limits::SESSION_BYTES_MAX, "EVS_SESSION_BYTES_MAX";
    /// Seconds between the gateway's pings
    ping_s: u64 = 25, "EVS_PING_S";
    /// Seconds that a session may stay full of unacked events before it is closed as slow; its queue stays
    ack_timeout_s: u64 = 60, "EVS_ACK_TIMEOUT_S";
    /// WebSocket and SSE connections of this process
    connections_max: usize = 200_000, "EVS_CONNECTIONS_MAX";
    /// Seconds that a stopping server waits for its connections and batches
    drain_s: u64 = 10, "EVS_DRAIN_S";
    /// Where traces are sent: the URL of an OTLP/HTTP collector such as `http://localhost:4318`; empty: nowhere
    otlp_endpoint: String = String::new(), "EVS_OTLP_ENDPOINT";
    /// Share of the requests without a `traceparent` that are traced, 0 to 1
    otlp_sample_ratio: f64 = 0.01, "EVS_OTLP_SAMPLE_RATIO";
    /// Algorithm that tokens are signed with: `off`, `HS256`, `RS256`, `ES256` or `EdDSA`
    auth_algorithm: Algorithm = Algorithm::Off, "EVS_AUTH_ALGORITHM";
    /// HS256: file with the secret, at least 32 bytes
    auth_secret_file: PathBuf = PathBuf::new(), "EVS_AUTH_SECRET_FILE";
    /// HS256: the secret itself; prefer the file or the variable, because others see flags
    auth_secret: Secret = Secret::default(), "EVS_AUTH_SECRET", [hide_env_values = true];
    /// RS256, ES256, EdDSA: file with the public key, PEM
    auth_key_file: PathBuf = PathBuf::new(), "EVS_AUTH_KEY_FILE";
    /// `kid` that tokens must name; empty: they must name none
    auth_key_id: String = String::new(), "EVS_AUTH_KEY_ID";
    /// RS256, ES256, EdDSA: where the public keys are fetched
    auth_jwks_url: String = String::new(), "EVS_AUTH_JWKS_URL";
    /// Issuer that tokens must be of
    auth_issuer: String = String::new(), "EVS_AUTH_ISSUER";
    /// Audience that tokens must be for
    auth_audience: String = "evs".into(), "EVS_AUTH_AUDIENCE";
    /// Seconds that a token may live at the most
    auth_lifetime_max_s: u64 = 24 * 3600, "EVS_AUTH_LIFETIME_MAX_S";
    /// Seconds by which the clocks of issuer and server may differ
    auth_leeway_s: u64 = 10, "EVS_AUTH_LEEWAY_S";
    /// Claim that names a token's tenant; empty: there are no tenants
    auth_tenant_claim: String = String::new(), "EVS_AUTH_TENANT_CLAIM";
    /// Event field that names the tenant of an event
    auth_tenant_field: String = "tenant".into(), "EVS_AUTH_TENANT_FIELD";
    /// Secret of tickets, for api and gateway in different processes; empty: a random one
    auth_ticket_secret: Secret = Secret::default(), "EVS_AUTH_TICKET_SECRET", [hide_env_values = true];
    /// Origins of web pages that may connect to the gateway; `*` is any, empty only the gateway's own page
    auth_origins: Vec<String> = Vec::new(), "EVS_AUTH_ORIGINS", [value_delimiter = ','];
    /// Answer `/metrics` without a token
    auth_metrics_open: bool = false, "EVS_AUTH_METRICS_OPEN";
    /// Start without authentication on an address that other machines reach
    insecure_no_auth: bool = false, "EVS_INSECURE_NO_AUTH", [num_args = 0..=1, default_missing_value = "true"];
    /// REST requests per second of one token, a batch of events is one; 0 is no limit
    limit_subject_requests_per_s: u32 = 1_000, "EVS_LIMIT_SUBJECT_REQUESTS_PER_S";
    /// REST requests per second from one address; 0 is no limit
    limit_address_requests_per_s: u32 = 2_000, "EVS_LIMIT_ADDRESS_REQUESTS_PER_S";
    /// Failed authentications per second from one address, above which only known tokens are looked at; 0 is no limit
    limit_address_auth_failures_per_s: u32 = 5, "EVS_LIMIT_ADDRESS_AUTH_FAILURES_PER_S";
    /// Connections to the REST API
    limit_http_connections: usize = 4_096, "EVS_LIMIT_HTTP_CONNECTIONS";
    /// Connections to the REST API from one address; 0 is no limit
    limit_address_http_connections: usize = 256, "EVS_LIMIT_ADDRESS_HTTP_CONNECTIONS";
    /// WebSocket and SSE connections from one address; 0 is no limit
    limit_address_connections: usize = 10_000, "EVS_LIMIT_ADDRESS_CONNECTIONS";
    /// WebSocket and SSE connections of one token's subject; 0 is no limit
    limit_subject_connections: usize = 1_000, "EVS_LIMIT_SUBJECT_CONNECTIONS";
    /// Proxies, addresses or networks, whose `X-Forwarded-For` names the client
    trusted_proxies: Vec<String> = Vec::new(), "EVS_TRUSTED_PROXIES", [value_delimiter = ','];
    /// Count loopback addresses too; off, because a proxy on this machine stands for all its clients
    limit_loopback: bool = false, "EVS_LIMIT_LOOPBACK";
    /// Seconds within which a connection must have sent the headers of its next request
    limit_header_timeout_s: u64 = 10, "EVS_LIMIT_HEADER_TIMEOUT_S";
    /// Seconds within which a REST request is answered
    limit_request_timeout_s: u64 = 75, "EVS_LIMIT_REQUEST_TIMEOUT_S";
    /// Seconds within which an import of filters is answered
    limit_import_timeout_s: u64 = 3_600, "EVS_LIMIT_IMPORT_TIMEOUT_S";
    /// Filters of the installation that are tried on every event, because the index cannot narrow them down
    limit_unindexable_filters: u64 = 10_000, "EVS_LIMIT_UNINDEXABLE_FILTERS";
    /// Origins of web pages that may call the REST API; `*` is any
    cors_origins: Vec<String> = Vec::new(), "EVS_CORS_ORIGINS", [value_delimiter = ','];
}

impl Config {
    /// Reads the file, if there is one, and puts what was given over it.
    ///
    /// # Errors
    /// A sentence that names the file, the key, and what is wrong.
    pub fn load(given: Settings, file: Option<&Path>) -> anyhow::Result<Self> {
        let path = match file {
            Some(path) => Some(path),
            None => Some(Path::new("evs.toml")).filter(|path| path.exists()),
        };
        let stored = match path {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the settings in {}", path.display()))?;
                toml::from_str(&text).with_context(|| format!("cannot use the settings in {}", path.display()))?
            }
            None => Settings::default(),
        };
        let config = Self::layered(given, stored);
        anyhow::ensure!(!config.role.is_empty(), "role must name at least one of api, matcher, gateway");
        Ok(config)
    }

    #[must_use]
    pub fn runs(&self, role: Role) -> bool {
        self.role.contains(&role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_goes_before_the_file() {
        let file: Settings = toml::from_str("ping_s = 5\nhot_s = 7\nrole = [\"api\"]").unwrap();
        let given = Settings { ping_s: Some(9), ..Settings::default() };
        let config = Config::layered(given, file);
        assert_eq!((config.ping_s, config.hot_s, config.drain_s), (9, 7, 10));
        assert_eq!(config.role, [Role::Api]);
    }

    #[test]
    fn an_unknown_key_is_told() {
        let error = toml::from_str::<Settings>("pign_s = 5").unwrap_err().to_string();
        assert!(error.contains("pign_s"), "{error}");
    }

    #[test]
    fn the_example_file_shows_every_default() {
        let text = include_str!("../../../evs.example.toml");
        let uncommented: String = text
            .lines()
            .filter(|line| !line.starts_with("# "))
            .map(|line| format!("{}\n", line.trim_start_matches('#')))
            .collect();
        let file: Settings = toml::from_str(&uncommented).unwrap();
        let from_file = Config::layered(Settings::default(), file);
        assert_eq!(format!("{from_file:?}"), format!("{:?}", Config::default()));
    }
}
