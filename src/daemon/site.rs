//! What the site in front of the services needs: its lines, and whether nginx's configuration has
//! them. Needs no running daemon.

use super::muster::site;
use crate::{
    api::types::{NginxSnippet, Switch},
    config::{self, Config, Finding, Severity},
    ident::ServiceName,
    nginx::{self, Nginx, Snippet},
};

/// The lines that the site needs for `service`; `None` where it is not behind nginx.
#[must_use]
pub fn snippet(config: &Config, service: &ServiceName) -> Option<NginxSnippet> {
    let site = site(config);
    let proxied = site.get(service)?;
    let log = config.nginx.as_ref().and_then(|nginx| nginx.request_log.as_deref());
    let Snippet { http, server, location, log } = Snippet::of(service, proxied, log);
    let switch = match proxied.switch {
        nginx::Switch::Reload => Switch::Reload,
        nginx::Switch::Flip(_) => Switch::Flip,
    };
    Some(NginxSnippet { service: service.to_string(), switch, http, server, location, log })
}

/// Everything that `config` needs of this host, and of the site in front of its services. Starts
/// nothing but `nginx -T`, changes nothing.
pub async fn check_host(config: &Config) -> Vec<Finding> {
    let mut findings = config::check_host(config);
    let cannot = |finding: &Finding| {
        finding.severity == Severity::Error && finding.about.starts_with("nginx")
    };
    if !findings.iter().any(cannot) {
        findings.extend(check_site(config).await);
    }
    findings
}

async fn check_site(config: &Config) -> Vec<Finding> {
    let site = site(config);
    let Some(settings) = config.nginx.clone().filter(|_| !site.is_empty()) else { return vec![] };
    let program = config::find_program(&settings.binary).unwrap_or(settings.binary);
    let settings = config::Nginx { binary: program, ..settings };
    match Nginx::new(settings, site).lacks().await {
        Ok(lacks) => lacks
            .iter()
            .map(|lack| Finding {
                severity: Severity::Warning,
                about: format!("services.{}.upstream", lack.service),
                what: lack.to_string(),
            })
            .collect(),
        Err(error) => vec![Finding {
            severity: Severity::Warning,
            about: "nginx.config".to_owned(),
            what: format!(
                "it was not looked whether the site has the lines that it needs: {error}; \
                 `aibkctl nginx snippet SERVICE` shows them"
            ),
        }],
    }
}
