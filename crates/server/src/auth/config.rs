//! Settings of authentication, as [`Authorizer`](super::Authorizer) takes them, with the reason for each default.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::config::{Config, Role};

/// The settings `auth_…`; what is empty there is absent here.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// The one algorithm that tokens are signed with; what a token's header says is only compared with it.
    pub algorithm: Algorithm,
    /// HS256: a file that holds the secret, at least 32 bytes.
    pub secret_file: Option<PathBuf>,
    /// HS256: the secret itself, for environments that hand secrets over as variables.
    pub secret: Option<Secret>,
    /// RS256, ES256, EdDSA: the public key as PEM.
    pub key_file: Option<PathBuf>,
    /// The `kid` of that key or secret. Set: tokens must name it. Absent: tokens must name none.
    pub key_id: Option<String>,
    /// RS256, ES256, EdDSA: where the public keys are fetched; `https`, or `http` on loopback.
    pub jwks_url: Option<String>,
    /// Accepted `iss`, exactly.
    pub issuer: Option<String>,
    /// Accepted `aud`, exactly.
    pub audience: String,
    /// A token may live this long at the most (`exp - iat`): one that leaks is of use for so long.
    pub lifetime_max_s: u64,
    /// Clocks of issuer and server may differ by this.
    pub leeway_s: u64,
    /// The claim that names the tenant. Set: every token must have it, except those with the scope `operate`.
    pub tenant_claim: Option<String>,
    /// The event field that names the tenant that an event belongs to, where tenants are used.
    pub tenant_field: String,
    /// Key of single-use tickets, at least 32 bytes; instances that share it honour each other's tickets. Absent: a
    /// random one at each start.
    pub ticket_secret: Option<Secret>,
    /// Browsers may connect from pages of these origins, exactly as they send them; `*` allows any. Beside them only
    /// the server's own page may. What sends no Origin is no browser and is not asked.
    pub origins: Vec<String>,
    /// Whether `/metrics` answers without a token.
    pub metrics_open: bool,
    /// Lets a server on an address other than loopback start without authentication.
    pub insecure_no_auth: bool,
    /// Every address that the process listens on.
    pub addresses: Vec<SocketAddr>,
}

impl From<&Config> for AuthConfig {
    fn from(config: &Config) -> Self {
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        let path = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
        let secret = |secret: &Secret| (!secret.bytes().is_empty()).then(|| secret.clone());
        let roles =
            [(Role::Api, config.api_addr), (Role::Matcher, config.matcher_addr), (Role::Gateway, config.gateway_addr)];
        Self {
            algorithm: config.auth_algorithm,
            secret_file: path(&config.auth_secret_file),
            secret: secret(&config.auth_secret),
            key_file: path(&config.auth_key_file),
            key_id: text(&config.auth_key_id),
            jwks_url: text(&config.auth_jwks_url),
            issuer: text(&config.auth_issuer),
            audience: config.auth_audience.clone(),
            lifetime_max_s: config.auth_lifetime_max_s,
            leeway_s: config.auth_leeway_s,
            tenant_claim: text(&config.auth_tenant_claim),
            tenant_field: config.auth_tenant_field.clone(),
            ticket_secret: secret(&config.auth_ticket_secret),
            origins: config.auth_origins.clone(),
            metrics_open: config.auth_metrics_open,
            insecure_no_auth: config.insecure_no_auth,
            addresses: roles.into_iter().filter(|(role, _)| config.runs(*role)).map(|(_, address)| address).collect(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// Nobody is asked for a token.
    #[default]
    #[serde(rename = "off")]
    Off,
    HS256,
    RS256,
    ES256,
    EdDSA,
}

impl std::str::FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "HS256" => Ok(Self::HS256),
            "RS256" => Ok(Self::RS256),
            "ES256" => Ok(Self::ES256),
            "EdDSA" => Ok(Self::EdDSA),
            _ => Err(format!("{text:?} is no algorithm; use off, HS256, RS256, ES256 or EdDSA")),
        }
    }
}

/// Text that no log, error or debug print shows.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}
