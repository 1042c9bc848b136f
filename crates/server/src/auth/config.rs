//! Settings of authentication, with the reason for each default.

use std::path::PathBuf;

use serde::Deserialize;

/// `[auth]` in `evs.toml`; `EVS_AUTH_…`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// The one algorithm that tokens are signed with; what a token's header says is only compared with it. Absent:
    /// authentication is off.
    pub algorithm: Option<Algorithm>,
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
    /// Keys of single-use tickets, at least 32 bytes; instances that share it honour each other's tickets. Absent: a
    /// random one at each start.
    pub ticket_secret: Option<Secret>,
    /// Browsers may connect from these origins, exactly as they send them; `*` allows any. Empty: only from the
    /// server's own host and port. What sends no Origin is no browser and is not asked.
    pub origins: Vec<String>,
    /// Whether `/metrics` answers without a token.
    pub metrics_open: bool,
    /// Lets a server on an address other than loopback start without authentication.
    pub insecure_no_auth: bool,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            algorithm: None,
            secret_file: None,
            secret: None,
            key_file: None,
            key_id: None,
            jwks_url: None,
            issuer: None,
            audience: "evs".to_owned(),
            lifetime_max_s: 24 * 3600,
            leeway_s: 10,
            tenant_claim: None,
            tenant_field: "tenant".to_owned(),
            ticket_secret: None,
            origins: Vec::new(),
            metrics_open: false,
            insecure_no_auth: false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    HS256,
    RS256,
    ES256,
    EdDSA,
}

impl std::str::FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "HS256" => Ok(Self::HS256),
            "RS256" => Ok(Self::RS256),
            "ES256" => Ok(Self::ES256),
            "EdDSA" => Ok(Self::EdDSA),
            _ => Err(format!("{text:?} is no algorithm; use HS256, RS256, ES256 or EdDSA")),
        }
    }
}

/// Text that no log, error or debug print shows.
#[derive(Clone, PartialEq, Eq, Deserialize)]
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
