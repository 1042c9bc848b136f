//! The door: what passes, and every trick that must not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use evs_server::auth::config::Secret;
use evs_server::auth::{AuthConfig, Authorizer, Credential};
use evs_server::clock::Clock;
use evs_server::config::Config;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Answer, SECRET, TestServer, claims, lock, sign, tenant_token};

/// The claims of [`claims`] with one changed; null removes it.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims("ann", "operate");
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

/// A token with a header of our own, signed as HS256 would be.
fn crafted(header: &Value, key: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(&claims("ann", "operate")));
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &EncodingKey::from_secret(key), Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

#[tokio::test(flavor = "multi_thread")]
async fn only_good_tokens_pass() {
    let mut server = TestServer::start_with(lock).await;
    server.get("/stats").await.expect_problem(401, "missing_token");
    let now_s = claims("ann", "")["iat"].as_u64().unwrap();
    let other = |algorithm| {
        encode(&Header::new(algorithm), &claims("ann", "operate"), &EncodingKey::from_secret(SECRET.as_bytes()))
            .unwrap()
    };
    let unsigned = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode("{\"alg\":\"none\"}"),
        URL_SAFE_NO_PAD.encode(claims("ann", "operate").to_string())
    );
    let mut changed = sign(&claims("ann", "produce"));
    let body = changed.split('.').nth(1).unwrap().to_owned();
    changed = changed.replace(&body, &URL_SAFE_NO_PAD.encode(claims("ann", "operate").to_string()));
    for (what, token, code) in [
        ("empty", String::new(), "invalid_token"),
        ("no token", "abc".to_owned(), "invalid_token"),
        ("alg none", unsigned, "invalid_token"),
        ("HS512 with our secret", other(Algorithm::HS512), "invalid_token"),
        ("another secret", crafted(&json!({ "alg": "HS256" }), &[7; 32]), "invalid_token"),
        ("alg RS256 over an HMAC", crafted(&json!({ "alg": "RS256" }), SECRET.as_bytes()), "invalid_token"),
        ("changed claims", changed, "invalid_token"),
        (
            "a kid that nobody asked for",
            crafted(&json!({ "alg": "HS256", "kid": "other" }), SECRET.as_bytes()),
            "invalid_token",
        ),
        (
            "a kid that is a path",
            crafted(&json!({ "alg": "HS256", "kid": "../../dev/null" }), SECRET.as_bytes()),
            "invalid_token",
        ),
        (
            "a kid that is SQL",
            crafted(&json!({ "alg": "HS256", "kid": "' OR 1=1 --" }), SECRET.as_bytes()),
            "invalid_token",
        ),
        ("another typ", crafted(&json!({ "alg": "HS256", "typ": "dpop+jwt" }), SECRET.as_bytes()), "invalid_token"),
        ("expired", sign(&with("exp", json!(now_s - 11))), "token_expired"),
        ("no exp", sign(&with("exp", Value::Null)), "invalid_token"),
        ("exp as text", sign(&with("exp", json!("tomorrow"))), "invalid_token"),
        ("not yet", sign(&with("nbf", json!(now_s + 300))), "invalid_token"),
        ("from the future", sign(&with("iat", json!(now_s + 500))), "invalid_token"),
        ("lives too long", sign(&with("exp", json!(now_s + 25 * 3600))), "invalid_token"),
        ("another issuer", sign(&with("iss", json!("https://evil.test"))), "invalid_token"),
        ("no issuer", sign(&with("iss", Value::Null)), "invalid_token"),
        ("another audience", sign(&with("aud", json!("mail"))), "invalid_token"),
        ("no audience", sign(&with("aud", Value::Null)), "invalid_token"),
        ("no subject", sign(&with("sub", Value::Null)), "invalid_token"),
        ("an empty subject", sign(&with("sub", json!(""))), "invalid_token"),
        ("a tenant that is a prefix of all", sign(&with("tenant", json!(""))), "invalid_token"),
        ("a tenant with a separator", sign(&with("tenant", json!("a:b"))), "invalid_token"),
        ("no tenant and no operator", sign(&claims("ann", "subscribe")), "invalid_token"),
        ("too long", "x".repeat(9_000), "invalid_token"),
    ] {
        server.set_token(Some(token));
        let answer = server.get("/stats").await;
        assert_eq!((answer.status.as_u16(), answer.body["code"].as_str()), (401, Some(code)), "{what}: {answer:?}");
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{what}");
    }
    for (what, token) in [
        ("plain", sign(&claims("ann", "operate"))),
        ("other scopes too", sign(&claims("ann", "email operate openid"))),
        ("a list of audiences", sign(&with("aud", json!(["mail", "evs"])))),
        ("within the leeway", sign(&with("exp", json!(now_s - 2)))),
        ("at+jwt", crafted(&json!({ "alg": "HS256", "typ": "at+jwt" }), SECRET.as_bytes())),
    ] {
        server.set_token(Some(token));
        assert_eq!(server.get("/stats").await.status, StatusCode::OK, "{what}");
    }
    server.set_token(None);
    let basic = server.request(Method::GET, "/stats").header("authorization", "Basic YTpi");
    Answer::of(basic).await.expect_problem(401, "invalid_token");
    let in_the_url = format!("/stats?token={}", sign(&claims("ann", "operate")));
    server.get(&in_the_url).await.expect_problem(401, "missing_token");
    assert!(server.app.metrics.auth_failures.get() >= 27);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_open_what_they_name() {
    let mut server = TestServer::start_with(lock).await;
    let routes: [(&str, Method, &str, Value); 12] = [
        ("produce", Method::POST, "/events", json!({ "tenant": "a" })),
        ("own filter", Method::POST, "/filters", json!({ "subscriber_id": "ann" })),
        ("any filter", Method::POST, "/filters", json!({ "subscriber_id": "bob" })),
        ("try", Method::POST, "/filters/test", json!({})),
        ("list", Method::GET, "/filters", Value::Null),
        ("log", Method::GET, "/events", Value::Null),
        ("subscribers", Method::GET, "/subscribers", Value::Null),
        ("own subscriber", Method::GET, "/subscribers/ann", Value::Null),
        ("other subscriber", Method::GET, "/subscribers/bob", Value::Null),
        ("stats", Method::GET, "/stats", Value::Null),
        ("dead letters", Method::DELETE, "/dead-letters", Value::Null),
        ("ticket", Method::POST, "/tickets", Value::Null),
    ];
    // The two subscribers exist.
    server.set_token(Some(tenant_token("a", "admin", "filters:any")));
    for id in ["ann", "bob"] {
        assert!(server.post("/filters", json!({ "subscriber_id": id, "name": "first" })).await.status.is_success());
    }
    for (scope, allowed) in [
        ("", &[][..]),
        ("produce", &["produce"]),
        ("subscribe", &["list", "own subscriber", "ticket"]),
        ("subscribe:bo*", &["other subscriber", "ticket"]),
        ("filters:own", &["own filter", "list", "own subscriber"]),
        ("filters:any", &["own filter", "any filter", "try", "list", "own subscriber", "other subscriber"]),
        ("operate", &["try", "list", "log", "subscribers", "own subscriber", "other subscriber"]),
    ] {
        server.set_token(Some(tenant_token("a", "ann", scope)));
        for (what, method, path, body) in &routes {
            let request = server.request(method.clone(), path);
            let answer = Answer::of(if body.is_null() { request } else { request.json(body) }).await;
            assert_eq!(answer.status.is_success(), allowed.contains(what), "{scope:?} {what}: {answer:?}");
            if !allowed.contains(what) {
                assert!(matches!(answer.status.as_u16(), 403 | 404), "{scope:?} {what}: {answer:?}");
            }
        }
    }
    // What anybody may read.
    server.set_token(None);
    for path in ["/livez", "/readyz", "/version", "/openapi.json", "/docs"] {
        assert!(server.get(path).await.status.is_success(), "{path}");
    }
    server.get("/metrics").await.expect_problem(401, "missing_token");
    server.set_token(Some(tenant_token("a", "ann", "operate")));
    server.get("/metrics").await.expect_problem(403, "forbidden");
    server.set_token(Some(sign(&claims("ann", "operate"))));
    assert!(server.get("/metrics").await.status.is_success());
    server.stop().await;
}

#[tokio::test]
async fn a_ticket_is_good_once_and_not_for_long() {
    let now_ms = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(Clock::system().now_ms()));
    let clock = {
        let now_ms = now_ms.clone();
        Clock::new(move || now_ms.load(std::sync::atomic::Ordering::Relaxed))
    };
    let mut config = Config::default();
    lock(&mut config);
    let auth = Authorizer::new(&AuthConfig::from(&config), clock).unwrap();
    let mut headers = axum::http::HeaderMap::new();
    headers
        .insert("authorization", format!("Bearer {}", tenant_token("a", "ann", "subscribe produce")).parse().unwrap());
    let subject = auth.check(Credential::of_request(&headers).unwrap()).await.unwrap();
    let none = axum::http::HeaderMap::new();
    let redeem = async |ticket: &str| auth.check(Credential::of_connection(&none, Some(ticket)).unwrap()).await;

    let (ticket, lives_s) = auth.ticket(&subject).unwrap();
    assert!(lives_s <= 30);
    let redeemed = redeem(&ticket).await.unwrap();
    assert_eq!(
        (redeemed.id(), redeemed.tenant(), redeemed.expires_ms()),
        (subject.id(), subject.tenant(), subject.expires_ms())
    );
    assert!(redeemed.may_subscribe(&"ann".parse().unwrap()) && !redeemed.may_produce(), "a ticket only subscribes");
    assert_eq!(redeem(&ticket).await.unwrap_err().code(), "invalid_ticket");
    let (late, _) = auth.ticket(&subject).unwrap();
    now_ms.fetch_add(31_000, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(redeem(&late).await.unwrap_err().code(), "invalid_ticket");
    // Everyone who has the secret knows a ticket, and nobody keeps one where tokens are kept.
    let (ticket, _) = auth.ticket(&subject).unwrap();
    assert!(auth.knows(Credential::Ticket(&ticket)) && !auth.knows(Credential::Token(&ticket)));
    assert!(!auth.knows(Credential::Ticket(&late)) && !auth.knows(Credential::Ticket("a.b.c")));
    // A ticket is no token and a token no ticket.
    let token = tenant_token("a", "ann", "subscribe");
    assert_eq!(redeem(&token).await.unwrap_err().code(), "invalid_ticket");
    headers.insert("authorization", format!("Bearer {late}").parse().unwrap());
    assert_eq!(auth.check(Credential::of_request(&headers).unwrap()).await.unwrap_err().code(), "invalid_token");

    let mut offered = axum::http::HeaderMap::new();
    offered.insert("sec-websocket-protocol", format!("evs.v1.json, evs.bearer.{token}").parse().unwrap());
    assert_eq!(auth.check(Credential::of_connection(&offered, None).unwrap()).await.unwrap().id(), Some("ann"));
    assert_eq!(Credential::of_connection(&none, None).unwrap_err().code(), "missing_token");

    let ann = auth.check(Credential::of_connection(&offered, None).unwrap()).await.unwrap();
    for (tenant, sub, wanted) in [("a", "ann", None), ("a", "bob", Some("forbidden")), ("b", "ann", Some("forbidden"))]
    {
        let token = tenant_token(tenant, sub, "subscribe");
        let fresh = auth.check(Credential::Token(&token)).await.unwrap();
        assert_eq!(fresh.instead_of(&ann).err().map(|error| error.code()), wanted);
    }
    assert_eq!(auth.authorize_subscribe(&ann, &"ann".parse().unwrap()).unwrap().as_str(), "a:ann");
    assert_eq!(auth.authorize_subscribe(&ann, &"bob".parse().unwrap()).unwrap_err().code(), "forbidden");
}

#[test]
fn weak_settings_are_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Config)| {
        let mut config = Config::default();
        lock(&mut config);
        change(&mut config);
        Authorizer::new(&AuthConfig::from(&config), Clock::system()).unwrap_err()
    };
    assert!(refused(&|config| config.auth_secret = Secret::new("short")).contains("auth_secret has 5 bytes"));
    assert!(refused(&|config| config.auth_secret = Secret::new("changeme".repeat(8))).contains("well-known"));
    assert!(refused(&|config| config.auth_secret = Secret::new("a".repeat(64))).contains("well-known"));
    assert!(refused(&|config| config.auth_secret = Secret::default()).contains("auth_secret_file"));
    assert!(refused(&|config| config.auth_issuer = String::new()).contains("auth_issuer"));
    assert!(refused(&|config| config.auth_jwks_url = "http://issuer.test/keys".into()).contains("no other key"));
    assert!(refused(&|config| config.auth_tenant_field = "a || true".into()).contains("auth_tenant_field"));
    assert!(refused(&|config| config.auth_ticket_secret = Secret::new("short")).contains("auth_ticket_secret"));
    let far = |config: &mut Config| {
        config.auth_algorithm = evs_server::auth::config::Algorithm::RS256;
        config.auth_secret = Secret::default();
        config.auth_jwks_url = "http://issuer.test/keys".into();
    };
    assert!(refused(&far).contains("https"));
}

/// Ed25519 keys of RFC 8037, appendix A.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
const PUBLIC_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

#[tokio::test]
async fn keys_come_from_their_url_and_not_too_often() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys?x=1", listener.local_addr().unwrap());
    let fetches = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = fetches.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let mut request = [0; 1024];
            let read = socket.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /keys?x=1 HTTP/1.1\r\n"));
            let keys = json!({ "keys": [
                { "kty": "OKP", "crv": "Ed25519", "x": PUBLIC_X, "kid": "k1", "use": "sig", "alg": "EdDSA" },
                { "kty": "oct", "k": "c2VjcmV0", "kid": "hmac", "alg": "HS256" },
            ]})
            .to_string();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{keys}", keys.len());
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let config = Config {
        auth_algorithm: evs_server::auth::config::Algorithm::EdDSA,
        auth_jwks_url: url,
        auth_issuer: crate::harness::ISSUER.into(),
        ..Config::default()
    };
    let auth = Authorizer::new(&AuthConfig::from(&config), Clock::system()).unwrap();
    let check = async |header: Header, key: &EncodingKey| {
        let token = encode(&header, &claims("ann", "operate"), key).unwrap();
        let mut headers = axum::http::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        auth.check(Credential::of_request(&headers).unwrap()).await
    };
    let named = |algorithm, kid: Option<&str>| Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    let key = EncodingKey::from_ed_pem(PRIVATE.as_bytes()).unwrap();
    assert_eq!(check(named(Algorithm::EdDSA, Some("k1")), &key).await.unwrap().id(), Some("ann"));
    assert!(check(named(Algorithm::EdDSA, Some("k1")), &key).await.is_ok());
    for kid in ["k2", "k3", "hmac"] {
        assert!(check(named(Algorithm::EdDSA, Some(kid)), &key).await.is_err());
    }
    assert!(check(named(Algorithm::EdDSA, None), &key).await.is_err());
    // The public key as an HMAC secret, the oldest trick.
    assert!(check(named(Algorithm::HS256, Some("k1")), &EncodingKey::from_secret(PUBLIC_X.as_bytes())).await.is_err());
    assert_eq!(
        fetches.load(std::sync::atomic::Ordering::Relaxed),
        1,
        "unknown names do not make us fetch again at once"
    );
}
