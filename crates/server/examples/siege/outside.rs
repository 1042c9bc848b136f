//! Those outside: on many addresses of the loopback network, since one address is limited by itself.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

/// Addresses that an attack comes from.
pub(crate) const ADDRESSES: u8 = 40;

pub(crate) async fn connect(from: u8, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 9, 0, 1 + from), 0).into())?;
    socket.connect(to).await
}
