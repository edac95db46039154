//! Flags on disk: looked for as nginx does, and turned by one durable rename.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{
    NginxError,
    flip::{Colour, Flag, Seen},
    owned_file::{self, failed, sync_directory},
};

/// nginx's workers only look whether it is there.
const MODE: u32 = 0o644;

/// Harmless even where nginx includes every file of the directory.
const TEXT: &str = "\
# The name of this file tells nginx which slot of the service gets its requests.
# Only aibkd renames it.
";

/// What nginx would make of `flag` (`-f` follows links and counts only regular files).
pub(super) fn look(flag: &Flag) -> Seen {
    let is_there = |colour| fs::metadata(flag.path(colour)).is_ok_and(|file| file.is_file());
    match (is_there(Colour::Blue), is_there(Colour::Green)) {
        (true, false) => Seen::Sound(Colour::Blue),
        (false, true) => Seen::Sound(Colour::Green),
        (false, false) => Seen::Missing,
        (true, true) => Seen::Doubled,
    }
}

/// Makes `flag` say `to`, and that outlives a power cut. At every instant it says one or the other.
///
/// # Errors
/// When its directory is missing or not writable, or the disk is full.
pub(super) fn turn(flag: &Flag, to: Colour) -> Result<(), NginxError> {
    let (from, path) = (flag.path(to.other()), flag.path(to));
    match fs::rename(&from, &path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create(&path).map_err(failed("write", &path))?;
        }
        Err(error) => return Err(failed("rename", &from)(error)),
    }
    sync_directory(&path)
}

/// Removes it; nginx asks for it no more.
pub(super) fn remove(flag: &Flag) -> Result<(), NginxError> {
    [Colour::Blue, Colour::Green]
        .into_iter()
        .try_for_each(|colour| owned_file::remove(&flag.path(colour)))
}

fn create(path: &Path) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(path)?;
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.write_all(TEXT.as_bytes())?;
    file.sync_all()
}

/// The first directory above `flag` that process `pid` may not enter, by its mode; access control
/// lists are not looked at, for this only explains what was seen.
pub(super) fn closed_to(pid: i32, flag: &Flag) -> Option<PathBuf> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let ids = |name: &str| -> Vec<u32> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(|ids| ids.split_whitespace().filter_map(|id| id.parse().ok()).collect())
            .unwrap_or_default()
    };
    // Real, effective, saved, of the file system (proc_pid_status(5)).
    let (uid, gid) = (*ids("Uid:").get(3)?, *ids("Gid:").get(3)?);
    let groups = ids("Groups:");
    let path = flag.path(Colour::Green);
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    let is_closed = |directory: &&Path| {
        let Ok(found) = fs::metadata(directory) else { return true };
        let shift = match () {
            () if uid == 0 => return false,
            () if found.uid() == uid => 6,
            () if found.gid() == gid || groups.contains(&found.gid()) => 3,
            () => 0,
        };
        found.mode() >> shift & 1 == 0
    };
    above.into_iter().find(is_closed).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Slots, ident::Port, nginx::flip::Flip};

    #[test]
    fn a_flag_has_one_of_two_names_and_says_when_somebody_else_touched_it() {
        let dir = tempfile::tempdir().unwrap();
        let (blue, green) = (Port::new(1).unwrap(), Port::new(2).unwrap());
        let slots = Slots::Two { blue, green };
        let flag = Flip::new(&"api".parse().unwrap(), slots, dir.path()).unwrap().flag;
        assert_eq!(look(&flag), Seen::Missing);
        for to in [Colour::Blue, Colour::Green, Colour::Green, Colour::Blue] {
            turn(&flag, to).unwrap();
            assert_eq!(look(&flag), Seen::Sound(to));
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        for to in [Colour::Blue, Colour::Green] {
            fs::write(dir.path().join("aibk-api.blue"), "").unwrap();
            fs::write(dir.path().join("aibk-api.green"), "").unwrap();
            assert_eq!(look(&flag), Seen::Doubled);
            turn(&flag, to).unwrap();
            assert_eq!(look(&flag), Seen::Sound(to));
        }
        remove(&flag).unwrap();
        assert_eq!(look(&flag), Seen::Missing);
        assert!(
            turn(
                &Flip::new(&"api".parse().unwrap(), slots, Path::new("/nonexistent")).unwrap().flag,
                Colour::Blue
            )
            .is_err()
        );
    }
}
