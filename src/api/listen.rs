//! The control socket in the file system: made without a moment in which it is open to more users
//! than it should be, and never taken from a daemon that lives.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown},
            net::UnixListener as StdListener,
        },
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::unistd::Group;
use rustix::{
    fs::{Mode, fchmod},
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
    },
};
use tokio::net::UnixListener;

/// Connections the kernel keeps until they are accepted.
const BACKLOG: i32 = 128;

/// Why the control socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another daemon listens there.
    #[error(
        "somebody answers on {} already; stop that aibkd first, or give this one another \
         `control.socket`", .0.display()
    )]
    Live(PathBuf),
    /// Something stands in the way.
    #[error("{} is there and is not a socket; move it away", .0.display())]
    NotASocket(PathBuf),
    /// The configured group does not exist.
    #[error(
        "the group `{0}` of the control socket does not exist; create it (`groupadd --system {0}`) \
         or change `control.group`"
    )]
    NoGroup(String),
    /// Anything else.
    #[error("cannot {doing} {}: {source}", path.display())]
    System {
        /// What was to be done.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said; `ENAMETOOLONG` above 107 bytes (unix(7)).
        source: io::Error,
    },
}

/// A listening control socket. Dropped, its file goes too, unless it is another's by then.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) listener: UnixListener,
    pub(super) path: PathBuf,
    pub(super) inode: u64,
    /// Another program goes on listening.
    inherited: Arc<AtomicBool>,
    newest: Newest,
}

/// The control socket, for whoever listens on it next.
#[derive(Debug)]
pub struct Heir {
    first: Heirloom,
    newest: Newest,
}

#[derive(Debug)]
struct Heirloom {
    fd: OwnedFd,
    inherited: Arc<AtomicBool>,
}

/// The socket that was made again in place of the first one.
type Newest = Arc<Mutex<Option<Heirloom>>>;

impl Heir {
    /// The socket. Its file stays when the server ends.
    #[must_use]
    pub fn keep(self) -> OwnedFd {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Heirloom { fd, inherited } = newest.unwrap_or(self.first);
        inherited.store(true, Ordering::Relaxed);
        fd
    }
}

impl Listening {
    /// Listens at `path`: mode 0600, or 0660 for `group`.
    ///
    /// The socket is made under another name and renamed when it is right, which also replaces a
    /// stale one in one step. Its mode is set before `bind`: Linux gives the file the mode of the
    /// socket's own inode (`unix_bind_bsd` in `net/unix/af_unix.c`), so no umask has to be touched.
    pub(super) fn at(path: &Path, group: Option<&str>) -> Result<Self, ListenError> {
        let gid = group.map(gid_of).transpose()?;
        make_parent(path, gid)?;
        refuse_living(path)?;
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        let failed = |doing| system(doing, path);

        remove_stale(&new).map_err(system("remove", &new))?;
        let socket = listening(&new).map_err(|errno| failed("listen on")(errno.into()))?;
        if let Some(gid) = gid {
            chown(&new, None, Some(gid)).map_err(failed("set the group of"))?;
            fs::set_permissions(&new, Permissions::from_mode(0o660))
                .map_err(failed("set the mode of"))?;
        }
        let inode = fs::symlink_metadata(&new).map_err(failed("look at"))?.ino();
        fs::rename(&new, path).map_err(failed("put in place"))?;
        let listener = UnixListener::from_std(StdListener::from(socket))
            .map_err(failed("wait for connections on"))?;
        let (inherited, newest) = (Arc::default(), Newest::default());
        Ok(Self { listener, path: path.to_owned(), inode, inherited, newest })
    }

    /// Goes on listening on `fd`, which a predecessor bound to `path`; `None` when it is not that,
    /// or its file is gone.
    pub(super) fn handed(fd: OwnedFd, path: &Path) -> Option<Self> {
        let bound = rustix::net::getsockname(&fd).ok()?;
        let bound = SocketAddrUnix::try_from(bound).ok()?;
        // It was bound under another name and then renamed.
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        if bound.path_bytes()? != new.as_encoded_bytes() {
            return None;
        }
        let file = fs::symlink_metadata(path).ok().filter(|file| file.file_type().is_socket())?;
        let listener = UnixListener::from_std(StdListener::from(fd)).ok()?;
        let (inherited, newest) = (Arc::default(), Newest::default());
        Some(Self { listener, path: path.to_owned(), inode: file.ino(), inherited, newest })
    }

    pub(super) fn heir(&self) -> Result<Heir, ListenError> {
        Ok(Heir { first: self.heirloom()?, newest: Arc::clone(&self.newest) })
    }

    /// Another one in the place of this one, which its heirs get then.
    pub(super) fn again(&self, group: Option<&str>) -> Result<Self, ListenError> {
        let mut again = Self::at(&self.path, group)?;
        again.newest = Arc::clone(&self.newest);
        let heirloom = again.heirloom()?;
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(heirloom);
        Ok(again)
    }

    fn heirloom(&self) -> Result<Heirloom, ListenError> {
        let fd = rustix::io::fcntl_dupfd_cloexec(self.listener.as_fd(), 3);
        let fd = fd.map_err(|errno| system("keep", &self.path)(errno.into()))?;
        Ok(Heirloom { fd, inherited: Arc::clone(&self.inherited) })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if self.inherited.load(Ordering::Relaxed) {
            return;
        }
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode);
        if ours && let Err(e) = fs::remove_file(&self.path) {
            tracing::warn!("cannot remove {}: {e}", self.path.display());
        }
    }
}

fn system(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ListenError {
    let path = path.to_owned();
    move |source| ListenError::System { doing, path, source }
}

fn gid_of(name: &str) -> Result<u32, ListenError> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) | Err(_) => Err(ListenError::NoGroup(name.to_owned())),
    }
}

fn make_parent(path: &Path, gid: Option<u32>) -> Result<(), ListenError> {
    let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty() && !p.exists()) else {
        return Ok(());
    };
    DirBuilder::new().recursive(true).mode(0o750).create(parent).map_err(system("make", parent))?;
    match gid {
        Some(gid) => chown(parent, None, Some(gid)).map_err(system("set the group of", parent)),
        None => Ok(()),
    }
}

/// Somebody who listens at `path` keeps it.
fn refuse_living(path: &Path) -> Result<(), ListenError> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(system("look at", path)(e)),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(ListenError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    let asked =
        || -> rustix::io::Result<()> { connect(unix_socket()?, &SocketAddrUnix::new(path)?) };
    match asked() {
        // A full queue (EAGAIN) is a queue somebody made.
        Ok(()) | Err(Errno::AGAIN) => Err(ListenError::Live(path.to_owned())),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
        Err(errno) => Err(system("connect to", path)(errno.into())),
    }
}

fn listening(path: &Path) -> rustix::io::Result<OwnedFd> {
    let socket = unix_socket()?;
    fchmod(&socket, Mode::from_raw_mode(0o600))?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn unix_socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// What a daemon that was killed while it made its socket has left.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
