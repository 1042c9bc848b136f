//! The other side, driven step by step by a test.

use std::future::Future;
use std::time::Duration;

use evs_client::{Client, Config, StreamError, StreamItem, Subscription};
use evs_core::{Cursor, Epoch, Seq, Shard, Slot};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// What takes longer has failed.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it happens within 20 s")
}

pub(crate) struct Server {
    listener: TcpListener,
}

impl Server {
    pub(crate) async fn start() -> (Self, Client) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let config = Config::new(&url).unwrap().with_gateway(&url).unwrap();
        (Self { listener }, Client::new(config).unwrap())
    }

    pub(crate) async fn accept_tcp(&self) -> TcpStream {
        soon(self.listener.accept()).await.unwrap().0
    }

    #[expect(clippy::result_large_err, reason = "the library's own callback type")]
    pub(crate) async fn accept(&self) -> Peer {
        let socket = self.accept_tcp().await;
        let mut uri = String::new();
        let look = |request: &Request, mut response: Response| {
            uri = request.uri().to_string();
            assert_eq!(request.headers()["sec-websocket-protocol"], "evs.v1.json");
            response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("evs.v1.json"));
            Ok(response)
        };
        let socket = soon(tokio_tungstenite::accept_hdr_async(socket, look)).await.unwrap();
        Peer { uri, socket }
    }

    /// Answers one HTTP request with these bytes; returns its first line.
    pub(crate) async fn answer(&self, bytes: &str) -> (String, TcpStream) {
        let mut socket = self.accept_tcp().await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(socket.read_u8()).await.unwrap());
        }
        soon(socket.write_all(bytes.as_bytes())).await.unwrap();
        let head = String::from_utf8(head).unwrap();
        (head.lines().next().unwrap_or_default().to_owned(), socket)
    }
}

pub(crate) struct Peer {
    pub(crate) uri: String,
    socket: WebSocketStream<TcpStream>,
}

pub(crate) const EPOCH: u64 = 0xaa;

impl Peer {
    pub(crate) async fn send(&mut self, frame: &str) {
        soon(self.socket.send(Message::text(frame))).await.unwrap();
    }

    pub(crate) async fn welcome(&mut self, next: u64, resumed: &str) {
        self.welcome_with(next, resumed, 25).await;
    }

    pub(crate) async fn welcome_with(&mut self, next: u64, resumed: &str, ping_s: u64) {
        let epoch = Epoch(EPOCH);
        self.send(&format!(
            r#"{{"t":"welcome","subscriber":"user_1","consumer":"default","epoch":"{epoch}","next":{next},"top":{next},"resumed":"{resumed}","window_events":256,"window_bytes":1048576,"ping_s":{ping_s},"server":"test"}}"#
        ))
        .await;
    }

    pub(crate) async fn event(&mut self, seq: u64) {
        self.send(&format!(r#"{{"t":"event","seq":{seq},"filters":[1],"data":{{"n":{seq}}}}}"#)).await;
    }

    pub(crate) async fn checkpoint(&mut self, seq: u64) {
        let cursor = cursor(seq);
        self.send(&format!(r#"{{"t":"checkpoint","seq":{seq},"cursor":"{cursor}"}}"#)).await;
    }

    /// The next text; `None` when the other side has closed.
    pub(crate) async fn hear(&mut self) -> Option<String> {
        loop {
            match soon(self.socket.next()).await {
                Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    pub(crate) async fn close(mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        soon(self.socket.close(Some(frame))).await.unwrap();
        while self.hear().await.is_some() {}
    }

    /// The cursor that the client came with.
    pub(crate) fn cursor(&self) -> Option<Cursor> {
        self.uri.split(['?', '&']).find_map(|pair| pair.strip_prefix("cursor=")).map(|text| text.parse().unwrap())
    }
}

pub(crate) fn cursor(seq: u64) -> Cursor {
    Cursor { shard: Shard(0), slot: Slot(3), epoch: Epoch(EPOCH), seq: Seq(seq), seen: Vec::new() }
}

pub(crate) async fn next(stream: &mut Subscription) -> Result<StreamItem, StreamError> {
    soon(stream.next()).await.expect("the stream goes on")
}

/// The seq of the next delivery; checkpoints and reconnects on the way are passed over.
pub(crate) async fn next_seq(stream: &mut Subscription) -> u64 {
    loop {
        match next(stream).await.unwrap() {
            StreamItem::Event(delivery) => return delivery.seq.unwrap(),
            StreamItem::Gap(gap) => panic!("an unexpected gap: {gap:?}"),
            _ => {}
        }
    }
}
