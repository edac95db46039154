//! Writing the file for the next start of nginx, which is told nothing: the first file of all.

use super::{
    Edition, Nginx, NginxError, Upstreams, binary,
    blocking::blocking,
    flipping,
    owned_file::{self, OnDisk},
    plan::{Plan, plan},
    publish::{look, put_back, replace, sync},
};

/// A file that was written, or said so already.
#[derive(Debug)]
pub struct Written {
    /// What the file says now.
    pub edition: Edition,
    /// Why nginx will not start with it, or could not be asked. The file is not to blame: without
    /// it nginx refuses its configuration too.
    pub warning: Option<NginxError>,
}

/// See [`Nginx::write`].
pub(super) async fn write(nginx: &Nginx, change: &Upstreams) -> Result<Written, NginxError> {
    let mut last = nginx.last.lock().await;
    let file = nginx.config.file.clone();
    blocking(move || owned_file::clear(&file)).await?;
    if change.is_empty()
        && let Some(edition) = nginx.as_configured()?
    {
        return Ok(Written { edition, warning: None });
    }
    let (now, version) = tokio::join!(look(nginx), nginx.check());
    let now = now?;
    match version {
        // An nginx that is not installed yet finds its file when it is.
        Ok(_) | Err(NginxError::Binary { .. }) => {}
        Err(error) => return Err(error),
    }
    let places = nginx.places()?;
    let next = match plan(&now, *last, &nginx.site(), places, change)? {
        Plan::Keep(next) => return Ok(Written { edition: next.edited.edition, warning: None }),
        Plan::Replace(next) => next,
    };
    *last = next.edited.edition;
    flipping::turn(&next.before).await?;
    replace(nginx, next.text.clone()).await?;
    let (synced, tested) = tokio::join!(sync(nginx), nginx.accepts());
    synced?;
    nginx.mean(&next.edited);
    let warning = match tested {
        Ok(()) => None,
        Err(other @ (NginxError::Binary { .. } | NginxError::Site { .. })) => Some(other),
        Err(cause) => Some(blame(nginx, now.disk.as_ref(), next.text, cause).await?),
    };
    Ok(Written { edition: next.edited.edition, warning })
}

/// nginx refuses its configuration with our file. A site that names our upstreams is refused
/// without it, so only an nginx that is content without it has the file to blame, and gets back
/// what was there `before` (`T4`). Else the file stays, and `cause` is given back.
async fn blame(
    nginx: &Nginx,
    before: Option<&OnDisk>,
    text: String,
    cause: NginxError,
) -> Result<NginxError, NginxError> {
    // An `include` without a pattern needs a file, so an empty one stands for none.
    let without = before.map(|disk| disk.text.clone()).unwrap_or_default();
    replace(nginx, without).await?;
    if binary::test(&nginx.config).await.is_err() {
        replace(nginx, text).await?;
        sync(nginx).await?;
        return Ok(cause);
    }
    let cause = Box::new(cause);
    Err(match put_back(nginx, before).await {
        Ok(()) => NginxError::Clash { file: nginx.config.file.clone(), cause },
        Err(undo) => NginxError::NotUndone { cause, undo: Box::new(undo) },
    })
}
