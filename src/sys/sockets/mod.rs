//! TCP ports of this network namespace: who listens, and how many are connected.

mod diag;
mod table;

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    path::Path,
};

use procfs::net::UnixState;
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt},
};

use self::table::{Row, State, rows};
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
/// When the kernel does not tell its table of sockets.
pub fn peers(port: u16) -> io::Result<BTreeSet<SocketAddr>> {
    Ok(rows(State::Established, Some(port))?.iter().map(|row| row.peer).collect())
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
/// When the kernel does not tell its table of sockets.
pub fn waiting(port: u16, inode: u64) -> io::Result<usize> {
    let rows = rows(State::Listening, Some(port))?;
    let waiting = rows.iter().find(|row| row.inode == inode).map_or(0, |row| row.waiting);
    Ok(usize::try_from(waiting).unwrap_or(usize::MAX))
}

/// The number of established connections to `port` that one of `pids` has.
///
/// # Errors
/// When the kernel does not tell its table of sockets.
pub fn established_of(pids: &[i32], port: u16) -> io::Result<usize> {
    let open = inodes(&rows(State::Established, Some(port))?);
    if open.is_empty() {
        return Ok(0);
    }
    let held: BTreeSet<u64> = pids.iter().flat_map(|pid| held_by(*pid)).collect();
    Ok(open.intersection(&held).count())
}

/// The established connections to `port` that `pid` has, by inode.
///
/// # Errors
/// When the kernel does not tell its table of sockets.
pub fn connections_of(pid: i32, port: u16) -> io::Result<BTreeSet<u64>> {
    let open = inodes(&rows(State::Established, Some(port))?);
    Ok(&open & &held_by(pid))
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
/// When the kernel does not tell its table of sockets, or the descriptors may not be seen.
pub fn ends(pid: i32) -> io::Result<Ends> {
    let held = match held(pid) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
        held => held?,
    };
    let served: BTreeSet<u16> = rows(State::Listening, None)?.iter().map(|row| row.port).collect();
    let own = rows(State::Established, None)?.into_iter().filter(|row| held.contains(&row.inode));
    let (accepted, opened): (Vec<_>, Vec<_>) = own.partition(|row| served.contains(&row.port));
    Ok(Ends { accepted: accepted.len(), opened: opened.len() })
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
    let listening = listening(port)?;
    if listening.is_empty() {
        return Ok(None);
    }
    let pid = owner(&listening)?;
    Ok(Some(Holder { pid, command: pid.map(proc::command).unwrap_or_default() }))
}

/// Whether one of `pids` listens on `port`. Looks only at their descriptors.
///
/// # Errors
/// When the kernel does not tell its table of sockets.
pub fn listens(pids: &[i32], port: u16) -> io::Result<bool> {
    let listening = listening(port)?;
    Ok(!listening.is_empty() && pids.iter().any(|pid| holds(*pid, &listening)))
}

/// The sockets that listen on `port`.
fn listening(port: u16) -> io::Result<BTreeSet<u64>> {
    Ok(inodes(&rows(State::Listening, Some(port))?))
}

fn inodes(rows: &[Row]) -> BTreeSet<u64> {
    rows.iter().map(|row| row.inode).collect()
}

/// The oldest process (by start) that has one of `sockets` open: of a parent and its workers, the
/// parent.
fn owner(sockets: &BTreeSet<u64>) -> io::Result<Option<i32>> {
    let holders = proc::pids()?.into_iter().filter(|pid| holds(*pid, sockets));
    Ok(holders.min_by_key(|pid| proc::stat(*pid).ok().flatten().map(|stat| stat.start_ticks)))
}

fn holds(pid: i32, sockets: &BTreeSet<u64>) -> bool {
    !held_by(pid).is_disjoint(sockets)
}

/// The sockets that `pid` has open; none of a process that is gone or may not be seen.
fn held_by(pid: i32) -> BTreeSet<u64> {
    held(pid).unwrap_or_default()
}

/// The sockets that `pid` has open, by inode: each descriptor is a link to `socket:[INODE]`, proc(5).
fn held(pid: i32) -> io::Result<BTreeSet<u64>> {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd"))?
        .flatten()
        .filter_map(|fd| std::fs::read_link(fd.path()).ok());
    Ok(links.filter_map(|link| inode(link.to_str()?)).collect())
}

fn inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}
