//! The accept loop: what a connection may cost before its first request has come, and how it ends.
//!
//! `axum::serve` has no deadline for headers, no limit of connections and no deadline for its graceful stop, so this
//! drives hyper itself.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::app::App;
use crate::limits::{ConnectionGuard, LimitsConfig};

/// After a failed accept, which is mostly a lack of file descriptors: time for others to close some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A peer that takes nothing for so long is gone, or holds an answer open to harm.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Time to tell a connection too many that it is one.
const REFUSE_TIMEOUT: Duration = Duration::from_millis(500);

const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
    retry-after: 1\r\nconnection: close\r\ncontent-length: 175\r\n\r\n\
    {\"type\":\"/problems/connection_limit\",\"title\":\"Connection limit\",\"status\":503,\
    \"code\":\"connection_limit\",\"detail\":\"the server or your address has too many connections open now\"}";

/// Serves until `app.shutdown` is cancelled, then lets requests finish within `config.drain_s`.
///
/// # Errors
/// None today; a listener that fails is tried again.
pub async fn serve(app: App, listener: TcpListener, router: Router) -> anyhow::Result<()> {
    let connections = TaskTracker::new();
    while let Some(accepted) = app.shutdown.run_until_cancelled(listener.accept()).await {
        let (socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match app.limits.connect(address.ip()) {
            Some(guard) => _ = connections.spawn(connection(app.clone(), socket, address, router.clone(), guard)),
            None => {
                app.metrics.rate_limited.inc();
                if let Some(permit) = app.limits.refuse() {
                    connections.spawn(async move {
                        refuse(socket).await;
                        drop(permit);
                    });
                }
            }
        }
    }
    drop(listener);
    connections.close();
    let drain = Duration::from_secs(app.config.drain_s);
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections did not end in time and are cut");
    }
    Ok(())
}

async fn connection(app: App, socket: TcpStream, address: SocketAddr, router: Router, _guard: ConnectionGuard) {
    // Answers are small and whole; waiting to fill a packet only delays them.
    let _ = socket.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(&socket).set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(address));
        router.clone().oneshot(request)
    });
    let LimitsConfig { header_bytes_max, headers_max, .. } = app.limits.config();
    let headers_max = *headers_max;
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(app.limits.header_timeout())
        .max_buf_size((*header_bytes_max).max(MIN_BUF_BYTES))
        .max_headers(headers_max)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = app.shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            let drain = Duration::from_secs(app.config.drain_s);
            tokio::time::timeout(drain, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        // The peer's doing: it went away, was too slow with its headers, or does not speak HTTP.
        tracing::debug!(%address, %error, "a connection ended early");
    }
}

/// hyper's own minimum.
const MIN_BUF_BYTES: usize = 8192;

async fn refuse(mut socket: TcpStream) {
    let _ = tokio::time::timeout(REFUSE_TIMEOUT, async {
        socket.write_all(REFUSAL).await?;
        socket.shutdown().await
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_as_long_as_it_says() {
        let text = std::str::from_utf8(REFUSAL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<evs_api::Problem>(body).is_ok());
    }
}
