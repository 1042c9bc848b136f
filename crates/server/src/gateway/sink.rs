//! Where a connection's bytes go: a TCP socket that is written to directly, or the body of an event stream.

use std::future::poll_fn;
use std::io;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

#[derive(Debug)]
pub(super) enum Sink {
    WebSocket(TcpStream),
    /// Empty once it was shut down.
    EventStream(Mutex<Option<mpsc::Sender<Bytes>>>),
}

impl Sink {
    /// Writes what goes without waiting; answers how much that was.
    ///
    /// # Errors
    /// `WouldBlock`, or what ended the connection.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::WebSocket(stream) => stream.try_write(bytes),
            Self::EventStream(sender) => {
                let sender = sender.lock().unwrap_or_else(PoisonError::into_inner);
                let sender = sender.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
                match sender.try_reserve() {
                    Ok(permit) => {
                        permit.send(Bytes::copy_from_slice(bytes));
                        Ok(bytes.len())
                    }
                    Err(TrySendError::Full(())) => Err(io::ErrorKind::WouldBlock.into()),
                    Err(TrySendError::Closed(())) => Err(io::ErrorKind::BrokenPipe.into()),
                }
            }
        }
    }

    /// Waits until a write may go.
    pub(super) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::WebSocket(stream) => poll_fn(|cx| stream.poll_write_ready(cx)).await,
            Self::EventStream(sender) => {
                let sender = sender.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let sender = sender.ok_or(io::ErrorKind::BrokenPipe)?;
                sender.reserve().await.map(drop).map_err(|_| io::ErrorKind::BrokenPipe.into())
            }
        }
    }

    /// [`Self::writable`] for somebody beside the flush task, which has the one place of a poll.
    pub(super) async fn writable_too(&self) -> io::Result<()> {
        match self {
            Self::WebSocket(stream) => stream.writable().await,
            Self::EventStream(_) => self.writable().await,
        }
    }

    /// Ends the connection now, whatever the other side does; its reader sees the end.
    pub(super) fn shutdown(&self) {
        match self {
            Self::WebSocket(stream) => {
                // It may be closed already, which is what is wanted.
                let _ = socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Both);
            }
            Self::EventStream(sender) => drop(sender.lock().unwrap_or_else(PoisonError::into_inner).take()),
        }
    }
}
