//! TCP ports of this network namespace: who listens, and how many are connected.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    path::Path,
};

use procfs::net::{TcpNetEntry, TcpState, UnixState};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt},
};

use super::proc;

/// Who listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Process id; `None` when it is another user's and may not be seen.
    pub pid: Option<i32>,
    /// Its command line, shortened; empty when it may not be seen.
    pub command: String,
}

/// Who has an established connection *to* `port` of this host, seen from the serving side.
///
/// # Errors
/// When /proc/net/tcp cannot be read.
pub fn peers(port: u16) -> io::Result<BTreeSet<SocketAddr>> {
    let is_open = |entry: &&TcpNetEntry| {
        entry.state == TcpState::Established && entry.local_address.port() == port
    };
    Ok(table()?.iter().filter(is_open).map(|entry| entry.remote_address).collect())
}

/// Whether a socket is bound to `path` and connected to nobody, also if there is no such file any more:
/// unix(7).
///
/// # Errors
/// When /proc/net/unix cannot be read.
pub fn is_bound(path: &Path) -> io::Result<bool> {
    let sockets = procfs::net::unix().map_err(io::Error::other)?;
    let mut ours = sockets.iter().filter(|seen| seen.path.as_deref() == Some(path));
    Ok(ours.any(|seen| seen.state == UnixState::UNCONNECTED))
}

/// The number of connections that wait to be accepted on the listening socket `inode` of `port`.
///
/// # Errors
/// When /proc/net/tcp cannot be read.
pub fn waiting(port: u16, inode: u64) -> io::Result<usize> {
    let is_it = |entry: &&TcpNetEntry| {
        entry.state == TcpState::Listen
            && entry.local_address.port() == port
            && entry.inode == inode
    };
    // Of a listener the kernel tells there how many wait.
    let waiting = table()?.iter().find(is_it).map(|entry| entry.rx_queue);
    Ok(usize::try_from(waiting.unwrap_or(0)).unwrap_or(usize::MAX))
}

/// The number of established connections to `port` that one of `pids` has.
///
/// # Errors
/// When /proc/net/tcp cannot be read.
pub fn established_of(pids: &[i32], port: u16) -> io::Result<usize> {
    let is_open = |entry: &&TcpNetEntry| {
        entry.state == TcpState::Established && entry.local_address.port() == port
    };
    let inodes: Vec<u64> = table()?.iter().filter(is_open).map(|entry| entry.inode).collect();
    let open = names(&inodes);
    Ok(open.iter().filter(|name| pids.iter().any(|pid| has(*pid, name))).count())
}

/// The established connections to `port` that `pid` has, by inode.
///
/// # Errors
/// When /proc/net/tcp cannot be read.
pub fn connections_of(pid: i32, port: u16) -> io::Result<BTreeSet<u64>> {
    let is_open = |entry: &&TcpNetEntry| {
        entry.state == TcpState::Established && entry.local_address.port() == port
    };
    let inodes: Vec<u64> = table()?.iter().filter(is_open).map(|entry| entry.inode).collect();
    let own = inodes.iter().zip(names(&inodes)).filter(|(_, name)| has(pid, name));
    Ok(own.map(|(inode, _)| *inode).collect())
}

/// The established connections that a process has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ends {
    /// Those that came to a port on which somebody listens.
    pub accepted: usize,
    /// All others.
    pub opened: usize,
}

/// The established connections of `pid`; none of a process that is gone.
///
/// # Errors
/// When /proc/net/tcp cannot be read, or its descriptors may not be seen.
pub fn ends(pid: i32) -> io::Result<Ends> {
    let links = match std::fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(fds) => fds.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok()).collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
        Err(e) => return Err(e),
    };
    let table = table()?;
    let listens = |entry: &&TcpNetEntry| entry.state == TcpState::Listen;
    let served: BTreeSet<u16> =
        table.iter().filter(listens).map(|entry| entry.local_address.port()).collect();
    let own = |entry: &&TcpNetEntry| {
        entry.state == TcpState::Established
            && links.contains(Path::new(&format!("socket:[{}]", entry.inode)))
    };
    let mut ends = Ends::default();
    for entry in table.iter().filter(own) {
        if served.contains(&entry.local_address.port()) {
            ends.accepted += 1;
        } else {
            ends.opened += 1;
        }
    }
    Ok(ends)
}

fn has(pid: i32, name: &String) -> bool {
    holds(pid, std::slice::from_ref(name))
}

/// Whether a server could listen on `port`, on any address: tried with bind(2), which takes
/// microseconds. `None` when it cannot be tried (a privileged port).
#[must_use]
pub fn is_free(port: u16) -> Option<bool> {
    let tried = bind_any(port, AddressFamily::INET6).or_else(|error| match error {
        Errno::ADDRINUSE | Errno::ACCESS => Err(error),
        _ => bind_any(port, AddressFamily::INET), // a host without IPv6
    });
    match tried {
        Ok(_) => Some(true),
        Err(Errno::ADDRINUSE) => Some(false),
        Err(_) => None,
    }
}

/// Bound to the wildcard of both families, it collides with a listener on any address. Nothing is
/// accepted: listen(2) is never called.
fn bind_any(port: u16, family: AddressFamily) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // As every server does: connections in TIME_WAIT are not in the way.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    let address: SocketAddr = if family == AddressFamily::INET6 {
        sockopt::set_ipv6_v6only(&socket, false)?;
        (Ipv6Addr::UNSPECIFIED, port).into()
    } else {
        (Ipv4Addr::UNSPECIFIED, port).into()
    };
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// Who listens on `port`, on any address; `None` when nobody does. Fast when the port is free;
/// else it looks through the descriptors of every process.
///
/// # Errors
/// When /proc cannot be read.
pub fn listener(port: u16) -> io::Result<Option<Holder>> {
    if is_free(port) == Some(true) {
        return Ok(None);
    }
    let inodes = listening(port)?;
    if inodes.is_empty() {
        return Ok(None);
    }
    let pid = owner(&inodes)?;
    Ok(Some(Holder { pid, command: pid.map(proc::command).unwrap_or_default() }))
}

/// Whether one of `pids` listens on `port`. Looks only at their descriptors.
///
/// # Errors
/// When /proc cannot be read.
pub fn listens(pids: &[i32], port: u16) -> io::Result<bool> {
    let names = names(&listening(port)?);
    Ok(pids.iter().any(|pid| holds(*pid, &names)))
}

/// Inodes of the sockets that listen on `port`.
fn listening(port: u16) -> io::Result<Vec<u64>> {
    let is_listener = |entry: &&TcpNetEntry| {
        entry.state == TcpState::Listen && entry.local_address.port() == port
    };
    Ok(table()?.iter().filter(is_listener).map(|entry| entry.inode).collect())
}

fn names(inodes: &[u64]) -> Vec<String> {
    inodes.iter().map(|inode| format!("socket:[{inode}]")).collect()
}

fn table() -> io::Result<Vec<TcpNetEntry>> {
    let mut table = procfs::net::tcp().map_err(io::Error::other)?;
    // Absent on a host without IPv6.
    table.extend(procfs::net::tcp6().unwrap_or_default());
    Ok(table)
}

/// The oldest process (by start) that has one of these sockets open: of a parent and its workers,
/// the parent.
fn owner(inodes: &[u64]) -> io::Result<Option<i32>> {
    let names = names(inodes);
    let holders = proc::pids()?.into_iter().filter(|pid| holds(*pid, &names));
    Ok(holders.min_by_key(|pid| proc::stat(*pid).ok().flatten().map(|stat| stat.start_ticks)))
}

fn holds(pid: i32, names: &[String]) -> bool {
    let Ok(fds) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    fds.flatten()
        .filter_map(|fd| std::fs::read_link(fd.path()).ok())
        .any(|link| names.iter().any(|name| link.as_os_str() == name.as_str()))
}
