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

pub use self::{
    create::{Order, create},
    error::{BackupError, size},
    manifest::{Copied, Manifest, Reason},
    name::{DumpName, NoDumpName},
    progress::{Progress, Tell},
    restore::{Depth, Restored, Verified, restore, tidy, verify},
    shelf::{Claim, Dump, Hold, Shelf},
};
