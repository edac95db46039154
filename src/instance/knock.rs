//! A connection to an instance, through its own door where it shares its address with another.

use std::{io, net::SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

use crate::process::Door;

/// Connects to `address`, through `door` where one is given.
///
/// # Errors
/// connect(2)'s, and why it could not be directed.
pub(super) async fn connect(address: SocketAddr, door: Option<&Door>) -> io::Result<TcpStream> {
    let Some(door) = door else { return TcpStream::connect(address).await };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Bound before, so that its port is known before its first packet is sent.
    socket.bind(SocketAddr::new(address.ip(), 0))?;
    door.let_in(socket.local_addr()?.port()).map_err(io::Error::other)?;
    socket.connect(address).await
}
