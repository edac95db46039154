//! `backup` of an application: where its dumps are, how long they stay, and who copies them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Schedule, job,
    mistake::Wrong,
    scalar::{self, some_time},
    section::Section,
};

/// How a database is saved.
#[derive(Debug, Clone, PartialEq)]
pub struct Backup {
    /// Dumps lie here, and nothing else of ours.
    pub directory: PathBuf,
    /// Which of them stay.
    pub keep: Keep,
    /// When one is made; `None`: when asked for, and before a migration.
    pub schedule: Option<Schedule>,
    /// The longest that a dump, a check or a restore takes.
    pub deadline: Duration,
    /// Who brings a dump to another place.
    pub upload: Option<Upload>,
}

/// How many dumps stay. The newest of all and the newest before each migration always do (`D2`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// The newest of each of so many days.
    pub daily: u32,
    /// The newest of each of so many weeks.
    pub weekly: u32,
    /// The newest of each of so many months.
    pub monthly: u32,
    /// So many of those made before the same migration; at least one.
    pub migrations: u32,
}

/// The operator's own commands; `{file}` becomes the dump's path, `{name}` its name, `{sha256}` and
/// `{size}` what they say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Copies a dump.
    pub copy: Vec<String>,
    /// Ends with 0 only if the copy is there and whole.
    pub check: Vec<String>,
}

/// Reads it, or its defaults.
pub(super) fn backup(s: &mut Section<'_>, home: &Path) -> Backup {
    let directory = s.get("directory", scalar::path).map(|given| {
        let joined = home.join(given);
        joined.components().collect()
    });
    Backup {
        directory: directory.unwrap_or_else(|| home.join("backups")),
        keep: s.section("keep", keep),
        schedule: s.get("schedule", job::schedule),
        deadline: s.or("deadline", Duration::from_secs(3600), some_time),
        upload: upload(s),
    }
}

fn keep(s: &mut Section<'_>) -> Keep {
    Keep {
        daily: s.or("daily", 7, scalar::whole(0..=3660)),
        weekly: s.or("weekly", 4, scalar::whole(0..=520)),
        monthly: s.or("monthly", 3, scalar::whole(0..=1200)),
        migrations: s.or("migrations", 1, scalar::whole(1..=100)),
    }
}

fn upload(s: &mut Section<'_>) -> Option<Upload> {
    let copy = command(s, "copy");
    let check = command(s, "copy_check");
    match (s.has("copy"), s.has("copy_check")) {
        (true, false) => {
            let wrong = Wrong::new("nobody would see whether the copy is whole");
            s.complain("copy", wrong.instead("write `copy_check` beside it"));
        }
        (false, true) => s.refuse(&["copy_check"], "there is no `copy` to check"),
        _ => {}
    }
    Some(Upload { copy: copy?, check: check? })
}

fn command(s: &mut Section<'_>, key: &'static str) -> Option<Vec<String>> {
    let argv = s.list(key, scalar::text)?;
    let argv: Vec<String> = argv.into_iter().map(|(_, argument)| argument).collect();
    let names = |argument: &String| argument.contains("{file}") || argument.contains("{name}");
    if argv.is_empty() && s.sound() {
        s.complain(key, Wrong::new("is empty").instead("write [program, argument]"));
    } else if !argv.is_empty() && !argv.iter().any(names) {
        let wrong = Wrong::new("does not name the dump");
        s.complain(key, wrong.instead("write `{file}` for its path, or `{name}` for its name"));
    }
    Some(argv)
}
