//! Listening TCP sockets that outlive whoever accepts on them: socket(7), tcp(7).
#![allow(unsafe_code)]

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, Shutdown, SocketFlags, SocketType, ipproto, sockopt},
    process::{ForeignRawFd, PidfdGetfdFlags},
};

/// Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 2048;

/// `SKF_NET_OFF` of linux/filter.h: where the IP header of the packet begins.
const NET: u32 = 0xfff0_0000;

/// Two sockets that share one address: which of them a new connection goes to, by the order in
/// which they began to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where connections go.
    pub usual: u32,
    /// Source ports whose connections go elsewhere.
    pub but: Vec<(u16, u32)>,
}

/// A socket bound to `address`, which another one of the same user may share (`SO_REUSEPORT`). It
/// does not listen yet. Accepted connections inherit its `TCP_NODELAY`: whoever gets the socket as a
/// descriptor may not know that it is one of TCP.
///
/// # Errors
/// socket(2)'s and bind(2)'s: EADDRINUSE, EACCES.
pub fn bind(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(
        family,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        Some(ipproto::TCP),
    )?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// Begins to listen, or goes on.
///
/// # Errors
/// listen(2)'s: EADDRINUSE.
pub fn listen(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::net::listen(socket, BACKLOG)?)
}

/// Stops to listen, for everybody who has the socket: what waits to be accepted is reset, and new
/// connections are refused until somebody calls listen(2) again.
///
/// # Errors
/// shutdown(2)'s, other than that it does not listen.
pub fn hush(socket: BorrowedFd<'_>) -> io::Result<()> {
    // Of one that does not listen the kernel would remember that it is shut, and every connection
    // that it accepts later would be (`inet_shutdown` of net/ipv4/af_inet.c).
    if !sockopt::socket_acceptconn(socket)? {
        return Ok(());
    }
    match rustix::net::shutdown(socket, Shutdown::Both) {
        Err(Errno::NOTCONN) => Ok(()),
        done => Ok(done?),
    }
}

/// The number that the kernel gave the socket, as in `socket:[N]` of /proc/PID/fd.
///
/// # Errors
/// fstat(2)'s.
pub fn inode(socket: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(rustix::fs::fstat(socket)?.st_ino)
}

/// Whether it is a TCP socket bound to `address`, listening or not.
#[must_use]
pub fn is_bound_to(socket: BorrowedFd<'_>, address: SocketAddr) -> bool {
    let is_stream = sockopt::socket_type(socket).is_ok_and(|kind| kind == SocketType::STREAM);
    let local = rustix::net::getsockname(socket).ok();
    let local = local.and_then(|local| SocketAddr::try_from(local).ok());
    is_stream
        && local.is_some_and(|local| (local.ip(), local.port()) == (address.ip(), address.port()))
}

/// The descriptor that another process has under the number `fd`: `pidfd_getfd(2)`, Linux 5.6.
///
/// # Errors
/// `pidfd_getfd(2)`'s: EBADF, EPERM (it takes what ptrace(2) takes), ESRCH, ENOSYS.
pub fn take(pidfd: BorrowedFd<'_>, fd: ForeignRawFd) -> io::Result<OwnedFd> {
    Ok(rustix::process::pidfd_getfd(pidfd, fd, PidfdGetfdFlags::empty())?)
}

/// Directs new connections among the sockets that share the address of `socket`:
/// `SO_ATTACH_REUSEPORT_CBPF` of socket(7), Linux 4.6. Where the number is nobody's, the kernel
/// chooses.
///
/// # Errors
/// setsockopt(2)'s.
pub fn route(socket: BorrowedFd<'_>, route: &Route) -> io::Result<()> {
    let mut program = program(route);
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the option takes a sock_fprog of this size, whose program lives until the call ends;
    // the kernel copies it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast(),
            u32::try_from(size_of::<libc::sock_fprog>()).map_err(io::Error::other)?,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The source port stands behind the IP header: of variable length in version 4, of 40 bytes in
/// version 6 where nothing stands between the two.
fn program(route: &Route) -> Vec<libc::sock_filter> {
    let op = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt,
        jf,
        k,
    };
    let answer = |k: u32| op(libc::BPF_RET | libc::BPF_K, 0, 0, k);
    let equals = |k: u32, jf: u8| op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, jf, k);
    let mut program = vec![];
    if !route.but.is_empty() {
        program.extend([
            op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, NET),
            op(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, 0xf0),
            equals(0x40, 3),
            op(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0, NET),
            op(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 0, 0, NET),
            op(libc::BPF_JMP | libc::BPF_JA, 0, 0, 1),
            op(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, NET + 40),
        ]);
    }
    for (port, index) in &route.but {
        program.extend([equals(u32::from(*port), 1), answer(*index)]);
    }
    program.push(answer(route.usual));
    program
}

/// Whether a process of `pids` waits for connections on the socket `inode`: an epoll(7) of it
/// watches the socket. Where none of them has an epoll, nobody can tell, and having the socket is
/// enough.
#[must_use]
pub fn accepts(pids: &[i32], inode: u64) -> bool {
    let name = format!("socket:[{inode}]");
    let mut polls = false;
    for pid in pids {
        match watches(*pid, inode, &name) {
            Watches::Socket => return true,
            Watches::Others => polls = true,
            Watches::Nothing => {}
        }
    }
    !polls && pids.iter().any(|pid| has(*pid, &name))
}

enum Watches {
    Socket,
    Others,
    Nothing,
}

fn watches(pid: i32, inode: u64, name: &str) -> Watches {
    let Ok(fds) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Watches::Nothing };
    let mut found = Watches::Nothing;
    for fd in fds.flatten() {
        let is_epoll = std::fs::read_link(fd.path())
            .is_ok_and(|link| link.as_os_str() == "anon_inode:[eventpoll]");
        if !is_epoll {
            continue;
        }
        found = Watches::Others;
        let info = format!("/proc/{pid}/fdinfo/{}", fd.file_name().display());
        let info = std::fs::read_to_string(info).unwrap_or_default();
        let hex = format!("{inode:x}");
        let mut targets = info.lines().filter(|line| line.starts_with("tfd:"));
        let watched = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            let target = words.nth(1).unwrap_or_default();
            words.any(|word| word.strip_prefix("ino:") == Some(&hex))
                && std::fs::read_link(format!("/proc/{pid}/fd/{target}"))
                    .is_ok_and(|link| link.as_os_str() == name)
        };
        if targets.any(watched) {
            return Watches::Socket;
        }
    }
    found
}

fn has(pid: i32, name: &str) -> bool {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    fds.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|link| link.as_os_str() == name)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
        os::fd::AsFd,
    };

    use super::*;
    use crate::sys::pidfd;

    fn local(address: &OwnedFd) -> SocketAddr {
        SocketAddr::try_from(rustix::net::getsockname(address).unwrap()).unwrap()
    }

    /// Two that share an address; the first began to listen first.
    fn pair(at: SocketAddr) -> (OwnedFd, OwnedFd, SocketAddr) {
        let first = bind(at).unwrap();
        listen(first.as_fd()).unwrap();
        let address = local(&first);
        route(first.as_fd(), &Route { usual: 0, but: vec![] }).unwrap();
        let second = bind(address).unwrap();
        listen(second.as_fd()).unwrap();
        (first, second, address)
    }

    fn accepted(socket: &OwnedFd) -> usize {
        let listener = TcpListener::from(socket.try_clone().unwrap());
        listener.set_nonblocking(true).unwrap();
        std::iter::from_fn(|| listener.accept().ok()).count()
    }

    fn goes_by_port(at: SocketAddr) {
        let (first, second, address) = pair(at);
        let knock = |n: usize| (0..n).for_each(|_| drop(TcpStream::connect(address).unwrap()));
        knock(20);
        assert_eq!((accepted(&first), accepted(&second)), (20, 0));

        let marked = rustix::net::socket(
            if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 },
            SocketType::STREAM,
            None,
        );
        let marked = marked.unwrap();
        rustix::net::bind(&marked, &SocketAddr::new(at.ip(), 0)).unwrap();
        let but = vec![(1, 1), (local(&marked).port(), 1)];
        route(first.as_fd(), &Route { usual: 0, but }).unwrap();
        rustix::net::connect(&marked, &address).unwrap();
        knock(20);
        assert_eq!((accepted(&first), accepted(&second)), (20, 1));

        route(second.as_fd(), &Route { usual: 1, but: vec![] }).unwrap();
        knock(20);
        assert_eq!((accepted(&first), accepted(&second)), (0, 20));
        drop(first);
        knock(20);
        assert_eq!(accepted(&second), 20);
    }

    #[test]
    fn connections_go_where_they_are_routed() {
        goes_by_port((Ipv4Addr::LOCALHOST, 0).into());
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            goes_by_port((Ipv6Addr::LOCALHOST, 0).into());
        }
    }

    #[test]
    fn one_that_is_hushed_refuses_until_it_listens_again() {
        // A port that the kernel chose is given back with the shutdown.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let socket = bind(free).unwrap();
        listen(socket.as_fd()).unwrap();
        let address = local(&socket);
        TcpStream::connect(address).unwrap();
        hush(socket.as_fd()).unwrap();
        hush(socket.as_fd()).unwrap();
        assert!(TcpStream::connect(address).is_err());
        listen(socket.as_fd()).unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"x").unwrap();
        let (mut served, _) = TcpListener::from(socket).accept().unwrap();
        let mut read = [0];
        served.read_exact(&mut read).unwrap();
        assert_eq!(read, *b"x", "what it accepts is open");
    }

    #[test]
    fn it_is_taken_from_another_process_and_known_again() {
        let socket = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = local(&socket);
        let own = pidfd::open(std::process::id().cast_signed()).unwrap().unwrap();
        let taken = take(own.as_fd(), socket.as_raw_fd()).unwrap();
        assert_eq!(inode(taken.as_fd()).unwrap(), inode(socket.as_fd()).unwrap());
        assert!(is_bound_to(taken.as_fd(), address));
        assert!(!is_bound_to(taken.as_fd(), (Ipv4Addr::LOCALHOST, 1).into()));
        assert!(!is_bound_to(std::fs::File::open("/dev/null").unwrap().as_fd(), address));
    }

    #[test]
    fn who_accepts_is_seen_by_its_epoll() {
        let socket = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let number = inode(socket.as_fd()).unwrap();
        let own = [std::process::id().cast_signed()];
        let flags = rustix::event::epoll::CreateFlags::CLOEXEC;
        let epoll = rustix::event::epoll::create(flags).unwrap();
        assert!(!accepts(&own, number));
        let (data, events) =
            (rustix::event::epoll::EventData::new_u64(0), rustix::event::epoll::EventFlags::IN);
        rustix::event::epoll::add(&epoll, &socket, data, events).unwrap();
        assert!(accepts(&own, number));
        assert!(!accepts(&own, number + 1));
        assert!(!accepts(&[], number));
    }
}
