//! Work that may wait for a disk or read long tables, kept off the runtime's only thread.

use std::io;

use super::NginxError;

/// Runs `work` on the pool of blocking threads.
///
/// # Errors
/// Its own; and when the runtime is going down.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NginxError> + Send + 'static,
) -> Result<T, NginxError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(NginxError::Kernel {
            what: "finish what was begun for nginx".to_owned(),
            source: io::Error::other(error),
        }),
    }
}
