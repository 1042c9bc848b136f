//! The door: who is asking, and whether a server may start without asking.
//!
//! A [`Subject`] is what a verified token says. Tokens come in the `Authorization` header, in the WebSocket subprotocol
//! `evs.bearer.<token>`, or as a single-use ticket of seconds; never as a long-lived token in a URL, which is logged
//! everywhere. See docs/SECURITY.md.

pub mod config;
mod credential;
mod jwks;
mod keys;
mod known;
mod origin;
mod revoked;
mod startup;
mod subject;
mod ticket;
mod token;

use std::sync::Arc;

use axum::http::HeaderMap;
use evs_core::SubscriberId;

use crate::clock::Clock;
use crate::config::Config;
use crate::http::problem::{ApiError, ApiResult};
pub use config::AuthConfig;
pub use credential::Credential;
use known::Known;
use revoked::Revoked;
pub use startup::check_startup;
pub use subject::{Scope, Subject, Tenant, no_such_subscriber, subscriber_id};
use ticket::Tickets;
use token::Verifier;

/// Decides who may do what. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Authorizer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: AuthConfig,
    /// `None`: authentication is off, everybody may do everything.
    verifier: Option<Verifier>,
    tickets: Tickets,
    revoked: Revoked,
    known: Known,
}

impl Authorizer {
    /// Reads keys and secrets; a JWKS is fetched when the first token comes.
    ///
    /// # Errors
    /// A sentence that names the setting at fault.
    pub fn new(config: &AuthConfig, clock: Clock) -> Result<Self, String> {
        let verifier = Verifier::new(config, clock.clone())?;
        let tickets = Tickets::new(config.ticket_secret.as_ref(), clock)?;
        if !is_identifier(&config.tenant_field) {
            return Err(format!("auth_tenant_field: {:?} is not the name of an event field", config.tenant_field));
        }
        let (revoked, known) = (Revoked::default(), Known::default());
        Ok(Self(Arc::new(Inner { config: config.clone(), verifier, tickets, revoked, known })))
    }

    /// For loopback and tests: everybody may do everything.
    ///
    /// # Panics
    /// Never: the defaults are valid.
    #[must_use]
    pub fn off(clock: Clock) -> Self {
        Self::new(&AuthConfig::from(&Config::default()), clock).expect("the defaults are valid")
    }

    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.verifier.is_some()
    }

    #[must_use]
    pub fn metrics_open(&self) -> bool {
        !self.is_on() || self.0.config.metrics_open
    }

    /// The event field that names an event's tenant.
    #[must_use]
    pub fn tenant_field(&self) -> &str {
        &self.0.config.tenant_field
    }

    /// Who shows this.
    ///
    /// # Errors
    /// 401 with the reason.
    pub async fn check(&self, credential: Credential<'_>) -> ApiResult<Subject> {
        let Some(verifier) = &self.0.verifier else { return Ok(Subject::anyone()) };
        let checked = match credential {
            Credential::Token(token) => verifier.verify(token).await,
            Credential::Ticket(ticket) => self.0.tickets.redeem(ticket),
        };
        let checked = checked.and_then(|subject| self.good(subject));
        if let Credential::Token(token) = credential {
            match checked {
                Ok(_) => self.0.known.add(token),
                Err(_) => self.0.known.forget(token),
            }
        }
        checked
    }

    /// Whether it is worth a look whatever else comes from its address: a token that was good when it was last looked
    /// at, or a ticket that was signed by us. Tickets are not remembered, since one subject could get so many that
    /// everybody's tokens were forgotten for them; to see that one is ours costs no more than that.
    #[must_use]
    pub fn knows(&self, credential: Credential<'_>) -> bool {
        self.is_on()
            && match credential {
                Credential::Token(token) => self.0.known.holds(token),
                Credential::Ticket(ticket) => self.0.tickets.is_ours(ticket),
            }
    }

    /// From now on the token with this `jti` is refused by this process.
    pub fn revoke(&self, jti: &str, until_ms: i64) {
        self.0.revoked.add(jti, until_ms);
    }

    /// All that is revoked, as the filter store tells it.
    pub fn set_revoked(&self, revoked: Vec<(String, i64)>, now_ms: i64) {
        self.0.revoked.set(revoked);
        self.0.revoked.prune(now_ms);
    }

    #[must_use]
    pub fn is_revoked(&self, subject: &Subject) -> bool {
        subject.jti().is_some_and(|jti| self.0.revoked.holds(jti))
    }

    /// Seconds after which no token of now is good any more, revoked or not.
    #[must_use]
    pub fn lifetime_max_s(&self) -> u64 {
        self.0.config.lifetime_max_s + self.0.config.leeway_s
    }

    /// Seconds by which clocks may differ.
    #[must_use]
    pub fn leeway_s(&self) -> u64 {
        self.0.config.leeway_s
    }

    fn good(&self, subject: Subject) -> ApiResult<Subject> {
        match self.is_revoked(&subject) {
            false => Ok(subject),
            true => Err(ApiError::unauthorized("token_revoked", "the token was revoked; get a new one")),
        }
    }

    /// Whether the owner of a connection may read this queue; answers the installation's name of it.
    ///
    /// # Errors
    /// 403.
    pub fn authorize_subscribe(&self, subject: &Subject, id: &SubscriberId) -> ApiResult<SubscriberId> {
        subject.require(subject.may_subscribe(id), &format!("subscribe:{id}"))?;
        subject.internal(id)
    }

    /// A single-use ticket for a connection, and for how many seconds it is good.
    ///
    /// # Errors
    /// 403 where the subject may subscribe to nothing.
    pub fn ticket(&self, subject: &Subject) -> ApiResult<(String, u64)> {
        let subscribes = |scope: &Scope| matches!(scope, Scope::SubscribeOwn | Scope::Subscribe(_));
        let may = !subject.is_authenticated() || subject.scopes().iter().any(subscribes);
        subject.require(may, "subscribe")?;
        self.0.tickets.issue(subject)
    }

    /// Whether a browser's page may connect: see [`AuthConfig::origins`]. Requests without `Origin` are no browser's.
    ///
    /// # Errors
    /// 403.
    pub fn check_origin(&self, headers: &HeaderMap) -> ApiResult<()> {
        origin::check(&self.0.config.origins, self.is_on(), headers)
    }
}

fn is_identifier(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|rest| rest.is_ascii_alphanumeric() || rest == '_')
}
