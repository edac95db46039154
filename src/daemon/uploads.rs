//! Archives that clients send: from the control socket to the disk.

use super::{Daemon, problems};
use crate::{
    api::{operations::Answer, sent::Sent},
    ident::AppName,
    release::{Upload, UploadId},
};

impl Daemon {
    /// Takes what is `sent` for a deploy of `app`, as long as that could begin now. What is not whole
    /// leaves nothing.
    pub(super) async fn receive(&self, app: &AppName, mut sent: Sent) -> Answer<Upload> {
        self.may_change()?;
        let app = self.deploys.is_free(app).map_err(|e| problems::of_deploy(&e))?;
        let receiving = self.deploys.workshop(&app).receive(sent.length()).await;
        let mut receiving = receiving.map_err(|e| problems::of_upload(&e))?;
        while let Some(piece) = sent.next().await? {
            receiving.take(piece).await.map_err(|e| problems::of_upload(&e))?;
        }
        receiving.finish().await.map_err(|e| problems::of_upload(&e))
    }

    /// Removes what no deploy needs.
    pub(super) async fn forget_upload(&self, app: &AppName, id: UploadId) {
        let Ok(app) = self.deploys.app(app) else { return };
        if let Err(e) = self.deploys.workshop(&app).forget_upload(id).await {
            // The next daemon tries again.
            tracing::warn!("an archive that was sent stays: {e}");
        }
    }
}
