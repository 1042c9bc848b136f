//! A set of public keys from a URL of the configuration: cached, bounded, refreshed at a limited rate.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::ACCEPT;
use hyper::{Request, StatusCode};
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{JwkSet, KeyAlgorithm, PublicKeyUse};
use tokio::sync::Mutex;
use url::{Host, Url};

use super::config::Algorithm;
use super::keys::is_key_id;
use super::token::invalid;
use crate::http::problem::{ApiError, ApiResult};
use crate::outbound::Outbound;

/// Keys of issuers rotate over days; a revoked one is dropped within this time.
const FRESH: Duration = Duration::from_secs(600);

/// Between fetches, whatever tokens name: unknown key ids cannot make us flood the issuer.
const FETCH_EVERY: Duration = Duration::from_secs(30);

const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const BYTES_MAX: usize = 256 * 1024;
const KEYS_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Jwks {
    url: Url,
    algorithm: Algorithm,
    outbound: Outbound,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: HashMap<String, DecodingKey>,
    fetched: Option<Instant>,
    tried: Option<Instant>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Jwks {
    pub(super) fn new(url: &str, algorithm: Algorithm) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|error| format!("auth_jwks_url: {error}"))?;
        let loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => return Err("auth_jwks_url names no host".to_owned()),
        };
        if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
            return Err(
                "auth_jwks_url must be https, or http on loopback: who can change the keys can be anyone".to_owned()
            );
        }
        Ok(Self { url, algorithm, outbound: Outbound::new()?, state: Mutex::default() })
    }

    /// The key of that name. Fetches where it is not known or the set is old, but not too often.
    pub(super) async fn find(&self, kid: &str) -> ApiResult<DecodingKey> {
        // Held while fetching: one fetch serves everybody who waits.
        let mut state = self.state.lock().await;
        let known = state.keys.get(kid).cloned();
        let fresh = state.fetched.is_some_and(|fetched| fetched.elapsed() < FRESH);
        let may_fetch = state.tried.is_none_or(|tried| tried.elapsed() >= FETCH_EVERY);
        if (known.is_some() && fresh) || !may_fetch {
            return known.ok_or_else(|| self.unknown(&state));
        }
        state.tried = Some(Instant::now());
        match tokio::time::timeout(FETCH_TIMEOUT, self.fetch())
            .await
            .unwrap_or_else(|_| Err("no answer in time".into()))
        {
            Ok(keys) => {
                state.keys = keys;
                state.fetched = Some(Instant::now());
                state.keys.get(kid).cloned().ok_or_else(|| self.unknown(&state))
            }
            // Old keys are better than turning everybody away while the issuer is down.
            Err(cause) => {
                tracing::warn!(url = %self.url, cause, "the JWKS could not be fetched");
                known.ok_or_else(|| self.unknown(&state))
            }
        }
    }

    fn unknown(&self, state: &State) -> ApiError {
        match state.fetched {
            Some(_) => invalid("the token names a key that its issuer does not publish"),
            None => ApiError::unavailable("the issuer's keys cannot be fetched now; try again", &self.url),
        }
    }

    async fn fetch(&self) -> Result<HashMap<String, DecodingKey>, String> {
        let request = Request::get(self.url.as_str()).header(ACCEPT, "application/json");
        let request = request.body(Bytes::new()).map_err(|error| error.to_string())?;
        let response = self.outbound.send(request, BYTES_MAX).await?;
        // A redirect is not followed: the place of the keys is configuration.
        if response.status() != StatusCode::OK {
            return Err(format!("the answer is {}", response.status()));
        }
        let set: JwkSet = serde_json::from_slice(response.body()).map_err(|error| format!("not a JWKS: {error}"))?;
        Ok(usable(set, self.algorithm))
    }
}

/// Keys of the right kind that have a name and are meant for signatures.
fn usable(set: JwkSet, algorithm: Algorithm) -> HashMap<String, DecodingKey> {
    let (family, wanted) = match algorithm {
        Algorithm::RS256 => ("RSA", KeyAlgorithm::RS256),
        Algorithm::ES256 => ("EC", KeyAlgorithm::ES256),
        Algorithm::EdDSA => ("OKP", KeyAlgorithm::EdDSA),
        Algorithm::HS256 | Algorithm::Off => return HashMap::new(),
    };
    let keys = set.keys.into_iter().filter_map(|jwk| {
        use jsonwebtoken::jwk::AlgorithmParameters as Parameters;
        let of_family = matches!(
            (&jwk.algorithm, family),
            (Parameters::RSA(_), "RSA") | (Parameters::EllipticCurve(_), "EC") | (Parameters::OctetKeyPair(_), "OKP")
        );
        let fits = jwk.common.key_algorithm.is_none_or(|algorithm| algorithm == wanted)
            && jwk.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
        let kid = jwk.common.key_id.clone().filter(|kid| is_key_id(kid))?;
        (of_family && fits).then(|| DecodingKey::from_jwk(&jwk).ok().map(|key| (kid, key)))?
    });
    keys.take(KEYS_MAX).collect()
}
