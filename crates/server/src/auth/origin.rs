//! Which web pages may open a connection: browsers do not ask before they open a WebSocket (CWE-1385).

use std::net::IpAddr;

use axum::http::{HeaderMap, header};

use crate::http::problem::{ApiError, ApiResult};

/// An absent `Origin` is allowed because no cookie is ever a credential here: a page cannot borrow its visitor's.
/// `locked`: there are tokens; without them the server's own name must be one that no stranger can point at it.
pub(super) fn check(allowed: &[String], locked: bool, headers: &HeaderMap) -> ApiResult<()> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let listed = allowed.iter().any(|allowed| allowed == "*" || allowed == origin);
    if listed || is_own(origin, locked, headers) {
        return Ok(());
    }
    tracing::warn!(origin, "a page of an origin that is not allowed tried to connect");
    Err(ApiError::forbidden("pages of this origin may not connect; auth_origins lists those that may"))
}

/// The page came from the server that it connects to. A stranger's name may lead here too (DNS rebinding), and then its
/// page would count as ours: where there are no tokens, only addresses and `localhost` are trusted.
fn is_own(origin: &str, locked: bool, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let of_origin = origin.split_once("://").map(|(_, host)| host);
    host.is_some_and(|host| of_origin == Some(host) && (locked || is_literal(host)))
}

fn is_literal(authority: &str) -> bool {
    let host = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map_or(authority, |(host, _)| host);
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_connect_by_exact_origin() {
        let asked = |host: &str, locked: bool, origin: Option<&str>, allowed: &[&str]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            let allowed: Vec<String> = allowed.iter().map(|&text| text.to_owned()).collect();
            check(&allowed, locked, &headers).is_ok()
        };
        let ask = |origin: Option<&str>, allowed: &[&str]| asked("evs.example:8003", true, origin, allowed);
        assert!(ask(None, &[]));
        assert!(ask(Some("http://evs.example:8003"), &[]));
        assert!(ask(Some("https://app.example"), &["https://app.example"]));
        assert!(ask(Some("https://any.example"), &["*"]));
        assert!(!ask(Some("https://app.example.evil"), &["https://app.example"]));
        assert!(!ask(Some("http://app.example"), &["https://app.example"]));
        assert!(!ask(Some("null"), &["https://app.example"]));
        assert!(!ask(Some("http://evs.example"), &[]));
        for (host, own) in
            [("localhost:8003", true), ("127.0.0.1:8003", true), ("[::1]:8003", true), ("evil.example:8003", false)]
        {
            assert_eq!(asked(host, false, Some(&format!("http://{host}")), &[]), own, "{host}");
        }
    }
}
