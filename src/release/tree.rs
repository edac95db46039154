//! Directories with code in them: surveyed, copied, handed over, sealed, removed.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use nix::unistd::{Group, User, geteuid};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, chownat};
use sha2::{Digest, Sha256};

use super::{AccountError, FileError, Weight, error::file, workshop::Workshop};

/// Not code: history, environments of another place, and what Python writes beside its sources.
const LEFT_OUT: &[&str] = &[".git", ".venv", "__pycache__"];

/// Who is to have files, where the daemon can decide that.
pub(super) type Owner = Option<(u32, u32)>;

/// What a survey found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// SHA-256 of names, kinds and contents.
    pub(super) digest: String,
    pub(super) weight: Weight,
}

/// One entry of a tree of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Directory,
    File { executable: bool },
    Link(PathBuf),
}

impl Workshop {
    /// Who builds; `None` when the daemon does, or can give nothing away.
    pub(super) fn owner(&self) -> Result<Owner, AccountError> {
        let Some(name) = self.app.user.as_ref().filter(|_| geteuid().is_root()) else {
            return Ok(None);
        };
        let failed = |error| AccountError::Failed { name: name.clone(), error };
        let user = User::from_name(name).map_err(failed)?;
        let user = user.ok_or_else(|| AccountError::Unknown(name.clone()))?;
        let group = match &self.app.group {
            Some(group) => Group::from_name(group).map_err(failed)?.map(|group| group.gid),
            None => None,
        };
        Ok(Some((user.uid.as_raw(), group.unwrap_or(user.gid).as_raw())))
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Hashes entries in the order of their names.
#[derive(Default)]
pub(super) struct Hasher {
    hash: Sha256,
    weight: Weight,
}

impl Hasher {
    /// Each part says how long it is, so that none can be taken for two.
    pub(super) fn part(&mut self, bytes: &[u8]) {
        self.hash.update((bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
    }

    /// Takes an entry, and lays it out in `to`, where that is given.
    pub(super) fn take(
        &mut self,
        path: &Path,
        entry: &Entry,
        content: &mut dyn Read,
        to: Option<&Path>,
    ) -> io::Result<()> {
        let mut seen = Seen { content, hash: Sha256::new(), bytes: 0 };
        if let Some(to) = to {
            lay(&to.join(path), entry, &mut seen)?;
        }
        io::copy(&mut seen, &mut io::sink())?;
        let kind: &[u8] = match entry {
            Entry::Directory => b"d",
            Entry::File { executable: false } => b"f",
            Entry::File { executable: true } => b"x",
            Entry::Link(_) => b"l",
        };
        let Seen { hash, bytes, .. } = seen;
        self.part(path.as_os_str().as_encoded_bytes());
        self.part(kind);
        if let Entry::Link(target) = entry {
            self.part(target.as_os_str().as_encoded_bytes());
        }
        self.part(&hash.finalize());
        let bytes = bytes.div_ceil(4096) * 4096;
        self.weight = self.weight.and(Weight { bytes, inodes: 1 });
        Ok(())
    }

    pub(super) fn found(self) -> Found {
        Found { digest: hex(&self.hash.finalize()), weight: self.weight }
    }
}

/// Hashes and counts what is read through it.
struct Seen<'c> {
    content: &'c mut dyn Read,
    hash: Sha256,
    bytes: u64,
}

impl Read for Seen<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.hash.update(buffer.get(..read).unwrap_or_default());
        self.bytes += read as u64;
        Ok(read)
    }
}

/// Looks at all the code in `root`.
pub(super) fn survey(root: &Path) -> Result<Found, String> {
    let mut hasher = Hasher::default();
    walk(root, Path::new(""), &mut hasher, None)?;
    Ok(hasher.found())
}

/// Copies all the code in `from` into `to`, which is there and empty; says what it copied.
pub(super) fn copy(from: &Path, to: &Path) -> Result<Found, String> {
    let mut hasher = Hasher::default();
    walk(from, Path::new(""), &mut hasher, Some(to))?;
    Ok(hasher.found())
}

/// Makes `entry` at `path`, where nothing is.
fn lay(path: &Path, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
    match entry {
        Entry::Directory => fs::create_dir(path),
        Entry::Link(target) => symlink(target, path),
        Entry::File { executable } => {
            let mode = if *executable { 0o755 } else { 0o644 };
            let mut new =
                fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
            io::copy(content, &mut new).map(drop)
        }
    }
}

/// Gives everything below `root` to `hasher`, in the order of names, directories before what is in
/// them.
fn walk(root: &Path, below: &Path, hasher: &mut Hasher, to: Option<&Path>) -> Result<(), String> {
    let place = root.join(below);
    let told = |e: io::Error| format!("{}: {e}; see who may read it", place.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(&place).map_err(told)? {
        names.push(entry.map_err(told)?.file_name());
    }
    names.sort();
    for name in names.iter().filter(|name| !LEFT_OUT.iter().any(|out| *name == out)) {
        let (path, whole) = (below.join(name), place.join(name));
        let told = |e: io::Error| format!("{}: {e}; see who may read it", whole.display());
        let seen = whole.symlink_metadata().map_err(told)?;
        let nothing = &mut io::empty();
        if seen.is_dir() {
            hasher.take(&path, &Entry::Directory, nothing, to).map_err(told)?;
            walk(root, &path, hasher, to)?;
        } else if seen.is_symlink() {
            let target = fs::read_link(&whole).map_err(told)?;
            hasher.take(&path, &Entry::Link(target), nothing, to).map_err(told)?;
        } else if seen.is_file() {
            let executable = seen.permissions().mode() & 0o100 != 0;
            let mut file = fs::File::open(&whole).map_err(told)?;
            hasher.take(&path, &Entry::File { executable }, &mut file, to).map_err(told)?;
        } else {
            return Err(format!("{} is no file; remove it from the code", whole.display()));
        }
    }
    Ok(())
}

/// Gives everything in `root` to `owner`.
pub(super) fn hand_over(root: &Path, owner: Owner) -> Result<(), FileError> {
    let Some(owner) = owner else { return Ok(()) };
    chown(root, owner).map_err(file("hand over", root))?;
    for_each(root, &mut |path, _| chown(path, owner)).map(drop)
}

/// Takes everything in `root` away from everybody who could write to it. Where the
/// daemon is root, all of it becomes root's; the group may read what its owner could.
pub(super) fn seal(root: &Path, owner: Owner) -> Result<(), FileError> {
    let give = owner.map(|(_, group)| (0, group));
    let own = |path: &Path| give.map_or(Ok(()), |give| chown(path, give));
    own(root).map_err(file("seal", root))?;
    if give.is_some() {
        close_one(root).map_err(file("seal", root))?;
    }
    for_each(root, &mut |path, seen| {
        own(path)?;
        if seen.is_dir() && give.is_some() {
            // From here on nobody else puts anything into it.
            close_one(path)?;
        }
        // Whoever has it under another name could change it there.
        if seen.is_file() && seen.nlink() > 1 { part(path) } else { Ok(()) }
    })?;
    for_each(root, &mut |path, seen| if seen.is_symlink() { Ok(()) } else { close_one(path) })?;
    close_one(root).map_err(file("seal", root))?;
    flush(root)
}

/// What everything in `root` needs.
pub(super) fn weigh(root: &Path) -> Result<Weight, FileError> {
    let mut weight = Weight { bytes: 0, inodes: 1 };
    for_each(root, &mut |_, seen| {
        let bytes = if seen.is_dir() { 0 } else { seen.blocks().saturating_mul(512) };
        weight = weight.and(Weight { bytes, inodes: 1 });
        Ok(())
    })?;
    Ok(weight)
}

/// Makes all that was written to the file system of `place` durable.
fn flush(place: &Path) -> Result<(), FileError> {
    let open = fs::File::open(place).map_err(file("open", place))?;
    rustix::fs::syncfs(open).map_err(|e| file("flush", place)(e.into()))
}

/// Whether no link leads out of the way to `path`, below `root`; what is not there leads nowhere.
pub(super) fn is_plain(root: &Path, path: &Path) -> bool {
    let steps: Vec<&Path> = path.ancestors().filter(|p| !p.as_os_str().is_empty()).collect();
    steps.into_iter().all(|step| {
        root.join(step).symlink_metadata().is_ok_and(|seen| seen.is_dir() || seen.is_file())
            || root.join(step).symlink_metadata().is_err()
    })
}

/// Removes `root` with all that is in it, sealed or not.
pub(super) fn remove(root: &Path) -> Result<(), FileError> {
    match root.symlink_metadata() {
        Ok(seen) if seen.is_dir() => {}
        Ok(_) => return fs::remove_file(root).map_err(file("remove", root)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(file("remove", root)(e)),
    }
    if !geteuid().is_root() {
        let _ = open_one(root);
        // What cannot be opened is told by the removal itself.
        let _ =
            for_each(root, &mut |path, seen| if seen.is_dir() { open_one(path) } else { Ok(()) });
    }
    fs::remove_dir_all(root).map_err(file("remove", root))
}

/// Calls `visit` for everything below `root`, directories before what is in them; no link is followed.
fn for_each(
    root: &Path,
    visit: &mut dyn FnMut(&Path, &fs::Metadata) -> io::Result<()>,
) -> Result<(), FileError> {
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).map_err(file("read", &directory))? {
            let path = entry.map_err(file("read", &directory))?.path();
            let seen = path.symlink_metadata().map_err(file("see", &path))?;
            if seen.is_dir() {
                left.push(path.clone());
            }
            visit(&path, &seen).map_err(file("change", &path))?;
        }
    }
    Ok(())
}

fn chown(path: &Path, (user, group): (u32, u32)) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    Ok(chownat(CWD, path, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Nobody may write; the group may read and execute what the owner may.
const fn closed(mode: u32) -> u32 {
    (mode & 0o555) | ((mode & 0o500) >> 3)
}

fn close_one(path: &Path) -> io::Result<()> {
    set_mode(path, closed)
}

fn open_one(path: &Path) -> io::Result<()> {
    set_mode(path, |mode| mode | 0o700)
}

/// Through a descriptor, so that no link is followed.
fn set_mode(path: &Path, change: impl Fn(u32) -> u32) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(open) => fs::File::from(open),
        // Its owner may not read it, so nobody else changes it by a link either.
        Err(rustix::io::Errno::ACCESS) => {
            let mode = path.symlink_metadata()?.mode();
            return fs::set_permissions(path, fs::Permissions::from_mode(change(mode) & 0o777));
        }
        Err(e) => return Err(e.into()),
    };
    let mode = change(open.metadata()?.mode()) & 0o777;
    open.set_permissions(fs::Permissions::from_mode(mode))
}

/// Gives a file content of its own.
fn part(path: &Path) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".aibk-new");
    let new = path.with_file_name(name);
    fs::copy(path, &new)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_digest_is_of_names_kinds_and_contents_and_of_nothing_else() {
        let digest = |change: &dyn Fn(&Path)| {
            let home = tempfile::tempdir().unwrap();
            write(home.path(), "app/main.py", "x");
            write(home.path(), "run", "y");
            change(home.path());
            survey(home.path()).unwrap().digest
        };
        let plain = digest(&|_| {});
        assert_eq!(plain, digest(&|_| {}));
        assert_eq!(plain, digest(&|home| write(home, ".git/HEAD", "z")));
        assert_eq!(plain, digest(&|home| write(home, "app/__pycache__/main.pyc", "z")));
        let executable = |home: &Path| {
            fs::set_permissions(home.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
        };
        let changes: [&dyn Fn(&Path); 5] = [
            &|home| write(home, "run", "z"),
            &|home| write(home, "rum", ""),
            &|home| fs::create_dir(home.join("empty")).unwrap(),
            &|home| symlink("run", home.join("link")).unwrap(),
            &executable,
        ];
        for change in changes {
            assert_ne!(plain, digest(change));
        }
    }

    #[test]
    fn a_copy_is_what_was_surveyed() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(from.path(), "app/main.py", "x");
        symlink("/gone", from.path().join("link")).unwrap();
        let found = survey(from.path()).unwrap();
        assert_eq!(copy(from.path(), to.path()).unwrap(), found);
        assert_eq!(survey(to.path()).unwrap(), found);
        nix::unistd::mkfifo(&from.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(survey(from.path()).unwrap_err().contains("fifo is no file"));
    }

    #[test]
    fn what_is_sealed_is_nobody_s_to_write_and_can_be_removed() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("r");
        write(&root, "app/main.py", "x");
        let outside = home.path().join("outside");
        fs::write(&outside, "y").unwrap();
        symlink(&outside, root.join("link")).unwrap();
        fs::hard_link(&outside, root.join("twin")).unwrap();
        let before = fs::metadata(&outside).unwrap().mode();
        let weight = weigh(&root).unwrap();
        assert_eq!((weight.inodes, weight.bytes), (5, 8192));
        seal(&root, None).unwrap();
        for path in ["", "app", "app/main.py", "twin"] {
            assert_eq!(fs::metadata(root.join(path)).unwrap().mode() & 0o222, 0, "{path}");
        }
        assert_eq!(fs::metadata(&outside).unwrap().mode(), before, "links lead out of it");
        assert_eq!(fs::metadata(&outside).unwrap().nlink(), 1);
        remove(&root).unwrap();
        assert!(!root.exists() && outside.exists());
        remove(&root).unwrap();
        assert_eq!((closed(0o755), closed(0o600), closed(0o4700)), (0o555, 0o440, 0o550));
    }
}
