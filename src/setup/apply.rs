//! Makes one thing at a time, and looks at it afterwards.

use std::{
    ffi::OsString,
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use rustix::fs::RenameFlags;

use super::{
    host::Root,
    plan::{Seen, Step, Want, step},
};
use crate::doctor::program;

/// How long a certificate is valid, in days: what browsers take at most.
const DAYS: &str = "825";

/// Makes `want` where `seen` is there.
///
/// # Errors
/// What failed, on what.
pub(super) async fn make(root: &Root, want: &Want, seen: &Seen) -> Result<(), String> {
    let cannot = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| format!("cannot make {path}: {error}")
    };
    match want {
        Want::Group(name) => run(root, "groupadd", &["--system".into(), name.into()]).await?,
        Want::User { name, home } => {
            let shell = "/usr/sbin/nologin";
            let words =
                ["--system", "--user-group", "--create-home", "--shell", shell, "--home-dir"];
            let mut args: Vec<OsString> = words.into_iter().map(OsString::from).collect();
            args.extend([home.into(), name.into()]);
            run(root, "useradd", &args).await?;
        }
        Want::Directory { path, owner, mode } => {
            let place = root.at(path);
            fs::create_dir_all(&place).map_err(cannot(path))?;
            fs::set_permissions(&place, Permissions::from_mode(*mode)).map_err(cannot(path))?;
            own(root, &place, owner.as_deref()).map_err(cannot(path))?;
        }
        Want::Certificate { certificate, key, name } => {
            self_signed(root, certificate, key, name).await?;
        }
        Want::File { path, mode, text } => {
            write(&root.at(path), *mode, text, seen).map_err(cannot(path))?;
        }
        Want::Link { path, to } => {
            std::os::unix::fs::symlink(to, root.at(path)).map_err(cannot(path))?;
        }
    }
    let now = root.look(want)?;
    match step(want, &now, &[]) {
        Step::Done { .. } => Ok(()),
        Step::Change { what, .. } | Step::Kept { what, .. } => {
            Err(format!("{what}: it was made, but it is not there as it is to be"))
        }
    }
}

fn own(root: &Root, place: &Path, owner: Option<&str>) -> io::Result<()> {
    let Some((uid, gid, _)) = owner.and_then(|owner| root.user(owner)) else { return Ok(()) };
    std::os::unix::fs::chown(place, Some(uid), Some(gid))
}

/// A file that somebody else makes meanwhile is not replaced; nor is one that setup did not write.
fn write(place: &Path, mode: u32, text: &str, seen: &Seen) -> io::Result<()> {
    let mut name = place.file_name().unwrap_or_default().to_owned();
    name.push(".aibk-new");
    let new = place.with_file_name(name);
    let _ = fs::remove_file(&new);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()?;
    let flags = match seen {
        Seen::Absent => RenameFlags::NOREPLACE,
        _ => RenameFlags::empty(),
    };
    let renamed = rustix::fs::renameat_with(rustix::fs::CWD, &new, rustix::fs::CWD, place, flags);
    if renamed.is_err() {
        let _ = fs::remove_file(&new);
    }
    Ok(renamed?)
}

async fn self_signed(root: &Root, at: &Path, key: &Path, name: &str) -> Result<(), String> {
    let [at, key] = [at, key].map(|path| root.at(path));
    let subject = format!("/CN={name}");
    let names = format!("subjectAltName=DNS:{name}");
    let words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", DAYS, "-subj", &subject];
    let mut args: Vec<OsString> = words.into_iter().map(OsString::from).collect();
    args.extend(["-addext", &names, "-keyout"].map(OsString::from));
    args.extend([key.clone().into(), "-out".into(), at.clone().into()]);
    // openssl makes the key readable by its owner alone.
    said("openssl", &args).await?;
    fs::set_permissions(&key, Permissions::from_mode(0o600)).map_err(|error| error.to_string())
}

/// A program of shadow, which works in a directory in place of the host, too.
async fn run(root: &Root, name: &str, args: &[OsString]) -> Result<(), String> {
    let prefix: Vec<OsString> =
        if root.is_host() { vec![] } else { vec!["--prefix".into(), root.0.clone().into()] };
    said(name, &[prefix, args.to_vec()].concat()).await
}

async fn said(name: &str, args: &[OsString]) -> Result<(), String> {
    let said = program::ask(name, args).await.map_err(|error| error.to_string())?;
    if said.ok { Ok(()) } else { Err(format!("{name}: {}", said.err)) }
}
