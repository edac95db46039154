//! What becomes of releases, and what is kept of deploys, when somebody asks.

use super::{
    DeployError,
    engine::{Engine, now, read},
    output,
    record::Deploy,
    retention::{self, Need},
    words,
};
use crate::{
    ident::{AppName, ReleaseId},
    store::DeployRow,
};

/// Whether a release may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// It is kept whatever comes.
    Kept,
    /// It goes when its time comes.
    Free,
}

impl Engine {
    /// What the steps of `deploy` wrote.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub async fn output(&self, deploy: &Deploy) -> Result<String, DeployError> {
        let app = self.app(&deploy.app)?;
        output::read(&app.home, deploy.id).await.map_err(DeployError::NoOutput)
    }

    /// Keeps the release `id` whatever comes, or lets it go when its time comes.
    ///
    /// # Errors
    /// When there is no such release, or that cannot be written down.
    pub fn pin(&self, app: &AppName, id: &ReleaseId, pin: Pin) -> Result<(), DeployError> {
        let app = self.app(app)?;
        let workshop = self.workshop(&app);
        let done = match pin {
            Pin::Kept => workshop.pin(id),
            Pin::Free => workshop.unpin(id),
        };
        done.map_err(|e| DeployError::NoRelease(e.to_string()))
    }

    /// Removes the release `id`, unless something needs it.
    ///
    /// # Errors
    /// When something does, or it is not there, or cannot be removed.
    pub async fn remove(&self, app: &AppName, id: &ReleaseId) -> Result<(), DeployError> {
        let _alone = self.alone().await;
        let app = self.app(app)?;
        if let Some(holder) = self.under_way(&app.name) {
            return Err(DeployError::Busy(words::holder(&holder, now())));
        }
        let kept = self.hands(&app).kept(None).await?;
        let release = kept.iter().find(|release| release.id == *id);
        if let Some(Err(need)) = release.map(retention::may_go) {
            let why = match need {
                Need::Live => "is current or runs; roll back or deploy first",
                Need::Before => "is what a rollback goes to; deploy another one first",
            };
            return Err(DeployError::NoRelease(format!("release {id} {why}")));
        }
        let removed = self.workshop(&app).remove(id).await;
        removed.map_err(|e| DeployError::NoRelease(e.to_string()))
    }

    /// Removes archives that were sent for deploys that have ended, or that never began. What cannot be
    /// read may need any of them.
    pub(super) async fn sweep_uploads(&self, unfinished: &[DeployRow]) {
        for app in self.apps().values() {
            let of_app = unfinished.iter().filter(|row| row.app == app.name);
            let Ok(deploys) = of_app.map(read).collect::<Result<Vec<_>, _>>() else { continue };
            let needed = deploys.iter().filter_map(|deploy| Some(deploy.upload()?.id)).collect();
            if let Err(e) = self.workshop(app).sweep_uploads(needed).await {
                tracing::warn!("archives that were sent stay: {e}");
            }
        }
    }
}
