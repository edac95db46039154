//! Other services behind nginx, or the same with other settings.

use std::sync::{Arc, PoisonError};

use super::{Nginx, NginxError, Site, Upstreams, publish, write};

/// See [`Nginx::resite`].
pub(super) async fn resite(nginx: &Nginx, site: Site, added: &Upstreams) -> Result<(), NginxError> {
    let before = swap(nginx, Arc::new(site));
    let done = match publish::publish(nginx, added).await {
        Ok(_) => Ok(()),
        // What keeps nginx from starting is told by whoever starts it.
        Err(NginxError::NotRunning { .. }) => write::write(nginx, added).await.map(drop),
        Err(error) => Err(error),
    };
    if done.is_err() {
        swap(nginx, before);
    }
    done
}

fn swap(nginx: &Nginx, site: Arc<Site>) -> Arc<Site> {
    let mut held = nginx.site.write().unwrap_or_else(PoisonError::into_inner);
    std::mem::replace(&mut *held, site)
}
