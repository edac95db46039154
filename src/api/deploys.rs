//! What can be asked of the daemon about deploys, and the releases they leave.

use super::{
    answer::{self, Reply},
    operations::{Answer, Caller, Operations, Pending},
    request::Ask,
    sent::Sent,
    types::{ArchiveHow, DeployHow, OfRelease, OutputLine, Release, RollbackHow, Rollout},
};
use crate::ident::{AppName, RolloutId};

/// What can be read of deploys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Releases,
    Output,
}

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Deploy,
    Rollback,
    OfRelease(Fate),
}

/// What becomes of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is kept whatever comes.
    Pinned,
    /// It goes when its time comes.
    Unpinned,
    /// It goes now.
    Removed,
}

/// The part of [`Operations`] about deploys.
pub trait Deploys: Send + Sync + 'static {
    /// The releases of an application, newest first.
    fn releases(&self, of: AppName) -> Pending<'_, Answer<Vec<Release>>>;
    /// What the steps of a deploy wrote.
    fn output(&self, of: RolloutId) -> Pending<'_, Answer<Vec<OutputLine>>>;
    /// Begins to bring new code of an application into service.
    fn deploy(&self, by: Caller, app: AppName, how: DeployHow) -> Pending<'_, Answer<Rollout>>;
    /// Begins to bring the code of the archive that is `sent` into service.
    fn deploy_archive(
        &self,
        by: Caller,
        app: AppName,
        how: ArchiveHow,
        sent: Sent,
    ) -> Pending<'_, Answer<Rollout>>;
    /// Begins to bring a release of an application back.
    fn roll_back(&self, by: Caller, app: AppName, how: RollbackHow)
    -> Pending<'_, Answer<Rollout>>;
    /// Decides what becomes of a release, and answers with those that are there then.
    fn decide_on(
        &self,
        by: Caller,
        app: AppName,
        fate: Fate,
        release: OfRelease,
    ) -> Pending<'_, Answer<Vec<Release>>>;
}

pub(super) async fn read(ops: &dyn Operations, what: Read, ask: &Ask) -> Answer<Reply> {
    Ok(match what {
        Read::Releases => answer::json(&ops.releases(ask.name()?).await?),
        Read::Output => answer::json(&ops.output(ask.rollout()?).await?),
    })
}

pub(super) async fn change(ops: &dyn Operations, what: Change, ask: &Ask) -> Answer<Reply> {
    let by = ask.caller.clone();
    let app = ask.name()?;
    Ok(match what {
        Change::Deploy => answer::accepted(&ops.deploy(by, app, ask.body()?).await?),
        Change::Rollback => answer::accepted(&ops.roll_back(by, app, ask.body()?).await?),
        Change::OfRelease(fate) => answer::json(&ops.decide_on(by, app, fate, ask.body()?).await?),
    })
}
