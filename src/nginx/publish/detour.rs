//! A proof socket that nginx listens on and nobody finds, for its file was removed. A reload keeps a
//! listening socket of which the address has not changed, and so does not make the file again: nginx
//! is led to another address first, and then back.

use std::path::{Path, PathBuf};

use super::{Change, Failure, Reached, proof, replace};
use crate::{
    config,
    nginx::{
        binary,
        render::{Places, SocketPath, render},
    },
    sys::sockets,
};

/// Whether nginx listens on `socket` although there is no such file.
pub(super) fn is_needed(socket: &Path) -> bool {
    // In this order: one that is being bound has its file before it is listed.
    let is_bound = sockets::is_bound(socket).unwrap_or(false);
    is_bound && std::fs::symlink_metadata(socket).is_err()
}

impl Change<'_> {
    /// Lets nginx serve the change with its proof socket elsewhere, and proves that. The file is as
    /// it is to be in the end, then.
    pub(super) async fn go_round(&self) -> Result<(), Failure> {
        let before = |error| (Reached::FileOnly, error);
        let aside = aside(&self.nginx.config);
        let socket = SocketPath::new(&aside.proof_socket).map_err(before)?;
        let places = Places { proof: socket, ..self.nginx.places().map_err(before)? };
        let text = render(&self.next.edited, &self.nginx.site(), places).map_err(before)?;
        proof::clear_stale(&aside.proof_socket).await.map_err(before)?;
        replace(self.nginx, text).await.map_err(before)?;
        binary::test(&aside).await.map_err(before)?;
        self.reload_by(&aside, Some(&self.next.between())).await?;
        let back = replace(self.nginx, self.next.text.clone()).await;
        back.map_err(|error| (Reached::Unclear, error))
    }
}

fn aside(config: &config::Nginx) -> config::Nginx {
    config::Nginx { proof_socket: beside(&config.proof_socket), ..config.clone() }
}

/// Another name in the same directory, no longer than this one.
fn beside(socket: &Path) -> PathBuf {
    let name = socket.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let last = if name.ends_with('~') { "-" } else { "~" };
    let kept: String = name.chars().take(name.chars().count().saturating_sub(1)).collect();
    socket.with_file_name(kept + last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_name_is_another_one_and_no_longer() {
        for (name, expected) in [
            ("/run/aibk-nginx.sock", "/run/aibk-nginx.soc~"),
            ("/run/x~", "/run/x-"),
            ("/run/x", "/run/~"),
        ] {
            assert_eq!(beside(Path::new(name)), Path::new(expected));
        }
    }
}
