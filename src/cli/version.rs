//! `version`: of this command and of the daemon.

use serde::Serialize;

use super::{
    Ended,
    daemon::Daemon,
    exit::Exit,
    screen::{Format, Screen, put},
};
use crate::api::types::{PROTOCOL, Version};

/// Version of this command: the package's.
pub(super) const OURS: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Serialize)]
struct Versions {
    aibkctl: &'static str,
    protocol: u32,
    daemon: Version,
}

pub(super) async fn run(daemon: &Daemon, screen: Screen) -> Ended {
    if screen.format == Format::Text {
        // Ours is told even where the daemon's cannot be had.
        put(&format!("aibkctl {OURS}, protocol {PROTOCOL}\n"))?;
    }
    let theirs = daemon.version().await?;
    match screen.format {
        Format::Text => put(&text(&theirs))?,
        Format::Json => {
            let versions = Versions { aibkctl: OURS, protocol: PROTOCOL, daemon: theirs };
            screen.show(&versions, |_| String::new())?;
        }
    }
    Ok(Exit::Done)
}

fn text(theirs: &Version) -> String {
    let Version { daemon, protocol, pid, .. } = theirs;
    let mut text = format!("aibkd   {daemon}, protocol {protocol}, pid {pid}\n");
    if daemon != OURS {
        text.push_str(
            "the two differ: after an update, `aibkctl daemon-reexec` (instances live on)\n",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told() {
        let theirs = |daemon: &str| Version {
            daemon: daemon.into(),
            protocol: 1,
            pid: 7,
            begun: String::new(),
        };
        assert_eq!(text(&theirs(OURS)).lines().count(), 1);
        assert!(text(&theirs("0.0.9")).contains("the two differ"));
    }
}
