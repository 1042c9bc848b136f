//! Verifies a JWT: the algorithm, issuer and audience are ours to say, never the token's.

use evs_core::limits::NAME_BYTES_MAX;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use serde::Deserialize;

use super::config::{Algorithm, AuthConfig};
use super::keys::{Keys, is_key_id};
use super::subject::{Scope, Subject, Tenant};
use crate::clock::Clock;
use crate::http::problem::{ApiError, ApiResult};

/// A token is a few hundred bytes; nothing larger is looked at.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Scopes of one token; patterns are tried one by one.
const SCOPES_MAX: usize = 256;

/// The clock of who issued the token may be ahead by this, beside the leeway, before `iat` is called a lie.
const IAT_AHEAD_S: u64 = 60;

#[derive(Debug)]
pub(super) struct Verifier {
    keys: Keys,
    validation: Validation,
    lifetime_max_s: u64,
    leeway_s: u64,
    tenant_claim: Option<String>,
    clock: Clock,
}

#[derive(Debug, Deserialize)]
struct Claims {
    sub: String,
    exp: u64,
    nbf: Option<u64>,
    iat: Option<u64>,
    jti: Option<String>,
    /// As in RFC 8693: words in one string.
    scope: Option<String>,
    /// As some issuers write it.
    scopes: Option<Vec<String>>,
    #[serde(flatten)]
    others: serde_json::Map<String, serde_json::Value>,
}

impl Verifier {
    /// `None` where authentication is off.
    pub(super) fn new(config: &AuthConfig, clock: Clock) -> Result<Option<Self>, String> {
        let Some(algorithm) = wire_algorithm(config.algorithm) else { return Ok(None) };
        let issuer = config.issuer.as_deref().filter(|issuer| !issuer.is_empty());
        let issuer = issuer.ok_or("auth_issuer must be set: tokens of other issuers are refused by it")?;
        if config.audience.is_empty() {
            return Err("auth_audience must not be empty: tokens for other services are refused by it".to_owned());
        }
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[&config.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Times are compared below, with our own clock and to the second.
        validation.validate_exp = false;
        Ok(Some(Self {
            keys: Keys::new(config)?,
            validation,
            lifetime_max_s: config.lifetime_max_s,
            leeway_s: config.leeway_s,
            tenant_claim: config.tenant_claim.clone(),
            clock,
        }))
    }

    pub(super) async fn verify(&self, token: &str) -> ApiResult<Subject> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(invalid(format!("the token is longer than {TOKEN_BYTES_MAX} bytes")));
        }
        let header = decode_header(token).map_err(|_| invalid("the token is not a signed JWT"))?;
        if !self.validation.algorithms.contains(&header.alg) {
            return Err(invalid("the token is signed by an algorithm that this server does not accept"));
        }
        if header
            .typ
            .as_deref()
            .is_some_and(|typ| !typ.eq_ignore_ascii_case("jwt") && !typ.eq_ignore_ascii_case("at+jwt"))
        {
            return Err(invalid("the token's typ is neither JWT nor at+jwt"));
        }
        if header.kid.as_deref().is_some_and(|kid| !is_key_id(kid)) {
            return Err(invalid("the token's kid is malformed"));
        }
        let key = self.keys.find(header.kid.as_deref()).await?;
        let claims = decode::<Claims>(token, &key, &self.validation).map_err(|error| reason(error.kind()))?.claims;
        self.check_times(&claims)?;
        self.subject(claims)
    }

    fn check_times(&self, claims: &Claims) -> ApiResult<()> {
        let now_s = u64::try_from(self.clock.now_ms() / 1000).unwrap_or_default();
        if claims.exp.saturating_add(self.leeway_s) <= now_s {
            return Err(ApiError::unauthorized("token_expired", "the token has expired; get a new one"));
        }
        if claims.nbf.is_some_and(|nbf| nbf > now_s.saturating_add(self.leeway_s)) {
            return Err(invalid("the token is not valid yet"));
        }
        let latest_iat_s = now_s.saturating_add(self.leeway_s).saturating_add(IAT_AHEAD_S);
        if claims.iat.is_some_and(|iat| iat > latest_iat_s) {
            return Err(invalid("the token was issued in the future"));
        }
        let lifetime_s = claims.exp.saturating_sub(claims.iat.unwrap_or(now_s));
        if lifetime_s > self.lifetime_max_s {
            let detail = format!("the token lives {lifetime_s} s; at most {} s are accepted", self.lifetime_max_s);
            return Err(invalid(detail));
        }
        Ok(())
    }

    fn subject(&self, claims: Claims) -> ApiResult<Subject> {
        if claims.sub.is_empty() || claims.sub.len() > NAME_BYTES_MAX {
            return Err(invalid(format!("the token's sub must have 1 to {NAME_BYTES_MAX} bytes")));
        }
        let listed = claims.scopes.unwrap_or_default();
        let words = claims.scope.iter().flat_map(|scope| scope.split_ascii_whitespace());
        let scopes: Vec<Scope> = words.chain(listed.iter().map(String::as_str)).filter_map(Scope::parse).collect();
        if scopes.len() > SCOPES_MAX {
            return Err(invalid(format!("the token has more than {SCOPES_MAX} scopes")));
        }
        let tenant = match &self.tenant_claim {
            None => None,
            Some(claim) => match claims.others.get(claim) {
                // Only an operator of the whole installation stands outside of all tenants.
                None if scopes.contains(&Scope::Operate) => None,
                None => return Err(invalid(format!("the token lacks the claim {claim}"))),
                Some(name) => {
                    let tenant = name.as_str().and_then(Tenant::new);
                    Some(tenant.ok_or_else(|| invalid(format!("the token's {claim} is no tenant name")))?)
                }
            },
        };
        Ok(Subject::new(&claims.sub, tenant, scopes, claims.exp).with_jti(claims.jti))
    }
}

fn wire_algorithm(algorithm: Algorithm) -> Option<jsonwebtoken::Algorithm> {
    match algorithm {
        Algorithm::Off => None,
        Algorithm::HS256 => Some(jsonwebtoken::Algorithm::HS256),
        Algorithm::RS256 => Some(jsonwebtoken::Algorithm::RS256),
        Algorithm::ES256 => Some(jsonwebtoken::Algorithm::ES256),
        Algorithm::EdDSA => Some(jsonwebtoken::Algorithm::EdDSA),
    }
}

pub(super) fn invalid(detail: impl Into<String>) -> ApiError {
    ApiError::unauthorized("invalid_token", detail)
}

/// What may be told of a token that did not pass: enough for its owner to mend it.
fn reason(kind: &ErrorKind) -> ApiError {
    match kind {
        ErrorKind::MissingRequiredClaim(claim) => invalid(format!("the token lacks the claim {claim}")),
        ErrorKind::InvalidIssuer => invalid("the token is of another issuer"),
        ErrorKind::InvalidAudience => invalid("the token is for another audience"),
        ErrorKind::InvalidSignature => invalid("the token's signature is wrong"),
        _ => invalid("the token cannot be accepted"),
    }
}
