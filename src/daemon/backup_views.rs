//! Dumps as clients see them.

use std::fmt::Write as _;

use super::views;
use crate::{
    api::types::{self, KnownBackup},
    backup::{BackupError, Copied, Dump, Manifest, Reason, Shelf, Verified, size},
};

/// A dump whose copy failed is there, but not all that was asked for was done.
pub(super) fn made_told(made: &Manifest, gone: usize) -> Result<String, BackupError> {
    let mut told = format!("made {}: {}, {} tables", made.name, size(made.size), made.tables.len());
    for warning in &made.warnings {
        let _ = write!(told, "\nwarning: {warning}");
    }
    if gone > 0 {
        let _ = write!(told, "\n{gone} older ones were let go");
    }
    match &made.copied {
        Copied::None => Ok(told),
        Copied::Checked { .. } => Ok(format!("{told}\nits copy was checked")),
        Copied::Failed { why } => {
            Err(BackupError::NotCopied { name: made.name.clone(), why: why.clone() })
        }
    }
}

pub(super) fn verified_told(found: &Verified) -> String {
    let Verified { manifest, counted } = found;
    let mut told = format!(
        "{} is whole: {}, its hash and {} tables are as they were",
        manifest.name,
        size(manifest.size),
        manifest.tables.len()
    );
    if let Some(tables) = counted {
        let rows: u64 = tables.iter().map(|table| table.rows).sum();
        let _ = write!(told, "\nit was restored into a database of its own: {rows} rows");
        for table in tables {
            let _ = write!(
                told,
                "
  {}.{}: {}",
                table.schema, table.name, table.rows
            );
        }
    }
    told
}

pub(super) fn shown(shelf: &Shelf, dump: Dump) -> types::Backup {
    let file = shelf.path(&dump.name);
    let gone = dump.size.is_none().then(|| "its file is gone".to_owned());
    let broken = gone.or_else(|| dump.manifest.as_ref().err().cloned());
    types::Backup {
        name: dump.name.to_string(),
        begun: views::second(dump.name.at),
        file: file.display().to_string(),
        size: dump.size,
        known: dump.manifest.ok().map(known),
        broken,
    }
}

pub(super) fn known(manifest: Manifest) -> KnownBackup {
    let (copied, failed) = match manifest.copied {
        Copied::None => (None, None),
        Copied::Checked { at } => (Some(views::second(at)), None),
        Copied::Failed { why } => (None, Some(format!("it was not copied: {why}"))),
    };
    let reason = match manifest.reason {
        Reason::Manual => "manual",
        Reason::Schedule => "schedule",
        Reason::BeforeMigration { .. } => "before_migration",
    };
    KnownBackup {
        database: manifest.database,
        server: manifest.server,
        reason: reason.to_owned(),
        release: manifest.release.map(|release| release.0),
        revisions: manifest.revisions,
        tables: manifest.tables.len(),
        sha256: manifest.sha256,
        pinned: manifest.pinned,
        copied,
        warnings: manifest.warnings.into_iter().chain(failed).collect(),
    }
}
