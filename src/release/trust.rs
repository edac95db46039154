//! Whether others may change what a service is to run.
//!
//! Whoever can write to a release, or rename it from a directory above, chooses what runs under the
//! service's user. As `StrictModes` of `sshd_config(5)`, and for the same reason.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::unistd::{Group, User, getegid, geteuid};

use crate::config::{App, Service};

/// `S_ISVTX`: only an entry's owner, or the directory's, may rename or remove it (inode(7)).
const STICKY: u32 = 0o1000;
/// `S_IWGRP`.
const GROUP_WRITES: u32 = 0o020;
/// `S_IWOTH`.
const OTHERS_WRITE: u32 = 0o002;

/// Why a directory is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// Its owner is somebody else.
    #[error("{path} belongs to uid {uid}; give it to root or to the service's user (chown)")]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// A group of others may write to it.
    #[error("the group {gid} may write to {path}; take that right away (chmod g-w)")]
    Group {
        /// The directory.
        path: PathBuf,
        /// Its group.
        gid: u32,
    },
    /// Everybody may write to it.
    #[error("everybody may write to {path}; take that right away (chmod o-w)")]
    Everybody {
        /// The directory.
        path: PathBuf,
    },
    /// It cannot be seen who may.
    #[error("cannot see who may write to {path}: {source}")]
    Unseen {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Who may change what a service runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted {
    users: Vec<u32>,
    groups: Vec<u32>,
}

/// What lies in a directory that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The release itself: whoever adds a file to it may shadow a module.
    Release,
    /// Only the way to it.
    Way,
}

impl Trusted {
    /// Root, the daemon's user, and who `service` runs as. Asks the host's name service, which may
    /// wait for a network; a user it does not know is not trusted.
    #[must_use]
    pub fn by(service: &Service) -> Self {
        Self::with(service.user.as_deref(), service.group.as_deref())
    }

    /// The same of who builds for `app`.
    #[must_use]
    pub fn by_app(app: &App) -> Self {
        Self::with(app.user.as_deref(), app.group.as_deref())
    }

    fn with(user: Option<&str>, group: Option<&str>) -> Self {
        let mut trusted =
            Self { users: vec![0, geteuid().as_raw()], groups: vec![0, getegid().as_raw()] };
        let user = user.and_then(|name| User::from_name(name).ok().flatten());
        let group = group.and_then(|name| Group::from_name(name).ok().flatten());
        trusted.users.extend(user.iter().map(|user| user.uid.as_raw()));
        trusted.groups.extend(user.iter().map(|user| user.gid.as_raw()));
        trusted.groups.extend(group.iter().map(|group| group.gid.as_raw()));
        trusted
    }

    /// Looks at `release` and at every directory above it; no symbolic link leads through it.
    ///
    /// # Errors
    /// The first that others may change, and what to do about it.
    pub fn check(&self, release: &Path) -> Result<(), Untrusted> {
        let mut part = Part::Release;
        for path in release.ancestors() {
            let seen = path
                .symlink_metadata()
                .map_err(|source| Untrusted::Unseen { path: path.to_owned(), source })?;
            self.judge(path, part, (seen.uid(), seen.gid()), seen.mode())?;
            part = Part::Way;
        }
        Ok(())
    }

    fn judge(
        &self,
        path: &Path,
        part: Part,
        (uid, gid): (u32, u32),
        mode: u32,
    ) -> Result<(), Untrusted> {
        let path = || path.to_owned();
        if !self.users.contains(&uid) {
            return Err(Untrusted::Owner { path: path(), uid });
        }
        if part == Part::Way && mode & STICKY != 0 {
            return Ok(());
        }
        if mode & OTHERS_WRITE != 0 {
            return Err(Untrusted::Everybody { path: path() });
        }
        if mode & GROUP_WRITES != 0 && !self.groups.contains(&gid) {
            return Err(Untrusted::Group { path: path(), gid });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    const APP: u32 = 990;
    const STRANGER: u32 = 1000;

    fn verdict(part: Part, owner: (u32, u32), mode: u32) -> &'static str {
        let trusted = Trusted { users: vec![0, APP], groups: vec![0, APP] };
        match trusted.judge(Path::new("/srv"), part, owner, mode) {
            Ok(()) => "fine",
            Err(Untrusted::Owner { .. }) => "owner",
            Err(Untrusted::Group { .. }) => "group",
            Err(Untrusted::Everybody { .. }) => "everybody",
            Err(Untrusted::Unseen { .. }) => "unseen",
        }
    }

    #[test]
    fn nobody_else_may_write() {
        for part in [Part::Release, Part::Way] {
            assert_eq!(verdict(part, (0, 0), 0o755), "fine");
            assert_eq!(verdict(part, (APP, STRANGER), 0o755), "fine");
            assert_eq!(verdict(part, (APP, APP), 0o775), "fine");
            assert_eq!(verdict(part, (STRANGER, 0), 0o700), "owner");
            assert_eq!(verdict(part, (0, STRANGER), 0o2775), "group");
            assert_eq!(verdict(part, (0, 0), 0o777), "everybody");
        }
    }

    #[test]
    fn a_sticky_directory_keeps_what_is_in_it_but_takes_more() {
        assert_eq!(verdict(Part::Way, (0, 0), 0o1777), "fine");
        assert_eq!(verdict(Part::Way, (0, STRANGER), 0o1775), "fine");
        assert_eq!(verdict(Part::Release, (0, 0), 0o1777), "everybody");
        assert_eq!(verdict(Part::Way, (STRANGER, 0), 0o1777), "owner");
    }

    #[test]
    fn every_directory_on_the_way_counts() {
        let home = tempfile::tempdir_in("/tmp").unwrap();
        let above = home.path().join("releases");
        let release = above.join("r1");
        fs::create_dir_all(&release).unwrap();
        let allow = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let own = (geteuid().as_raw(), getegid().as_raw());
        let trusted = Trusted { users: vec![0, own.0], groups: vec![0, own.1] };
        for path in [&release, &above] {
            allow(path, 0o755);
        }
        trusted.check(&release).unwrap();
        allow(&above, 0o777);
        let told = trusted.check(&release).unwrap_err().to_string();
        assert!(told.contains(above.to_str().unwrap()) && told.contains("chmod o-w"), "{told}");
        assert!(!told.contains("r1"), "{told}");
        assert!(matches!(trusted.check(&above.join("r2")), Err(Untrusted::Unseen { .. })));
    }
}
