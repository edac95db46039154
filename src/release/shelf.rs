//! The releases that are there: listed, pinned, pointed to, removed, pruned.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::{
    Manifest, Notes, Release, ShelfError, Shelved,
    build::BUILDING,
    error::file,
    id, manifest, tree, venv,
    workshop::{Places, Workshop, away},
};
use crate::{config::Service, ident::ReleaseId};

/// Ends the name of what is being removed.
const REMOVING: &str = ".removing";

/// What a prune removed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Pruned {
    /// Releases.
    pub releases: Vec<ReleaseId>,
    /// Environments that no release uses any more, by hash.
    pub venvs: Vec<String>,
    /// What builds and removals that were cut had left.
    pub leftovers: usize,
}

impl Workshop {
    /// The releases that are there, newest first by the time in their names, then by when they were
    /// sealed.
    ///
    /// # Errors
    /// When the directory cannot be read. A release that cannot be is in the list.
    pub fn list(&self) -> Result<Vec<Shelved>, ShelfError> {
        let ours = names(&self.places.releases)?.into_iter();
        let ours = ours.filter_map(|name| Some((id::made_at(&name)?, name)));
        let mut all = vec![];
        for (made, name) in ours {
            let release = self.shelved(ReleaseId(name))?;
            let sealed = release.manifest.as_ref().ok().map(|manifest| manifest.sealed);
            all.push(((made, sealed), release));
        }
        all.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
        Ok(all.into_iter().map(|(_, release)| release).collect())
    }

    fn shelved(&self, id: ReleaseId) -> Result<Shelved, ShelfError> {
        let directory = self.places.releases.join(&id.0);
        let missing =
            || manifest::Unread { path: directory.clone(), why: "it has no manifest".to_owned() };
        let manifest = Manifest::read(&directory).and_then(|found| found.ok_or_else(missing));
        let notes = manifest::read(&self.notes(&id))?.unwrap_or_default();
        Ok(Shelved { id, manifest, notes })
    }

    /// The newest release that can be read.
    pub(super) fn newest(&self) -> Option<Manifest> {
        self.list().ok()?.into_iter().find_map(|release| release.manifest.ok())
    }

    fn notes(&self, id: &ReleaseId) -> PathBuf {
        self.places.releases.join(format!(".{id}.notes.json"))
    }

    /// The directory of `id`, which has to be there. A name is never a path (`C2`).
    fn directory(&self, id: &ReleaseId) -> Result<PathBuf, ShelfError> {
        if id::made_at(&id.0).is_none() {
            return Err(ShelfError::BadId(
                id.0.chars().take(64).flat_map(char::escape_debug).collect(),
            ));
        }
        let directory = self.places.releases.join(&id.0);
        if directory.symlink_metadata().is_ok_and(|seen| seen.is_dir()) {
            Ok(directory)
        } else {
            Err(ShelfError::NoSuch(id.0.clone()))
        }
    }

    /// What `id` says of itself.
    ///
    /// # Errors
    /// When there is no such release, or a note about it cannot be read.
    pub fn get(&self, id: &ReleaseId) -> Result<Shelved, ShelfError> {
        self.directory(id)?;
        self.shelved(id.clone())
    }

    /// Lets no prune remove `id`.
    ///
    /// # Errors
    /// When there is no such release, or nothing can be written.
    pub fn pin(&self, id: &ReleaseId) -> Result<(), ShelfError> {
        self.note(id, |notes| notes.pinned = true)
    }

    /// Lets prunes remove `id` again.
    ///
    /// # Errors
    /// As [`Workshop::pin`].
    pub fn unpin(&self, id: &ReleaseId) -> Result<(), ShelfError> {
        self.note(id, |notes| notes.pinned = false)
    }

    /// Notes the revisions that the migrations of `id` end in.
    ///
    /// # Errors
    /// As [`Workshop::pin`].
    pub fn note_heads(&self, id: &ReleaseId, heads: Vec<String>) -> Result<(), ShelfError> {
        self.note(id, |notes| notes.heads = Some(heads))
    }

    fn note(&self, id: &ReleaseId, change: impl FnOnce(&mut Notes)) -> Result<(), ShelfError> {
        self.directory(id)?;
        let path = self.notes(id);
        let mut notes: Notes = manifest::read(&path)?.unwrap_or_default();
        change(&mut notes);
        Ok(manifest::write(&path, &notes).map_err(file("write", &path))?)
    }

    /// Removes `id`, pinned or not: whoever asks has made sure that no instance runs it.
    ///
    /// # Errors
    /// When there is no such release, `current` points to it, or it cannot be removed whole.
    pub async fn remove(&self, id: &ReleaseId) -> Result<(), ShelfError> {
        let directory = self.directory(id)?;
        if self.current().as_ref() == Some(id) {
            return Err(ShelfError::Serves(id.0.clone()));
        }
        let (notes, releases) = (self.notes(id), self.places.releases.clone());
        let going = releases.join(format!(".{id}{REMOVING}"));
        away(&releases.clone(), move || {
            tree::remove(&going)?;
            // From here on nobody finds half of it under its name.
            fs::rename(&directory, &going).map_err(file("remove", &directory))?;
            manifest::sync(&releases).map_err(file("flush", &releases))?;
            tree::remove(&notes)?;
            Ok::<(), ShelfError>(tree::remove(&going)?)
        })
        .await?;
        // The mirror need not keep the commit for it.
        self.forget_commit(id).await;
        Ok(())
    }

    /// Removes the releases `going`; then environments that nothing uses any more, and what was left
    /// over. No build may be under way.
    ///
    /// # Errors
    /// When something cannot be read or removed; what was removed before is gone.
    pub async fn prune(&self, going: &[ReleaseId]) -> Result<Pruned, ShelfError> {
        let mut pruned = Pruned::default();
        for id in going {
            self.remove(id).await?;
            pruned.releases.push(id.clone());
        }
        self.tidy_mirror().await;
        let places = self.places.clone();
        away(&self.places.home, move || {
            pruned.leftovers = clear(&places)?;
            for hash in unused_venvs(&places)? {
                tree::remove(&places.venvs.join(&hash))?;
                pruned.venvs.push(hash);
            }
            Ok::<_, ShelfError>(pruned)
        })
        .await
    }

    /// Removes what a build has begun and not finished. No build may be under way.
    ///
    /// # Errors
    /// When something cannot be read or removed.
    pub async fn clear_up(&self) -> Result<(), ShelfError> {
        // What does not end is told by the next build.
        let _ = self.quiet().await;
        let places = self.places.clone();
        away(&self.places.home, move || clear(&places).map(drop)).await
    }

    /// The release that `current` points to.
    #[must_use]
    pub fn current(&self) -> Option<ReleaseId> {
        let target = fs::read_link(&self.places.current).ok()?;
        let name = target.file_name()?.to_str()?;
        id::made_at(name).map(|_| ReleaseId(name.to_owned()))
    }

    /// Lets `current` point to `id`: at every instant it leads to one release or the other.
    ///
    /// # Errors
    /// When there is no such release, or `current` is no link.
    pub fn point_current(&self, id: &ReleaseId) -> Result<(), ShelfError> {
        let directory = self.directory(id)?;
        let current = &self.places.current;
        if current.symlink_metadata().is_ok_and(|seen| !seen.is_symlink()) {
            let taken = io::Error::new(io::ErrorKind::AlreadyExists, "it is no link; move it away");
            return Err(file("replace", current)(taken).into());
        }
        let home = current.parent().unwrap_or(Path::new("/"));
        let new = home.join(".current.new");
        tree::remove(&new)?;
        // Relative where it can be, so that the whole home may be moved.
        let target = directory.strip_prefix(home).unwrap_or(&directory);
        symlink(target, &new).map_err(file("link", &new))?;
        fs::rename(&new, current).map_err(file("replace", current))?;
        Ok(manifest::sync(home).map_err(file("flush", home))?)
    }

    /// What `service` runs of the release `id`: what its directory has behind `current`.
    ///
    /// # Errors
    /// When there is no such release, or the service's directory does not lie in it.
    pub fn release_of(&self, service: &Service, id: &ReleaseId) -> Result<Release, ShelfError> {
        let directory = self.directory(id)?;
        let current = &self.places.current;
        let behind = service.directory.strip_prefix(current).map_err(|_| ShelfError::Outside {
            directory: service.directory.clone(),
            current: current.clone(),
        })?;
        let directory =
            if behind.as_os_str().is_empty() { directory } else { directory.join(behind) };
        let directory = directory.canonicalize().map_err(file("find", &directory))?;
        Ok(Release { id: id.clone(), directory })
    }
}

/// Names in `directory`; none when it is not there.
fn names(directory: &Path) -> Result<Vec<String>, ShelfError> {
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(file("read", directory))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(file("read", directory))?.file_name().into_string().ok());
    }
    Ok(names)
}

/// Whether `name` is of something of ours that was cut: nothing else is ever removed.
fn is_leftover(name: &str) -> bool {
    let id = name.strip_prefix('.');
    let id =
        id.and_then(|name| name.strip_suffix(BUILDING).or_else(|| name.strip_suffix(REMOVING)));
    id.is_some_and(|id| id::made_at(id).is_some())
}

/// Removes what was cut; how much that was.
fn clear(places: &Places) -> Result<usize, ShelfError> {
    let Places { releases, venvs, .. } = places;
    let noted = |name: &str| {
        let id = name.strip_prefix('.')?.strip_suffix(".notes.json")?;
        id::made_at(id).map(|_| releases.join(id))
    };
    let forgotten =
        |name: &str| noted(name).is_some_and(|release| release.symlink_metadata().is_err());
    let mut left: Vec<_> = names(releases)?
        .into_iter()
        .filter(|name| is_leftover(name) || forgotten(name))
        .map(|name| releases.join(name))
        .collect();
    for path in &left {
        tree::remove(path)?;
    }
    // What half a release links to is free now; what a whole one does stays, whatever it is.
    let half = unused_venvs(places)?.into_iter().map(|hash| venvs.join(hash));
    let half: Vec<_> = half.filter(|venv| !venv::is_whole(venv)).collect();
    for path in &half {
        tree::remove(path)?;
    }
    left.extend(half);
    Ok(left.len())
}

/// Environments that no release links to.
fn unused_venvs(places: &Places) -> Result<Vec<String>, ShelfError> {
    let used = used_venvs(&places.releases)?;
    Ok(names(&places.venvs)?.into_iter().filter(|hash| !used.contains(hash)).collect())
}

/// The environments that what is in `releases` links to, whatever it is.
fn used_venvs(releases: &Path) -> Result<BTreeSet<String>, ShelfError> {
    let mut used = BTreeSet::new();
    for name in names(releases)? {
        let link = releases.join(name).join(".venv");
        match fs::read_link(&link) {
            Ok(target) => {
                used.extend(target.file_name().and_then(|name| name.to_str()).map(str::to_owned));
            }
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::InvalidInput
                ) => {}
            Err(e) => return Err(file("read", &link)(e).into()),
        }
    }
    Ok(used)
}
