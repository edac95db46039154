//! One reload: sent to the checked master, and watched until nginx has shown what came of it.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Edited, NginxError,
    error_log::{Mark, Said},
    master::{self, Master},
    proof::{self, Ask},
};
use crate::config;

/// How long nginx may take. A `listen` that is refused costs it 2.5 s, a large configuration
/// seconds; the common case is 0.12 s, of which 0.1 s is a sleep inside nginx.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// A swap waits for this loop, so it looks often at first.
const FINE: Duration = Duration::from_millis(2);
const FINE_FOR: Duration = Duration::from_millis(500);
const COARSE: Duration = Duration::from_millis(20);

/// A reload that was sent.
#[derive(Debug)]
pub(super) struct Reload<'a> {
    config: &'a config::Nginx,
    master: Master,
    before: Vec<i32>,
    mark: Mark,
}

/// What came of a reload.
#[derive(Debug)]
pub(super) enum Verdict {
    /// nginx answers as wanted, and no worker from before the reload accepts any more.
    Served,
    /// nginx said that it keeps the old configuration.
    Refused(NginxError),
    /// The master ended.
    Gone(NginxError),
    /// Neither came to be in time: nginx may serve either.
    Unclear(NginxError),
}

impl<'a> Reload<'a> {
    /// Notes who accepts now and where the error log ends, then signals `master`.
    ///
    /// # Errors
    /// When it is gone or may not be signalled; nothing was sent then.
    pub(super) fn send(config: &'a config::Nginx, master: Master) -> Result<Self, NginxError> {
        let before = master.workers()?.accepting;
        let mark = Mark::end_of(&config.error_log);
        master.reload()?;
        Ok(Self { config, master, before, mark })
    }

    /// Workers that accepted before.
    pub(super) fn before(&self) -> &[i32] {
        &self.before
    }

    /// Waits until nginx serves `wanted` (`T3`), or has refused to. `None` is a configuration
    /// without our file: nobody answers, so the workers alone are the proof.
    pub(super) async fn verdict(&self, wanted: Option<&Edited>) -> Verdict {
        let sent = Instant::now();
        loop {
            let Err(missing) = self.look(wanted).await else { return Verdict::Served };
            if let Said::Refused(words) = self.mark.said(self.master.0) {
                return Verdict::Refused(NginxError::Refused { words });
            }
            if !self.master.is_still() {
                return Verdict::Gone(self.master.gone());
            }
            let passed = sent.elapsed();
            if passed >= DEADLINE {
                return Verdict::Unclear(self.not_proved(wanted, &missing));
            }
            tokio::time::sleep(if passed < FINE_FOR { FINE } else { COARSE }).await;
        }
    }

    /// The workers first: an answer counts only when nobody from before could have given it.
    async fn look(&self, wanted: Option<&Edited>) -> Result<(), Missing> {
        if master::any_accepts(&self.before) {
            return Err(Missing::OldWorkers);
        }
        let Some(wanted) = wanted else { return Ok(()) };
        match proof::ask(&self.config.proof_socket, Ask::Quick).await {
            Ok(served) if served == *wanted => Ok(()),
            Ok(served) => Err(Missing::Other(served)),
            Err(error) => Err(Missing::Silence(error)),
        }
    }

    fn not_proved(&self, wanted: Option<&Edited>, missing: &Missing) -> NginxError {
        let seen = match missing {
            Missing::OldWorkers => "workers from before the reload still accept".to_owned(),
            Missing::Other(served) => format!("it answers edition {}", served.edition),
            Missing::Silence(error) => error.to_string(),
        };
        let log = self.config.error_log.display();
        let said = match self.mark.words(self.master.0) {
            words if words.is_empty() => "says nothing of it; check `nginx.error_log`".to_owned(),
            words => format!("says:\n{words}"),
        };
        let edition = wanted.map(|wanted| wanted.edition).unwrap_or_default();
        NginxError::NotProved { edition, deadline: DEADLINE, seen: format!("{seen}; {log} {said}") }
    }
}

/// Why it is not proved yet.
enum Missing {
    OldWorkers,
    Other(Edited),
    Silence(NginxError),
}
