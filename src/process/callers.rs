//! Who is connected to a port, and since when.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use tokio::time::Instant;

use super::ProcessError;
use crate::{ident::Port, sys::sockets};

/// Looks at the connections to one port again and again. The kernel does not tell how old one is, so
/// each is as old as it has been seen.
#[derive(Debug, Clone)]
pub struct Callers {
    port: Port,
    since: BTreeMap<SocketAddr, Instant>,
}

/// What a look at the connections to a port has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Established connections.
    pub many: usize,
    /// For how long the oldest of them has been seen.
    pub oldest: Duration,
}

impl Callers {
    /// Those of `port`, of which nothing was seen yet.
    #[must_use]
    pub const fn new(port: Port) -> Self {
        Self { port, since: BTreeMap::new() }
    }

    /// Looks once. The kernel goes through the table of the whole host: not for the thread that serves.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn look(&mut self) -> Result<Calls, ProcessError> {
        let what = "count the connections to a port";
        let open = sockets::peers(self.port.get()).map_err(ProcessError::kernel(what))?;
        Ok(self.note(open, Instant::now()))
    }

    fn note(&mut self, open: BTreeSet<SocketAddr>, now: Instant) -> Calls {
        self.since.retain(|peer, _| open.contains(peer));
        for peer in open {
            self.since.entry(peer).or_insert(now);
        }
        let first = self.since.values().min();
        let oldest = first.map_or(Duration::ZERO, |first| now.duration_since(*first));
        Calls { many: self.since.len(), oldest }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn each_connection_is_as_old_as_it_was_seen() {
        let peers =
            |ports: &[u16]| ports.iter().map(|port| (Ipv4Addr::LOCALHOST, *port).into()).collect();
        let mut callers = Callers::new(Port::new(8000).unwrap());
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let mut at = |open: &[u16], seconds: u32| {
            let seen = callers.note(peers(open), begun + second * seconds);
            (seen.many, seen.oldest.as_secs())
        };
        assert_eq!(at(&[], 0), (0, 0));
        assert_eq!(at(&[1], 1), (1, 0));
        assert_eq!(at(&[1, 2], 4), (2, 3));
        assert_eq!(at(&[2], 5), (1, 1));
        assert_eq!(at(&[1, 2], 6), (2, 2));
    }

    #[test]
    fn connections_to_a_port_are_seen() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = listener.local_addr().unwrap();
        let mut callers = Callers::new(Port::new(to.port()).unwrap());
        assert_eq!(callers.look().unwrap(), Calls::default());
        let client = TcpStream::connect(to).unwrap();
        assert_eq!(callers.look().unwrap().many, 1);
        drop(client);
    }
}
