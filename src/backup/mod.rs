//! Dumps of an application's database: made, listed, checked, brought back, and let go.
//!
//! A dump is two files in `backup.directory`: what `pg_dump` wrote, and a [`Manifest`] that tells of
//! it. Whatever is decided is pure: which dumps stay ([`retention`]), what a dump must list
//! (`contents`), what the databases beside the application's are called (`scratch`). Whoever
//! changes something claims the directory first ([`Shelf::claim`]), so that two never meet.

mod contents;
mod create;
mod error;
mod manifest;
mod name;
mod progress;
mod restore;
pub mod retention;
mod scratch;
mod shelf;
#[cfg(test)]
mod shelf_tests;
mod upload;

use jiff::tz::TimeZone;

pub use self::{
    create::{Order, create},
    error::{BackupError, size},
    manifest::{Copied, Manifest, Reason},
    name::{DumpName, NoDumpName},
    progress::{Progress, Tell},
    restore::{Depth, Restored, Verified, restore, tidy, verify},
    shelf::{Claim, Dump, Hold, Shelf},
};
use crate::config::App;

/// Whether dumps are really removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// It is only told which ones would be.
    Foresee,
    /// They are.
    Remove,
}

/// Lets go of the dumps of `app` that `backup.keep` does not keep; gives their names. What is no whole
/// dump of ours is left alone.
///
/// # Errors
/// What could not be removed.
pub async fn prune(app: &App, how: Prune) -> Result<Vec<DumpName>, BackupError> {
    let shelf = Shelf::of(app)?;
    let Some(backup) = &app.backup else { return Ok(vec![]) };
    let _hold = match how {
        Prune::Foresee => None,
        Prune::Remove => Some(shelf.claim(Claim::Alone).await?),
    };
    let dumps = shelf.manifests().await?;
    let gone = retention::removable(&dumps, backup.keep, &TimeZone::system());
    for name in gone.iter().filter(|_| how == Prune::Remove) {
        shelf.remove(name).await?;
    }
    Ok(gone.into_iter().cloned().collect())
}
