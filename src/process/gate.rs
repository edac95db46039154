//! The listening socket of a slot, held by the daemon, so that connections wait while nobody
//! accepts.
//!
//! A slot has two sides. Usually one is open; while a new set of processes takes over from an old
//! one in the same slot, both are, each with a socket of its own on the one address, and the
//! [`Gate`] says to which of them new connections go. What was sent to a side stays with it.

mod cover;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use self::cover::Cover;
pub use self::cover::StandIn;
use super::{Identity, PortHolder, ProcessError, Shelf};
use crate::{
    ident::{InstanceId, Side},
    sys::{
        listener::{self, Route},
        pidfd, sockets, spawn,
    },
};

/// So many probes may be on their way at once.
const PROBES: usize = 16;

/// A listening socket, which processes are given. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Listener {
    socket: Arc<OwnedFd>,
    inode: u64,
}

impl PartialEq for Listener {
    fn eq(&self, other: &Self) -> bool {
        self.inode == other.inode
    }
}

impl Eq for Listener {}

impl Listener {
    fn of(socket: OwnedFd) -> Result<Self, ProcessError> {
        let inode = listener::inode(socket.as_fd());
        let inode = inode.map_err(ProcessError::kernel("look at a listening socket"))?;
        Ok(Self { socket: Arc::new(socket), inode })
    }

    /// A descriptor of its own, for a child or for whoever keeps it.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn descriptor(&self) -> Result<OwnedFd, ProcessError> {
        self.socket.try_clone().map_err(ProcessError::kernel("copy a listening socket"))
    }

    /// Whether a process of `tree` accepts on it.
    #[must_use]
    pub fn is_accepted_by(&self, tree: &[i32]) -> bool {
        listener::accepts(tree, self.inode)
    }
}

/// Where the connections to one slot go. One per slot.
#[derive(Debug)]
pub struct Gate {
    id: InstanceId,
    shelf: Shelf,
    doors: Mutex<Doors>,
}

#[derive(Debug)]
struct Doors {
    /// Where they listen that are opened from now on.
    address: SocketAddr,
    open: [Option<Listener>; 2],
    /// Of two that are open, the one that was first.
    first: Side,
    /// Where new connections go.
    facing: Side,
    /// Source ports of probes, and whom they are for.
    probes: VecDeque<(u16, Side)>,
    cover: Cover,
    waiting: Waiting,
}

/// Whether a process behind a door was ever seen waiting for events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    NeverSeen,
    Seen,
}

impl Doors {
    fn of(&self, side: Side) -> Option<&Listener> {
        let [a, b] = &self.open;
        match side {
            Side::A => a.as_ref(),
            Side::B => b.as_ref(),
        }
    }

    fn slot(&mut self, side: Side) -> &mut Option<Listener> {
        let [a, b] = &mut self.open;
        match side {
            Side::A => a,
            Side::B => b,
        }
    }

    const fn index(&self, side: Side) -> u32 {
        matches!((self.first, side), (Side::A, Side::B) | (Side::B, Side::A)) as u32
    }

    fn route(&self) -> Route {
        Route {
            usual: self.index(self.facing),
            but: self.probes.iter().map(|(port, side)| (*port, self.index(*side))).collect(),
        }
    }

    /// Tells the kernel. Where one door is open, there is no choice.
    fn direct(&self) -> Result<(), ProcessError> {
        match &self.open {
            [Some(either), Some(_)] => self.direct_by(either),
            _ => Ok(()),
        }
    }

    fn direct_by(&self, either: &Listener) -> Result<(), ProcessError> {
        let directed = listener::route(either.socket.as_fd(), &self.route());
        directed.map_err(ProcessError::kernel("direct the connections to a port"))
    }
}

impl Gate {
    /// The gate of the slot `id` at `address`. Nothing is open yet. What is kept in case the daemon
    /// dies is put on `shelf`.
    #[must_use]
    pub fn new(id: InstanceId, address: SocketAddr, shelf: Shelf) -> Arc<Self> {
        let doors = Doors {
            address,
            open: [None, None],
            first: Side::A,
            facing: Side::A,
            probes: VecDeque::new(),
            cover: Cover::default(),
            waiting: Waiting::NeverSeen,
        };
        Arc::new(Self { id, shelf, doors: Mutex::new(doors) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.doors().address
    }

    /// What is opened from now on listens on `host`.
    pub fn move_to(&self, host: IpAddr) {
        self.doors().address.set_ip(host);
    }

    /// Opens `side`, unless it is open. Connections go on to the other one where that is open.
    ///
    /// # Errors
    /// When somebody else has the port, who is named, or the kernel refuses.
    pub fn open(&self, side: Side) -> Result<Listener, ProcessError> {
        let mut doors = self.doors();
        if let Some(open) = doors.of(side) {
            return Ok(open.clone());
        }
        let address = doors.address;
        let refused = |source| self.refused(address, source);
        let new = Listener::of(listener::bind(address).map_err(refused)?)?;
        let other = side.other();
        doors.first = side;
        if let Some(open) = doors.of(other).cloned() {
            self.take_again(&mut doors);
            doors.first = other;
            doors.facing = other;
            // Before it listens: from then on it would get its share.
            doors.direct_by(&open)?;
        } else {
            doors.facing = side;
        }
        listener::listen(new.socket.as_fd()).map_err(refused)?;
        *doors.slot(side) = Some(new.clone());
        drop(doors);
        self.shelf.put_listener(&self.id, side, &new);
        Ok(new)
    }

    fn refused(&self, address: SocketAddr, source: std::io::Error) -> ProcessError {
        let holder = sockets::listener(address.port()).ok().flatten();
        let holder = holder.filter(|_| source.kind() == std::io::ErrorKind::AddrInUse);
        ProcessError::Listen {
            instance: self.id.clone(),
            address,
            holder: holder.map(PortHolder::from),
            source,
        }
    }

    /// Takes up what an earlier daemon held open for `side`: what it put on the shelf, or else what
    /// the living process `who`, which got it, has. Of two sides the older one comes first.
    ///
    /// # Errors
    /// When the process that has it does not give it.
    pub fn recover(&self, side: Side, who: Option<&Identity>) -> Result<bool, ProcessError> {
        let Some(found) =
            self.shelved(side)?.map_or_else(|| self.lent(side, who), |it| Ok(Some(it)))?
        else {
            return Ok(false);
        };
        let mut doors = self.doors();
        if doors.of(side.other()).is_none() {
            doors.first = side;
            doors.facing = side;
        }
        *doors.slot(side) = Some(found);
        Ok(true)
    }

    /// What an earlier daemon put on the shelf for `side`.
    fn shelved(&self, side: Side) -> Result<Option<Listener>, ProcessError> {
        let Some(found) = self.shelf.take_listener(&self.id, side) else { return Ok(None) };
        if !self.is_ours(&found) {
            self.shelf.remove_listener(&self.id, side);
            return Ok(None);
        }
        let found = Listener::of(found)?;
        self.shelf.hold_listener(&self.id, side, &found);
        Ok(Some(found))
    }

    /// What `who` has.
    fn lent(&self, side: Side, who: Option<&Identity>) -> Result<Option<Listener>, ProcessError> {
        let found = who.map(taken_from).transpose()?.flatten().filter(|fd| self.is_ours(fd));
        let found = found.map(Listener::of).transpose()?;
        if let Some(found) = &found {
            self.shelf.put_listener(&self.id, side, found);
        }
        Ok(found)
    }

    fn is_ours(&self, socket: &OwnedFd) -> bool {
        listener::is_bound_to(socket.as_fd(), self.address())
    }

    /// From now on new connections go to `side`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn face(&self, side: Side) -> Result<(), ProcessError> {
        let mut doors = self.doors();
        doors.facing = side;
        doors.direct()
    }

    /// Connections from the local port `source` go to `side`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn let_in(&self, source: u16, side: Side) -> Result<(), ProcessError> {
        let mut doors = self.doors();
        doors.probes.retain(|(port, _)| *port != source);
        doors.probes.push_back((source, side));
        if doors.probes.len() > PROBES {
            doors.probes.pop_front();
        }
        doors.direct()
    }

    /// Closes `side`. What waits there is reset.
    pub fn close(&self, side: Side) {
        let mut doors = self.doors();
        let closed = doors.slot(side).take();
        doors.cover.closed(side);
        if doors.of(side.other()).is_some() {
            doors.first = side.other();
            doors.facing = side.other();
        }
        drop(doors);
        if let Some(closed) = closed {
            // A process that was not ended in time may have it still.
            self.quiet(&closed);
            self.shelf.remove_listener(&self.id, side);
        }
    }

    /// Refuses connections to `side` until one of its processes listens again.
    pub fn hush(&self, side: Side) {
        let mut doors = self.doors();
        doors.cover.closed(side);
        if let Some(open) = doors.of(side) {
            self.quiet(open);
        }
    }

    fn quiet(&self, socket: &Listener) {
        if let Err(error) = listener::hush(socket.socket.as_fd()) {
            tracing::warn!(instance = %self.id, %error, "cannot stop to listen");
        }
    }

    /// Connections to `side` that nobody has accepted yet.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn waiting(&self, side: Side) -> Result<usize, ProcessError> {
        let (port, inode) = {
            let doors = self.doors();
            (doors.address.port(), doors.of(side).map(|open| open.inode))
        };
        let Some(inode) = inode else { return Ok(0) };
        sockets::waiting(port, inode).map_err(ProcessError::kernel("see who waits to be accepted"))
    }

    /// The socket of `side`, where that is open.
    #[must_use]
    pub fn listener(&self, side: Side) -> Option<Listener> {
        self.doors().of(side).cloned()
    }

    fn doors(&self) -> MutexGuard<'_, Doors> {
        // Nothing that is done under the lock leaves it half done.
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn taken_from(who: &Identity) -> Result<Option<OwnedFd>, ProcessError> {
    let kernel = ProcessError::kernel("get the listening socket of a running process");
    let found = pidfd::open(who.pid).and_then(|pidfd| {
        // The pidfd comes first: what is read after it is about the process that it names.
        let Some(pidfd) = pidfd.filter(|_| who.is_running()) else { return Ok(None) };
        match listener::take(pidfd.as_fd(), spawn::LISTENER) {
            Ok(fd) => Ok(Some(fd)),
            Err(e) if e.raw_os_error() == Some(libc::EBADF) => Ok(None),
            Err(e) => Err(e),
        }
    });
    found.map_err(kernel)
}

/// One side of a gate: what a process that accepts there needs to know.
#[derive(Debug, Clone)]
pub struct Door {
    /// Whose.
    pub gate: Arc<Gate>,
    /// Which.
    pub side: Side,
}

impl Door {
    /// Opens it, unless it is open.
    ///
    /// # Errors
    /// As [`Gate::open`].
    pub fn open(&self) -> Result<Listener, ProcessError> {
        self.gate.open(self.side)
    }

    /// The connection from the local port `source` goes through it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn let_in(&self, source: u16) -> Result<(), ProcessError> {
        self.gate.let_in(source, self.side)
    }

    /// A process behind it was seen waiting for events: where none ever is, nothing follows from that.
    pub fn note_waiting(&self) {
        self.gate.doors().waiting = Waiting::Seen;
    }

    /// Whether one was ever seen waiting for events, on either side.
    #[must_use]
    pub fn has_waited(&self) -> bool {
        self.gate.doors().waiting == Waiting::Seen
    }

    /// Whether a process of `tree` accepts there.
    #[must_use]
    pub fn is_served_by(&self, tree: &[i32]) -> bool {
        self.gate.listener(self.side).is_some_and(|open| open.is_accepted_by(tree))
    }
}
