//! Errors as the caller sees them: RFC 9457 problems with a stable code; causes are logged once and never sent.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use evs_api::error::{FieldError, Problem};
use evs_core::NameError;
use evs_core::event::EventError;
use evs_core::filter::FilterError;

use crate::ports::PortError;
use crate::ports::filter_store::StoreError;

pub type ApiResult<T> = Result<T, ApiError>;

/// What went wrong, decided at the border. Boxed, so that a `Result` of a handler stays small.
#[derive(Debug)]
pub struct ApiError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    hint: Option<String>,
    headers: HeaderMap,
    /// For the log only: it may name files, hosts and statements.
    cause: Option<String>,
}

impl ApiError {
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            hint: None,
            headers: HeaderMap::new(),
            cause: None,
        }))
    }

    /// The request cannot be understood.
    #[must_use]
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// The request is understood and asks for something impossible.
    #[must_use]
    pub fn refused(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// The caller did not show who it is, or not well enough.
    #[must_use]
    pub fn unauthorized(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, detail)
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"evs\""))
    }

    #[must_use]
    pub fn too_large(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, code, detail)
    }

    /// A fault of ours: the caller is told nothing but that.
    #[must_use]
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        let mut error =
            Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server made a mistake; it is logged");
        error.0.cause = Some(cause.to_string());
        error
    }

    /// Something the server needs is away for now.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>, cause: impl std::fmt::Display) -> Self {
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).retry_after_s(1);
        error.0.cause = Some(cause.to_string());
        error
    }

    /// Adds a mistake at `pointer` in the body.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let (pointer, detail) = (pointer.into(), detail.into());
        self.0.errors.push(FieldError { pointer, detail, span: None, hint: None });
        self
    }

    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.0.errors = errors;
        self
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn with_header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    #[must_use]
    pub fn retry_after_s(self, seconds: u64) -> Self {
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// The same error about one line or item of a larger body: pointers move below `prefix`, the sentence names it.
    #[must_use]
    pub fn within(mut self, prefix: &str, place: &str) -> Self {
        for error in &mut self.0.errors {
            error.pointer.insert_str(0, prefix);
        }
        if self.0.errors.is_empty() {
            let detail = self.0.detail.clone();
            self.0.errors.push(FieldError { pointer: prefix.to_owned(), detail, span: None, hint: None });
        }
        self.0.detail.insert_str(0, &format!("{place}: "));
        self
    }

    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    #[must_use]
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// The body, without what only headers and the log carry.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let Inner { status, code, detail, errors, hint, headers: _, cause: _ } = &*self.0;
        let mut title = code.replace('_', " ").replace("json", "JSON").replace("utf8", "UTF-8");
        title[..1].make_ascii_uppercase();
        Problem {
            type_: format!("/problems/{code}"),
            title,
            status: status.as_u16(),
            detail: detail.clone(),
            code: (*code).to_owned(),
            errors: errors.clone(),
            hint: hint.clone(),
        }
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.0.status.as_u16(), self.0.code, self.0.detail)
    }
}

impl std::error::Error for ApiError {}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Some(cause) = &self.0.cause {
            tracing::error!(status = self.0.status.as_u16(), code = self.0.code, cause, "a request failed");
        }
        let problem = self.problem();
        let mut response = (self.0.status, Json(problem)).into_response();
        let content_type = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        response.headers_mut().extend(self.0.headers);
        response
    }
}

/// How long a caller waits before it tries a full store again: the keeper works in steps of seconds.
const FULL_RETRY_S: u64 = 5;

impl From<PortError> for ApiError {
    fn from(error: PortError) -> Self {
        match &error {
            PortError::Unavailable { what, .. } => {
                Self::unavailable(format!("{what} is not available now; try again"), &error)
            }
            PortError::Full { what, .. } => {
                let mut full = Self::new(
                    StatusCode::INSUFFICIENT_STORAGE,
                    "storage_full",
                    format!("{what} has no room now; nothing was stored, try again later"),
                );
                full.0.cause = Some(error.to_string());
                full.retry_after_s(FULL_RETRY_S)
            }
            PortError::Damaged { .. } => Self::internal(&error),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::Changed { actual } => Self::new(StatusCode::PRECONDITION_FAILED, "version_mismatch", detail)
                .with_hint(format!("read it again; its ETag is now \"{actual}\"")),
            StoreError::TooManyFilters { .. } => {
                Self::refused("too_many_filters", detail).with_hint("join filters with || in one where, or delete some")
            }
            StoreError::NameTaken => Self::new(StatusCode::CONFLICT, "name_taken", detail).at("/name", "taken"),
            StoreError::OtherSubscriber => Self::refused("other_subscriber", detail).at("/subscriber_id", "is fixed"),
            StoreError::Port(error) => error.into(),
        }
    }
}

impl From<EventError> for ApiError {
    fn from(error: EventError) -> Self {
        let (code, detail) = (error.code(), error.to_string());
        match error {
            EventError::TooLarge { .. } => Self::too_large(code, detail),
            EventError::InvalidUtf8 { .. } | EventError::InvalidJson { .. } => Self::bad_request(code, detail),
            EventError::NotAnObject { .. } | EventError::TooDeep { .. } | EventError::DuplicateKey { .. } => {
                Self::refused(code, detail)
            }
        }
    }
}

/// A name that was refused, at its place in the body or in the URL.
#[must_use]
pub fn bad_name(what: &str, pointer: Option<&str>, error: &NameError) -> ApiError {
    let refused = ApiError::refused("invalid_name", format!("{what} {error}"));
    match pointer {
        Some(pointer) => refused.at(pointer, error.to_string()),
        None => refused,
    }
}

/// A filter that was refused; `where_text` is what a caret in the detail points at.
#[must_use]
pub fn bad_filter(error: &FilterError, where_text: Option<&str>) -> ApiError {
    let mut field =
        FieldError { pointer: format!("/{}", error.field()), detail: error.to_string(), ..Default::default() };
    let refused = match error {
        FilterError::Where(parse) => {
            field.detail = parse.to_string();
            field.span = Some([parse.span.start, parse.span.end]);
            field.hint.clone_from(&parse.hint);
            let detail = where_text.map_or_else(|| error.to_string(), |text| parse.render(text));
            let refused = ApiError::refused("invalid_where", detail);
            match &parse.hint {
                Some(hint) => refused.with_hint(hint.clone()),
                None => refused,
            }
        }
        FilterError::ValueTooLong { index, .. } | FilterError::ValueEmpty { index, .. } => {
            field.pointer = format!("{}/{index}", field.pointer);
            ApiError::refused("invalid_filter", error.to_string())
        }
        FilterError::TooManyValues { .. } | FilterError::MinAmount => {
            ApiError::refused("invalid_filter", error.to_string())
        }
    };
    refused.with_errors(vec![field])
}

/// What no route answers.
pub async fn unknown_route(uri: axum::http::Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "unknown_route", format!("there is nothing at {}", uri.path()))
        .with_hint("GET /openapi.json lists every route")
}

/// A route that has other methods; axum adds `Allow`.
pub async fn unknown_method(method: axum::http::Method, uri: axum::http::Uri) -> ApiError {
    let detail = format!("{} does not take {method}; see the Allow header", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn causes_stay_here() {
        for error in [
            PortError::Unavailable { what: "the filter store", cause: "postgres://evs:hunter2@db".into() },
            PortError::Full { what: "the event log", cause: "/var/lib/hunter2".into() },
            PortError::Damaged { what: "the event log", cause: "hunter2 at 7".into() },
        ] {
            let response = ApiError::from(error).into_response();
            assert!(response.status().is_server_error());
            let retry = response.headers().contains_key(header::RETRY_AFTER);
            assert_eq!(retry, response.status() != StatusCode::INTERNAL_SERVER_ERROR);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let problem: Problem = serde_json::from_slice(&body).unwrap();
            assert!(!format!("{problem:?}").contains("hunter2"));
        }
    }

    #[test]
    fn an_error_moves_into_a_larger_body() {
        let error = ApiError::refused("invalid_where", "x").at("/where", "y").within("/3", "line 4");
        assert_eq!((error.detail(), error.errors()[0].pointer.as_str()), ("line 4: x", "/3/where"));
    }
}
