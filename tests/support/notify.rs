//! The receiving end of `sd_notify(3)`, with a store for descriptors.

use std::{
    collections::BTreeMap,
    io::IoSliceMut,
    mem::MaybeUninit,
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::Path,
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use command_fds::{CommandFdExt, FdMapping};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, RecvMsg, recvmsg as receive,
};

/// A notification socket, and what was said on it.
#[derive(Debug)]
pub struct Notified {
    socket: UnixDatagram,
    heard: Arc<Mutex<Heard>>,
    hearing: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Heard {
    said: Vec<String>,
    stored: BTreeMap<String, OwnedFd>,
}

impl Notified {
    /// Listens on `path`.
    pub fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a notification socket");
        let heard = Arc::<Mutex<Heard>>::default();
        let hearing = std::thread::spawn({
            let (socket, heard) = (socket.try_clone().expect("a socket"), Arc::clone(&heard));
            move || while hear(&socket, &heard).is_some() {}
        });
        Self { socket, heard, hearing: Some(hearing) }
    }

    /// Every line said so far, such as `READY=1` and `STATUS=...`.
    pub fn said(&self) -> Vec<String> {
        self.heard().said.clone()
    }

    /// The names of the descriptors that are stored.
    pub fn stored(&self) -> Vec<String> {
        self.heard().stored.keys().cloned().collect()
    }

    /// Forgets what was said.
    pub fn clear(&self) {
        self.heard().said.clear();
    }

    /// What is stored, by name.
    pub fn copied(&self) -> Vec<(String, OwnedFd)> {
        let copy = |(name, fd): (&String, &OwnedFd)| (name.clone(), fd.try_clone().unwrap());
        self.heard().stored.iter().map(copy).collect()
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `command`, as systemd runs it with what it has stored: `sd_listen_fds(3)`.
pub fn with_stored(command: &Command, stored: Vec<(String, OwnedFd)>) -> Command {
    let names: Vec<_> = stored.iter().map(|(name, _)| name.as_str()).collect();
    let mut shell = Command::new("sh");
    // Only the new process knows its own pid.
    let script = "export LISTEN_PID=$$ LISTEN_FDS=$0 LISTEN_FDNAMES=$1; shift; exec \"$@\"";
    shell.args(["-c", script, &names.len().to_string(), &names.join(":")]);
    shell.arg(command.get_program()).args(command.get_args());
    let mappings = (3..).zip(stored);
    let mappings = mappings.map(|(child_fd, (_, parent_fd))| FdMapping { parent_fd, child_fd });
    shell.fd_mappings(mappings.collect()).expect("no two of the same number");
    shell
}

/// One message; `None`: there will be no more.
fn hear(socket: &UnixDatagram, heard: &Mutex<Heard>) -> Option<()> {
    let mut message = [0; 8192];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let RecvMsg { bytes, .. } = rustix::io::retry_on_intr(|| {
        let mut into = [IoSliceMut::new(&mut message)];
        receive(socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)
    })
    .ok()
    .filter(|received| received.bytes > 0)?;
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let mut fds = fds.flatten();
    let text = String::from_utf8_lossy(&message[..bytes]).into_owned();
    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
    match name {
        Some(name) if text.lines().any(|line| line == "FDSTOREREMOVE=1") => {
            heard.stored.remove(name);
        }
        Some(name) => heard.stored.extend(fds.next().map(|fd| (name.to_owned(), fd))),
        None => {}
    }
    heard.said.extend(text.lines().map(str::to_owned));
    Some(())
}

impl Drop for Notified {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
        if let Some(hearing) = self.hearing.take() {
            let _ = hearing.join();
        }
    }
}
