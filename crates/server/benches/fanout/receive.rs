//! All sockets of all subscribers in one thread and one epoll: a receiver must be cheap, or it is what is measured.

use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::server::Server;

/// Acks are cumulative: one for so many deliveries.
const ACK_EVERY: u64 = 64;

/// Room for one read.
const READ_BYTES: usize = 256 * 1024;

/// Every so many deliveries a latency is noted.
const SAMPLE_EVERY: u64 = 16;

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) received: AtomicU64,
    pub(crate) caught_up: AtomicU64,
    /// Deliveries whose seq did not follow the one before.
    pub(crate) disorder: AtomicU64,
    pub(crate) stop: AtomicBool,
    latencies_us: Mutex<Vec<u64>>,
}

impl Counters {
    /// p50, p99 and the longest, in milliseconds.
    pub(crate) fn latencies(&self) -> [f64; 3] {
        let mut all = self.latencies_us.lock().expect("the receiver").clone();
        all.sort_unstable();
        let at = |share: f64| all.get(((all.len() as f64 * share) as usize).min(all.len().saturating_sub(1)));
        [0.5, 0.99, 1.0].map(|share| at(share).copied().unwrap_or_default() as f64 / 1e3)
    }
}

struct Receiver {
    stream: TcpStream,
    partial: Vec<u8>,
    next: u64,
}

pub(crate) struct Receivers {
    poll: Poll,
    receivers: Vec<Receiver>,
    acks: bool,
    counters: Arc<Counters>,
}

impl Receivers {
    pub(crate) fn connect(server: &Server, sockets: usize, acks: bool, counters: Arc<Counters>) -> Self {
        let poll = Poll::new().expect("epoll");
        let mut all = Self { poll, receivers: Vec::with_capacity(sockets), acks, counters };
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; READ_BYTES];
        for number in 0..sockets {
            // Those that are connected already are pinged while the rest is connecting.
            if number % 64 == 63 {
                all.turn(&mut events, &mut buffer, Duration::ZERO);
            }
            let mut stream = std::net::TcpStream::connect(server.gateway).expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            let protocol = if acks { "sec-websocket-protocol: evs.v1.json\r\n" } else { "" };
            let request = format!(
                "GET /ws/bench_{number} HTTP/1.1\r\nhost: bench\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocol}\r\n"
            );
            stream.write_all(request.as_bytes()).expect("a handshake");
            let (mut answer, mut bytes) = (Vec::new(), [0; 1024]);
            let end = loop {
                let len = stream.read(&mut bytes).expect("a handshake");
                assert!(len > 0, "refused");
                answer.extend_from_slice(&bytes[..len]);
                if let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
                    break at + 4;
                }
            };
            assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
            stream.set_nonblocking(true).expect("a socket");
            let mut stream = TcpStream::from_std(stream);
            all.poll.registry().register(&mut stream, Token(number), Interest::READABLE).expect("epoll");
            all.receivers.push(Receiver { stream, partial: answer.split_off(end), next: 1 });
            all.read(number, &mut buffer);
        }
        all
    }

    /// Receives until told to stop; answers its own time on the processor.
    pub(crate) fn run(&mut self) -> Duration {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; READ_BYTES];
        while !self.counters.stop.load(Ordering::Relaxed) {
            self.turn(&mut events, &mut buffer, Duration::from_millis(100));
        }
        thread_cpu()
    }

    fn turn(&mut self, events: &mut Events, buffer: &mut [u8], wait: Duration) {
        match self.poll.poll(events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return,
            polled => polled.expect("epoll"),
        }
        for event in &*events {
            self.read(event.token().0, buffer);
        }
    }

    fn read(&mut self, number: usize, bytes: &mut [u8]) {
        let Self { receivers, counters, acks, .. } = self;
        let receiver = &mut receivers[number];
        loop {
            let len = match receiver.stream.read(bytes) {
                Ok(0) => panic!("socket {number} was closed"),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => panic!("socket {number}: {error}"),
            };
            let (mut received, next) = (0, receiver.next);
            if receiver.partial.is_empty() {
                let used = take(&bytes[..len], &mut receiver.next, &mut received, counters, &mut receiver.stream);
                receiver.partial.extend_from_slice(&bytes[used..len]);
            } else {
                let mut partial = std::mem::take(&mut receiver.partial);
                partial.extend_from_slice(&bytes[..len]);
                let used = take(&partial, &mut receiver.next, &mut received, counters, &mut receiver.stream);
                partial.drain(..used);
                receiver.partial = partial;
            }
            counters.received.fetch_add(received, Ordering::Relaxed);
            if *acks && (receiver.next - 1) / ACK_EVERY > (next - 1) / ACK_EVERY {
                let text = format!("{{\"t\":\"ack\",\"seq\":{}}}", receiver.next - 1);
                send(&mut receiver.stream, 0x81, text.as_bytes());
            }
            // Less than was asked for: epoll tells when there is more.
            if len < bytes.len() {
                return;
            }
        }
    }
}

/// Takes whole frames; answers how many bytes they were.
fn take(bytes: &[u8], next: &mut u64, received: &mut u64, counters: &Counters, stream: &mut TcpStream) -> usize {
    let mut used = 0;
    while let Some((opcode, body)) = frame(&bytes[used..]) {
        used += body.end;
        let body = &bytes[used - body.len()..used];
        if let Some(rest) = body.strip_prefix(br#"{"t":"event","seq":"#) {
            *received += 1;
            if number(rest) != *next {
                counters.disorder.fetch_add(1, Ordering::Relaxed);
            }
            *next = number(rest) + 1;
            if (*next).is_multiple_of(SAMPLE_EVERY) {
                const MARK: &[u8] = br#""sent_us":"#;
                let at = body.windows(MARK.len()).position(|bytes| bytes == MARK).expect("our event");
                let latency = now_us().saturating_sub(number(&body[at + MARK.len()..]));
                counters.latencies_us.lock().expect("main").push(latency);
            }
        } else if body.starts_with(br#"{"t":"caught_up""#) {
            counters.caught_up.fetch_add(1, Ordering::Relaxed);
        } else if opcode == 0x9 {
            send(stream, 0x8a, body);
        } else {
            let known = body.starts_with(br#"{"t":"welcome""#) || body.starts_with(br#"{"t":"checkpoint""#);
            assert!(known, "{opcode}: {}", String::from_utf8_lossy(body));
        }
    }
    used
}

/// Opcode and place of the body of the first whole frame.
fn frame(bytes: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (first, short) = (*bytes.first()?, *bytes.get(1)?);
    let (from, len) = match short {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        len => (2, usize::from(len)),
    };
    (bytes.len() >= from + len).then_some((first & 0x0f, from..from + len))
}

fn number(text: &[u8]) -> u64 {
    text.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |number, byte| number * 10 + u64::from(byte - b'0'))
}

/// A masked frame, whose mask is zero.
fn send(stream: &mut TcpStream, first: u8, body: &[u8]) {
    let mut frame = vec![first, 0x80 | body.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(body);
    stream.write_all(&frame).expect("a small frame");
}

pub(crate) fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_micros() as u64
}

/// Time on the processor of this thread.
pub(crate) fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default())
}
