//! The directory of an application's dumps.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{FlockOperation, flock, statvfs};

use super::{BackupError, DumpName, Manifest};
use crate::{config::App, ident::AppName, sync_point, sys::blocking};

/// How long a file system may take for what is no more than a few names.
const WITHIN: Duration = Duration::from_secs(30);

/// The end of the name of what is not whole yet.
const PARTIAL: &str = ".partial";

/// Where the dumps of one application are.
#[derive(Debug, Clone)]
pub struct Shelf {
    pub(super) app: AppName,
    pub(super) directory: PathBuf,
}

/// One dump there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// Its name.
    pub name: DumpName,
    /// Bytes of its file; `None`: only what tells of it is there.
    pub size: Option<u64>,
    /// What is known of it, or why that cannot be read.
    pub manifest: Result<Manifest, String>,
}

/// Keeps others from the same dumps until it is dropped, also those of another daemon.
#[derive(Debug)]
pub struct Hold {
    _file: File,
}

/// How far others are kept away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// They may read.
    Reading,
    /// They may do nothing.
    Alone,
}

impl Shelf {
    /// That of `app`.
    ///
    /// # Errors
    /// When it has no database.
    pub fn of(app: &App) -> Result<Self, BackupError> {
        let backup = app.backup.as_ref();
        let backup = backup.ok_or_else(|| BackupError::NotConfigured(app.name.clone()))?;
        Ok(Self { app: app.name.clone(), directory: backup.directory.clone() })
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the dump `name` lies.
    #[must_use]
    pub fn path(&self, name: &DumpName) -> PathBuf {
        self.directory.join(name.dump())
    }

    /// Makes the directory where it is missing, for the daemon's user alone, and claims it.
    ///
    /// # Errors
    /// [`BackupError::Busy`], or the system's reason.
    pub async fn claim(&self, claim: Claim) -> Result<Hold, BackupError> {
        let me = self.clone();
        self.work("use", move || {
            DirBuilder::new().recursive(true).mode(0o700).create(&me.directory)?;
            let lock = me.directory.join(format!(".{}.lock", me.app));
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(lock)?;
            let how = match claim {
                Claim::Reading => FlockOperation::NonBlockingLockShared,
                Claim::Alone => FlockOperation::NonBlockingLockExclusive,
            };
            match flock(&file, how) {
                Ok(()) => Ok(Some(Hold { _file: file })),
                Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
                Err(e) => Err(e.into()),
            }
        })
        .await?
        .ok_or_else(|| BackupError::Busy(self.app.clone()))
    }

    /// Removes what was not whole when an earlier daemon died, or makes it whole where no more than a
    /// name is missing. Only with [`Claim::Alone`].
    ///
    /// # Errors
    /// The system's reason.
    pub async fn sweep(&self) -> Result<(), BackupError> {
        let (directory, begin) = (self.directory.clone(), format!(".{}-", self.app));
        self.work("tidy up", move || {
            for entry in directory.read_dir()? {
                let entry = entry?;
                let name = entry.file_name();
                let ours = name.to_str().filter(|name| name.starts_with(&begin));
                let Some(last) =
                    ours.and_then(|name| name.strip_prefix('.')?.strip_suffix(PARTIAL))
                else {
                    continue;
                };
                let last = directory.join(last);
                if is_missing(&entry.path(), &last) {
                    fs::rename(entry.path(), last)?;
                } else {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Every dump, oldest first; none where the directory is not there yet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn list(&self) -> Result<Vec<Dump>, BackupError> {
        let (app, directory) = (self.app.clone(), self.directory.clone());
        self.work("read", move || list(&app, &directory)).await
    }

    /// The dump `name`, whose name may be anything.
    ///
    /// # Errors
    /// When there is none, or what is known of it cannot be read.
    pub async fn find(&self, name: &str) -> Result<Manifest, BackupError> {
        let unknown = || BackupError::Unknown {
            app: self.app.clone(),
            name: name.chars().take(64).collect(),
        };
        let wanted: DumpName = name.parse()?;
        let found = self.list().await?.into_iter().find(|dump| dump.name == wanted);
        let dump = found.filter(|dump| dump.size.is_some()).ok_or_else(unknown)?;
        dump.manifest.map_err(|why| BackupError::Manifest { name: dump.name, why })
    }

    /// What is known of every dump that is whole, oldest first.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn manifests(&self) -> Result<Vec<Manifest>, BackupError> {
        let dumps = self.list().await?.into_iter();
        let whole = dumps.filter(|dump| dump.size.is_some());
        Ok(whole.filter_map(|dump| dump.manifest.ok()).collect())
    }

    /// Bytes that can be written there.
    ///
    /// # Errors
    /// When the file system does not tell.
    pub async fn free(&self) -> Result<u64, BackupError> {
        let directory = self.directory.clone();
        self.work("measure", move || {
            let fs = statvfs(&directory)?;
            Ok(fs.f_bavail.saturating_mul(fs.f_frsize))
        })
        .await
    }

    /// Opens a file that is not whole yet: it is gone unless it is put in its place.
    ///
    /// # Errors
    /// The system's reason.
    pub async fn begin(&self, name: String) -> Result<Partial, BackupError> {
        let (path, last) =
            (self.directory.join(format!(".{name}{PARTIAL}")), self.directory.join(name));
        self.work("write to", move || {
            let options = &mut OpenOptions::new();
            let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
            Ok(Partial { file, path, last })
        })
        .await
    }

    /// Writes what is known of a dump, in one step.
    ///
    /// # Errors
    /// The system's reason.
    pub async fn describe(&self, manifest: &Manifest) -> Result<(), BackupError> {
        let mut partial = self.begin(manifest.name.manifest()).await?;
        let text = manifest.text();
        self.work("write to", move || {
            partial.file.write_all(&text)?;
            partial.settle()
        })
        .await
    }

    /// Puts `dump` in its place, and what is known of it beside it. Where the daemon dies in between,
    /// [`Shelf::sweep`] does the rest: a dump that nobody knows of is of no use, and would stay for ever.
    ///
    /// # Errors
    /// The system's reason; nothing of it is left.
    pub async fn place(&self, dump: Partial, manifest: &Manifest) -> Result<(), BackupError> {
        let mut known = self.begin(manifest.name.manifest()).await?;
        let text = manifest.text();
        self.work("write to", move || {
            known.file.write_all(&text)?;
            known.file.sync_all()?;
            let placed = dump.last.clone();
            dump.settle()?;
            sync_point!("backup.placed");
            known.settle().inspect_err(|_| {
                let _ = fs::remove_file(placed);
            })
        })
        .await
    }

    /// Removes a dump: first the dump, then what tells of it.
    ///
    /// # Errors
    /// The system's reason.
    pub async fn remove(&self, name: &DumpName) -> Result<(), BackupError> {
        let files = [self.path(name), self.directory.join(name.manifest())];
        self.work("remove dumps from", move || {
            for file in files {
                match fs::remove_file(file) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
            Ok(())
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, BackupError> {
        let done = blocking::within(WITHIN, work).await.and_then(|done| done);
        done.map_err(BackupError::file(action, &self.directory))
    }
}

/// A file that is not whole yet.
#[derive(Debug)]
pub struct Partial {
    file: File,
    path: PathBuf,
    last: PathBuf,
}

impl Partial {
    /// The file, to be written to.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Makes it durable, under its own name.
    fn settle(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.last)?;
        File::open(self.last.parent().unwrap_or(Path::new("/")))?.sync_all()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Once it is in its place there is nothing under this name.
        let _ = fs::remove_file(&self.path);
    }
}

/// What is known of a dump is at `partial`, and not at `last`, though the dump is in its place.
fn is_missing(partial: &Path, last: &Path) -> bool {
    last.extension().is_some_and(|extension| extension == "json")
        && !last.exists()
        && last.with_extension("dump").exists()
        && read(partial).is_ok()
}

fn list(app: &AppName, directory: &Path) -> io::Result<Vec<Dump>> {
    let entries = match directory.read_dir() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries?,
    };
    let mut names = std::collections::BTreeSet::new();
    for entry in entries {
        let file = entry?.file_name();
        let stem = file
            .to_str()
            .and_then(|name| name.strip_suffix(".dump").or_else(|| name.strip_suffix(".json")));
        let name = stem.and_then(|stem| stem.parse::<DumpName>().ok());
        names.extend(name.filter(|name| name.app == *app));
    }
    let look = |name: DumpName| Dump {
        size: fs::metadata(directory.join(name.dump())).ok().map(|data| data.len()),
        manifest: read(&directory.join(name.manifest())),
        name,
    };
    Ok(names.into_iter().map(look).collect())
}

fn read(path: &Path) -> Result<Manifest, String> {
    let text = fs::read(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => "there is no manifest beside it".to_owned(),
        _ => e.to_string(),
    })?;
    Manifest::read(&text)
}
