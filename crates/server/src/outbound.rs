//! The smallest HTTP client for what the configuration names: a connection per request, TLS by rustls, no redirects.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outbound {
    tls: TlsConnector,
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outbound")
    }
}

impl Outbound {
    pub(crate) fn new() -> Result<Self, String> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in rustls_native_certs::load_native_certs().certs {
            // A certificate store may hold some that rustls does not understand.
            let _ = roots.add(certificate);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be used: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Sends to the absolute URL of the request, and reads an answer of `bytes_max` at the most. The caller sets the
    /// deadline.
    pub(crate) async fn send(&self, request: Request<Bytes>, bytes_max: usize) -> Result<Response<Bytes>, String> {
        let uri = request.uri().clone();
        let is_tls = uri.scheme_str() == Some("https");
        let host = uri.host().ok_or("the URL names no host")?.trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let socket = TcpStream::connect((host.as_str(), port)).await.map_err(|error| error.to_string())?;
        if !is_tls {
            return exchange(socket, request, &uri, bytes_max).await;
        }
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        let socket = self.tls.connect(name, socket).await.map_err(|error| error.to_string())?;
        exchange(socket, request, &uri, bytes_max).await
    }
}

async fn exchange(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Bytes>,
    uri: &Uri,
    bytes_max: usize,
) -> Result<Response<Bytes>, String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let (mut parts, body) = request.into_parts();
    let authority = uri.authority().ok_or("the URL names no host")?;
    parts.headers.insert(HOST, HeaderValue::from_str(authority.as_str()).map_err(|error| error.to_string())?);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse().map_err(|_| "the URL has a bad path")?;
    let response = sender.send_request(Request::from_parts(parts, Full::new(body))).await;
    let (parts, body) = response.map_err(|error| error.to_string())?.into_parts();
    let body = Limited::new(body, bytes_max).collect().await.map_err(|error| error.to_string())?;
    connection.abort();
    Ok(Response::from_parts(parts, body.to_bytes()))
}
