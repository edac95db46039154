//! `backup`: dumps of an application's database, made, listed, checked, brought back, let go.

use std::{fmt::Write as _, pin::pin, time::Duration};

use clap::{Args, Subcommand};
use tokio::time::{Instant, sleep_until};

use super::{
    Ended,
    app::Which,
    args::Limit,
    daemon::Daemon,
    exit::Exit,
    failure::Failure,
    layout::{Cell, Column, Fit, harmless, table},
    look::{self, Look},
    progress::Progress,
    run::one,
    screen::Screen,
};
use crate::{
    api::types::{
        Backup, MakeBackup, PruneBackups, PrunedBackups, RestoreBackup, Run, RunState, VerifyBackup,
    },
    backup::size,
};

/// How long the daemon may take to answer that something still goes on: how often progress is seen.
const POLL: Duration = Duration::from_secs(1);

/// What to do with dumps.
#[derive(Debug, Subcommand)]
pub(super) enum BackupVerb {
    /// Dump the database, and see that the dump is whole
    Create {
        #[command(flatten)]
        of: Which,
        /// Keep it whatever retention says
        #[arg(long)]
        pin: bool,
        #[command(flatten)]
        patience: Patience,
    },
    /// List the dumps
    List {
        #[command(flatten)]
        of: Which,
    },
    /// See whether a dump is whole: its hash, and the list of its contents
    Verify {
        /// The dump, as `list` shows it; without it, the newest
        dump: Option<String>,
        /// Restore it into a database of its own, too, and count the rows
        #[arg(long)]
        drill: bool,
        #[command(flatten)]
        of: Which,
        #[command(flatten)]
        patience: Patience,
    },
    /// Make the database what a dump is; the database of now is kept beside it
    Restore {
        /// The dump, as `list` shows it
        dump: String,
        /// What was written since then is to be gone from the database
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        of: Which,
        #[command(flatten)]
        patience: Patience,
    },
    /// Let go of the dumps that retention does not keep
    Prune {
        /// Show which ones, and remove nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        of: Which,
    },
    /// End what goes on: everything is as it was
    Cancel {
        /// The number of the run
        run: u64,
    },
}

/// Whether and how long to wait.
#[derive(Debug, Args)]
pub(super) struct Patience {
    /// Print the run's number and return at once
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
    #[command(flatten)]
    limit: Limit,
}

pub(super) async fn run(verb: &BackupVerb, daemon: &Daemon, screen: Screen) -> Ended {
    match verb {
        BackupVerb::Create { of, pin, patience } => {
            let how = MakeBackup { pinned: *pin };
            let begun = daemon.backup(&of.one(daemon).await?, &how).await?;
            follow(begun, patience, daemon, screen).await
        }
        BackupVerb::List { of } => {
            let all = daemon.backups(&of.one(daemon).await?).await?;
            screen.show(&all, |look| page(&all, look))?;
            Ok(Exit::Done)
        }
        BackupVerb::Verify { dump, drill, of, patience } => {
            let how = VerifyBackup { dump: dump.clone(), drill: *drill };
            let begun = daemon.verify_backup(&of.one(daemon).await?, &how).await?;
            follow(begun, patience, daemon, screen).await
        }
        BackupVerb::Restore { dump, yes, of, patience } => {
            let how = RestoreBackup { dump: dump.clone(), yes: *yes };
            let begun = daemon.restore_backup(&of.one(daemon).await?, &how).await?;
            follow(begun, patience, daemon, screen).await
        }
        BackupVerb::Prune { dry_run, of } => {
            let how = PruneBackups { dry_run: *dry_run };
            let pruned = daemon.prune_backups(&of.one(daemon).await?, &how).await?;
            screen.show(&pruned, |_| pruned_text(&pruned))?;
            Ok(Exit::Done)
        }
        BackupVerb::Cancel { run } => {
            let cancelled = daemon.cancel_run(*run).await?;
            let ended = to_the_end(cancelled, None, daemon, screen).await?;
            screen.show(&ended, |look| one(&ended, look))?;
            Ok(if ended.state == RunState::Running { Exit::StillGoing } else { Exit::Done })
        }
    }
}

async fn follow(begun: Run, patience: &Patience, daemon: &Daemon, screen: Screen) -> Ended {
    if patience.no_wait {
        screen.show(&begun, |_| format!("{}\n", begun.id))?;
        return Ok(Exit::Done);
    }
    let run = to_the_end(begun, patience.limit.timeout, daemon, screen).await?;
    screen.show(&run, |look| one(&run, look))?;
    Ok(match run.state {
        RunState::Running => Exit::StillGoing,
        RunState::Done => Exit::Done,
        RunState::Failed => Exit::Failed,
    })
}

/// `run` when it has ended, or after `limit`, or at Ctrl-C: it goes on then.
async fn to_the_end(
    mut run: Run,
    limit: Option<Duration>,
    daemon: &Daemon,
    screen: Screen,
) -> Result<Run, Failure> {
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    // A limit too far for the clock is none.
    let end = limit.and_then(|limit| Instant::now().checked_add(limit));
    let shown = Progress::new(screen);
    while run.state == RunState::Running {
        let passed = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = &mut interrupt => break,
            () = passed => break,
            now = daemon.run_end(run.id, POLL) => run = now?,
        }
        if let Some(progress) = &run.progress {
            shown.note(&run.job, &harmless(progress));
        }
    }
    shown.close();
    Ok(run)
}

const COLUMNS: [Column; 5] = [
    Column("DUMP", Fit::Whole),
    Column("SIZE", Fit::Number),
    Column("TABLES", Fit::Number),
    Column("BECAUSE", Fit::Whole),
    Column("NOTES", Fit::Broken),
];

fn page(all: &[Backup], look: Look) -> String {
    if all.is_empty() {
        return "no dump yet; `aibkctl backup create` makes one\n".to_owned();
    }
    let rows: Vec<Vec<Cell>> = all
        .iter()
        .map(|dump| {
            let known = dump.known.as_ref();
            let notes = match &dump.broken {
                Some(broken) => Cell::styled(&harmless(broken), look::BAD),
                None => Cell::plain(&harmless(&notes(dump))),
            };
            vec![
                Cell::plain(&dump.name),
                Cell::maybe(dump.size.map(size)),
                Cell::maybe(known.map(|known| known.tables)),
                Cell::maybe(known.map(|known| known.reason.replace('_', " "))),
                notes,
            ]
        })
        .collect();
    table(&COLUMNS, &rows, look)
}

fn notes(dump: &Backup) -> String {
    let Some(known) = &dump.known else { return String::new() };
    let mut notes = vec![];
    if !known.revisions.is_empty() {
        notes.push(format!("at {}", known.revisions.join(" ")));
    }
    if known.pinned {
        notes.push("pinned".to_owned());
    }
    if known.copied.is_some() {
        notes.push("copied".to_owned());
    }
    notes.extend(known.warnings.iter().cloned());
    notes.join("; ")
}

fn pruned_text(pruned: &PrunedBackups) -> String {
    let done = if pruned.dry_run { "would be removed" } else { "removed" };
    if pruned.removed.is_empty() {
        return "every dump is to be kept\n".to_owned();
    }
    let mut text = String::new();
    for name in &pruned.removed {
        let _ = writeln!(text, "{} {done}", harmless(name));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::KnownBackup;

    fn dump(name: &str, reason: &str) -> Backup {
        Backup {
            name: name.to_owned(),
            begun: "2026-03-01T03:00:00Z".to_owned(),
            file: format!("/srv/ledger/backups/{name}.dump"),
            size: Some(12_345_678),
            known: Some(KnownBackup {
                database: "ledger".to_owned(),
                server: "15.8".to_owned(),
                reason: reason.to_owned(),
                release: None,
                revisions: vec!["4f2a91c03d5e".to_owned()],
                tables: 31,
                sha256: "ab".repeat(32),
                pinned: false,
                copied: None,
                warnings: vec![],
            }),
            broken: None,
        }
    }

    #[test]
    fn dumps_are_a_table_with_what_is_odd_about_them() {
        let first = dump("ledger-20260301T030000Z", "schedule");
        let mut second = dump("ledger-20260302T030000Z", "before_migration");
        if let Some(known) = &mut second.known {
            (known.pinned, known.copied) = (true, Some("2026-03-02T03:01:00Z".to_owned()));
        }
        let broken = Backup {
            known: None,
            broken: Some("there is no manifest beside it".to_owned()),
            ..dump("ledger-20260303T030000Z", "")
        };
        let page = page(&[first, second, broken], Look::PAGE);
        assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
        insta::assert_snapshot!(page);
    }
}
