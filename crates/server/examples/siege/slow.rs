//! Consumers that connect and never read: what each costs the server, and what one that reads notices.

use std::path::PathBuf;
use std::time::Duration;

use evs_client::api::filters::FilterSpec;
use evs_client::{Client, Config};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::legit::Legit;
use crate::server::Besieged;

/// Of the events that the slow ones are sent and do not read, in all far more than a socket's buffers hold.
const EVENTS: usize = 400;
const EVENT_BYTES: usize = 1_000;

const OF_ONE_SUBSCRIBER: usize = 100;

pub(crate) async fn run(server: Option<PathBuf>, consumers: usize, span: Duration) -> anyhow::Result<()> {
    let server = Besieged::start(server, false).await?;
    let legit = Legit::new(&server).await?;
    let before = legit.measure(span).await?;
    println!("before: {before}");
    // A hundred on each queue: each consumer has a position of its own, and nothing is shared but the entries.
    let client = Client::new(Config::new(&format!("http://{}", server.api))?)?;
    for subscriber in 0..consumers.div_ceil(OF_ONE_SUBSCRIBER) {
        let spec = FilterSpec {
            subscriber_id: format!("slow{subscriber}"),
            event_types: vec!["slow".into()],
            ..FilterSpec::default()
        };
        client.create_filter(&spec, Some(Duration::from_secs(10))).await?;
    }
    let mut sockets = Vec::with_capacity(consumers);
    for number in 0..consumers {
        let socket = TcpSocket::new_v4()?;
        // What the kernel keeps for a client is not what the server keeps.
        socket.set_recv_buffer_size(4096)?;
        let mut socket = socket.connect(server.gateway).await?;
        let request = format!(
            "GET /ws/slow{}?consumer=c{number} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
            number / OF_ONE_SUBSCRIBER
        );
        socket.write_all(request.as_bytes()).await?;
        let mut first = [0; 12];
        socket.read_exact(&mut first).await?;
        anyhow::ensure!(first.ends_with(b"101"), "{}", String::from_utf8_lossy(&first));
        sockets.push(socket);
    }
    let idle_kib = server.memory_kib();
    println!("siege:  {consumers} consumers connected, the server has {idle_kib} KiB");
    let event = format!("{{\"event_type\":\"slow\",\"pad\":\"{}\"}}\n", "x".repeat(EVENT_BYTES));
    for _ in 0..EVENTS / 50 {
        client.publish(event.repeat(50), None).await?;
    }
    let filling = legit.measure(span).await?;
    println!("filling: {filling}");
    let during = legit.measure(span).await?;
    let full_kib = server.memory_kib();
    let each = full_kib.saturating_sub(idle_kib) as f64 / consumers.max(1) as f64;
    println!("during: {during}");
    println!("siege:  the server has {full_kib} KiB, {each:.1} KiB more for each consumer that does not read");
    println!("ratio while the sockets are filled:  {}", filling.over(&before));
    println!("ratio when they are full:  {}", during.over(&before));
    Ok(())
}
