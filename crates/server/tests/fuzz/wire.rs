//! Bytes on the sockets themselves: requests that no library would send, and WebSocket frames cut and bent.

use std::net::SocketAddr;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::campaign::Report;
use crate::mutate;

/// Well past the header timeout of the server under test.
const DEADLINE: Duration = Duration::from_secs(20);

const HEADS: [&str; 5] = [
    "GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    "GET /ws/ann?consumer=x&since=10m&where=amount%20%3E%201 HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n\
     upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    "GET /sse/ann?cursor=abc HTTP/1.1\r\nhost: a\r\nlast-event-id: x\r\nconnection: close\r\n\r\n",
    "POST /events HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\
     connection: close\r\n\r\n{\"amount\":1}",
    "POST /filters HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\
     connection: close\r\n\r\n5\r\n{\"a\":\r\n2\r\n1}\r\n0\r\n\r\n",
];

/// A bent request; whatever the server makes of it, the connection ends.
pub(crate) async fn http(rng: &mut StdRng, report: &mut Report, to: SocketAddr) -> String {
    let head = HEADS[rng.random_range(0..HEADS.len())];
    let head = mutate::bytes(rng, head.as_bytes());
    let input = format!("http {:?}", String::from_utf8_lossy(&head));
    let Some(answer) = talk(to, &head, &[]).await else {
        report.finding(format!("no end of the connection after {input}"));
        return input;
    };
    let status: String = String::from_utf8_lossy(&answer).chars().skip(9).take(3).collect();
    if status.starts_with('5') {
        report.finding(format!("{} to {input}", String::from_utf8_lossy(&answer)));
    }
    report.count(if status.is_empty() { "http-silent".to_owned() } else { format!("http-{status}") });
    input
}

/// A good handshake, then frames of which some are bent.
pub(crate) async fn frames(rng: &mut StdRng, report: &mut Report, gateway: SocketAddr) -> String {
    let observe = if rng.random_bool(0.3) { "&observe=true" } else { "" };
    let head = format!(
        "GET /ws/witness-{}?consumer=c{}{observe} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
         sec-websocket-protocol: evs.v1.json\r\n\r\n",
        rng.random_range(0..2),
        rng.random_range(0..3),
    );
    let mut stream = Vec::new();
    for _ in 0..rng.random_range(1..12) {
        stream.extend(frame(rng));
    }
    if rng.random_bool(0.3) {
        stream = mutate::bytes(rng, &stream);
    }
    let input = format!("frames {stream:02x?}");
    let close = [0x88, 0x80, 0, 0, 0, 0];
    match talk(gateway, head.as_bytes(), &[&stream[..], &close].concat()).await {
        None => report.finding(format!("no end of the connection after {input}")),
        Some(answer) if !answer.starts_with(b"HTTP/1.1 101 ") => {
            report
                .count(format!("ws-{}", String::from_utf8_lossy(&answer).chars().skip(9).take(3).collect::<String>()));
        }
        Some(answer) => report.count(closed(&answer)),
    }
    input
}

/// The close code, which is the last frame that a server sends.
fn closed(answer: &[u8]) -> String {
    let at = answer.iter().rposition(|byte| *byte == 0x88);
    match at.and_then(|at| answer.get(at + 2..at + 4)) {
        Some(&[high, low]) => format!("close-{}", u16::from_be_bytes([high, low])),
        _ => "close-none".to_owned(),
    }
}

fn frame(rng: &mut StdRng) -> Vec<u8> {
    let seed = match rng.random_range(0..6) {
        0 => json!({ "t": "ping", "n": 1 }),
        1 => json!({ "t": "refresh", "token": "x.y.z" }),
        2 => json!({ "t": "confetti" }),
        _ => json!({ "t": "ack", "seq": rng.random_range(0..9_u64), "n": 7 }),
    };
    let mut payload = mutate::tree(rng, seed).to_string().into_bytes();
    if rng.random_bool(0.3) {
        payload = mutate::bytes(rng, &payload);
    }
    if rng.random_bool(0.02) {
        payload.resize(rng.random_range(16_000..17_000), b' ');
    }
    let first = match rng.random_range(0..12) {
        0 => 0x89,
        1 => 0x8a,
        2 => 0x01,
        3 => 0x80,
        4 => rng.random(),
        _ => 0x81,
    };
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
    }
    let key: [u8; 4] = rng.random();
    frame.extend(key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// Sends `first`, then `more` once something was answered, then ends its own side; all that came until the server
/// ended its side. `None`: it did not, and it is no stream of events, which goes on for a client that can still read.
async fn talk(to: SocketAddr, first: &[u8], more: &[u8]) -> Option<Vec<u8>> {
    let mut answer = Vec::new();
    let talked = async {
        let mut socket = TcpStream::connect(to).await.ok()?;
        // A server that has heard enough may close while we still write.
        let _ = socket.write_all(first).await;
        if !more.is_empty() {
            let _ = socket.read_buf(&mut answer).await;
            let _ = socket.write_all(more).await;
        }
        let _ = socket.shutdown().await;
        let _ = socket.read_to_end(&mut answer).await;
        Some(())
    };
    let ended = tokio::time::timeout(DEADLINE, talked).await;
    let is_stream = || String::from_utf8_lossy(&answer).contains("text/event-stream");
    let is_known = match ended {
        Ok(connected) => connected.is_some(),
        Err(_) => is_stream(),
    };
    is_known.then_some(answer)
}
