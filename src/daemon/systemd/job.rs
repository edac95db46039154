//! Why systemd sends SIGTERM: it does the same to stop a unit and to restart it, so it is asked which
//! of the two it is at (`systemctl list-jobs`).

use std::{process::Stdio, time::Duration};

use tokio::time::timeout;

/// How long systemd may take to answer; it waits for us meanwhile.
const ASK: Duration = Duration::from_secs(5);

/// What systemd is about to do with our unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::daemon) enum Job {
    /// We are nobody's unit.
    NotAUnit,
    /// Stop it: also where the host goes down.
    Stop,
    /// Start it again, or nothing at all: somebody else sent the signal.
    Other,
    /// It did not say; why.
    Unknown(String),
}

/// A unit, and which of systemd's managers has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unit {
    name: String,
    manager: &'static str,
}

/// What systemd is about to do with the unit whose main process we are.
pub(in crate::daemon) async fn ours() -> Job {
    // systemd.exec(5), since systemd 248: only the process that it started itself has its own pid
    // in there.
    let is_started =
        std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    if !is_started {
        return Job::NotAUnit;
    }
    let Some(unit) = std::fs::read_to_string("/proc/self/cgroup").ok().as_deref().and_then(unit_in)
    else {
        return Job::Unknown("its cgroup names no unit".to_owned());
    };
    let mut systemctl = tokio::process::Command::new("systemctl");
    systemctl.args([unit.manager, "list-jobs", "--plain", "--no-legend", "--no-pager", "--full"]);
    systemctl.stdin(Stdio::null()).kill_on_drop(true);
    match timeout(ASK, systemctl.output()).await {
        Ok(Ok(answer)) if answer.status.success() => {
            job_in(&String::from_utf8_lossy(&answer.stdout), &unit.name)
        }
        Ok(Ok(answer)) => {
            let why = String::from_utf8_lossy(&answer.stderr);
            Job::Unknown(format!("systemctl failed: {}", why.trim()))
        }
        Ok(Err(e)) => Job::Unknown(format!("systemctl cannot be run: {e}")),
        Err(_) => Job::Unknown(format!("systemd gave no answer in {ASK:?}")),
    }
}

/// The service in a `/proc/PID/cgroup` (cgroups(7)): the innermost, for those of users stand in
/// `user@UID.service`.
fn unit_in(cgroup: &str) -> Option<Unit> {
    cgroup.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        let name = path.split('/').rfind(|part| part.ends_with(".service"))?;
        let outer = path.split('/').any(|part| part.starts_with("user@") && part != name);
        let manager = if outer { "--user" } else { "--system" };
        Some(Unit { name: name.to_owned(), manager })
    })
}

/// `list-jobs` prints a line for each: number, unit, type, state.
fn job_in(listed: &str, unit: &str) -> Job {
    let of_ours = listed.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word != unit).skip(1);
        words.next()
    });
    if of_ours == Some("stop") { Job::Stop } else { Job::Other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_service_is_ours() {
        let unit = |text| unit_in(text).map(|unit| (unit.name, unit.manager));
        let system = "0::/system.slice/aibkd.service/daemon\n";
        assert_eq!(unit(system), Some(("aibkd.service".to_owned(), "--system")));
        let hybrid = "12:cpuset:/\n1:name=systemd:/system.slice/web.service\n0::/\n";
        assert_eq!(unit(hybrid), Some(("web.service".to_owned(), "--system")));
        let user = "0::/user.slice/user-7.slice/user@7.service/app.slice/aibkd.service\n";
        assert_eq!(unit(user), Some(("aibkd.service".to_owned(), "--user")));
        assert_eq!(unit("0::/user.slice/session-1.scope\n"), None);
    }

    #[test]
    fn only_a_stop_of_our_own_unit_is_one() {
        let listed = "  7 nginx.service     stop  waiting\n  9 aibkd.service     TYPE running\n";
        for (kind, job) in [
            ("stop", Job::Stop),
            ("restart", Job::Other),
            ("start", Job::Other),
            ("reload", Job::Other),
        ] {
            assert_eq!(job_in(&listed.replace("TYPE", kind), "aibkd.service"), job, "{kind}");
        }
        assert_eq!(job_in("", "aibkd.service"), Job::Other);
    }
}
