//! Requests as nginx logged them, counted: what clients saw.
//!
//! nginx writes a line for each request that it passes on, into a log of ours. That needs neither
//! this daemon nor a reader, so counting goes on whatever becomes of it.

mod apart;
mod directive;
mod line;
mod log;
mod tally;
mod whose;

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

pub(super) use self::{
    apart::logs_apart,
    directive::{FORMAT_NAME, directive},
    line::FORMAT,
};
pub use self::{
    line::{Logged, Try},
    log::{Lost, Mark, Side},
    tally::{Count, Tally, Times},
    whose::Whose,
};
use super::{Nginx, NginxError, blocking::blocking, owned_file};
use crate::ident::ServiceName;

/// Why requests are not counted.
#[derive(Debug, thiserror::Error)]
pub enum Uncounted {
    /// The operator wants it so.
    #[error("`nginx.request_log` is `none`")]
    Off,
    /// nginx would not start with it.
    #[error("nginx refused `nginx.request_log`: {0}")]
    Refused(String),
    /// nginx has not read a file of ours that names the log.
    #[error("nginx did not count yet when it began")]
    NotYet,
    /// Something is missing in the log.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// It cannot be asked.
    #[error(transparent)]
    Nginx(#[from] NginxError),
}

/// Whether nginx is asked to log requests.
#[derive(Debug)]
pub(super) struct Logging {
    path: Option<PathBuf>,
    /// nginx's words, once it has refused to.
    refused: Mutex<Option<String>>,
}

impl Logging {
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self { path, refused: Mutex::default() }
    }

    /// The log, while nginx takes it.
    pub(super) fn path(&self) -> Option<&Path> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        self.path.as_deref().filter(|_| refused.is_none())
    }

    /// Whether `error` is about the log. If so it is done without from now on, until the daemon is
    /// started again: counting is worth no publish.
    pub(super) fn gives_up_over(&self, error: &NginxError) -> bool {
        let Some(path) = self.path() else { return false };
        let (words, path) = (error.to_string(), path.display().to_string());
        let Some(why) = words.lines().find(|line| line.contains(&path)) else { return false };
        tracing::warn!("requests are not counted, nginx refuses {path}: {why}");
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
        true
    }

    fn in_use(&self) -> Result<PathBuf, Uncounted> {
        match (self.path(), &self.path) {
            (Some(path), _) => Ok(path.to_owned()),
            (None, None) => Err(Uncounted::Off),
            (None, Some(_)) => {
                let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                Err(Uncounted::Refused(refused.clone().unwrap_or_default()))
            }
        }
    }
}

impl Nginx {
    /// Where the log of requests ends now.
    ///
    /// # Errors
    /// When nginx does not log, or its log cannot be read.
    pub async fn mark_requests(&self) -> Result<Mark, Uncounted> {
        let path = self.logging.in_use()?;
        let file = self.config.file.clone();
        let marked = blocking(move || {
            let disk = owned_file::read(&file)?;
            let line = directive(&path);
            if !disk.is_some_and(|disk| disk.text.contains(&line)) {
                return Ok(Err(Uncounted::NotYet));
            }
            Ok(Mark::end_of(&path).map_err(Uncounted::from))
        });
        marked.await?
    }

    /// Hands `to` every request that was logged since `mark`, and those before it that ended at
    /// `earlier_ms` (since the epoch) or later; gives it back when there are no more, with the place
    /// from which the next reading goes on. Without one it has to begin anew.
    ///
    /// # Errors
    /// When one of those since `mark` is missing, or may be.
    pub async fn requests_since<T: Send + 'static>(
        &self,
        mark: Mark,
        earlier_ms: Option<u64>,
        mut to: T,
        mut each: impl FnMut(&mut T, Side, &Logged<'_>) + Send + 'static,
    ) -> Result<(T, Option<Mark>), Uncounted> {
        let path = self.logging.in_use()?;
        let read = blocking(move || {
            let mut one = |side, logged: &Logged<'_>| each(&mut to, side, logged);
            let read = log::read(&path, mark, earlier_ms, &mut one);
            Ok(read.map(|next| (to, next)).map_err(Uncounted::from))
        });
        read.await?
    }

    /// The log, where one is configured.
    #[must_use]
    pub fn request_log(&self) -> Option<&Path> {
        self.logging.path.as_deref()
    }

    /// Empties the log if it is larger than `limit`, in bytes. nginx goes on at its beginning.
    ///
    /// # Errors
    /// When it cannot be looked at or emptied; that there is none is no error.
    pub async fn limit_request_log(&self, limit: u64) -> Result<(), NginxError> {
        let Some(path) = self.logging.path.clone() else { return Ok(()) };
        blocking(move || {
            log::limit(&path, limit).map_err(|source| NginxError::Kernel {
                what: format!("empty {}", path.display()),
                source,
            })
        })
        .await
    }

    /// How to tell the requests of `service`; `None` when it is not behind nginx.
    #[must_use]
    pub fn whose(&self, service: &ServiceName) -> Option<Whose> {
        Some(Whose::new(self.site().get(service)?))
    }
}
