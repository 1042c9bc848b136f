//! The listener's loop and the routes, over plain hyper: a handshake needs no framework, and the socket is ours after.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::answer::{Answer, Refusal, plain};
use super::ask::Ask;
use super::{Gateway, HEAD_BYTES_MAX, sse, websocket};

/// A client sends its request within this time, or is one that holds sockets open to harm.
const HEAD_WAIT: Duration = Duration::from_secs(10);

/// Connections that are not sessions: handshakes, health checks, metrics.
const PLAIN_CONNECTIONS_MAX: usize = 1_024;

/// After a failed accept, such as one without a file descriptor left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Unacknowledged data so old means that the other side is gone.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Accepts until shutdown.
pub(super) async fn run(gateway: &Gateway, listener: TcpListener) {
    let plain = Arc::new(Semaphore::new(PLAIN_CONNECTIONS_MAX + gateway.permits.available_permits()));
    loop {
        let accepted = tokio::select! {
            () = gateway.app.shutdown.cancelled() => return,
            accepted = async {
                let permit = plain.clone().acquire_owned().await;
                (permit, listener.accept().await)
            } => accepted,
        };
        match accepted {
            (Ok(permit), Ok((stream, _))) => {
                let gateway_ = gateway.clone();
                gateway.tasks.spawn(async move {
                    connection(gateway_, stream).await;
                    drop(permit);
                });
            }
            (_, Err(error)) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
            (Err(_), _) => return,
        }
    }
}

async fn connection(gateway: Gateway, stream: TcpStream) {
    // A small frame must not wait for the ack of the one before.
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
    let shutdown = gateway.app.shutdown.clone();
    let service = service_fn(move |request| {
        let gateway = gateway.clone();
        async move { Ok::<_, Infallible>(route(&gateway, request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT).max_buf_size(HEAD_BYTES_MAX);
    let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn route(gateway: &Gateway, request: Request<Incoming>) -> Answer {
    let (mut head, _body) = request.into_parts();
    let path = head.uri.path().to_owned();
    if head.method != Method::GET && head.method != Method::HEAD {
        return Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "only GET is answered here")
            .answer();
    }
    let refused = if let Some(subscriber) = path.strip_prefix("/ws/") {
        let upgrade = head.extensions.remove::<hyper::upgrade::OnUpgrade>();
        let asked = websocket::key(&head.headers).and_then(|key| {
            let upgrade = upgrade.ok_or_else(|| Refusal::unavailable("this connection cannot be upgraded"))?;
            Ok((key, upgrade, Ask::read(subscriber, &head, gateway.app.clock.now_ms())?))
        });
        match asked {
            Ok((key, upgrade, ask)) => websocket::handle(gateway, ask, &key, upgrade).await,
            Err(refusal) => Err(refusal),
        }
    } else if let Some(subscriber) = path.strip_prefix("/sse/") {
        match Ask::read(subscriber, &head, gateway.app.clock.now_ms()) {
            Ok(ask) => sse::handle(gateway, ask).await,
            Err(refusal) => Err(refusal),
        }
    } else {
        page(gateway, &path)
    };
    refused.unwrap_or_else(Refusal::answer)
}

/// What every role answers.
fn page(gateway: &Gateway, path: &str) -> Result<Answer, Refusal> {
    match path {
        "/livez" => Ok(plain(StatusCode::OK, "text/plain", "ok\n")),
        "/readyz" => {
            let problems: Vec<String> = gateway
                .app
                .readers
                .health()
                .into_iter()
                .filter_map(|(shard, health)| health.err().map(|problem| format!("shard {shard}: {problem}")))
                .collect();
            if gateway.app.shutdown.is_cancelled() {
                return Err(Refusal::unavailable("this gateway is stopping"));
            }
            if problems.is_empty() {
                Ok(plain(StatusCode::OK, "text/plain", "ready\n"))
            } else {
                Err(Refusal::unavailable(problems.join("; ")))
            }
        }
        "/version" => {
            let version = format!("{{\"version\":\"{}\"}}\n", env!("CARGO_PKG_VERSION"));
            Ok(plain(StatusCode::OK, "application/json", version))
        }
        "/metrics" => {
            let text = gateway.app.metrics.encode();
            Ok(plain(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text))
        }
        _ => {
            let refusal = Refusal::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {path}"));
            Err(refusal.hint("the gateway has /ws/{subscriber} and /sse/{subscriber}"))
        }
    }
}
