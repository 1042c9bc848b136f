//! Single-use tickets: a token of seconds that may stand in a URL, for WebSockets of browsers.
//!
//! A ticket is signed, so that a gateway in another process can honour it where both share `auth_ticket_secret`. Each
//! gateway remembers the tickets it has taken until they end; two gateways that share the secret could each take one
//! ticket once within its seconds.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use rand::RngCore;
use serde::{Deserialize, Serialize};

use super::config::Secret;
use super::keys::check_secret;
use super::subject::{Scope, Subject, Tenant};
use crate::clock::Clock;
use crate::http::problem::{ApiError, ApiResult};

/// Long enough for a page to connect with it.
const LIFETIME_S: u64 = 30;

/// Taken tickets remembered; all of them end within [`LIFETIME_S`], so this is thousands per second.
const TAKEN_MAX: usize = 100_000;

const AUDIENCE: &str = "evs-ticket";

pub(super) struct Tickets {
    encoding: EncodingKey,
    decoding: DecodingKey,
    clock: Clock,
    /// Nonce and end.
    taken: Mutex<HashMap<u64, u64>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    aud: String,
    exp: u64,
    nonce: u64,
    sub: Option<String>,
    tenant: Option<String>,
    /// Those that concern subscribing only.
    scopes: Vec<String>,
    /// When the token ends that the ticket was given for.
    until: u64,
    /// Of that token: what it opened ends when it is revoked.
    jti: Option<String>,
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tickets")
    }
}

impl Tickets {
    pub(super) fn new(secret: Option<&Secret>, clock: Clock) -> Result<Self, String> {
        let mut random = [0; 32];
        rand::rng().fill_bytes(&mut random);
        let secret = secret.map_or(&random[..], Secret::bytes);
        check_secret("auth_ticket_secret", secret)?;
        let (encoding, decoding) = (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret));
        Ok(Self { encoding, decoding, clock, taken: Mutex::default() })
    }

    fn now_s(&self) -> u64 {
        u64::try_from(self.clock.now_ms() / 1000).unwrap_or_default()
    }

    pub(super) fn issue(&self, subject: &Subject) -> ApiResult<(String, u64)> {
        let scopes = subject.scopes().iter().filter_map(|scope| match scope {
            Scope::SubscribeOwn => Some("subscribe".to_owned()),
            Scope::Subscribe(pattern) => Some(format!("subscribe:{pattern}")),
            Scope::Produce | Scope::FiltersOwn | Scope::FiltersAny | Scope::Operate => None,
        });
        let claims = Claims {
            aud: AUDIENCE.to_owned(),
            exp: self.now_s() + LIFETIME_S,
            nonce: rand::rng().next_u64(),
            sub: subject.id().map(str::to_owned),
            tenant: subject.tenant().map(|tenant| tenant.as_str().to_owned()),
            scopes: scopes.collect(),
            until: subject.expires_ms().map_or(u64::MAX, |ms| u64::try_from(ms / 1000).unwrap_or_default()),
            jti: subject.jti().map(str::to_owned),
        };
        let ticket = encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).map_err(ApiError::internal)?;
        Ok((ticket, LIFETIME_S))
    }

    /// Whether it was signed with our secret and is not over; it may have been taken.
    pub(super) fn is_ours(&self, ticket: &str) -> bool {
        self.read(ticket, self.now_s()).is_some()
    }

    fn read(&self, ticket: &str, now_s: u64) -> Option<Claims> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "aud"]);
        validation.validate_exp = false;
        let claims = decode::<Claims>(ticket, &self.decoding, &validation).ok()?.claims;
        (claims.exp > now_s).then_some(claims)
    }

    pub(super) fn redeem(&self, ticket: &str) -> ApiResult<Subject> {
        let refused =
            || ApiError::unauthorized("invalid_ticket", "the ticket is not valid, used or over; get a new one");
        let now_s = self.now_s();
        let claims = self.read(ticket, now_s).ok_or_else(refused)?;
        {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            if taken.len() >= TAKEN_MAX {
                taken.retain(|_, end_s| *end_s > now_s);
            }
            if taken.len() >= TAKEN_MAX || taken.insert(claims.nonce, claims.exp).is_some() {
                return Err(refused());
            }
        }
        let Some(sub) = claims.sub else { return Ok(Subject::anyone()) };
        let tenant = match claims.tenant {
            None => None,
            Some(name) => Some(Tenant::new(&name).ok_or_else(refused)?),
        };
        let scopes = claims.scopes.iter().filter_map(|scope| Scope::parse(scope)).collect();
        Ok(Subject::new(&sub, tenant, scopes, claims.until).with_jti(claims.jti))
    }
}
