//! What is wrong with this host, found by looking: what `aibkctl doctor` tells.
//!
//! Each examination is a file: facts, gathered at the edge, and a pure function from facts to
//! findings. Nothing is changed, and nothing is sent to anybody but a request whether they answer.

mod certificates;
mod changes;
mod clock;
mod daemon;
mod directives;
mod disk;
mod env_files;
mod error_log;
mod finding;
mod memory;
mod paths;
mod people;
mod ports;
pub(crate) mod program;
mod reach;
mod selinux;
mod site;
mod talk;
mod units;

use std::time::Duration;

pub use self::{
    changes::Past,
    daemon::{LastWords, Seen},
    finding::{Finding, Report, Severity, Topic},
};
use crate::{
    config::{self, Config},
    sys::blocking,
};

/// How long the host may take to show one thing: a file system or a name service may hang.
const LOOK: Duration = Duration::from_secs(15);

/// What is known before the host is looked at.
#[derive(Debug, Clone)]
pub struct Known {
    /// The daemon's own answers.
    pub seen: Seen,
    /// What the configuration lacks on this host.
    pub lacks: Vec<config::Finding>,
    /// How it last worked.
    pub past: Past,
}

/// Looks at everything that `config` names. `tell` hears what is looked at next.
pub async fn examine(config: &Config, known: Known, tell: &dyn Fn(&str)) -> Report {
    let Known { seen, lacks, past } = known;
    let mut report = Report::default();
    report.extend(daemon::findings(&seen));
    report.extend(people::findings(rustix::process::geteuid().is_root()));
    report.extend(lacks.into_iter().filter(|lack| !site::tells(lack)).map(Finding::from));
    tell("nginx");
    let site = site::look(config).await;
    report.extend(site::findings(&site));
    tell("ports");
    let (what, seen) = ((config.clone(), site.clone()), seen.clone());
    report.look(Topic::Ports, move || ports::findings(&ports::look(&what.0, &what.1, &seen))).await;
    tell("permissions");
    let what = (config.clone(), site.clone());
    report.look(Topic::Permissions, move || paths::findings(&paths::look(&what.0, &what.1))).await;
    let what = config.clone();
    report.look(Topic::EnvFiles, move || env_files::findings(&env_files::look(&what))).await;
    tell("databases");
    let what = config.clone();
    let links = blocking::within(LOOK, move || reach::links(&what)).await.unwrap_or_default();
    report.extend(reach::examine(links).await);
    tell("what nginx logged");
    let what = site.clone();
    report
        .look(Topic::Nginx, move || {
            let now = jiff::Zoned::now().datetime();
            error_log::findings(&error_log::look(&what), now)
        })
        .await;
    report.extend(certificates::examine(&site).await);
    report.look(Topic::Host, || selinux::findings(selinux::look().as_ref())).await;
    let what = config.clone();
    report.look(Topic::Host, move || disk::findings(&disk::look(&what))).await;
    report.look(Topic::Host, || memory::findings(&memory::look())).await;
    report.look(Topic::Host, || clock::findings(clock::look())).await;
    tell("units");
    report.extend(units::examine(config).await);
    let (what, worst) = ((config.clone(), site), report.worst());
    report
        .look(Topic::Changes, move || {
            let since = changes::look(&what.0, &what.1, &past);
            changes::findings(&past, &since, worst)
        })
        .await;
    report.sorted()
}

/// What is left to tell where the configuration cannot be read.
#[must_use]
pub fn without_config(seen: &Seen, mistake: Finding) -> Report {
    let mut report = Report::default();
    report.extend(daemon::findings(seen));
    report.extend([mistake]);
    report.extend(selinux::findings(selinux::look().as_ref()));
    report.extend(memory::findings(&memory::look()));
    report.extend(clock::findings(clock::look()));
    report.sorted()
}
