//! What can be asked of the daemon about applications and their dumps.

use super::{
    operations::{Answer, Caller, Pending},
    types::{
        App, Backup, MakeBackup, PruneBackups, PrunedBackups, RestoreBackup, Run, VerifyBackup,
    },
};
use crate::ident::{AppName, RunId};

/// The part of [`super::operations::Operations`] about applications.
pub trait Applications: Send + Sync + 'static {
    /// Every application.
    fn apps(&self) -> Pending<'_, Answer<Vec<App>>>;
    /// The dumps of one, oldest first.
    fn backups(&self, of: AppName) -> Pending<'_, Answer<Vec<Backup>>>;
    /// Begins to dump its database.
    fn backup(&self, by: Caller, of: AppName, how: MakeBackup) -> Pending<'_, Answer<Run>>;
    /// Begins to check a dump.
    fn verify(&self, by: Caller, of: AppName, how: VerifyBackup) -> Pending<'_, Answer<Run>>;
    /// Begins to make its database what a dump is.
    fn restore(&self, by: Caller, of: AppName, how: RestoreBackup) -> Pending<'_, Answer<Run>>;
    /// Lets go of the dumps that retention does not keep.
    fn prune(
        &self,
        by: Caller,
        of: AppName,
        how: PruneBackups,
    ) -> Pending<'_, Answer<PrunedBackups>>;
    /// Ends what is done for an application: everything is as it was.
    fn cancel_run(&self, by: Caller, id: RunId) -> Pending<'_, Answer<Run>>;
}
