//! Receivers: a raw socket and a small task each, so that what is measured is the server.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::now_us;

/// Acks are cumulative: one for so many deliveries.
const ACK_EVERY: u64 = 64;

/// What all sockets together have seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) received: AtomicU64,
    pub(crate) caught_up: AtomicU64,
    /// The event's number and when it came, microseconds since 1970.
    pub(crate) times: Mutex<Vec<(u64, u64)>>,
}

/// Follows a subscriber until the task is aborted.
pub(crate) async fn follow(gateway: u16, subscriber: String, seen: &Seen) {
    let mut stream = TcpStream::connect(("127.0.0.1", gateway)).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    let request = format!(
        "GET /ws/{subscriber} HTTP/1.1\r\nhost: bench\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: evs.v1.json\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("a handshake");
    let mut bytes = Vec::with_capacity(4096);
    let head = loop {
        assert!(stream.read_buf(&mut bytes).await.expect("a handshake") > 0, "refused");
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    assert!(bytes.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&bytes));
    bytes.drain(..head);
    let mut acked = 0;
    loop {
        let (used, last) = take(&bytes, seen, &mut stream).await;
        bytes.drain(..used);
        if last >= acked + ACK_EVERY {
            acked = last;
            send(&mut stream, 0x81, format!("{{\"t\":\"ack\",\"seq\":{last}}}").as_bytes()).await;
        }
        assert!(stream.read_buf(&mut bytes).await.expect("the socket") > 0, "{subscriber} was closed");
    }
}

/// Takes whole frames; answers how many bytes they were, and the last seq.
async fn take(bytes: &[u8], seen: &Seen, stream: &mut TcpStream) -> (usize, u64) {
    let (mut used, mut last) = (0, 0);
    while let Some((opcode, from, end)) = frame(&bytes[used..]) {
        let body = &bytes[used + from..used + end];
        used += end;
        if let Some(rest) = body.strip_prefix(br#"{"t":"event","seq":"#) {
            last = number(rest);
            const MARK: &[u8] = br#""n":"#;
            let at = body.windows(MARK.len()).position(|bytes| bytes == MARK).expect("our event");
            seen.times.lock().expect("main").push((number(&body[at + MARK.len()..]), now_us()));
            seen.received.fetch_add(1, Ordering::Relaxed);
        } else if body.starts_with(br#"{"t":"caught_up""#) {
            seen.caught_up.fetch_add(1, Ordering::Relaxed);
        } else if opcode == 0x9 {
            send(stream, 0x8a, body).await;
        } else {
            let known = body.starts_with(br#"{"t":"welcome""#) || body.starts_with(br#"{"t":"checkpoint""#);
            assert!(known, "{opcode}: {}", String::from_utf8_lossy(body));
        }
    }
    (used, last)
}

/// Opcode and place of the body of the first whole frame.
fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (first, short) = (*bytes.first()?, *bytes.get(1)?);
    let (from, len) = match short {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        len => (2, usize::from(len)),
    };
    (bytes.len() >= from + len).then_some((first & 0x0f, from, from + len))
}

fn number(text: &[u8]) -> u64 {
    text.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |number, byte| number * 10 + u64::from(byte - b'0'))
}

/// A masked frame, whose mask is zero.
async fn send(stream: &mut TcpStream, first: u8, body: &[u8]) {
    let mut frame = vec![first, 0x80 | u8::try_from(body.len()).expect("small"), 0, 0, 0, 0];
    frame.extend_from_slice(body);
    stream.write_all(&frame).await.expect("a small frame");
}
