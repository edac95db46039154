//! Unix sockets that nobody listens on any more.

use std::{io::ErrorKind, os::unix::fs::FileTypeExt, path::PathBuf, time::Duration};

use tokio::{net::UnixStream, time::timeout};

/// How long a connection may take; on a unix socket there is nothing to wait for.
const CONNECT: Duration = Duration::from_secs(1);

/// Removes those of `sockets` whose listener is gone: one that was killed leaves its socket behind,
/// and that would refuse the next bind.
pub(super) async fn clear(sockets: &[PathBuf]) {
    for socket in sockets {
        // A connection to any other file is refused too.
        let is_socket = socket.symlink_metadata().is_ok_and(|file| file.file_type().is_socket());
        if !is_socket {
            continue;
        }
        let answer = timeout(CONNECT, UnixStream::connect(socket)).await;
        let refused = matches!(answer, Ok(Err(ref e)) if e.kind() == ErrorKind::ConnectionRefused);
        if refused && let Err(e) = std::fs::remove_file(socket) {
            tracing::warn!(socket = %socket.display(), "cannot remove a stale socket: {e}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::net::UnixListener};

    use super::*;

    #[tokio::test]
    async fn only_a_socket_without_a_listener_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let all = ["stale", "alive", "file", "nothing"].map(path);
        drop(UnixListener::bind(&all[0]).unwrap());
        let _alive = UnixListener::bind(&all[1]).unwrap();
        fs::write(&all[2], "kept").unwrap();
        clear(&all).await;
        assert_eq!(all.each_ref().map(|path| path.exists()), [false, true, true, false]);
    }
}
