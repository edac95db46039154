//! What only the host can tell about how releases are made: programs, directories.

use std::path::{Path, PathBuf};

use super::{
    App, Config, Finding, Installer, Place, Service, Severity, find_program,
    host::{Findings, check_place},
};

/// What deploys of `app` need here. Nothing, where its code comes from nowhere.
pub(super) fn check(findings: &mut Findings, about: &dyn Fn(&str) -> String, app: &App) {
    let Some(origin) = &app.code.origin else { return };
    let by_git = match &origin.place {
        Place::Remote(_) => true,
        Place::Directory(path) if !path.is_dir() => {
            let what = format!("{} is not a directory; correct `path`", path.display());
            findings.add(Severity::Error, &about("source.path"), what);
            false
        }
        Place::Directory(path) => path.join(".git").exists(),
    };
    if by_git && find_program(Path::new("git")).is_none() {
        let what = "git was not found; install it (apt-get install git)".to_owned();
        findings.add(Severity::Error, &about("source"), what);
    }
    let python = &app.code.python;
    let minor = |version: &String| version.split('.').take(2).collect::<Vec<_>>().join(".");
    let named =
        python.version.as_ref().map(|version| PathBuf::from(format!("python{}", minor(version))));
    let program = python.interpreter.clone().or(named);
    let usual = Path::new("python3");
    if find_program(program.as_deref().unwrap_or(usual)).is_none() {
        // What is asked for is needed; else only code with requirements needs one.
        let severity = program.as_ref().map_or(Severity::Warning, |_| Severity::Error);
        let shown = program.as_deref().unwrap_or(usual).display();
        let what = format!(
            "{shown} was not found; install it, with what makes environments (python3-venv)"
        );
        findings.add(severity, &about("python"), what);
    }
    if python.installer == Installer::Uv && find_program(Path::new("uv")).is_none() {
        let what = "uv was not found in PATH; install it, or write `installer: pip`".to_owned();
        findings.add(Severity::Warning, &about("python.installer"), what);
    }
    check_place(findings, &about("home"), &app.home);
    if !app.code.releases.starts_with(&app.home) {
        check_place(findings, &about("releases"), &app.code.releases);
    }
}

/// No deploy has brought the code of `service` yet, and one can.
pub(super) fn awaits_release(config: &Config, service: &Service) -> bool {
    let app = config.apps.values().find(|app| app.services.contains(&service.name));
    app.filter(|app| app.code.origin.is_some()).is_some_and(|app| {
        let current = app.home.join("current");
        service.directory.starts_with(&current) && current.symlink_metadata().is_err()
    })
}

/// Services of `app` that no deploy reaches, because their code is elsewhere.
pub(super) fn unreached(config: &Config, app: &App) -> Vec<Finding> {
    if app.code.origin.is_none() {
        return Vec::new();
    }
    let current = app.home.join("current");
    let mut findings = Vec::new();
    for service in app.services.iter().filter_map(|name| config.services.get(name)) {
        if !service.directory.starts_with(&current) {
            let what = format!(
                "{} does not lie in {}, so no deploy of {} reaches it; correct it",
                service.directory.display(),
                current.display(),
                app.name
            );
            let about = format!("services.{}.directory", service.name);
            findings.push(Finding { severity: Severity::Warning, about, what });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::check_host;
    use super::*;

    #[test]
    fn the_host_is_asked_for_what_a_deploy_needs() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("home");
        fs::create_dir_all(home.join("code")).unwrap();
        let told = |code: &str, keys: &str| {
            let text = format!(
                "services: {{api: {{command: [sh], directory: HOME/{code}}}}}\n\
                 apps: {{shop: {{home: HOME, services: [api], {keys}}}}}"
            );
            let text = text.replace("HOME", home.to_str().unwrap());
            let config = Config::parse(&text, Path::new("/etc/aibk.yaml")).unwrap();
            let findings =
                check_host(&config).into_iter().filter(|f| !f.about.starts_with("control"));
            findings.map(|f| format!("{:?} {}", f.severity, f.about)).collect::<Vec<_>>()
        };
        assert_eq!(told("code", "keep: 3"), [""; 0], "nobody deploys it");
        let expected = ["Error apps.shop.source.path", "Warning services.api.directory"];
        assert_eq!(told("code", "source: {path: /gone}, releases: HOME/r"), expected);
        let source = "source: {path: /usr}";
        assert_eq!(told("current", source), ["Warning services.api.directory"], "not yet");
        assert_eq!(told("current", "keep: 3"), ["Error services.api.directory"], "by nobody");
        fs::create_dir_all(home.join("current")).unwrap();
        let python = "source: {path: /usr}, python: {version: '3.99'}, releases: /etc/passwd/in";
        let expected = ["Error apps.shop.python", "Error apps.shop.releases"];
        assert_eq!(told("current", python), expected);
        assert_eq!(told("current", source), [""; 0]);
    }
}
