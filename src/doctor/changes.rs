//! What is different from when it last worked: from the end of the last rollout that was done.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use jiff::{Timestamp, tz::TimeZone};

use super::{Finding, Severity, Topic, site::Site};
use crate::config::Config;

/// As many packages are named.
const PACKAGES: usize = 8;

/// How it last worked, as the daemon remembers it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// When the last rollout ended that was done, and what that was; `None`: none is known.
    pub good: Option<(Timestamp, String)>,
    /// The release that it left, by service.
    pub releases: BTreeMap<String, String>,
    /// The release that each instance has now, by instance, with its service.
    pub now: BTreeMap<String, (String, String)>,
    /// Rollouts since that failed, in words.
    pub failed: Vec<String>,
    /// The configuration file.
    pub config: PathBuf,
}

/// What was found to have changed since.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Since {
    /// Files, with the moment.
    files: Vec<(PathBuf, Timestamp)>,
    /// Packages that were installed, upgraded or removed.
    packages: Vec<String>,
    /// The host was booted then.
    booted: Option<Timestamp>,
}

pub(super) fn look(config: &Config, site: &Site, past: &Past) -> Since {
    let Some((since, _)) = past.good else { return Since::default() };
    let mut files = vec![past.config.clone()];
    files.extend(
        config
            .services
            .values()
            .filter_map(|service| Some(service.directory.join(service.env_file.as_ref()?))),
    );
    files.extend(config.apps.values().filter_map(|app| app.env_file.clone()));
    let ours = config.nginx.as_ref().map(|nginx| &nginx.file);
    files.extend(site.files.iter().filter(|file| Some(*file) != ours).cloned());
    files.sort();
    files.dedup();
    let changed = |file: PathBuf| {
        let at = Timestamp::try_from(file.metadata().ok()?.modified().ok()?).ok()?;
        (at > since).then_some((file, at))
    };
    let log = fs::read_to_string("/var/log/dpkg.log").unwrap_or_default();
    Since {
        files: files.into_iter().filter_map(changed).collect(),
        packages: packages(&log, since, &TimeZone::system()),
        booted: booted(Path::new("/proc/stat")).filter(|at| *at > since),
    }
}

fn booted(stat: &Path) -> Option<Timestamp> {
    let text = fs::read_to_string(stat).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    Timestamp::from_second(line.trim().parse().ok()?).ok()
}

/// `2026-01-02 03:04:05 upgrade nginx:amd64 1.22 1.26` of dpkg.log, in local time.
fn packages(log: &str, since: Timestamp, zone: &TimeZone) -> Vec<String> {
    let of = |line: &str| {
        let (time, rest) = line.split_at_checked(19)?;
        let at = jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", time).ok()?;
        let at = zone.to_timestamp(at).ok()?;
        let mut words = rest.split_ascii_whitespace();
        let verb = words.next().filter(|verb| matches!(*verb, "install" | "upgrade" | "remove"))?;
        let name = words.next()?.split(':').next()?;
        (at > since).then(|| format!("{verb} {name}"))
    };
    let mut found: Vec<String> = log.lines().filter_map(of).collect();
    found.sort();
    found.dedup();
    found
}

pub(super) fn findings(past: &Past, since: &Since, worst: Severity) -> Vec<Finding> {
    let Some((at, what)) = &past.good else { return vec![] };
    let mut changed = Vec::new();
    for (instance, (service, release)) in &past.now {
        if let Some(was) = past.releases.get(service).filter(|was| *was != release) {
            changed.push(format!("{instance} has release {release}, not {was}"));
        }
    }
    changed.extend(past.failed.iter().cloned());
    changed.extend(
        since
            .files
            .iter()
            .map(|(file, at)| format!("{} was changed at {}", file.display(), moment(*at))),
    );
    changed.extend(since.booted.map(|at| format!("the host was booted at {}", moment(at))));
    if !since.packages.is_empty() {
        let named = since.packages.iter().take(PACKAGES).cloned().collect::<Vec<_>>().join(", ");
        let more = since.packages.len().saturating_sub(PACKAGES);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        changed.push(format!("packages: {named}{more}"));
    }
    let last = format!("since {what} was done ({})", moment(*at));
    if changed.is_empty() {
        return vec![Finding::ok(Topic::Changes, format!("nothing seen has changed {last}"))];
    }
    let observed = format!("{last}:\n{}", changed.join("\n"));
    // Where all is well, a change is no reason to do anything.
    vec![match worst {
        Severity::Problem => Finding::warning(
            Topic::Changes,
            observed,
            "what is wrong may come from there: look at these first",
        ),
        Severity::Ok | Severity::Warning => Finding::ok(Topic::Changes, observed),
    }]
}

fn moment(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past() -> Past {
        Past {
            good: Some(("2026-01-02T03:00:00Z".parse().unwrap(), "rollout 7 (swap of api)".into())),
            releases: [("api".into(), "v1".into())].into(),
            now: [("api@8000".into(), ("api".into(), "v1".into()))].into(),
            failed: vec![],
            config: "/etc/aibk/aibk.yaml".into(),
        }
    }

    fn told(past: &Past, since: &Since, worst: Severity) -> (Severity, String) {
        let found = findings(past, since, worst).remove(0);
        (found.severity, found.observed)
    }

    #[test]
    fn each_change_is_named_and_is_a_warning_only_where_something_is_wrong() {
        let nothing = Since::default();
        assert_eq!(findings(&Past::default(), &nothing, Severity::Problem), []);
        let (severity, text) = told(&past(), &nothing, Severity::Problem);
        assert_eq!(severity, Severity::Ok);
        assert!(text.starts_with("nothing seen has changed since rollout 7"), "{text}");
        let mut later = past();
        later.now.insert("api@8001".into(), ("api".into(), "v2".into()));
        later.failed.push("rollout 8 (rolling of api) failed".into());
        let since = Since {
            files: vec![("/a/.env".into(), "2026-01-02T04:00:00Z".parse().unwrap())],
            packages: (0..10).map(|n| format!("upgrade p{n}")).collect(),
            booted: Some("2026-01-02T05:00:00Z".parse().unwrap()),
        };
        let (severity, text) = told(&later, &since, Severity::Problem);
        assert_eq!(severity, Severity::Warning);
        for part in
            ["api@8001 has release v2, not v1", "rollout 8", "/a/.env was", "booted", "and 2 more"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("api@8000"));
        assert_eq!(told(&later, &since, Severity::Warning).0, Severity::Ok);
    }

    #[test]
    fn packages_are_those_after_the_moment() {
        let log = "2026-01-02 02:59:59 upgrade old:all 1 2\n\
                   2026-01-02 03:00:01 status installed nginx:amd64 2\n\
                   2026-01-02 03:00:01 upgrade nginx:amd64 1 2\n\
                   2026-01-02 03:00:02 install redis:amd64 <none> 7\n\
                   2026-01-02 03:00:02 upgrade nginx:amd64 1 2\nnoise\n";
        let since = "2026-01-02T03:00:00Z".parse().unwrap();
        assert_eq!(packages(log, since, &TimeZone::UTC), ["install redis", "upgrade nginx"]);
    }
}
