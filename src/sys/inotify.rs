//! Being told that files were changed, removed or renamed, without looking: inotify(7).
#![allow(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    mem::{ManuallyDrop, MaybeUninit},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::Handle,
};

use super::watch;

/// Which changes are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// The file or directory itself is removed or renamed, or has another owner or mode. A file that
    /// somebody has open is removed for inotify only once that is closed, but it is told at once
    /// that it has a name less.
    OfItself,
    /// These, and what is written into it.
    OfContent,
    /// Those of itself, and what is written into it by whoever keeps it open.
    OfGrowth,
    /// Those of a directory itself, and what is removed from it.
    OfEntries,
    /// What comes into a directory.
    OfArrivals,
}

impl Changes {
    const fn flags(self) -> WatchFlags {
        let itself = WatchFlags::ATTRIB.union(WatchFlags::DELETE_SELF).union(WatchFlags::MOVE_SELF);
        match self {
            Self::OfItself => itself,
            Self::OfContent => itself.union(WatchFlags::CLOSE_WRITE),
            Self::OfGrowth => itself.union(WatchFlags::MODIFY),
            Self::OfEntries => itself.union(WatchFlags::DELETE).union(WatchFlags::MOVED_FROM),
            Self::OfArrivals => WatchFlags::CREATE.union(WatchFlags::MOVED_TO),
        }
    }
}

/// Files that are watched.
#[derive(Debug)]
pub struct Inotify {
    fd: ManuallyDrop<AsyncFd<OwnedFd>>,
    watched: BTreeSet<i32>,
}

impl Inotify {
    /// Watches nothing yet. Needs a runtime.
    ///
    /// # Errors
    /// `inotify_init1(2)`'s: EMFILE at the user's limit (`fs.inotify.max_user_instances`).
    pub fn new() -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let fd = ManuallyDrop::new(watch::watch(fd, Interest::READABLE)?);
        Ok(Self { fd, watched: BTreeSet::new() })
    }

    /// From now on tells of these changes of what these paths name now, and of no others. A path
    /// that names nothing is left out.
    ///
    /// # Errors
    /// `inotify_add_watch(2)`'s: ENOSPC at the user's limit (`fs.inotify.max_user_watches`).
    pub fn watch<'p>(
        &mut self,
        paths: impl IntoIterator<Item = (&'p Path, Changes)>,
    ) -> io::Result<()> {
        let mut wanted: BTreeMap<&Path, WatchFlags> = BTreeMap::new();
        for (path, changes) in paths {
            *wanted.entry(path).or_insert(WatchFlags::DONT_FOLLOW) |= changes.flags();
        }
        let mut watched = BTreeSet::new();
        for (path, flags) in wanted {
            match inotify::add_watch(self.fd.get_ref(), path, flags) {
                Ok(watch) => drop(watched.insert(watch)),
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        for old in std::mem::replace(&mut self.watched, watched).difference(&self.watched) {
            // EINVAL: what it was about is gone for good, and so is it.
            let _ = inotify::remove_watch(self.fd.get_ref(), *old);
        }
        Ok(())
    }

    /// Waits for a change, and takes all that there are.
    ///
    /// # Errors
    /// `read(2)`'s.
    pub async fn changed(&self) -> io::Result<()> {
        loop {
            let mut ready = self.fd.readable().await?;
            match ready.try_io(|fd| take(fd.get_ref())) {
                Ok(Ok(0)) | Err(_) => {}
                Ok(taken) => return taken.map(drop),
            }
        }
    }
}

/// The kernel lets go of a watch only once nobody looks at it any more, for which close(2) waits some
/// milliseconds: what ends with it, such as a daemon that stops its instances, does not.
impl Drop for Inotify {
    fn drop(&mut self) {
        // SAFETY: nobody can use it after this.
        let fd = unsafe { ManuallyDrop::take(&mut self.fd) }.into_inner();
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(fd))),
            Err(_) => drop(fd),
        }
    }
}

/// How many changes there were, without the end of a watch.
fn take(fd: &OwnedFd) -> io::Result<usize> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(fd.as_fd(), &mut buffer);
    let mut changes = 0;
    loop {
        match reader.next() {
            Ok(event) => changes += usize::from(!event.events().contains(ReadFlags::IGNORED)),
            Err(Errno::AGAIN) if changes > 0 => return Ok(changes),
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    async fn is_told(inotify: &Inotify) -> bool {
        tokio::time::timeout(Duration::from_millis(100), inotify.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn a_removal_is_told_also_of_what_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let (path, below) = (dir.path().join("file"), dir.path().join("dir"));
        let mut inotify = Inotify::new().unwrap();
        inotify.watch([(path.as_path(), Changes::OfItself)]).unwrap();
        let file = fs::File::create(&path).unwrap();
        fs::create_dir(&below).unwrap();
        fs::write(below.join("entry"), "").unwrap();
        let both = [(path.as_path(), Changes::OfItself), (below.as_path(), Changes::OfEntries)];
        inotify.watch(both).unwrap();
        assert!(!is_told(&inotify).await);
        fs::remove_file(&path).unwrap();
        assert!(is_told(&inotify).await);
        fs::remove_file(below.join("entry")).unwrap();
        assert!(is_told(&inotify).await);
        assert!(!is_told(&inotify).await, "each is told once");
        inotify.watch([(dir.path(), Changes::OfArrivals)]).unwrap();
        fs::remove_dir(&below).unwrap();
        assert!(!is_told(&inotify).await, "it is not watched any more");
        fs::create_dir(&below).unwrap();
        assert!(is_told(&inotify).await);
        drop(file);
    }

    #[tokio::test]
    async fn what_is_written_is_told_where_that_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "").unwrap();
        let (mut itself, mut content) = (Inotify::new().unwrap(), Inotify::new().unwrap());
        itself.watch([(path.as_path(), Changes::OfItself)]).unwrap();
        content.watch([(path.as_path(), Changes::OfContent)]).unwrap();
        fs::write(&path, "text").unwrap();
        assert!(is_told(&content).await);
        assert!(!is_told(&itself).await);
        let mut growth = Inotify::new().unwrap();
        growth.watch([(path.as_path(), Changes::OfGrowth)]).unwrap();
        let mut open = fs::File::options().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut open, b"more").unwrap();
        assert!(is_told(&growth).await && !is_told(&content).await);
        drop(open);
        fs::write(dir.path().join("other"), "").unwrap();
        fs::rename(dir.path().join("other"), &path).unwrap();
        assert!(is_told(&itself).await);
    }
}
