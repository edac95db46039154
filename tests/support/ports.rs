//! Free ports for tests that run at the same time.

use std::{
    net::{Ipv4Addr, TcpListener},
    os::linux::net::SocketAddrExt,
    os::unix::net::{SocketAddr, UnixListener},
    process,
    sync::atomic::{AtomicU16, Ordering},
};

/// Below the ephemeral ports (`ip_local_port_range`, from 32768), so that no connection's own
/// port is ever one of ours.
const FIRST: u16 = 20_000;
const MANY: u16 = 12_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// Ports that no other test is given as long as this lives, in whatever process it runs.
#[derive(Debug, Default)]
pub struct Ports {
    /// A name in the abstract namespace for each port (unix(7)): it is gone with its process.
    claims: Vec<UnixListener>,
}

impl Ports {
    /// A port on which nobody listens.
    pub fn take(&mut self) -> u16 {
        let offset = u16::try_from(process::id() % 61).unwrap() * 181;
        for _ in 0..MANY {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let port = FIRST + n.wrapping_add(offset) % MANY;
            if let Some(claim) = claim(port) {
                self.claims.push(claim);
                return port;
            }
        }
        panic!("no free port from {FIRST} to {}", FIRST + MANY);
    }
}

fn claim(port: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("aibk-test-port-{port}")).ok()?;
    let claim = UnixListener::bind_addr(&name).ok()?;
    // Bound and released at once: whoever is given the port binds it himself.
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).ok().map(|_| claim)
}
