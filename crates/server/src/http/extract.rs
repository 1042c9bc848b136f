//! Reads requests into types, and says exactly what could not be read and where.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::problem::{ApiError, ApiResult};

/// Body of a request that is no batch: a filter with its largest lists is far below.
const JSON_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What is read of a body that is too large, so that its sender gets to read the answer, and for how long.
const LEFT_BYTES_MAX: usize = 16 * 1024 * 1024;
const LEFT_TIME: Duration = Duration::from_secs(1);

/// A JSON body. The content type must say so: a form or plain text could come from any web page without asking.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> ApiResult<Self> {
        let (parts, body) = request.into_parts();
        require_content_type(&parts.headers, &["application/json"])?;
        let bytes = read_body(body, JSON_BYTES_MAX).await?;
        parse_json(&bytes).map(Self)
    }
}

/// Query parameters; unknown ones are refused by the types that derive it.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(ApiError::bad_request("invalid_query", format!("query: {}", source(&rejection)))),
        }
    }
}

/// The one parameter of the path, percent-decoded.
#[derive(Debug)]
pub struct Segment(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(text)) => Ok(Self(text)),
            Err(rejection) => Err(ApiError::bad_request("invalid_path", rejection.body_text())),
        }
    }
}

/// The innermost reason: the outer ones only say that a query could not be read.
fn source(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(inner) = error.source() {
        error = inner;
    }
    error.to_string()
}

/// # Errors
/// 415, with the types that are accepted.
pub fn require_content_type(headers: &HeaderMap, accepted: &[&str]) -> ApiResult<()> {
    let given = content_type(headers);
    if given.as_deref().is_some_and(|given| accepted.contains(&given) || is_json(given, accepted)) {
        return Ok(());
    }
    let given = given.map_or_else(|| "there is no Content-Type".to_owned(), |given| format!("Content-Type is {given}"));
    let detail = format!("{given}, but must be {}", accepted.join(" or "));
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
        .with_hint(format!("curl: -H 'Content-Type: {}'", accepted[0])))
}

/// The media type in lower case, without parameters.
#[must_use]
pub fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// `application/vnd.something+json` is JSON too.
fn is_json(given: &str, accepted: &[&str]) -> bool {
    accepted.contains(&"application/json") && given.starts_with("application/") && given.ends_with("+json")
}

/// The whole body.
///
/// # Errors
/// 413 past `bytes_max`; 400 if it ends early.
pub async fn read_body(mut body: Body, bytes_max: usize) -> ApiResult<Bytes> {
    match Limited::new(&mut body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            // Who is cut off while it sends sees a broken connection, and not why.
            let _ = tokio::time::timeout(LEFT_TIME, leave_out(&mut body)).await;
            Err(ApiError::too_large("body_too_large", format!("the body has more than the {bytes_max} bytes allowed")))
        }
        Err(_) => Err(ApiError::bad_request("body_incomplete", "the body ended before all of it had come")),
    }
}

/// Reads what is left of a body, within a bound, for nothing.
async fn leave_out(body: &mut Body) {
    let mut bytes = 0;
    while bytes < LEFT_BYTES_MAX {
        let Some(Ok(frame)) = body.frame().await else { return };
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
}

/// # Errors
/// 400 where it is no JSON, 422 where it is JSON of another shape, with a pointer.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> ApiResult<T> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::bad_request("empty_body", "the body is empty, but must be JSON"));
    }
    if let Err(error) = std::str::from_utf8(bytes) {
        let detail = format!("the body is not UTF-8 at byte {}", error.valid_up_to());
        return Err(ApiError::bad_request("invalid_utf8", detail));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| json_error(&error))?;
    json.end().map_err(|error| syntax_error(&error))?;
    Ok(value)
}

fn syntax_error(error: &serde_json::Error) -> ApiError {
    ApiError::bad_request("invalid_json", format!("the body is not JSON: {error}"))
}

fn json_error(error: &serde_path_to_error::Error<serde_json::Error>) -> ApiError {
    if !error.inner().is_data() {
        return syntax_error(error.inner());
    }
    // Of the place the pointer tells more than serde's line and column.
    let message = error.inner().to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    let code = match () {
        () if message.starts_with("unknown field") => "unknown_field",
        () if message.starts_with("missing field") => "missing_field",
        () if message.starts_with("duplicate field") => "duplicate_key",
        () => "invalid_type",
    };
    let pointer = pointer(error.path());
    let place = if pointer.is_empty() { String::new() } else { format!("{pointer}: ") };
    let refused = ApiError::refused(code, format!("{place}{message}")).at(pointer, message);
    match similar(message) {
        Some(name) => refused.with_hint(format!("did you mean `{name}`?")),
        None => refused,
    }
}

/// Of serde's "unknown field `x`, expected one of `a`, `b`" the expected name that looks most like the unknown one.
fn similar(message: &str) -> Option<&str> {
    let mut names = message.strip_prefix("unknown field `")?.split('`').step_by(2);
    let unknown = names.next()?;
    let close = |name: &&str| !name.is_empty() && distance(unknown, name) <= unknown.len() / 3 + 1;
    names.filter(close).min_by_key(|name| distance(unknown, name))
}

/// Edits between two words (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, left) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, right) in right.bytes().enumerate() {
            let replace = diagonal + usize::from(left != right);
            diagonal = row[column + 1];
            row[column + 1] = replace.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => pointer.push_str(&format!("/{}", key.replace('~', "~0").replace('/', "~1"))),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

/// Items of a page, unless asked otherwise.
pub const PAGE_DEFAULT: usize = 100;

/// Items of a page at the most.
pub const PAGE_MAX: usize = 1000;

/// # Errors
/// 400 for 0 and for more than [`PAGE_MAX`].
pub fn page_limit(limit: Option<usize>) -> ApiResult<usize> {
    match limit {
        None => Ok(PAGE_DEFAULT),
        Some(limit @ 1..=PAGE_MAX) => Ok(limit),
        Some(limit) => {
            Err(ApiError::bad_request("invalid_query", format!("limit: {limit} is not between 1 and {PAGE_MAX}")))
        }
    }
}

#[must_use]
pub fn bad_page() -> ApiError {
    ApiError::bad_request("invalid_query", "page: this is no `next` of an earlier answer")
}
