//! Slow connections, opened again when they are closed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::outside::{ADDRESSES, connect};

/// A byte this often keeps a connection from looking dead.
const DRIP: Duration = Duration::from_secs(2);

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
