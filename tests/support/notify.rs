//! The receiving end of `sd_notify(3)`.

use std::{os::unix::net::UnixDatagram, path::Path};

/// A notification socket, and what was said on it.
#[derive(Debug)]
pub struct Notified {
    socket: UnixDatagram,
    said: Vec<String>,
}

impl Notified {
    /// Listens on `path`.
    pub fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a notification socket");
        socket.set_nonblocking(true).expect("a socket that does not block");
        Self { socket, said: Vec::new() }
    }

    /// Every line said so far, such as `READY=1` and `STATUS=...`.
    pub fn said(&mut self) -> &[String] {
        let mut message = [0; 8192];
        while let Ok(length) = self.socket.recv(&mut message) {
            let text = String::from_utf8_lossy(&message[..length]).into_owned();
            self.said.extend(text.lines().map(str::to_owned));
        }
        &self.said
    }

    /// Forgets what was said.
    pub fn clear(&mut self) {
        self.said();
        self.said.clear();
    }
}
