//! A listener that does as little as can be: what an attack costs the machine, whoever it goes to.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Slow connections are closed after this time, as the server does.
const PATIENCE: Duration = Duration::from_secs(10);

const REFUSAL: &[u8] = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";

/// Ends with the program.
pub(crate) async fn open() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let addr = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(timeout(PATIENCE, answer(socket)));
        }
    });
    Ok(addr)
}

/// Whatever has an end gets one answer.
async fn answer(mut socket: TcpStream) {
    let mut bytes = [0; 1024];
    while let Ok(len @ 1..) = socket.read(&mut bytes).await {
        if bytes[..len].ends_with(b"\r\n\r\n") && socket.write_all(REFUSAL).await.is_err() {
            return;
        }
    }
}
