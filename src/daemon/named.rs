//! A release that a client names.

use std::{path::PathBuf, time::Duration};

use super::{Daemon, problems};
use crate::{
    api::operations::Answer,
    ident::ServiceName,
    release::{Release, Trusted},
};

/// How long the file system may take to show a directory.
const LOOK: Duration = Duration::from_secs(5);

impl Daemon {
    /// The release in the directory `path`, which others may not change: what it holds will run
    /// under the user of `service`. Away from the runtime's only thread, for a client may name what
    /// lies on a network.
    pub(super) async fn named(&self, service: &ServiceName, path: String) -> Answer<Release> {
        let crew = self.engine.crew(service).map_err(|e| problems::of_engine(&e))?;
        let (service, directory) = (crew.service.clone(), PathBuf::from(&path));
        let look = tokio::task::spawn_blocking(move || {
            let release = Release::at(&directory).map_err(|e| e.to_string())?;
            Trusted::by(&service)
                .check(&release.directory)
                .map_err(|e| format!("release {} is not safe: {e}", release.directory.display()))?;
            Ok(release)
        });
        match tokio::time::timeout(LOOK, look).await {
            Ok(Ok(seen)) => seen.map_err(|why: String| problems::refused(&why, None)),
            Ok(Err(e)) => Err(problems::failed(&format!("release {path}: {e}"))),
            Err(_) => {
                let why = format!("release {path} could not be seen in {LOOK:?}");
                let hint = "look whether its file system answers".to_owned();
                Err(problems::refused(&why, Some(hint)))
            }
        }
    }
}
