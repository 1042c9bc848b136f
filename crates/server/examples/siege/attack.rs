//! Those outside: from many addresses of the loopback network, since one address is limited by itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

/// Addresses that the attack comes from.
const ADDRESSES: u8 = 40;

/// A byte this often keeps a connection from looking dead.
const DRIP: Duration = Duration::from_secs(2);

async fn connect(from: u8, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 9, 0, 1 + from), 0).into())?;
    socket.connect(to).await
}

/// Slow connections; when one is closed, another is opened in its place.
pub(crate) struct Loris {
    opened: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    open: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Loris {
    pub(crate) async fn open(to: [SocketAddr; 2], connections: usize) -> Self {
        let (opened, refused, open) = (Arc::default(), Arc::default(), Arc::default());
        let mut loris = Self { opened, refused, open, _tasks: JoinSet::new() };
        for number in 0..connections {
            let to = to[number % 2];
            let from = (number % usize::from(ADDRESSES)) as u8;
            let (opened, refused, open) = (loris.opened.clone(), loris.refused.clone(), loris.open.clone());
            loris._tasks.spawn(async move {
                loop {
                    let Ok(socket) = connect(from, to).await else {
                        refused.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(DRIP).await;
                        continue;
                    };
                    opened.fetch_add(1, Ordering::Relaxed);
                    open.fetch_add(1, Ordering::Relaxed);
                    drip(socket).await;
                    open.fetch_sub(1, Ordering::Relaxed);
                    tokio::time::sleep(DRIP).await;
                }
            });
            if number % 200 == 199 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        tokio::time::sleep(DRIP).await;
        loris
    }

    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn still_open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }
}

/// A request's headers, a byte at a time, until the server has enough of it.
async fn drip(mut socket: TcpStream) {
    if socket.write_all(b"GET /filters HTTP/1.1\r\nhost: a\r\nx-slow: ").await.is_err() {
        return;
    }
    let mut answer = [0; 512];
    loop {
        match timeout(DRIP, socket.read(&mut answer)).await {
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(_)) => {}
            Err(_) if socket.write_all(b"x").await.is_err() => return,
            Err(_) => {}
        }
    }
}

/// Requests with bad tokens at a steady rate.
pub(crate) struct Flood {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<(u64, u64, u64)>,
}

impl Flood {
    pub(crate) fn begin(to: SocketAddr, token: &str, rate: u32) -> Self {
        let (stop, mut tasks) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        let every = Duration::from_secs_f64(f64::from(ADDRESSES) / f64::from(rate.max(1)));
        // A token whose signature must be checked, and which is wrong.
        let bad = format!("{}AAAA", &token[..token.len().saturating_sub(4)]);
        for from in 0..ADDRESSES {
            let (stop, bad) = (stop.clone(), bad.clone());
            tasks.spawn(async move {
                let (mut refused, mut limited, mut other) = (0, 0, 0);
                let mut every = interval(every);
                let request = format!("GET /filters HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {bad}\r\n\r\n");
                let mut socket = None;
                let mut answer = vec![0; 4096];
                while !stop.load(Ordering::Relaxed) {
                    every.tick().await;
                    if socket.is_none() {
                        socket = connect(from, to).await.ok();
                    }
                    let Some(open) = &mut socket else { continue };
                    let sent = open.write_all(request.as_bytes()).await;
                    let len = if sent.is_ok() { open.read(&mut answer).await.unwrap_or(0) } else { 0 };
                    match answer.get(9..12).filter(|_| len > 12) {
                        Some(b"401") => refused += 1,
                        Some(b"429") => limited += 1,
                        _ => {
                            other += 1;
                            socket = None;
                        }
                    }
                }
                (refused, limited, other)
            });
        }
        Self { stop, tasks }
    }

    pub(crate) async fn end(mut self) -> String {
        self.stop.store(true, Ordering::Relaxed);
        let (mut refused, mut limited, mut other) = (0, 0, 0);
        while let Some(Ok((of_refused, of_limited, of_other))) = self.tasks.join_next().await {
            refused += of_refused;
            limited += of_limited;
            other += of_other;
        }
        format!("{refused} answered 401, {limited} answered 429, {other} cut or unanswered")
    }
}
