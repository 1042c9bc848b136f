//! The task behind a subscription: connects, reads frames, sends acks, and comes back after a loss.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use evs_api::frames::{ClientFrame, CloseCode, SUBPROTOCOL, ServerFrame, Welcome};
use futures_util::{SinkExt, StreamExt};
use rand::Rng;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode as WsCode};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use url::Url;

use crate::backoff::Backoff;
use crate::error::explain_close;
use crate::http::{chain, join, problem_error};
use crate::progress::{Progress, Verdict};
use crate::renewal::Renewal;
use crate::subscription::{Delivery, From, Options, StreamItem};
use crate::{Client, Error, StreamError, frames};

/// Acks are cumulative, so one of many is as good as each; but the server's window must not run dry.
const ACK_EVERY_EVENTS: u64 = 64;
const ACK_AFTER: Duration = Duration::from_millis(200);

/// The largest event, its envelope, and room for a server with a larger limit.
const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
const READ_BUFFER_BYTES: usize = 8 * 1024;

/// A server that does not take a small frame for this long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Longer waits than this are not believed, whatever a `Retry-After` says.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Items = mpsc::Sender<Result<StreamItem, StreamError>>;

pub(crate) struct Target {
    pub(crate) client: Client,
    pub(crate) subscriber: String,
    pub(crate) options: Options,
}

/// All deliveries of an epoch up to this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acked {
    pub(crate) epoch: Arc<str>,
    pub(crate) generation: u32,
    pub(crate) seq: u64,
}

impl Acked {
    /// Whether both count the same deliveries.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (&self.epoch, self.generation) == (&other.epoch, other.generation)
    }
}

/// How a connection ended.
enum End {
    Lost {
        reason: String,
        code: Option<u16>,
        retry_in: Option<Duration>,
    },
    Stopped(StreamError),
    /// The program dropped its subscription.
    Dropped,
}

impl End {
    fn lost(reason: impl Into<String>) -> Self {
        Self::Lost { reason: reason.into(), code: None, retry_in: None }
    }
}

pub(crate) async fn run(
    target: Target,
    mut progress: Progress,
    items: Items,
    mut acks: watch::Receiver<Option<Acked>>,
) {
    let mut backoff = Backoff::default();
    loop {
        let connecting = async {
            match connect(&target, &progress).await {
                Ok(socket) => Ok(socket),
                // A server that has welcomed us is one of ours, whatever it answers while it stops.
                Err(Failure { error, retry_after })
                    if error.is_transient() || (progress.has_begun() && matches!(error, Error::Protocol { .. })) =>
                {
                    Err(End::Lost { reason: error.to_string(), code: None, retry_in: retry_after })
                }
                Err(Failure { error, .. }) => Err(End::Stopped(error.into())),
            }
        };
        let connected = tokio::select! {
            connected = connecting => connected,
            () = items.closed() => return,
        };
        let end = match connected {
            Ok(socket) => {
                let renewal = Renewal::new(target.client.config().token.as_ref());
                let mut connection = Connection::new(socket, &items, target.options.observe, renewal);
                connection.serve(&mut progress, &mut acks, &mut backoff, target.client.config().timeout).await
            }
            Err(end) => end,
        };
        match end {
            End::Dropped => return,
            End::Stopped(error) => {
                // Nobody may be left to be told.
                let _ = items.send(Err(error)).await;
                return;
            }
            End::Lost { reason, code, retry_in } => {
                let own = backoff.next_delay(std::time::Instant::now(), &mut rand::rng());
                let retry_in = retry_in.unwrap_or(own).min(RETRY_AFTER_MAX);
                tracing::debug!(subscriber = target.subscriber, reason, ?retry_in, "the stream was disconnected");
                if items.send(Ok(StreamItem::Disconnected { reason, code, retry_in })).await.is_err() {
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(retry_in) => {}
                    () = items.closed() => return,
                }
            }
        }
    }
}

struct Failure {
    error: Error,
    retry_after: Option<Duration>,
}

impl std::convert::From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, retry_after: None }
    }
}

async fn connect(target: &Target, progress: &Progress) -> Result<Socket, Failure> {
    let url = address(target, progress);
    let request = request(target, &url)?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .read_buffer_size(READ_BUFFER_BYTES);
    let after = target.client.config().timeout;
    let connecting = tokio_tungstenite::connect_async_with_config(request, Some(config), true);
    match tokio::time::timeout(after, connecting).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(refused(&url, error)),
        Err(_) => Err(Error::Timeout { url: url.to_string(), after }.into()),
    }
}

fn address(target: &Target, progress: &Progress) -> Url {
    let Options { consumer, from, since, where_, observe, cursor: _, ack: _ } = &target.options;
    let mut url = join(&target.client.config().gateway_url, &["ws", &target.subscriber]);
    // From http to ws is a change between special schemes, which is always allowed.
    let _ = url.set_scheme(if url.scheme() == "https" { "wss" } else { "ws" });
    {
        let mut query = url.query_pairs_mut();
        if let Some(consumer) = consumer {
            query.append_pair("consumer", consumer);
        }
        if let Some(where_) = where_ {
            query.append_pair("where", where_);
        }
        if *observe {
            query.append_pair("observe", "true");
        }
        if let Some(cursor) = progress.cursor() {
            query.append_pair("cursor", &cursor);
        } else if progress.has_begun() && *observe && (since.is_none() || progress.is_live()) {
            // The server keeps no position for an observer, and no checkpoint has come yet: what was seen is dropped.
            query.append_pair("from", "earliest");
        } else if progress.generation() == 0 {
            match from {
                From::Stored => {}
                From::Latest => drop(query.append_pair("from", "latest")),
                From::Earliest => drop(query.append_pair("from", "earliest")),
            }
            if let Some(since) = since {
                query.append_pair("since", since);
            }
        }
    }
    if url.query() == Some("") {
        url.set_query(None);
    }
    url
}

fn request(target: &Target, url: &Url) -> Result<Request, Error> {
    let config = |detail: String| Error::Config(format!("cannot connect to {url}: {detail}"));
    let mut request = url.as_str().into_client_request().map_err(|error| config(error.to_string()))?;
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
    headers.insert("user-agent", HeaderValue::from_static(concat!("evs-client/", env!("CARGO_PKG_VERSION"))));
    if let Some(token) = &target.client.config().token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.read()?))
            .map_err(|_| config("the token has characters that no header may have".to_owned()))?;
        value.set_sensitive(true);
        headers.insert("authorization", value);
    }
    Ok(request)
}

fn refused(url: &Url, error: tungstenite::Error) -> Failure {
    let url = url.to_string();
    match error {
        tungstenite::Error::Http(response) => {
            let retry_after = response
                .headers()
                .get("retry-after")
                .and_then(|value| value.to_str().ok()?.parse().ok())
                .map(|seconds| Duration::from_secs(seconds).mul_f64(rand::rng().random_range(1.0..=1.5)));
            let body = response.body().as_deref().unwrap_or_default();
            Failure { error: problem_error(response.status().as_u16(), body), retry_after }
        }
        tungstenite::Error::Io(error) => {
            let connected = error.kind() != std::io::ErrorKind::ConnectionRefused;
            Error::Unreachable { url, cause: chain(&error), connected }.into()
        }
        // Cut in the middle of the answer: a server that was killed, not another program.
        tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Protocol(ProtocolError::HandshakeIncomplete) => {
            let cause = "the connection broke during the handshake".to_owned();
            Error::Unreachable { url, cause, connected: true }.into()
        }
        error => Error::Protocol { url, detail: chain(&error) }.into(),
    }
}

/// One open socket.
struct Connection<'a> {
    socket: Socket,
    items: &'a Items,
    /// What the channel had no room for.
    waiting: VecDeque<StreamItem>,
    observe: bool,
    window_events: u64,
    silence_max: Duration,
    /// The highest ack that was sent, and when the first ack after it came.
    ack_sent: u64,
    ack_due: Option<Instant>,
    /// A draining server's wish.
    leave_at: Option<Instant>,
    renewal: Option<Renewal>,
}

impl<'a> Connection<'a> {
    fn new(socket: Socket, items: &'a Items, observe: bool, renewal: Option<Renewal>) -> Self {
        Self {
            socket,
            items,
            waiting: VecDeque::new(),
            observe,
            window_events: ACK_EVERY_EVENTS,
            silence_max: Duration::from_secs(60),
            ack_sent: 0,
            ack_due: None,
            leave_at: None,
            renewal,
        }
    }

    async fn serve(
        &mut self,
        progress: &mut Progress,
        acks: &mut watch::Receiver<Option<Acked>>,
        backoff: &mut Backoff,
        timeout: Duration,
    ) -> End {
        // The first frame tells the epoch and the window.
        let mut heard_at = Instant::now();
        let mut silence_max = timeout;
        let mut can_ack = true;
        loop {
            let full = !self.waiting.is_empty();
            let silent_at = heard_at + silence_max;
            tokio::select! {
                biased;
                () = self.items.closed() => {
                    self.say_goodbye(progress, acks).await;
                    return End::Dropped;
                }
                changed = acks.changed(), if can_ack => {
                    // The sender goes away with the program's handle, which the branch above sees.
                    can_ack = changed.is_ok();
                    if let Err(end) = self.ack(progress, acks, false).await {
                        return end;
                    }
                }
                () = at(self.ack_due) => {
                    if let Err(end) = self.ack(progress, acks, true).await {
                        return end;
                    }
                }
                () = at(self.renewal.as_ref().and_then(Renewal::due)) => {
                    if let Some(token) = self.renewal.as_mut().and_then(Renewal::look)
                        && let Err(end) = self.send(&ClientFrame::Refresh { token }).await
                    {
                        return end;
                    }
                }
                () = at(self.leave_at) => {
                    self.close(WsCode::Normal).await;
                    return End::Lost {
                        reason: "the server is draining".to_owned(),
                        code: None,
                        retry_in: Some(Duration::ZERO),
                    };
                }
                permit = self.items.reserve(), if full => {
                    if let (Ok(permit), Some(item)) = (permit, self.waiting.pop_front()) {
                        permit.send(Ok(item));
                    }
                    // The program was slow, not the server silent.
                    heard_at = Instant::now();
                }
                message = self.socket.next(), if !full => {
                    heard_at = Instant::now();
                    match self.take(message, progress).await {
                        Ok(true) => {
                            backoff.connected(std::time::Instant::now());
                            silence_max = self.silence_max;
                            // Acks that got lost with the connection before.
                            if let Err(end) = self.ack(progress, acks, true).await {
                                return end;
                            }
                        }
                        Ok(false) => {}
                        Err(end) => return end,
                    }
                }
                () = tokio::time::sleep_until(silent_at), if !full => {
                    return End::lost(format!("nothing was heard for {silence_max:?}"));
                }
            }
        }
    }

    /// Handles a message; true if it was the welcome.
    async fn take(
        &mut self,
        message: Option<Result<Message, tungstenite::Error>>,
        progress: &mut Progress,
    ) -> Result<bool, End> {
        let text = match message {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Close(frame))) => return Err(self.closed(frame)),
            // Pings are answered by the library.
            Some(Ok(_)) => return Ok(false),
            Some(Err(error)) => return Err(End::lost(format!("the connection broke: {}", chain(&error)))),
            None => return Err(End::lost("the connection broke")),
        };
        match frames::parse(&text) {
            Ok(ServerFrame::Event(frame)) => {
                let verdict = progress.event(&frame);
                match verdict {
                    Verdict::Seen => return Ok(false),
                    Verdict::Hole => {
                        self.close(WsCode::Normal).await;
                        let reason = format!(
                            "delivery {} came after {}; resuming to get those between",
                            frame.seq.unwrap_or_default(),
                            progress.last()
                        );
                        return Err(End::lost(reason));
                    }
                    Verdict::NewAfter(gap) => self.hand_on(StreamItem::Gap(gap)),
                    Verdict::New => {}
                }
                let epoch = progress.epoch().cloned().unwrap_or_default();
                self.hand_on(StreamItem::Event(Delivery {
                    seq: frame.seq,
                    epoch,
                    generation: progress.generation(),
                    position: frame.position,
                    filters: frame.filters,
                    data: frame.data,
                }));
            }
            Ok(ServerFrame::Welcome(welcome)) => {
                self.begin(welcome, progress);
                return Ok(true);
            }
            Ok(ServerFrame::Gap(gap)) => {
                if let Some(gap) = progress.gap(gap) {
                    self.hand_on(StreamItem::Gap(gap));
                }
            }
            Ok(ServerFrame::CaughtUp { seq, cursor }) => {
                progress.caught_up(seq);
                if let Some(cursor) = cursor {
                    progress.checkpoint(seq, &cursor);
                    self.hand_on(StreamItem::Checkpoint { seq, cursor });
                }
                self.hand_on(StreamItem::CaughtUp);
            }
            Ok(ServerFrame::Checkpoint { seq, cursor }) => {
                progress.checkpoint(seq, &cursor);
                self.hand_on(StreamItem::Checkpoint { seq, cursor });
            }
            Ok(ServerFrame::Draining { reconnect_within_ms }) => {
                let within = Duration::from_millis(reconnect_within_ms).mul_f64(rand::rng().random_range(0.0..=1.0));
                self.leave_at = Some(Instant::now() + within);
            }
            Ok(ServerFrame::Error { code, message }) => {
                progress.notice(&code);
                self.hand_on(StreamItem::Notice { code, message });
            }
            Ok(ServerFrame::Acked { .. } | ServerFrame::Pong { .. } | ServerFrame::Unknown) => {}
            Err(error) => return Err(End::lost(format!("a frame that is none came in: {error}"))),
        }
        Ok(false)
    }

    fn begin(&mut self, welcome: Welcome, progress: &mut Progress) {
        self.window_events = welcome.window_events.max(1);
        self.silence_max = Duration::from_secs(welcome.ping_s.clamp(1, 3_600) * 2);
        let gap = progress.welcome(&welcome);
        self.hand_on(StreamItem::Connected(welcome));
        if let Some(gap) = gap {
            self.hand_on(StreamItem::Gap(gap));
        }
    }

    fn hand_on(&mut self, item: StreamItem) {
        if !self.waiting.is_empty() {
            self.waiting.push_back(item);
        } else if let Err(mpsc::error::TrySendError::Full(Ok(item))) = self.items.try_send(Ok(item)) {
            self.waiting.push_back(item);
        }
    }

    /// Sends what the program acked, if it is much, old, or `now`.
    async fn ack(
        &mut self,
        progress: &Progress,
        acks: &mut watch::Receiver<Option<Acked>>,
        now: bool,
    ) -> Result<(), End> {
        let acked = acks.borrow_and_update().clone();
        let seq = match acked {
            Some(acked)
                if Some(&acked.epoch) == progress.epoch()
                    && acked.generation == progress.generation()
                    && acked.seq > self.ack_sent =>
            {
                acked.seq
            }
            _ => {
                self.ack_due = None;
                return Ok(());
            }
        };
        if self.observe {
            return Ok(());
        }
        let many = ACK_EVERY_EVENTS.min(self.window_events.div_ceil(4));
        if !now && seq - self.ack_sent < many {
            self.ack_due.get_or_insert_with(|| Instant::now() + ACK_AFTER);
            return Ok(());
        }
        self.ack_due = None;
        self.ack_sent = seq;
        self.send(&ClientFrame::Ack { seq, n: None }).await
    }

    async fn send(&mut self, frame: &ClientFrame) -> Result<(), End> {
        let text = serde_json::to_string(frame).unwrap_or_default();
        match tokio::time::timeout(SEND_TIMEOUT, self.socket.send(Message::text(text))).await {
            Ok(Ok(())) => Ok(()),
            // The reading side tells more: a close frame may lie there.
            Ok(Err(_)) => Ok(()),
            Err(_) => Err(End::lost(format!("the server took nothing for {SEND_TIMEOUT:?}"))),
        }
    }

    async fn say_goodbye(&mut self, progress: &Progress, acks: &mut watch::Receiver<Option<Acked>>) {
        // A connection that fails now would have been closed anyway.
        let _ = self.ack(progress, acks, true).await;
        self.close(WsCode::Normal).await;
    }

    async fn close(&mut self, code: WsCode) {
        let closing = async {
            self.socket.close(Some(CloseFrame { code, reason: "".into() })).await?;
            // Until the other side has answered, so that what was sent before has arrived.
            while let Some(Ok(_)) = self.socket.next().await {}
            Ok::<_, tungstenite::Error>(())
        };
        // The socket is dropped next, whatever became of the farewell.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
    }

    fn closed(&self, frame: Option<CloseFrame>) -> End {
        let Some(CloseFrame { code, reason }) = frame else { return End::lost("the server closed the connection") };
        let (code, reason) = (u16::from(code), reason.to_string());
        let explanation = explain_close(code);
        if !CloseCode::reconnects(code) {
            return End::Stopped(StreamError::Closed { code, reason, explanation });
        }
        // A draining server has told when to come back.
        let retry_in = self.leave_at.map(|at| at.saturating_duration_since(Instant::now()));
        End::Lost { reason: explanation.to_owned(), code: Some(code), retry_in }
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
