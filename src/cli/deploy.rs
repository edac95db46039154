//! `deploy`, and `rollback` of an application.

use std::path::PathBuf;

use clap::Args;

use super::{
    Ended, app::Which, args::Patience, daemon::Daemon, exit::Exit, follow, layout::harmless,
    screen::Screen, send,
};
use crate::api::types::{ArchiveHow, DeployHow, DeployScope, RollbackHow};

/// What is deployed, and how far.
#[derive(Debug, Args)]
pub(super) struct DeployArgs {
    /// Branch, tag or commit; without it, what the configuration says
    #[arg(value_name = "REF")]
    reference: Option<String>,
    /// Send this archive and deploy it instead (`.tar`, `.tar.gz`); `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "reference")]
    archive: Option<PathBuf>,
    /// Leave the database as it is
    #[arg(long, conflicts_with = "migrate_only")]
    code_only: bool,
    /// Bring the database to where the release wants it, and leave the services as they are
    #[arg(long)]
    migrate_only: bool,
    /// Make the release, tell what it would change (commits, dependencies, revisions of the database),
    /// and do nothing with it
    #[arg(long, conflicts_with_all = ["code_only", "migrate_only"])]
    plan: bool,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    patience: Patience,
}

pub(super) async fn run(args: &DeployArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let app = args.which.one(daemon).await?;
    let scope = match () {
        () if args.plan => DeployScope::Look,
        () if args.code_only => DeployScope::CodeOnly,
        () if args.migrate_only => DeployScope::MigrateOnly,
        () => DeployScope::Full,
    };
    let begun = if let Some(path) = &args.archive {
        send::archive(path, (&app, &ArchiveHow { scope }), daemon, screen).await?
    } else {
        let reference = args.reference.clone();
        daemon.deploy(&app, &DeployHow { reference, scope }).await?
    };
    follow::begun(begun, &args.patience, follow::Goal::Done, daemon, screen).await
}

/// Where an application goes back to.
#[derive(Debug, Args)]
pub(super) struct BackArgs {
    /// The release to go back to; without it, the last good one before the present one
    #[arg(long, value_name = "RELEASE")]
    pub(super) to: Option<String>,
    /// Bring the database back, too, after a dump
    #[arg(long)]
    pub(super) db: bool,
    /// Do it although requests may fail: where neither the services nor the database can go first
    #[arg(long, requires = "db")]
    force: bool,
    /// Tell what it would do, in which order, and do nothing
    #[arg(long, conflicts_with = "force")]
    plan: bool,
    #[command(flatten)]
    pub(super) which: Which,
}

pub(super) async fn back(
    args: &BackArgs,
    patience: &Patience,
    daemon: &Daemon,
    screen: Screen,
) -> Ended {
    let app = args.which.one(daemon).await?;
    let BackArgs { db, force, plan, .. } = *args;
    let how = RollbackHow { to: args.to.clone(), db, force, plan };
    let begun = daemon.roll_back(&app, &how).await?;
    follow::begun(begun, patience, follow::Goal::Done, daemon, screen).await
}

/// `output`: all that the steps of a deploy wrote.
pub(super) async fn output(id: u64, daemon: &Daemon, screen: Screen) -> Ended {
    let lines = daemon.output(id).await?;
    screen.show(&lines, |_| lines.iter().map(|line| harmless(&line.text) + "\n").collect())?;
    Ok(Exit::Done)
}
