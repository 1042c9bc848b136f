//! Which web pages may open a connection: browsers do not ask before they open a WebSocket (CWE-1385).

use axum::http::{HeaderMap, header};

use crate::http::problem::{ApiError, ApiResult};

/// An absent `Origin` is allowed because no cookie is ever a credential here: a page cannot borrow its visitor's.
pub(super) fn check(allowed: &[String], headers: &HeaderMap) -> ApiResult<()> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let listed = allowed.iter().any(|allowed| allowed == "*" || allowed == origin);
    if listed || is_own(origin, headers) {
        return Ok(());
    }
    tracing::warn!(origin, "a page of an origin that is not allowed tried to connect");
    Err(ApiError::forbidden("pages of this origin may not connect; auth_origins lists those that may"))
}

/// The page came from the server that it connects to.
fn is_own(origin: &str, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let of_origin = origin.split_once("://").map(|(_, host)| host);
    host.is_some() && host == of_origin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_connect_by_exact_origin() {
        let ask = |origin: Option<&str>, allowed: &[&str]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "evs.example:8003".parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            let allowed: Vec<String> = allowed.iter().map(|&text| text.to_owned()).collect();
            check(&allowed, &headers).is_ok()
        };
        assert!(ask(None, &[]));
        assert!(ask(Some("http://evs.example:8003"), &[]));
        assert!(ask(Some("https://app.example"), &["https://app.example"]));
        assert!(ask(Some("https://any.example"), &["*"]));
        assert!(!ask(Some("https://app.example.evil"), &["https://app.example"]));
        assert!(!ask(Some("http://app.example"), &["https://app.example"]));
        assert!(!ask(Some("null"), &["https://app.example"]));
        assert!(!ask(Some("http://evs.example"), &[]));
    }
}
