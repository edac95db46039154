//! What stands in the owned file only while nginx takes it: neither counting requests nor sparing idle
//! connections is worth a publish.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use futures_util::future::BoxFuture;

use super::{Nginx, NginxError, version::Version};

/// How long nginx keeps an idle connection of a client that it would else close at a reload, just as
/// the client may be writing into it.
pub(super) const DIRECTIVE: &str = "keepalive_min_timeout";

/// The first version that has it (nginx.org, `ngx_http_core_module`).
const SINCE: Version = Version(1, 27, 4);

/// Whether nginx is asked to spare idle connections.
#[derive(Debug)]
pub(super) struct Sparing {
    wanted: Duration,
    refused: AtomicBool,
}

impl Sparing {
    pub(super) const fn new(wanted: Duration) -> Self {
        Self { wanted, refused: AtomicBool::new(false) }
    }

    /// How long, where nginx, if it is `version`, takes it.
    pub(super) fn time(&self, version: Option<Version>) -> Option<Duration> {
        let known = version.is_some_and(|version| version >= SINCE);
        (known && !self.wanted.is_zero() && !self.refused.load(Relaxed)).then_some(self.wanted)
    }

    /// Whether `error` is about the directive. If so it is done without from now on, until the daemon
    /// is started again: the site has one of its own, which nginx takes once only.
    fn gives_up_over(&self, error: &NginxError) -> bool {
        let words = error.to_string();
        let Some(why) = words.lines().find(|line| line.contains(DIRECTIVE)) else { return false };
        if self.refused.swap(true, Relaxed) {
            return false;
        }
        tracing::info!("{DIRECTIVE} is left to the site: {why}");
        true
    }
}

impl Nginx {
    /// What `change` comes to; where nginx refuses it over something that can be done without, what it
    /// comes to without.
    pub(super) async fn or_without<'a, T>(
        &self,
        change: impl Fn() -> BoxFuture<'a, Result<T, NginxError>>,
    ) -> Result<T, NginxError> {
        let mut done = change().await;
        // Each is given up once.
        while let Err(error) = &done
            && self.gives_up_over(error)
        {
            done = change().await;
        }
        done
    }

    pub(super) fn gives_up_over(&self, error: &NginxError) -> bool {
        self.logging.gives_up_over(error) || self.sparing.gives_up_over(error)
    }
}
