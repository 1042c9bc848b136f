//! Where the server is and how to speak to it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::Error;

/// The api role's default port; the matcher's and the gateway's are the next two.
const API_PORT: u16 = 8001;

#[derive(Clone, Debug)]
pub struct Config {
    /// The api role, such as `http://localhost:8001`.
    pub server_url: Url,
    /// The matcher role: health and metrics.
    pub matcher_url: Url,
    /// The gateway role: WebSocket and SSE.
    pub gateway_url: Url,
    pub token: Option<Token>,
    /// For one REST request, and for making a connection; not for how long a stream lasts.
    pub timeout: Duration,
    /// Told of each REST request before it is sent.
    pub on_request: Option<OnRequest>,
    /// Requests that change something are told to `on_request` and not sent: they fail with [`Error::NotSent`].
    pub dry_run: bool,
}

impl Config {
    /// # Errors
    /// [`Error::Config`] if the text is not an http or https URL.
    pub fn new(server: &str) -> Result<Self, Error> {
        let server_url = parse_url(server)?;
        Ok(Self {
            matcher_url: on_port(&server_url, 1),
            gateway_url: on_port(&server_url, 2),
            server_url,
            token: None,
            timeout: Duration::from_secs(10),
            on_request: None,
            dry_run: false,
        })
    }

    /// # Errors
    /// [`Error::Config`] if the text is not an http, https, ws or wss URL.
    pub fn with_gateway(mut self, gateway: &str) -> Result<Self, Error> {
        self.gateway_url = parse_url(gateway)?;
        Ok(self)
    }

    /// Whether both texts name one server; what is no URL names none.
    ///
    /// A token that was kept for one may be shown to the other only then.
    #[must_use]
    pub fn is_same_server(one: &str, other: &str) -> bool {
        matches!((parse_url(one), parse_url(other)), (Ok(one), Ok(other)) if one == other)
    }

    #[must_use]
    pub fn with_token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }
}

/// Reads a URL as people write it: `localhost:8001` means `http://localhost:8001`, and `ws` is `http`.
fn parse_url(text: &str) -> Result<Url, Error> {
    let text = text.trim();
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let full = match full.split_once("://") {
        Some(("ws", rest)) => format!("http://{rest}"),
        Some(("wss", rest)) => format!("https://{rest}"),
        _ => full,
    };
    let refuse = |why: String| Error::Config(format!("{text:?} is not a server's URL: {why}; write http://host:port"));
    let mut url = Url::parse(&full).map_err(|error| refuse(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse(format!("unknown scheme {:?}", url.scheme())));
    }
    if url.host_str().is_none() {
        return Err(refuse("it has no host".to_owned()));
    }
    // Joining keeps the last segment of a base path only if it ends with a slash.
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// The same host, `step` ports further; behind a proxy on the scheme's own port all roles share one URL.
fn on_port(server: &Url, step: u16) -> Url {
    let mut url = server.clone();
    if let Some(port) = server.port() {
        let role_port = if port == API_PORT { API_PORT + step } else { port.saturating_add(step) };
        // Fails only for URLs without a host, which were refused.
        let _ = url.set_port(Some(role_port));
    }
    url
}

/// A bearer token, or where to read it each time one is needed.
#[derive(Clone)]
pub enum Token {
    Text(String),
    /// Read again for each request, so that a token can be renewed from outside.
    File(PathBuf),
}

impl Token {
    /// # Errors
    /// [`Error::Config`] if the file cannot be read.
    pub fn read(&self) -> Result<String, Error> {
        match self {
            Self::Text(text) => Ok(text.trim().to_owned()),
            Self::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(text.trim().to_owned()),
                Err(error) => Err(Error::Config(format!("cannot read the token from {}: {error}", path.display()))),
            },
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Token(redacted)"),
            Self::File(path) => write!(f, "Token({})", path.display()),
        }
    }
}

/// See [`Config::on_request`].
#[derive(Clone)]
pub struct OnRequest(pub Arc<dyn Fn(&RequestLine<'_>) + Send + Sync>);

impl fmt::Debug for OnRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnRequest")
    }
}

/// A REST request that is about to be sent.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    pub method: &'a str,
    pub url: &'a Url,
    /// Without the token.
    pub headers: &'a [(&'static str, String)],
    pub body: Option<&'a [u8]>,
    pub authenticated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_roles_follow_from_the_api() {
        let config = Config::new("localhost:8001").unwrap();
        assert_eq!(config.server_url.as_str(), "http://localhost:8001/");
        assert_eq!(config.matcher_url.as_str(), "http://localhost:8002/");
        assert_eq!(config.gateway_url.as_str(), "http://localhost:8003/");
        let config = Config::new("https://evs.example/base").unwrap();
        assert_eq!(config.gateway_url.as_str(), "https://evs.example/base/");
        let config = Config::new("http://[::1]:9000").unwrap().with_gateway("wss://stream.example").unwrap();
        assert_eq!(config.gateway_url.as_str(), "https://stream.example/");
    }

    #[test]
    fn a_bad_url_says_what_to_write() {
        let error = Config::new("ftp://x").unwrap_err().to_string();
        assert_eq!(error, r#""ftp://x" is not a server's URL: unknown scheme "ftp"; write http://host:port"#);
        assert!(Config::new("").is_err());
    }

    #[test]
    fn servers_are_the_same_as_they_are_read() {
        assert!(Config::is_same_server("10.0.0.5:8001", "http://10.0.0.5:8001/"));
        assert!(Config::is_same_server("https://evs.example", "https://EVS.example:443/"));
        for (one, other) in [
            ("10.0.0.5:8001", "10.0.0.6:8001"),
            ("localhost:8001", "localhost:8002"),
            ("http://evs.example", "https://evs.example"),
            ("", ""),
        ] {
            assert!(!Config::is_same_server(one, other), "{one} {other}");
        }
    }

    #[test]
    fn tokens_are_not_printed() {
        let config = Config::new("h:1").unwrap().with_token(Token::Text("secret".into()));
        assert!(!format!("{config:?}").contains("secret"));
    }
}
