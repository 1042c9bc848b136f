//! The keys that tokens are verified with: one from a file, or a set from a URL.

use std::path::Path;

use jsonwebtoken::DecodingKey;

use super::config::{Algorithm, AuthConfig};
use super::jwks::Jwks;
use super::token::invalid;
use crate::http::problem::ApiResult;

/// HMAC keys below the size of the hash can be searched for (RFC 7518, 3.2).
pub(super) const SECRET_BYTES_MIN: usize = 32;

/// Text that examples use as a secret; long enough, and known to everybody.
const WELL_KNOWN: [&str; 4] = ["changeme", "change-me", "secret", "your-256-bit-secret"];

#[derive(Debug)]
pub(super) enum Keys {
    One { kid: Option<String>, key: Box<DecodingKey> },
    Set(Jwks),
}

impl Keys {
    pub(super) fn new(config: &AuthConfig) -> Result<Self, String> {
        let algorithm = config.algorithm;
        let AuthConfig { secret_file, secret, key_file, key_id, jwks_url, .. } = config;
        if let Some(kid) = key_id.as_deref().filter(|kid| !is_key_id(kid)) {
            return Err(format!("auth_key_id: {kid:?} must be 1 to 64 of letters, digits, `.`, `_` and `-`"));
        }
        let key = match (algorithm, secret_file, secret, key_file, jwks_url) {
            (Algorithm::HS256, Some(file), None, None, None) => hmac(read(file)?.trim_ascii())?,
            (Algorithm::HS256, None, Some(secret), None, None) => hmac(secret.bytes())?,
            (Algorithm::HS256, ..) => {
                return Err("auth_algorithm HS256 needs auth_secret_file or auth_secret, and no other key".to_owned());
            }
            (_, None, None, Some(file), None) => public(algorithm, file)?,
            (_, None, None, None, Some(url)) => return Ok(Self::Set(Jwks::new(url, algorithm)?)),
            _ => {
                return Err(
                    "auth_algorithm RS256, ES256 or EdDSA needs auth_key_file or auth_jwks_url, and no other key"
                        .to_owned(),
                );
            }
        };
        Ok(Self::One { kid: key_id.clone(), key: Box::new(key) })
    }

    /// The key that the token names, exactly.
    pub(super) async fn find(&self, kid: Option<&str>) -> ApiResult<DecodingKey> {
        match self {
            Self::One { kid: own, key } if own.as_deref() == kid => Ok(DecodingKey::clone(key)),
            Self::One { kid: Some(_), .. } => Err(invalid("the token names another key, or none")),
            Self::One { kid: None, .. } => Err(invalid("the token names a key, but the server's key has no name")),
            Self::Set(jwks) => match kid {
                Some(kid) => jwks.find(kid).await,
                None => Err(invalid("the token names no key")),
            },
        }
    }
}

/// Checked before it is looked up anywhere, and never made part of a path, URL or query.
pub(super) fn is_key_id(kid: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=64).contains(&kid.len()) && kid.bytes().all(allowed)
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("auth: {} cannot be read: {error}", file.display()))
}

fn hmac(secret: &[u8]) -> Result<DecodingKey, String> {
    check_secret("auth_secret", secret)?;
    Ok(DecodingKey::from_secret(secret))
}

/// Refuses what can be guessed.
pub(super) fn check_secret(what: &str, secret: &[u8]) -> Result<(), String> {
    if secret.len() < SECRET_BYTES_MIN {
        return Err(format!("{what} has {} bytes; HS256 needs {SECRET_BYTES_MIN}: openssl rand -hex 32", secret.len()));
    }
    let text = String::from_utf8_lossy(secret).to_ascii_lowercase();
    let repeated = secret.iter().all(|byte| *byte == secret[0]);
    if repeated || WELL_KNOWN.iter().any(|known| text.contains(known)) {
        return Err(format!("{what} is a well-known example; make one: openssl rand -hex 32"));
    }
    Ok(())
}

fn public(algorithm: Algorithm, file: &Path) -> Result<DecodingKey, String> {
    let pem = read(file)?;
    let key = match algorithm {
        Algorithm::RS256 => DecodingKey::from_rsa_pem(&pem),
        Algorithm::ES256 => DecodingKey::from_ec_pem(&pem),
        Algorithm::EdDSA => DecodingKey::from_ed_pem(&pem),
        Algorithm::HS256 | Algorithm::Off => return Err("auth_key_file is for public keys".to_owned()),
    };
    key.map_err(|error| format!("auth_key_file: {} holds no public key for {algorithm:?}: {error}", file.display()))
}
