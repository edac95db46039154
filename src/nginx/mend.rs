//! What somebody else did to what stands between nginx and us: a flag turned or removed, the owned file
//! edited or removed, the proof socket or the pid file removed.

use std::{fmt, path::Path};

use super::{
    Nginx, NginxError, Upstreams,
    blocking::blocking,
    flip::but_for_flags,
    master::Master,
    meant,
    owned_file::{self, OnDisk, failed},
    plan::Cut,
    publish::{self, look, replace, sync},
    write,
};
use crate::ident::ServiceName;

/// What was found, and is well again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mended {
    /// The owned file was removed. It is there again; nginx need not read it.
    FileGone,
    /// The owned file was edited. It is as aibk writes it, and nginx has read it.
    FileEdited,
    /// nginx's proof socket was removed. nginx listens on it again.
    SocketGone,
    /// The pid file of our own nginx was removed. It is there again.
    PidFileGone,
    /// The flag of this service was removed. It is there again, and nginx has seen it.
    FlagGone(ServiceName),
    /// The flag of this service was renamed, or another one made. It says again what it said.
    FlagTurned(ServiceName),
}

impl fmt::Display for Mended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileGone => f.write_str("aibk's file for nginx was removed, and is there again"),
            Self::FileEdited => f.write_str(
                "aibk's file for nginx was edited by hand, and is as aibk writes it again",
            ),
            Self::SocketGone => f.write_str(
                "nginx's proof socket was removed; nginx was reloaded twice to listen on it again",
            ),
            Self::PidFileGone => f.write_str("nginx's pid file was removed, and is there again"),
            Self::FlagGone(service) => {
                write!(f, "the flag of {service} was removed, and is there again")
            }
            Self::FlagTurned(service) => {
                write!(f, "the flag of {service} was turned by hand, and is turned back")
            }
        }
    }
}

/// See [`Nginx::mend`].
pub(super) async fn mend(nginx: &Nginx, own: Option<i32>) -> Result<Vec<Mended>, NginxError> {
    let mut mended = meant::put_right(nginx).await?;
    let pid_file = nginx.config.pid_file.clone();
    if let Some(pid) = own.filter(|master| lost_its_pid_file(*master, &pid_file)) {
        blocking(move || {
            let written = std::fs::write(&pid_file, format!("{pid}\n"));
            written.map_err(failed("write", &pid_file))
        })
        .await?;
        mended.push(Mended::PidFileGone);
    }
    let amiss = amiss(nginx).await?;
    // A file that is only gone is back by now.
    if amiss.iter().any(|found| *found != Mended::FileGone) {
        match publish::restore(nginx).await {
            Ok(_) => {}
            // It is written for its next start.
            Err(NginxError::NotRunning { .. }) => {
                write::write(nginx, &Upstreams::new()).await?;
            }
            Err(error) => return Err(error),
        }
    }
    mended.extend(amiss);
    Ok(mended)
}

/// What is not as we left it. A file that is gone is back when this returns.
async fn amiss(nginx: &Nginx) -> Result<Vec<Mended>, NginxError> {
    // Whoever holds it is about to change the file.
    let _last = nginx.last.lock().await;
    let disk = owned_file::read(&nginx.config.file);
    let is_file_ours = matches!(&disk, Ok(Some(disk)) if is_as_written(nginx, disk));
    if is_file_ours && nginx.config.proof_socket.exists() {
        return Ok(vec![]);
    }
    let now = look(nginx).await?;
    let mut amiss = vec![];
    if now.cut == Cut::Off {
        amiss.push(Mended::SocketGone);
    }
    match &now.disk {
        // Only now it is known what nginx serves.
        Some(disk) if is_as_written(nginx, disk) => {}
        Some(_) => amiss.push(Mended::FileEdited),
        None => {
            let served = now.served.ok().or_else(|| nginx.recall());
            if let Some(text) = served.and_then(|served| nginx.expected(&served)) {
                replace(nginx, text).await?;
                sync(nginx).await?;
                amiss.push(Mended::FileGone);
            }
        }
    }
    Ok(amiss)
}

/// What nobody but us writes is not older than what nginx serves, nor of the same age and different.
/// Flags are turned without another edition.
fn is_as_written(nginx: &Nginx, disk: &OnDisk) -> bool {
    let is_known = nginx.recall().is_none_or(|seen| {
        disk.edited.edition > seen.edition || but_for_flags(&disk.edited) == but_for_flags(&seen)
    });
    is_known && nginx.expected(&disk.edited).as_ref() == Some(&disk.text)
}

fn lost_its_pid_file(master: i32, pid_file: &Path) -> bool {
    // Where it is gone, `nginx -t` makes an empty one.
    Master::find(pid_file).is_err() && Master(master).is_still()
}
