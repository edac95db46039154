//! What setup leaves to the operator: programs, code, secrets, databases, firewalls. Pure, but for
//! the look.

use std::path::PathBuf;

use super::host::Root;
use crate::config::{App, Config, Endpoint, Kind, find_program};

/// What was seen of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Debian's packages that are missing.
    packages: Vec<&'static str>,
    firewall: Firewall,
    /// Code that is not there: the directory, and who is to own it.
    code: Vec<(PathBuf, Option<String>)>,
    /// Environments that are not there, with who is to own them.
    venvs: Vec<(PathBuf, PathBuf, Option<String>)>,
    /// Env files that are not there.
    env_files: Vec<PathBuf>,
    /// Databases on this host that applications name.
    databases: Vec<Endpoint>,
}

/// What filters packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Firewall {
    #[default]
    None,
    Ufw,
    Firewalld,
}

pub(super) fn look(root: &Root, config: &Config) -> Facts {
    let mut facts = Facts::default();
    let programs = [("nginx", "nginx"), ("python3", "python3-venv"), ("openssl", "openssl")];
    for (program, package) in programs {
        if find_program(program.as_ref()).is_none() {
            facts.packages.push(package);
        }
    }
    let ensurepip =
        ["/usr/lib/python3", "/usr/lib/python3.11", "/usr/lib/python3.12", "/usr/lib/python3.13"];
    if !ensurepip.iter().any(|place| root.has(&format!("{place}/ensurepip"))) {
        facts.packages.push("python3-venv");
    }
    if config.apps.values().any(|app| app.database.is_some())
        && find_program("pg_dump".as_ref()).is_none()
    {
        facts.packages.push("postgresql-client");
    }
    facts.packages.sort_unstable();
    facts.packages.dedup();
    if root.read("/etc/ufw/ufw.conf").lines().any(|line| line.trim() == "ENABLED=yes") {
        facts.firewall = Firewall::Ufw;
    } else if root.has("/run/firewalld") || root.has("/etc/firewalld/zones/public.xml") {
        facts.firewall = Firewall::Firewalld;
    }
    for service in config.services.values() {
        let directory = &service.directory;
        if !root.at(directory).exists() {
            facts.code.push((directory.clone(), service.user.clone()));
        }
        if let Kind::Asgi(asgi) = &service.kind {
            let venv = directory.join(&asgi.venv);
            if !root.at(&venv).join("bin/uvicorn").exists() {
                facts.venvs.push((venv, directory.clone(), service.user.clone()));
            }
        }
        let file = service.env_file.as_ref().map(|file| directory.join(file));
        facts.env_files.extend(file.filter(|file| !root.at(file).exists()));
    }
    if root.is_host() {
        facts.databases = config.apps.values().filter_map(|app| own_database(app)).collect();
    }
    facts
}

fn own_database(app: &App) -> Option<Endpoint> {
    let endpoint = app.endpoint().ok()?;
    let host = endpoint.host.as_deref().unwrap_or("localhost");
    let here = host.starts_with('/') || matches!(host, "localhost" | "127.0.0.1" | "::1");
    here.then_some(endpoint)
}

/// In the order in which they are to be done.
pub(super) fn hints(config: &Config, facts: &Facts, units: &[String]) -> Vec<String> {
    let mut hints = Vec::new();
    if !facts.packages.is_empty() {
        hints.push(format!("apt-get install {}", facts.packages.join(" ")));
    }
    let user = |user: &Option<String>| user.clone().unwrap_or_else(|| "root".to_owned());
    for (directory, owner) in &facts.code {
        hints.push(format!("put the code into {}, owned by {}", directory.display(), user(owner)));
    }
    for (venv, directory, owner) in &facts.venvs {
        let (venv, directory) = (venv.display(), directory.display());
        hints.push(format!(
            "make the environment: sudo -u {} sh -c 'python3 -m venv {venv} && {venv}/bin/pip \
             install -r {directory}/requirements.txt'",
            user(owner)
        ));
    }
    for file in &facts.env_files {
        hints.push(format!("write {} (mode 0600), which the services read", file.display()));
    }
    for endpoint in &facts.databases {
        let (name, role) = (&endpoint.name, endpoint.user.as_deref().unwrap_or("postgres"));
        hints.push(format!(
            "where they are not there yet: sudo -u postgres createuser -P {role}; sudo -u postgres \
             createdb -O {role} {name}"
        ));
    }
    match facts.firewall {
        Firewall::None => {}
        Firewall::Ufw => hints.push("open the site: ufw allow 80/tcp && ufw allow 443/tcp".into()),
        Firewall::Firewalld => hints.push(
            "open the site: firewall-cmd --permanent --add-service=http --add-service=https && \
             firewall-cmd --reload"
                .into(),
        ),
    }
    for service in config.services.values().filter(|service| !service.host().is_loopback()) {
        hints.push(format!(
            "close the ports of {} to others: it does not listen on 127.0.0.1 alone",
            service.name
        ));
    }
    hints.push("look whether all is there: aibkctl config check /etc/aibk/aibk.yaml".into());
    if !units.is_empty() {
        hints.push(format!("systemctl disable --now {}", units.join(" ")));
    }
    hints.push("systemctl enable --now aibkd, then nginx -t && systemctl reload nginx".into());
    hints.push("aibkctl status; and where something is wrong, aibkctl doctor".into());
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_that_is_missing_has_its_command() {
        let text = "services: {w: {app: 'a:b', directory: /d, slots: [1], host: 0.0.0.0}}";
        let config = Config::parse(text, std::path::Path::new("/etc/aibk/aibk.yaml")).unwrap();
        let facts = Facts {
            packages: vec!["nginx"],
            firewall: Firewall::Ufw,
            code: vec![("/d".into(), None)],
            venvs: vec![("/v".into(), "/d".into(), Some("app".into()))],
            env_files: vec!["/d/.env".into()],
            databases: vec![Endpoint {
                name: "books".into(),
                user: Some("app".into()),
                ..Endpoint::default()
            }],
        };
        let told = hints(&config, &facts, &["a@1".into(), "b".into()]).join("\n");
        for word in [
            "apt-get install nginx",
            "put the code into /d",
            "sudo -u app sh -c 'python3 -m venv /v",
            "write /d/.env",
            "createdb -O app books",
            "ufw allow 443/tcp",
            "close the ports of w",
            "disable --now a@1 b",
        ] {
            assert!(told.contains(word), "{word} in {told}");
        }
        assert_eq!(hints(&config, &Facts::default(), &[]).len(), 4);
    }
}
