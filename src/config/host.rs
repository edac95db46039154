//! What only the host can tell about a configuration: users, directories, programs, files.
//!
//! Kept apart from reading, which is pure: a configuration may be checked on another machine.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use nix::unistd::{Group, User};
use rustix::fs::Access;

use super::{App, Config, Control, Kind, Service, code_host, load_env_file};

/// Something of the host that does not fit the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: `services.api.venv`.
    pub about: String,
    /// What is not as it should be, and what to do next.
    pub what: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works, but maybe not as meant.
    Warning,
    /// A start would fail.
    Error,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{word}: {}: {}", self.about, self.what)
    }
}

/// Looks at everything that `config` names on this host. Starts nothing, changes nothing.
#[must_use]
pub fn check_host(config: &Config) -> Vec<Finding> {
    let mut findings = Findings::default();
    check_groups(&mut findings, &config.control);
    if let Some(nginx) = &config.nginx {
        if find_program(&nginx.binary).is_none() {
            let what = format!("{} was not found; install nginx", nginx.binary.display());
            findings.add(Severity::Error, "nginx.binary", what);
        }
        findings.require_file("nginx.config", &nginx.config);
        // aibkd makes its runtime directory itself.
        let parent = nginx.file.parent().filter(|parent| !parent.starts_with(&config.runtime_dir));
        if let Some(directory) = parent.filter(|parent| !parent.is_dir()) {
            let what = format!("{} is not a directory; create it", directory.display());
            findings.add(Severity::Error, "nginx.file", what);
        }
    }
    findings
        .list
        .into_iter()
        .chain(config.services.values().flat_map(|service| check_configured(config, service)))
        .chain(config.apps.values().flat_map(|app| check_app(app)))
        .chain(config.apps.values().flat_map(|app| code_host::unreached(config, app)))
        .collect()
}

/// What a deploy has not brought yet is missing, and not wrong.
fn check_configured(config: &Config, service: &Service) -> Vec<Finding> {
    let mut findings = check_service(service);
    if code_host::awaits_release(config, service) {
        let about = format!("services.{}.directory", service.name);
        for finding in findings.iter_mut().filter(|finding| finding.about == about) {
            finding.severity = Severity::Warning;
            finding.what = format!(
                "{} is not there yet; `aibkctl deploy` makes the first release",
                service.directory.display()
            );
        }
    }
    findings
}

/// The part of [`check_host`] about one application: what its deploys and dumps need.
#[must_use]
pub fn check_app(app: &App) -> Vec<Finding> {
    let mut findings = Findings::default();
    let about = |key: &str| format!("apps.{}.{key}", app.name);
    findings.require_accounts(&about, app.user.as_ref(), app.group.as_ref());
    if let Some(Err(error)) = app.env_file.as_deref().map(load_env_file) {
        findings.add(Severity::Error, &about("env_file"), error.to_string());
    } else if app.database.is_some()
        && let Err(error) = app.endpoint()
    {
        findings.add(Severity::Error, &about("database"), error.to_string());
    }
    for name in ["pg_dump", "pg_restore", "psql"] {
        if let Some(database) = app.database.as_ref().filter(|db| db.program(name).is_none()) {
            let place = database.programs.as_deref().map_or("PATH".into(), Path::to_string_lossy);
            let what = format!("{name} was not found in {place}; install postgresql-client");
            findings.add(Severity::Error, &about("database.programs"), what);
        }
    }
    if let Some(backup) = &app.backup {
        check_place(&mut findings, &about("backup.directory"), &backup.directory);
    }
    code_host::check(&mut findings, &about, app);
    findings.list
}

/// aibkd makes the directory itself, where the one above is there.
pub(super) fn check_place(findings: &mut Findings, about: &str, directory: &Path) {
    let shown = directory.display();
    let there = directory.ancestors().find(|place| place.exists());
    match there {
        Some(place) if !place.is_dir() => {
            let what = format!("{} is not a directory; choose another place", place.display());
            findings.add(Severity::Error, about, what);
        }
        Some(place) if rustix::fs::access(place, Access::WRITE_OK).is_err() => {
            let what = format!("nothing can be written to {}; correct its mode", place.display());
            findings.add(Severity::Error, about, what);
        }
        Some(place) if place != directory && Some(place) != directory.parent() => {
            let what = format!("{shown} is not there, nor is the directory above; create it");
            findings.add(Severity::Warning, about, what);
        }
        Some(_) | None => {}
    }
}

/// The daemon does not start without the group of its socket; the others only go unheard.
fn check_groups(findings: &mut Findings, control: &Control) {
    let missing = |group: &&String| !group_exists(group);
    if let Some(group) = control.group.as_ref().filter(missing) {
        let what = format!("group {group} does not exist; create it (groupadd --system {group})");
        findings.add(Severity::Error, "control.group", what);
    }
    // The default grant, on a socket that is its owner's alone, was asked for by nobody.
    let usual = control.group.as_deref().unwrap_or("aibk");
    let granted = control.grants.keys().filter(|group| *group != usual);
    for group in granted.filter(missing) {
        let what = format!(
            "group {group} does not exist, so nobody is heard by it; create it (groupadd --system \
             {group})"
        );
        findings.add(Severity::Warning, &format!("control.grants.{group}"), what);
    }
}

/// The part of [`check_host`] about one service: what the start of an instance needs.
#[must_use]
pub fn check_service(service: &Service) -> Vec<Finding> {
    let mut findings = Findings::default();
    let about = |key: &str| format!("services.{}.{key}", service.name);
    findings.require_accounts(&about, service.user.as_ref(), service.group.as_ref());
    if !service.directory.is_dir() {
        let what =
            format!("{} is not a directory; put the code there", service.directory.display());
        findings.add(Severity::Error, &about("directory"), what);
    } else if let Kind::Asgi(asgi) = &service.kind {
        check_venv(&mut findings, &about("venv"), &service.directory.join(&asgi.venv));
    }
    if let Some(Err(error)) = service.env_file.as_deref().map(load_env_file) {
        findings.add(Severity::Error, &about("env_file"), error.to_string());
    }
    findings.list
}

fn check_venv(findings: &mut Findings, about: &str, venv: &Path) {
    let shown = venv.display();
    if !venv.join("bin/python").is_file() {
        let what = format!("{shown} has no bin/python; create it (python3 -m venv {shown})");
        findings.add(Severity::Error, about, what);
    } else if !venv.join("bin/uvicorn").is_file() {
        let what = format!("{shown} has no uvicorn; install it ({shown}/bin/pip install uvicorn)");
        findings.add(Severity::Error, about, what);
    }
}

/// Finds `program`: as it is when it contains a `/`, else in `PATH` and then in `/usr/sbin`,
/// where nginx is and where `PATH` of a user often does not lead.
#[must_use]
pub fn find_program(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return is_executable(program).then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|directory| directory.join(program))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A name service that cannot answer says nothing against the name.
fn user_exists(name: &str) -> bool {
    !matches!(User::from_name(name), Ok(None))
}

fn group_exists(name: &str) -> bool {
    !matches!(Group::from_name(name), Ok(None))
}

#[derive(Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    pub(super) fn add(&mut self, severity: Severity, about: &str, what: String) {
        self.list.push(Finding { severity, about: about.to_owned(), what });
    }

    fn require_accounts(
        &mut self,
        about: &dyn Fn(&str) -> String,
        user: Option<&String>,
        group: Option<&String>,
    ) {
        if let Some(user) = user.filter(|user| !user_exists(user)) {
            let what = format!("user {user} does not exist; create it (useradd --system {user})");
            self.add(Severity::Error, &about("user"), what);
        }
        if let Some(group) = group.filter(|group| !group_exists(group)) {
            let what =
                format!("group {group} does not exist; create it (groupadd --system {group})");
            self.add(Severity::Error, &about("group"), what);
        }
    }

    fn require_file(&mut self, about: &str, path: &Path) {
        if !path.is_file() {
            let what = format!("{} is not a file; create it, or correct the path", path.display());
            self.add(Severity::Error, about, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Access;

    fn told(group: Option<&str>, grants: &[&str]) -> Vec<String> {
        let control = Control {
            socket: "/run/x.sock".into(),
            group: group.map(str::to_owned),
            grants: grants.iter().map(|name| ((*name).to_owned(), Access::Operate)).collect(),
        };
        let mut findings = Findings::default();
        check_groups(&mut findings, &control);
        findings.list.iter().map(|f| format!("{:?} {}", f.severity, f.about)).collect()
    }

    #[test]
    fn only_the_group_of_the_socket_must_exist() {
        assert_eq!(told(Some("no-such"), &["no-such"]), ["Error control.group"]);
        assert_eq!(told(Some("root"), &["root", "gone"]), ["Warning control.grants.gone"]);
        assert_eq!(told(None, &["aibk"]), [""; 0], "nobody asked for the default");
        assert_eq!(told(None, &["gone"]), ["Warning control.grants.gone"]);
    }
}
