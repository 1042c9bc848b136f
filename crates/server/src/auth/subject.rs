//! Who is asking, what it may do, and how its subscriber names map to the installation's.

use axum::http::StatusCode;
use evs_core::SubscriberId;

use crate::http::problem::{ApiError, ApiResult, bad_name};

/// Between a tenant's name and its subscribers' names. Tenant names do not contain it, so the first one ends the tenant.
const TENANT_SEPARATOR: char = ':';

/// A tenant's name: what a token's tenant claim holds. Letters, digits, `_` and `-`, at most 32.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tenant(Box<str>);

impl Tenant {
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        ((1..=32).contains(&text.len()) && text.bytes().all(allowed)).then(|| Self(text.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One thing that a token may allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Produce,
    /// `subscribe`: the queue named like the token's subject.
    SubscribeOwn,
    /// `subscribe:team-*`: queues whose name fits; `*` at the end stands for any rest.
    Subscribe(Box<str>),
    FiltersOwn,
    FiltersAny,
    Operate,
}

impl Scope {
    /// `None` for scopes of other services, which a token may hold too.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "produce" => Some(Self::Produce),
            "subscribe" => Some(Self::SubscribeOwn),
            "filters:own" => Some(Self::FiltersOwn),
            "filters:any" => Some(Self::FiltersAny),
            "operate" => Some(Self::Operate),
            _ => {
                let pattern = text.strip_prefix("subscribe:").filter(|pattern| !pattern.is_empty())?;
                Some(Self::Subscribe(pattern.into()))
            }
        }
    }
}

/// The caller of a request or the owner of a connection, as its token says.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The token's `sub`; `None` where authentication is off.
    id: Option<Box<str>>,
    tenant: Option<Tenant>,
    scopes: Vec<Scope>,
    /// Seconds since the Unix epoch.
    expires_s: Option<u64>,
    /// The token's own name, by which it can be revoked.
    jti: Option<Box<str>>,
}

impl Subject {
    /// Everybody, where authentication is off.
    #[must_use]
    pub fn anyone() -> Self {
        Self { id: None, tenant: None, scopes: Vec::new(), expires_s: None, jti: None }
    }

    #[must_use]
    pub fn new(id: &str, tenant: Option<Tenant>, scopes: Vec<Scope>, expires_s: u64) -> Self {
        Self { id: Some(id.into()), tenant, scopes, expires_s: Some(expires_s), jti: None }
    }

    #[must_use]
    pub fn with_jti(mut self, jti: Option<String>) -> Self {
        self.jti = jti.map(String::into_boxed_str);
        self
    }

    #[must_use]
    pub fn jti(&self) -> Option<&str> {
        self.jti.as_deref()
    }

    /// A name for limits and logs; never for decisions.
    #[must_use]
    pub fn name(&self) -> &str {
        self.id.as_deref().unwrap_or("anyone")
    }

    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// This one for the rest of a connection of `present`: it must be the same subject of the same tenant.
    ///
    /// # Errors
    /// 403.
    pub fn instead_of(self, present: &Self) -> ApiResult<Self> {
        if self.id == present.id && self.tenant == present.tenant {
            return Ok(self);
        }
        Err(ApiError::forbidden("a connection can only be refreshed with a token of its own subject"))
    }

    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.id.is_some()
    }

    #[must_use]
    pub fn tenant(&self) -> Option<&Tenant> {
        self.tenant.as_ref()
    }

    #[must_use]
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// When the token ends, milliseconds since the Unix epoch; a connection must be closed or refreshed by then.
    #[must_use]
    pub fn expires_ms(&self) -> Option<i64> {
        self.expires_s.map(|s| i64::try_from(s).unwrap_or(i64::MAX).saturating_mul(1000))
    }

    fn has(&self, scope: &Scope) -> bool {
        self.id.is_none() || self.scopes.contains(scope)
    }

    #[must_use]
    pub fn may_produce(&self) -> bool {
        self.has(&Scope::Produce)
    }

    #[must_use]
    pub fn may_operate(&self) -> bool {
        self.has(&Scope::Operate)
    }

    /// Whether it may change filters of any subscriber (of its tenant).
    #[must_use]
    pub fn may_filter_any(&self) -> bool {
        self.has(&Scope::FiltersAny)
    }

    /// `id` as the caller writes it.
    #[must_use]
    pub fn may_filter(&self, id: &SubscriberId) -> bool {
        self.may_filter_any() || (self.has(&Scope::FiltersOwn) && self.id() == Some(id.as_str()))
    }

    /// `id` as the caller writes it.
    #[must_use]
    pub fn may_subscribe(&self, id: &SubscriberId) -> bool {
        let fits = |scope: &Scope| match scope {
            Scope::SubscribeOwn => self.id() == Some(id.as_str()),
            Scope::Subscribe(pattern) => match pattern.strip_suffix('*') {
                Some(prefix) => id.as_str().starts_with(prefix),
                None => **pattern == *id.as_str(),
            },
            Scope::Produce | Scope::FiltersOwn | Scope::FiltersAny | Scope::Operate => false,
        };
        self.id.is_none() || self.scopes.iter().any(fits)
    }

    /// Whether it may look at a subscriber: its state, its filters, why it did or did not get an event.
    #[must_use]
    pub fn may_see(&self, id: &SubscriberId) -> bool {
        self.may_operate() || self.may_filter(id) || self.may_subscribe(id)
    }

    /// # Errors
    /// 403 naming the scope that is missing.
    pub fn require(&self, allowed: bool, scope: &str) -> ApiResult<()> {
        if allowed { Ok(()) } else { Err(ApiError::forbidden(format!("the token lacks the scope {scope} for this"))) }
    }

    /// What concerns the whole installation, such as `/stats`, is not for tenants.
    ///
    /// # Errors
    /// 403 where the scope is missing, or the token belongs to a tenant.
    pub fn require_installation(&self) -> ApiResult<()> {
        self.require(self.may_operate(), "operate")?;
        match self.tenant {
            None => Ok(()),
            Some(_) => Err(ApiError::forbidden("this shows the whole installation; a tenant's token cannot see it")),
        }
    }

    /// The installation's name of the subscriber that the caller calls `id`.
    ///
    /// # Errors
    /// 422 where both names together are too long.
    pub fn internal(&self, id: &SubscriberId) -> ApiResult<SubscriberId> {
        match &self.tenant {
            None => Ok(id.clone()),
            Some(tenant) => SubscriberId::new(&format!("{}{TENANT_SEPARATOR}{id}", tenant.as_str()))
                .map_err(|error| bad_name("the subscriber with its tenant", None, &error)),
        }
    }

    /// The caller's name of a subscriber of the installation; `None` if it is another tenant's.
    #[must_use]
    pub fn external(&self, id: &SubscriberId) -> Option<SubscriberId> {
        match &self.tenant {
            None => Some(id.clone()),
            Some(tenant) => {
                let rest = id.as_str().strip_prefix(tenant.as_str())?.strip_prefix(TENANT_SEPARATOR)?;
                SubscriberId::new(rest).ok()
            }
        }
    }

    /// The beginning of the installation's names of all its subscribers; empty without a tenant.
    #[must_use]
    pub fn prefix(&self) -> String {
        self.tenant.as_ref().map(|tenant| format!("{}{TENANT_SEPARATOR}", tenant.as_str())).unwrap_or_default()
    }
}

/// A name that the caller gave in a path or query.
///
/// # Errors
/// 422 with the character or length that is wrong.
pub fn subscriber_id(text: &str) -> ApiResult<SubscriberId> {
    SubscriberId::new(text).map_err(|error| bad_name("the subscriber id", None, &error))
}

/// Refused by scope, but in the words of "not there": who may not see it does not learn whether it exists.
#[must_use]
pub fn no_such_subscriber(id: &SubscriberId) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "unknown_subscriber", format!("there is no subscriber {id}"))
        .with_hint("a subscriber is made by its first filter: POST /filters")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> SubscriberId {
        SubscriberId::new(text).unwrap()
    }

    #[test]
    fn scopes_allow_what_they_name() {
        let scopes = vec![Scope::SubscribeOwn, Scope::parse("subscribe:team-*").unwrap(), Scope::FiltersOwn];
        let subject = Subject::new("ann", None, scopes, 0);
        assert!(subject.may_subscribe(&id("ann")) && subject.may_subscribe(&id("team-7")));
        assert!(!subject.may_subscribe(&id("bob")) && !subject.may_subscribe(&id("tea")));
        assert!(subject.may_filter(&id("ann")) && !subject.may_filter(&id("team-7")));
        assert!(!subject.may_produce() && !subject.may_operate() && !subject.may_filter_any());
        assert_eq!(Scope::parse("subscribe:"), None);
        assert_eq!(Scope::parse("email"), None);
    }

    #[test]
    fn tenants_do_not_reach_each_other() {
        let of = |name| Subject::new("ann", Tenant::new(name), vec![], 0);
        let (a, ab) = (of("a"), of("ab"));
        assert_eq!(a.internal(&id("x")).unwrap(), id("a:x"));
        assert_eq!(a.external(&id("a:x")), Some(id("x")));
        assert_eq!(a.external(&id("ab:x")), None);
        assert_eq!(ab.external(&id("a:b:x")), None);
        assert_eq!(Tenant::new("a:b"), None);
        assert_eq!(Tenant::new(""), None);
    }
}
