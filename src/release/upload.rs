//! Archives that were sent. Each is kept, for us alone, until the deploy that it is for has ended.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write as _},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    FileError, Shortage, Untrusted, Workshop,
    archive::LARGEST,
    error::file,
    manifest,
    space::{self, Weight},
    tree::hex,
};
use crate::sys::blocking;

/// Ends the name of each file.
const ARCHIVE: &str = ".archive";
/// So much is written at a time.
const PORTION: usize = 1 << 20;
/// So much is written between two flushes, so that the last one does not take long.
const FLUSHED: u64 = 64 << 20;
/// How long a disk may take for one portion.
const WITHIN: Duration = Duration::from_secs(60);
/// Names that are tried.
const TRIES: u64 = 16;

/// Names an archive that was sent. A number is never a path (`C2`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UploadId(u64);

/// An archive that was sent, whole and on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Its name.
    pub id: UploadId,
    /// Bytes.
    pub bytes: u64,
    /// Of all of them, in hexadecimal digits.
    pub sha256: String,
}

/// Why an archive was not taken. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// No archive may be that large.
    #[error("the archive has more than {} GiB", LARGEST >> 30)]
    TooLarge,
    /// There is no room.
    #[error("there is no room for the archive: {0}")]
    NoRoom(Shortage),
    /// Nothing was sent.
    #[error("the archive is empty")]
    Empty,
    /// The disk takes too long.
    #[error("{} cannot be written to: {source}", path.display())]
    Slow {
        /// Where.
        path: PathBuf,
        /// That it took too long.
        source: io::Error,
    },
    /// Others could change it.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// A directory or file of ours failed.
    #[error(transparent)]
    File(#[from] FileError),
}

/// An archive that is being sent. Dropped, it is gone.
#[derive(Debug)]
pub struct Receiving {
    /// `None` while it is written to, or once that failed.
    draft: Option<Draft>,
    portion: Vec<Bytes>,
    held: usize,
}

impl Workshop {
    /// Begins to take an archive, of `announced` bytes where that is known.
    ///
    /// # Errors
    /// When there is no room for it.
    pub async fn receive(&self, announced: Option<u64>) -> Result<Receiving, UploadError> {
        let me = self.clone();
        let draft = self.write(move || {
            me.furnish()?;
            me.check_places()?;
            let directory = &me.places.uploads;
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(file("create", directory))?;
            // The application's user may be who owns what is above.
            if !directory.symlink_metadata().is_ok_and(|seen| seen.is_dir()) {
                let why = io::Error::from(io::ErrorKind::NotADirectory);
                return Err(file("write to", directory)(why).into());
            }
            Draft::begin(directory, announced)
        });
        Ok(Receiving { draft: Some(draft.await?), portion: Vec::new(), held: 0 })
    }

    /// Where the archive `id` is, if it is there.
    pub(super) fn upload(&self, id: UploadId) -> PathBuf {
        path(&self.places.uploads, id)
    }

    /// Removes the archive `id`.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub async fn forget_upload(&self, id: UploadId) -> Result<(), UploadError> {
        let place = self.upload(id);
        self.write(move || match fs::remove_file(&place) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(file("remove", &place)(e).into()),
            _ => Ok(()),
        })
        .await
    }

    /// Removes every archive that is not `needed`. None may be under way.
    ///
    /// # Errors
    /// When one is there and cannot be removed.
    pub async fn sweep_uploads(&self, needed: BTreeSet<UploadId>) -> Result<(), UploadError> {
        let directory = self.places.uploads.clone();
        self.write(move || {
            let entries = match fs::read_dir(&directory) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                entries => entries.map_err(file("read", &directory))?,
            };
            for entry in entries {
                let name = entry.map_err(file("read", &directory))?.file_name();
                // What is not ours stays.
                let id = name.to_str().and_then(|name| name.strip_suffix(ARCHIVE)?.parse().ok());
                if let Some(id) = id.map(UploadId).filter(|id| !needed.contains(id)) {
                    let place = path(&directory, id);
                    fs::remove_file(&place).map_err(file("remove", &place))?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, UploadError> + Send + 'static,
    ) -> Result<T, UploadError> {
        within(&self.places.uploads, work).await
    }
}

impl Receiving {
    /// Takes the next piece.
    ///
    /// # Errors
    /// When it becomes too large, or the disk does not take it. Nothing more can be taken then.
    pub async fn take(&mut self, piece: Bytes) -> Result<(), UploadError> {
        self.held += piece.len();
        self.portion.push(piece);
        if self.held < PORTION { Ok(()) } else { self.write().await }
    }

    async fn write(&mut self) -> Result<(), UploadError> {
        self.held = 0;
        let portion = std::mem::take(&mut self.portion);
        let Some(mut draft) = self.draft.take() else { return Err(UploadError::Empty) };
        let place = draft.path.clone();
        let work = move || draft.write(&portion).map(|()| draft);
        self.draft = Some(within(&place, work).await?);
        Ok(())
    }

    /// Takes it for whole: it is on the disk when this returns.
    ///
    /// # Errors
    /// As [`Receiving::take`], and when nothing came.
    pub async fn finish(mut self) -> Result<Upload, UploadError> {
        self.write().await?;
        let Some(draft) = self.draft.take().filter(|draft| draft.bytes > 0) else {
            return Err(UploadError::Empty);
        };
        let place = draft.path.clone();
        within(&place, move || draft.finish()).await
    }
}

/// The file of an archive that is not whole.
#[derive(Debug)]
struct Draft {
    id: UploadId,
    file: File,
    path: PathBuf,
    hash: Sha256,
    bytes: u64,
    flushed: u64,
    end: End,
}

/// What becomes of the file of a draft that is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Goes,
    Stays,
}

impl Draft {
    fn begin(directory: &Path, announced: Option<u64>) -> Result<Self, UploadError> {
        room_for(directory, announced.unwrap_or_default())?;
        let now = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or_default();
        let mut tried = 0;
        loop {
            let id = UploadId(now.saturating_add(tried));
            let path = path(directory, id);
            let options = &mut OpenOptions::new();
            match options.write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => {
                    let (hash, bytes, flushed) = (Sha256::new(), 0, 0);
                    return Ok(Self { id, file, path, hash, bytes, flushed, end: End::Goes });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && tried < TRIES => tried += 1,
                Err(e) => return Err(file("create", &path)(e).into()),
            }
        }
    }

    fn write(&mut self, portion: &[Bytes]) -> Result<(), UploadError> {
        let failed = |e| file("write", &self.path)(e);
        let coming = portion.iter().map(|piece| u64::try_from(piece.len()).unwrap_or(u64::MAX));
        let coming = coming.fold(0, u64::saturating_add);
        let bytes = self.bytes.saturating_add(coming);
        if bytes > LARGEST {
            return Err(UploadError::TooLarge);
        }
        room_for(self.path.parent().unwrap_or(Path::new("/")), coming)?;
        for piece in portion {
            self.file.write_all(piece).map_err(failed)?;
            self.hash.update(piece);
        }
        self.bytes = bytes;
        if bytes - self.flushed > FLUSHED {
            self.file.sync_data().map_err(failed)?;
            self.flushed = bytes;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Upload, UploadError> {
        self.file.sync_all().map_err(file("flush", &self.path))?;
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        manifest::sync(directory).map_err(file("flush", directory))?;
        self.end = End::Stays;
        let sha256 = hex(&std::mem::take(&mut self.hash).finalize());
        Ok(Upload { id: self.id, bytes: self.bytes, sha256 })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.end == End::Goes {
            // What stays all the same goes when the daemon comes up again.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Looks whether what lies at `path` is what was sent.
pub(super) fn check(path: &Path, upload: &Upload) -> Result<(), String> {
    let gone = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => "the archive that was sent is gone; send it again".to_owned(),
        _ => format!("{e}; see who may read it"),
    };
    let mut file = File::open(path).map_err(gone)?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0; PORTION]);
    loop {
        match file.read(&mut piece).map_err(gone)? {
            0 => break,
            n => hash.update(piece.get(..n).unwrap_or_default()),
        }
    }
    if hex(&hash.finalize()) == upload.sha256 {
        Ok(())
    } else {
        Err("is not what was sent any more; send it again".to_owned())
    }
}

fn path(directory: &Path, id: UploadId) -> PathBuf {
    directory.join(format!("{}{ARCHIVE}", id.0))
}

/// Whether `bytes` more have room at `place`, and what is made of them begins to.
fn room_for(place: &Path, bytes: u64) -> Result<(), UploadError> {
    if bytes > LARGEST {
        return Err(UploadError::TooLarge);
    }
    let free = space::free(place).map_err(file("see the room left in", place))?;
    let needed = space::LEAST.and(Weight { bytes, inodes: 1 });
    space::short(place, needed, free).map_or(Ok(()), |shortage| Err(UploadError::NoRoom(shortage)))
}

async fn within<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, UploadError> + Send + 'static,
) -> Result<T, UploadError> {
    let late = |source| UploadError::Slow { path: path.to_owned(), source };
    blocking::within(WITHIN, work).await.map_err(late)?
}
