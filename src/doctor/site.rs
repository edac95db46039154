//! nginx: whether it accepts its configuration, whether it runs, and what it names.

use std::path::PathBuf;

use super::{
    Finding, Topic,
    directives::{Directive, directives, files},
};
use crate::{
    config::{self, Config, Nginx, NginxMode, Severity, find_program},
    nginx,
    sys::proc,
};

/// What is known of nginx.
#[derive(Debug, Clone, Default)]
pub(super) struct Site {
    /// Its settings; `None`: aibk drives none.
    pub(super) settings: Option<Nginx>,
    /// Why it refuses its configuration.
    pub(super) refused: Option<String>,
    /// What its configuration says.
    pub(super) directives: Vec<Directive>,
    /// The files of its configuration.
    pub(super) files: Vec<PathBuf>,
    /// Its master.
    pub(super) master: Option<i32>,
}

impl Site {
    /// The values of every directive `name` that no variable is in.
    pub(super) fn values(&self, name: &str) -> Vec<&str> {
        let named = self.directives.iter().filter(|directive| directive.name() == name);
        let plain = |value: &&str| !value.contains('$');
        let mut values: Vec<&str> = named.filter_map(Directive::value).filter(plain).collect();
        values.sort_unstable();
        values.dedup();
        values
    }

    /// The TCP ports on which it is to listen.
    pub(super) fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self.values("listen").into_iter().filter_map(port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

/// The port of `80`, `127.0.0.1:80`, `[::]:80`, `localhost`; none of a unix socket.
fn port(listen: &str) -> Option<u16> {
    if listen.starts_with("unix:") {
        return None;
    }
    let after = listen.rsplit_once(']').map_or(listen, |(_, after)| after);
    match after.rsplit_once(':') {
        Some((_, port)) => port.parse().ok(),
        None => after.parse().ok().or(Some(80)),
    }
}

/// This is told by [`findings`], in nginx's own words.
pub(super) fn tells(lack: &config::Finding) -> bool {
    lack.about == "nginx.config" && lack.severity == Severity::Warning
}

pub(super) async fn look(config: &Config) -> Site {
    let Some(settings) = config.nginx.clone() else { return Site::default() };
    let binary = find_program(&settings.binary).unwrap_or_else(|| settings.binary.clone());
    let settings = Nginx { binary, ..settings };
    let site = Site { master: master(&settings), ..Site::default() };
    match nginx::dump(&settings).await {
        Ok(dump) => Site {
            directives: directives(&dump),
            files: files(&dump).into_iter().map(PathBuf::from).collect(),
            settings: Some(settings),
            ..site
        },
        Err(error) => Site { refused: Some(error.to_string()), settings: Some(settings), ..site },
    }
}

fn master(settings: &Nginx) -> Option<i32> {
    let text = std::fs::read_to_string(&settings.pid_file).ok()?;
    let pid = text.trim().parse().ok()?;
    proc::command(pid).starts_with("nginx: master").then_some(pid)
}

pub(super) fn findings(site: &Site) -> Vec<Finding> {
    let Some(settings) = &site.settings else { return vec![] };
    let mut found = Vec::new();
    if let Some(why) = &site.refused {
        found.push(Finding::problem(
            Topic::Nginx,
            format!("nginx does not accept its configuration: {why}"),
            "correct it and try `nginx -t` again; an nginx that runs goes on with what it has \
             read before, but does not come up again",
        ));
    }
    match (site.master, settings.mode) {
        (Some(pid), _) if site.refused.is_none() => {
            found.push(Finding::ok(
                Topic::Nginx,
                format!("nginx runs (pid {pid}) and accepts its configuration"),
            ));
        }
        (Some(_), _) => {}
        (None, mode) => {
            let pid_file = settings.pid_file.display();
            found.push(Finding::problem(
                Topic::Nginx,
                format!("nginx does not run: {pid_file} names no master process"),
                match mode {
                    NginxMode::System => {
                        "start it (systemctl start nginx); if it runs, correct `nginx.pid_file`"
                    }
                    NginxMode::Managed => "aibkd runs it: start aibkd, or see `aibkctl status`",
                },
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity as S;

    fn site(dump: &str) -> Site {
        Site { directives: directives(dump), ..Site::default() }
    }

    #[test]
    fn ports_are_those_of_every_listen() {
        let site = site(
            "listen 80 default_server; listen [::]:80; listen 127.0.0.1:8443 ssl; listen 443 ssl;\
             listen unix:/run/x.sock; listen localhost; listen *:81;",
        );
        assert_eq!(site.ports(), [80, 81, 443, 8443]);
    }

    #[test]
    fn a_value_with_a_variable_in_it_names_no_file() {
        let site = site("ssl_certificate /a; ssl_certificate /a; ssl_certificate /v/$host.pem;");
        assert_eq!(site.values("ssl_certificate"), ["/a"]);
    }

    #[test]
    fn an_nginx_that_refuses_or_does_not_run_is_a_problem() {
        let config = Config::parse(
            "nginx: {}\nservices: {w: {command: [x], directory: /}}",
            std::path::Path::new("/etc/aibk/aibk.yaml"),
        );
        let settings = config.unwrap().nginx;
        let well = Site { settings, master: Some(7), ..Site::default() };
        let told = |site: &Site| -> Vec<_> {
            findings(site).into_iter().map(|f| (f.severity, f.observed)).collect()
        };
        assert_eq!(told(&well)[0].0, S::Ok);
        let refused = Site { refused: Some("unknown directive".into()), ..well.clone() };
        assert_eq!(told(&refused).len(), 1);
        assert!(told(&refused)[0].1.contains("unknown directive"));
        let down = Site { master: None, ..well };
        assert_eq!(told(&down)[0].0, S::Problem);
        assert_eq!(told(&Site::default()), []);
    }
}
