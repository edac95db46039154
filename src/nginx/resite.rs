//! Other services behind nginx, or the same with other settings.

use std::sync::{Arc, PoisonError};

use super::{
    Nginx, NginxError, Site, Upstreams,
    blocking::blocking,
    flag,
    flip::{Flag, flags},
    publish, write,
};

/// See [`Nginx::resite`].
pub(super) async fn resite(nginx: &Nginx, site: Site, added: &Upstreams) -> Result<(), NginxError> {
    let before = swap(nginx, Arc::new(site));
    let done = match publish::publish(nginx, added).await {
        Ok(_) => Ok(()),
        // What keeps nginx from starting is told by whoever starts it.
        Err(NginxError::NotRunning { .. }) => write::write(nginx, added).await.map(drop),
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => forget_flags(&before, &nginx.site()).await,
        Err(_) => drop(swap(nginx, before)),
    }
    done
}

/// Removes the flags of services that are gone. One that only flips no more keeps its flag, which
/// old workers may still obey.
async fn forget_flags(before: &Site, now: &Site) {
    let gone = before.iter().filter(|(service, _)| !now.contains_key(*service));
    let gone: Vec<Flag> = flags(gone.map(|(_, proxied)| proxied));
    // One that stays says nothing.
    let _ = blocking(move || gone.iter().try_for_each(flag::remove)).await;
}

fn swap(nginx: &Nginx, site: Arc<Site>) -> Arc<Site> {
    let mut held = nginx.site.write().unwrap_or_else(PoisonError::into_inner);
    std::mem::replace(&mut *held, site)
}
