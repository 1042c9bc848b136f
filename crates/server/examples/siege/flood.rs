//! Requests with bad tokens at a steady rate, from each address at the same moments.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::outside::{ADDRESSES, connect};

/// Connections of one address where the next request does not wait for the last answer: half of what the server lets
/// an address have.
const CONNECTIONS_MAX: usize = 128;

/// How the server took it.
#[derive(Clone, Copy, Default)]
struct Counts {
    sent: u64,
    refused: u64,
    limited: u64,
    other: u64,
    /// No connection was free.
    held: u64,
}

pub(crate) struct Flood {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Counts>,
}

impl Flood {
    /// `patient`: a request waits for the last one's answer, as most tools do; else it takes another connection.
    pub(crate) fn begin(to: SocketAddr, token: &str, rate: u32, patient: bool) -> Self {
        let (stop, mut tasks) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        let every = Duration::from_secs_f64(f64::from(ADDRESSES) / f64::from(rate.max(1)));
        // A token whose signature must be checked, and which is wrong.
        let bad = format!("{}AAAA", &token[..token.len().saturating_sub(4)]);
        let request = format!("GET /filters HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {bad}\r\n\r\n");
        for from in 0..ADDRESSES {
            let (stop, request) = (stop.clone(), Arc::from(request.as_str()));
            let connections_max = if patient { 1 } else { CONNECTIONS_MAX };
            tasks.spawn(address(from, to, request, every, connections_max, stop));
        }
        Self { stop, tasks }
    }

    /// What it was, and how many requests.
    pub(crate) async fn end(mut self) -> (String, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Counts::default();
        while let Some(Ok(Counts { sent, refused, limited, other, held })) = self.tasks.join_next().await {
            all.sent += sent;
            all.refused += refused;
            all.limited += limited;
            all.other += other;
            all.held += held;
        }
        let Counts { sent, refused, limited, other, held } = all;
        let text = format!(
            "{sent} sent, {refused} answered 401, {limited} answered 429, {other} cut or unanswered, {held} not sent \
             because no connection was free"
        );
        (text, sent)
    }
}

/// One address, until it is told to stop.
async fn address(
    from: u8,
    to: SocketAddr,
    request: Arc<str>,
    every: Duration,
    connections_max: usize,
    stop: Arc<AtomicBool>,
) -> Counts {
    let mut counts = Counts::default();
    let mut every = interval(every);
    let (answered, mut answers) = mpsc::channel(connections_max);
    let (mut free, mut asking) = (Vec::new(), JoinSet::new());
    while !stop.load(Ordering::Relaxed) {
        every.tick().await;
        while let Ok(connection) = answers.try_recv() {
            free.push(connection);
        }
        while let Some(Ok(status)) = asking.try_join_next() {
            count(&mut counts, status);
        }
        if asking.len() >= connections_max {
            counts.held += 1;
            continue;
        }
        counts.sent += 1;
        let (connection, request, answered) = (free.pop(), request.clone(), answered.clone());
        asking.spawn(async move {
            let connection = match connection {
                Some(connection) => Ok(connection),
                None => connect(from, to).await,
            };
            let Ok(mut connection) = connection else { return 0 };
            let status = ask(&mut connection, &request).await.unwrap_or(0);
            if status > 0 {
                let _ = answered.try_send(connection);
            }
            status
        });
    }
    asking.shutdown().await;
    counts
}

fn count(counts: &mut Counts, status: u16) {
    match status {
        401 => counts.refused += 1,
        429 => counts.limited += 1,
        _ => counts.other += 1,
    }
}

/// The status of the answer.
async fn ask(connection: &mut TcpStream, request: &str) -> std::io::Result<u16> {
    connection.write_all(request.as_bytes()).await?;
    let mut answer = [0; 4096];
    let len = connection.read(&mut answer).await?;
    Ok(answer[..len].get(9..12).and_then(|status| std::str::from_utf8(status).ok()?.parse().ok()).unwrap_or(0))
}
