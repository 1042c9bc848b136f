//! One REST request: built, told, sent, and its answer turned into a value or an [`Error`].

use std::time::Duration;

use bytes::Bytes;
use evs_api::Problem;
use reqwest::{Method, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::config::RequestLine;
use crate::{Config, Error};

/// Enough of a foreign answer to recognize it.
const EXCERPT_CHARS_MAX: usize = 500;

/// Speaks to one evs installation; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    pub(crate) config: std::sync::Arc<Config>,
}

impl Client {
    /// # Errors
    /// [`Error::Config`] if no HTTP client can be made, which is a matter of the machine's TLS.
    pub fn new(config: Config) -> Result<Self, Error> {
        // REST and WebSocket share it. Fails only if the program has chosen one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .user_agent(concat!("evs-client/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(config.timeout)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| Error::Config(format!("cannot make an HTTP client: {}", chain(&error))))?;
        Ok(Self { http, config: config.into() })
    }

    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn get(&self, path: &[&str]) -> Call<'_> {
        Call::new(self, Method::GET, &self.config.server_url, path)
    }

    pub(crate) fn post(&self, path: &[&str]) -> Call<'_> {
        Call::new(self, Method::POST, &self.config.server_url, path)
    }

    pub(crate) fn put(&self, path: &[&str]) -> Call<'_> {
        Call::new(self, Method::PUT, &self.config.server_url, path)
    }

    pub(crate) fn delete(&self, path: &[&str]) -> Call<'_> {
        Call::new(self, Method::DELETE, &self.config.server_url, path)
    }

    pub(crate) fn get_at(&self, base: &Url, path: &[&str]) -> Call<'_> {
        Call::new(self, Method::GET, base, path)
    }
}

pub(crate) struct Call<'a> {
    client: &'a Client,
    method: Method,
    url: Url,
    headers: Vec<(&'static str, String)>,
    body: Option<Bytes>,
    changes: bool,
    timeout: Option<Duration>,
}

impl<'a> Call<'a> {
    fn new(client: &'a Client, method: Method, base: &Url, path: &[&str]) -> Self {
        Self {
            client,
            changes: method != Method::GET,
            method,
            url: join(base, path),
            headers: Vec::new(),
            body: None,
            timeout: Some(client.config.timeout),
        }
    }

    pub(crate) fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.url.query_pairs_mut().append_pair(name, &value.to_string());
        self
    }

    pub(crate) fn query_opt(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn header_opt(self, name: &'static str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    pub(crate) fn json<T: Serialize>(self, value: &T) -> Self {
        // The wire types have string keys only, so they always serialize.
        let body = serde_json::to_vec(value).unwrap_or_default();
        self.body("application/json", body)
    }

    pub(crate) fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self.header("content-type", content_type)
    }

    /// A POST that changes nothing: it is sent in a dry run too.
    pub(crate) fn changes_nothing(mut self) -> Self {
        self.changes = false;
        self
    }

    /// Waits this much longer than usual, because the server was asked to wait.
    pub(crate) fn wait_longer(mut self, by: Duration) -> Self {
        self.timeout = self.timeout.map(|timeout| timeout + by);
        self
    }

    pub(crate) async fn send(self) -> Result<Answer, Error> {
        let Self { client, method, url, headers, body, changes, timeout } = self;
        let token = client.config.token.as_ref().map(crate::Token::read).transpose()?;
        if let Some(on_request) = &client.config.on_request {
            (on_request.0)(&RequestLine {
                method: method.as_str(),
                url: &url,
                headers: &headers,
                body: body.as_deref(),
                authenticated: token.is_some(),
            });
        }
        if changes && client.config.dry_run {
            return Err(Error::NotSent);
        }
        let mut request = client.http.request(method, url.clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let sending = request.send();
        let response = match timeout {
            Some(after) => tokio::time::timeout(after, sending)
                .await
                .map_err(|_| Error::Timeout { url: url.to_string(), after })?,
            None => sending.await,
        };
        let response = response.map_err(|error| failure(&url, &error, client.config.timeout))?;
        let answer = Answer { url, response, timeout };
        if answer.response.status().is_success() { Ok(answer) } else { Err(answer.into_error().await) }
    }

    /// The answer's JSON; "not found" is an answer too.
    pub(crate) async fn find<T: DeserializeOwned>(self) -> Result<Option<T>, Error> {
        match self.send().await {
            Ok(answer) => answer.json().await.map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn fetch<T: DeserializeOwned>(self) -> Result<T, Error> {
        self.send().await?.json().await
    }

    pub(crate) async fn done(self) -> Result<(), Error> {
        self.send().await.map(drop)
    }
}

/// A successful answer whose body is yet to be read.
pub(crate) struct Answer {
    url: Url,
    pub(crate) response: Response,
    timeout: Option<Duration>,
}

impl Answer {
    pub(crate) fn is_created(&self) -> bool {
        self.response.status() == StatusCode::CREATED
    }

    pub(crate) fn etag(&self) -> Option<String> {
        self.response.headers().get("etag").and_then(|value| value.to_str().ok()).map(str::to_owned)
    }

    pub(crate) async fn bytes(self) -> Result<Bytes, Error> {
        let after = self.timeout.unwrap_or(Duration::MAX);
        match tokio::time::timeout(after, self.response.bytes()).await {
            Ok(result) => result.map_err(|error| failure(&self.url, &error, after)),
            Err(_) => Err(Error::Timeout { url: self.url.to_string(), after }),
        }
    }

    pub(crate) async fn text(self) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.bytes().await?).into_owned())
    }

    pub(crate) async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let url = self.url.to_string();
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::Protocol { url, detail: format!("{error} in {:?}", excerpt(&bytes)) })
    }

    async fn into_error(self) -> Error {
        let status = self.response.status().as_u16();
        let body = self.bytes().await.unwrap_or_default();
        problem_error(status, &body)
    }
}

/// An error from an HTTP status and a body that should be a problem.
pub(crate) fn problem_error(status: u16, body: &[u8]) -> Error {
    let mut problem = serde_json::from_slice::<Problem>(body).unwrap_or_else(|_| Problem {
        title: StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or_default()
            .to_owned(),
        detail: match excerpt(body) {
            text if text.trim().is_empty() => format!("the server answered with status {status} and no explanation"),
            text => format!("the server answered with status {status}: {}", text.trim()),
        },
        ..Problem::default()
    });
    problem.status = status;
    match status {
        401 | 403 => Error::Unauthorized(problem.into()),
        _ => Error::Problem(problem.into()),
    }
}

fn failure(url: &Url, error: &reqwest::Error, after: Duration) -> Error {
    let url = url.to_string();
    if error.is_timeout() {
        Error::Timeout { url, after }
    } else if error.is_decode() || error.is_body() {
        let cause = format!("the connection broke while the answer came in: {}", chain(error));
        Error::Unreachable { url, cause, connected: true }
    } else {
        Error::Unreachable { url, cause: chain(error), connected: !error.is_connect() }
    }
}

/// The last cause is the one that helps: "connection refused", not "error sending request".
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(EXCERPT_CHARS_MAX).collect()
}

/// Appends path segments, each escaped, to a base that ends with a slash.
pub(crate) fn join(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place_in_a_path() {
        let base = Url::parse("http://h:1/base/").unwrap();
        assert_eq!(join(&base, &["filters", "a/../b?c"]).as_str(), "http://h:1/base/filters/a%2F..%2Fb%3Fc");
        assert_eq!(join(&base, &["filters"]).as_str(), "http://h:1/base/filters");
    }

    #[test]
    fn foreign_answers_are_shown() {
        let error = problem_error(502, b"<html>Bad Gateway</html>");
        assert_eq!(error.to_string(), "the server answered with status 502: <html>Bad Gateway</html>");
        assert!(matches!(problem_error(403, b""), Error::Unauthorized(_)));
    }
}
