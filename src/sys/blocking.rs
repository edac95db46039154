//! Work that may wait for a disk or a network.

use std::{io, time::Duration};

/// Does `work` on another thread, because the daemon's only one may not wait.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] when it is not done after `deadline`; it goes on unheard.
pub async fn within<T: Send + 'static>(
    deadline: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    match tokio::time::timeout(deadline, tokio::task::spawn_blocking(work)).await {
        Ok(done) => done.map_err(io::Error::other),
        Err(_) => {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {deadline:?}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_takes_too_long_is_left_alone() {
        assert_eq!(within(Duration::from_secs(20), || 7).await.unwrap(), 7);
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let late = within(Duration::from_millis(1), move || wait.recv()).await;
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(release);
    }
}
