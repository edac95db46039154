//! Units of systemd that have failed, with their last words.

use std::path::Path;

use super::{Finding, Topic, program};
use crate::config::Config;

/// Where systemd runs, this is: `sd_booted(3)`.
const BOOTED: &str = "/run/systemd/system";

/// Units that what aibk runs stands on.
const OURS: [&str; 6] = ["aibkd", "nginx", "postgresql", "redis", "minio", "valkey"];

/// As many are told.
const TOLD: usize = 10;

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    if !Path::new(BOOTED).is_dir() {
        return vec![];
    }
    let list = ["list-units", "--failed", "--plain", "--no-legend", "--no-pager"];
    let Ok(said) = program::ask("systemctl", &list).await else { return vec![] };
    let failed = failed(&said.out);
    let mut found = Vec::new();
    for unit in failed.iter().take(TOLD) {
        let words = ["-u", unit, "-n", "3", "-o", "cat", "--no-pager", "-q"];
        let words = program::ask("journalctl", &words).await.map(|said| said.out);
        found.push(finding(unit, &words.unwrap_or_default(), &names(config)));
    }
    if failed.is_empty() && said.ok {
        found.push(Finding::ok(Topic::Units, "no unit of systemd has failed"));
    }
    found
}

/// Of what the configuration has: units may be called as these are.
fn names(config: &Config) -> Vec<String> {
    let apps = config.apps.keys().map(ToString::to_string);
    let users = config.services.values().filter_map(|service| service.user.clone());
    apps.chain(users).collect()
}

/// `x.service loaded failed failed Description`, one a line.
fn failed(list: &str) -> Vec<String> {
    let first = |line: &str| line.split_ascii_whitespace().next().map(str::to_owned);
    list.lines().filter_map(first).collect()
}

fn finding(unit: &str, words: &str, names: &[String]) -> Finding {
    let ours = OURS.iter().copied().chain(names.iter().map(String::as_str));
    let is_ours = ours.into_iter().any(|name| unit.starts_with(name));
    let words = if words.is_empty() { String::new() } else { format!(":\n{words}") };
    let observed = format!("unit {unit} has failed{words}");
    let next = format!(
        "journalctl -u {unit} -n 50; then systemctl restart {unit}, or reset-failed where it is \
         not needed"
    );
    if is_ours {
        Finding::problem(Topic::Units, observed, next)
    } else {
        Finding::warning(Topic::Units, observed, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity as S;

    #[test]
    fn what_we_stand_on_is_a_problem_and_anything_else_a_warning() {
        let list = "postgresql@15-main.service loaded failed failed PostgreSQL\nx.timer loaded\n";
        assert_eq!(failed(list), ["postgresql@15-main.service", "x.timer"]);
        let names = ["books".to_owned()];
        assert_eq!(finding("postgresql@15-main.service", "boom", &names).severity, S::Problem);
        assert_eq!(finding("books-api@8000.service", "", &names).severity, S::Problem);
        let other = finding("x.timer", "a\nb", &names);
        assert_eq!(
            (other.severity, other.observed.as_str()),
            (S::Warning, "unit x.timer has failed:\na\nb")
        );
    }
}
