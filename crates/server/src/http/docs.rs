//! `/openapi.json`, `/asyncapi.json` and `/docs`: the description of every route and of the stream, generated from the
//! handlers and types, and a page that shows them.

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{ComponentsBuilder, Info, License, OpenApi, OpenApiBuilder, SecurityRequirement};

const PAGE: &str = include_str!("docs/page.html");

const TAGS: [(&str, &str); 6] = [
    ("filters", "Who wants which events"),
    ("events", "Publish events, and look at the event log"),
    ("subscribers", "Queues, their lag and what became of an event"),
    ("operations", "Statistics and the operator's log"),
    ("dead letters", "Records that could not be read as events"),
    ("tickets", "Credentials of seconds for browsers"),
];

/// The description without its routes.
pub(super) fn base() -> OpenApi {
    let mut info = Info::new("evs", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "A filtered event stream: a topic of JSON events in, each subscriber's own slice of it out. Errors are RFC \
         9457 problems with a stable `code`. Lists are pages: give `next` as `?page=`."
            .to_owned(),
    );
    let mut license = License::new("Apache License 2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    info.license = Some(license);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let tags = TAGS.map(|(name, text)| TagBuilder::new().name(name).description(Some(text)).build());
    OpenApiBuilder::new()
        .info(info)
        .tags(Some(tags))
        .components(Some(ComponentsBuilder::new().security_scheme("bearer", SecurityScheme::Http(bearer)).build()))
        // The empty one: authentication is off on loopback.
        .security(Some([SecurityRequirement::default(), SecurityRequirement::new("bearer", Vec::<String>::new())]))
        .build()
}

pub(super) fn router(openapi: &OpenApi) -> Router {
    // Our own types always serialize.
    let json: Bytes = serde_json::to_vec(openapi).unwrap_or_default().into();
    let asyncapi: Bytes = serde_json::to_vec(&super::asyncapi::document()).unwrap_or_default().into();
    Router::new()
        .route("/openapi.json", get(move || async move { ([(header::CONTENT_TYPE, "application/json")], json) }))
        .route("/asyncapi.json", get(move || async move { ([(header::CONTENT_TYPE, "application/json")], asyncapi) }))
        .route("/docs", get(page))
}

async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        // Nothing from elsewhere: the page is whole.
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, PAGE).into_response()
}
