//! The kernel's table of TCP sockets: by `sock_diag(7)`, else as /proc/net/tcp.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use procfs::net::{TcpNetEntry, TcpState};
use rustix::io::Errno;

use super::diag;

/// Which sockets of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Established,
    Listening,
}

/// One socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    /// Its own.
    pub(super) port: u16,
    /// Whom it is connected to.
    pub(super) peer: SocketAddr,
    pub(super) inode: u64,
    /// Bytes not read yet; of a listener, the connections that wait to be accepted.
    pub(super) waiting: u32,
}

/// `sock_diag(7)` is not to be had: the kernel is without it, or a sandbox lets nobody have netlink.
static WITHOUT_DIAG: AtomicBool = AtomicBool::new(false);

/// The sockets in `state`, of both families; with `port`, only those of that local port.
///
/// # Errors
/// When the kernel tells it in neither way.
pub(super) fn rows(state: State, port: Option<u16>) -> io::Result<Vec<Row>> {
    if WITHOUT_DIAG.load(Relaxed) {
        return listed(state, port);
    }
    // In /proc/net/tcp the kernel writes every connection, those that are over included.
    diag::rows(state, port).or_else(|error| {
        if is_for_good(&error) {
            tracing::debug!("connections are looked up in /proc/net/tcp: sock_diag: {error}");
            WITHOUT_DIAG.store(true, Relaxed);
        }
        listed(state, port)
    })
}

fn is_for_good(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(
            Errno::NOENT
                | Errno::PROTONOSUPPORT
                | Errno::AFNOSUPPORT
                | Errno::PERM
                | Errno::ACCESS
                | Errno::AGAIN // the kernel did not answer
        )
    )
}

fn listed(state: State, port: Option<u16>) -> io::Result<Vec<Row>> {
    let mut table = procfs::net::tcp().map_err(io::Error::other)?;
    // Absent on a host without IPv6.
    table.extend(procfs::net::tcp6().unwrap_or_default());
    let is_in = |entry: &&TcpNetEntry| match state {
        State::Established => entry.state == TcpState::Established,
        State::Listening => entry.state == TcpState::Listen,
    };
    let of_port = |entry: &&TcpNetEntry| port.is_none_or(|port| entry.local_address.port() == port);
    // The kernel may write one twice while others come and go.
    let rows: BTreeSet<Row> = table.iter().filter(is_in).filter(of_port).map(row).collect();
    Ok(rows.into_iter().collect())
}

fn row(entry: &TcpNetEntry) -> Row {
    Row {
        port: entry.local_address.port(),
        peer: entry.remote_address,
        inode: entry.inode,
        waiting: entry.rx_queue,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn both_ways_tell_the_same() {
        for ip in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
            let listener = TcpListener::bind(SocketAddr::new(ip, 0)).unwrap();
            let address = listener.local_addr().unwrap();
            let open = TcpStream::connect(address).unwrap();
            let accepted = listener.accept().unwrap();
            let waiting = [address; 2].map(|to| TcpStream::connect(to).unwrap());
            let told = |mut rows: Vec<Row>| {
                rows.sort_unstable();
                rows
            };
            let port = Some(address.port());

            let listening = told(diag::rows(State::Listening, port).unwrap());
            let waiting_on = |row: &Row| (Some(row.port), row.waiting);
            assert_eq!(listening.iter().map(waiting_on).collect::<Vec<_>>(), [(port, 2)]);
            assert_eq!(listening, told(listed(State::Listening, port).unwrap()));

            let established = told(diag::rows(State::Established, port).unwrap());
            let peers: Vec<_> = established.iter().map(|row| row.peer).collect();
            for client in [&open].into_iter().chain(&waiting) {
                assert!(peers.contains(&client.local_addr().unwrap()), "{established:?}");
            }
            assert_eq!(established.len(), 3, "not the clients' own ends: {established:?}");
            assert_eq!(established, told(listed(State::Established, port).unwrap()));
            drop(accepted);
        }
    }

    #[test]
    fn more_than_one_answer_holds_is_read_to_its_end() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let open: Vec<_> = (0..600)
            .map(|_| (TcpStream::connect(address).unwrap(), listener.accept().unwrap()))
            .collect();
        let seen = diag::rows(State::Established, Some(address.port())).unwrap();
        assert_eq!(seen.len(), open.len());
        assert!(diag::rows(State::Established, None).unwrap().len() >= 2 * open.len());
    }
}
