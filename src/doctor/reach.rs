//! What the applications talk to, by their own settings: does it answer?

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

use super::{
    Finding, Topic,
    talk::{self, Answer},
};
use crate::config::{Config, Endpoint, Secret, load_env_file, parse_database_url};

/// Something that an application talks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    /// Who names it: `api`, and in which variable.
    pub(super) whose: String,
    pub(super) target: Target,
}

/// What is talked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// PostgreSQL.
    Postgres(Endpoint),
    /// Redis.
    Redis(Redis),
    /// Anything else that listens: its scheme, and where.
    Other(String, Place),
    /// It cannot be told where it is.
    Unclear(String),
}

/// Where something listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Host and port.
    Tcp(String, u16),
    /// A socket.
    Unix(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => f.write_str(path),
        }
    }
}

/// A Redis, and how one says who one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Redis {
    pub(super) place: Place,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) tls: Tls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tls {
    Wanted,
    None,
}

/// Everything that env files and the configuration name, each once.
pub(super) fn links(config: &Config) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    let mut add = |link: Link| {
        if links.iter().all(|known| known.target != link.target) {
            links.push(link);
        }
    };
    for app in config.apps.values().filter(|app| app.database.is_some()) {
        // What is wrong with it is told by the configuration room.
        if let Ok(endpoint) = app.endpoint() {
            let whose = format!("{}, database", app.name);
            add(Link { whose, target: Target::Postgres(endpoint) });
        }
    }
    for service in config.services.values() {
        let file = service.env_file.as_ref().map(|file| service.directory.join(file));
        let mut variables = file.and_then(|file| load_env_file(&file).ok()).unwrap_or_default();
        variables.extend(service.env.iter().cloned());
        of_variables(service.name.as_str(), &variables).into_iter().for_each(&mut add);
    }
    for app in config.apps.values() {
        let variables = app.env_file.as_deref().and_then(|file| load_env_file(file).ok());
        let variables = variables.unwrap_or_default();
        of_variables(app.name.as_str(), &variables).into_iter().for_each(&mut add);
    }
    links
}

fn of_variables(whose: &str, variables: &BTreeMap<String, Secret>) -> Vec<Link> {
    let link = |(name, value): (&String, &Secret)| {
        let target = target(value.expose())?;
        Some(Link { whose: format!("{whose}, {name}"), target })
    };
    variables.iter().filter_map(link).collect()
}

/// By the scheme: an application names its variables as it likes.
fn target(value: &str) -> Option<Target> {
    let (scheme, rest) = value.trim().split_once("://")?;
    let known = scheme.split('+').next().unwrap_or_default();
    let port = match known {
        "postgres" | "postgresql" => {
            return Some(match parse_database_url(value) {
                Ok(endpoint) => Target::Postgres(endpoint),
                Err(wrong) => Target::Unclear(wrong.to_string()),
            });
        }
        "redis" | "rediss" | "unix" => return redis(known, rest),
        "mysql" | "mariadb" => 3306,
        "amqp" => 5672,
        "amqps" => 5671,
        "mongodb" => 27017,
        _ => return None,
    };
    let (_, place) = authority(rest);
    Some(match tcp(place, port) {
        Some(place) => Target::Other(known.to_owned(), place),
        None => Target::Unclear(format!("is a URL of {known} without a usable host and port")),
    })
}

/// As redis-py reads it.
fn redis(scheme: &str, rest: &str) -> Option<Target> {
    let (who, place) = authority(rest);
    let place = match scheme {
        "unix" => {
            let path = place.split('?').next().unwrap_or_default();
            // Many programs have unix sockets; those of a Redis say so.
            return path.contains("redis").then(|| {
                let (user, password) = credentials(who);
                let place = Place::Unix(path.to_owned());
                Target::Redis(Redis { place, user, password, tls: Tls::None })
            });
        }
        _ => tcp(place, 6379),
    };
    let Some(place) = place else {
        return Some(Target::Unclear("is a URL of Redis without a usable port".to_owned()));
    };
    let (user, password) = credentials(who);
    let tls = if scheme == "rediss" { Tls::Wanted } else { Tls::None };
    Some(Target::Redis(Redis { place, user, password, tls }))
}

fn authority(rest: &str) -> (Option<&str>, &str) {
    rest.rsplit_once('@').map_or((None, rest), |(who, place)| (Some(who), place))
}

fn credentials(who: Option<&str>) -> (Option<String>, Option<Secret>) {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let Some(who) = who else { return (None, None) };
    let (user, password) = who.split_once(':').map_or((who, None), |(u, p)| (u, Some(p)));
    let some = |text: &str| Some(decode(text)).filter(|text| !text.is_empty());
    (some(user), password.and_then(some).map(Secret::new))
}

fn tcp(place: &str, usual: u16) -> Option<Place> {
    // Of several hosts, the first.
    let place = place.split(['/', '?', ',']).next().unwrap_or_default();
    let (host, port) = match place.strip_prefix('[') {
        Some(address) => address.split_once(']')?,
        None => place.find(':').map_or((place, ""), |at| place.split_at(at)),
    };
    let port = match port.strip_prefix(':') {
        Some(port) if !port.is_empty() => port.parse().ok()?,
        _ => usual,
    };
    let host = if host.is_empty() { "localhost" } else { host };
    Some(Place::Tcp(host.to_owned(), port))
}

/// Asks each of `links`.
pub(super) async fn examine(links: Vec<Link>) -> Vec<Finding> {
    let asked = links.into_iter().map(async |link| {
        let (place, answer) = talk::ask(&link.target).await;
        finding(&link, &place, &answer)
    });
    futures_util::future::join_all(asked).await
}

fn finding(link: &Link, place: &str, answer: &Answer) -> Finding {
    let (name, unit) = match &link.target {
        Target::Postgres(_) => ("PostgreSQL", "postgresql"),
        Target::Redis(_) => ("Redis", "redis-server"),
        Target::Other(scheme, _) => (scheme.as_str(), scheme.as_str()),
        Target::Unclear(wrong) => {
            let what = format!("{} {wrong}", link.whose);
            return Finding::warning(Topic::Databases, what, "correct it in the env file");
        }
    };
    let at = format!("{name} at {place} ({})", link.whose);
    let problem = |what: String, next: String| Finding::problem(Topic::Databases, what, next);
    match answer {
        Answer::Yes(how) => Finding::ok(Topic::Databases, format!("{at} {how}")),
        Answer::Refused(why) => problem(
            format!("{at} cannot be reached: {why}"),
            format!(
                "see whether it runs (systemctl status {unit}) and listens there (ss -ltnx), or \
                 correct the address in the env file"
            ),
        ),
        Answer::Late => problem(
            format!("{at} does not answer in time"),
            "a firewall may drop packets on the way, or it hangs: try it from this host, and see \
             its own log"
                .to_owned(),
        ),
        Answer::NoName(why) => problem(
            format!("{at}: its name cannot be resolved: {why}"),
            format!(
                "correct the host name, or the name service (getent hosts {})",
                place.split(':').next().unwrap_or(place)
            ),
        ),
        Answer::No(said) => {
            problem(format!("{at} refuses: {}", said.words), advice(&said.code, &link.target))
        }
        Answer::Strange(said) => problem(
            format!("{at} does not speak its protocol: {said}"),
            "something else listens there: see what (ss -ltnp), or correct the port".to_owned(),
        ),
    }
}

/// By the SQLSTATE of PostgreSQL (appendix A of its manual), or the first word of Redis' error.
fn advice(code: &str, target: &Target) -> String {
    let (database, user) = match target {
        Target::Postgres(endpoint) => {
            (endpoint.name.as_str(), endpoint.user.as_deref().unwrap_or("USER"))
        }
        _ => ("", ""),
    };
    match code {
        "3D000" => format!("create it: sudo -u postgres createdb -O {user} {database}"),
        "28000" => format!(
            "the role is missing (sudo -u postgres createuser -P {user}), or pg_hba.conf has no \
             line for it: add one, and reload PostgreSQL"
        ),
        "28P01" => format!("set the role's password: sudo -u postgres psql -c '\\password {user}'"),
        "53300" => "it has no connection left: raise max_connections, or make the pools of the \
             applications smaller"
            .to_owned(),
        "57P03" => "it is starting up or recovering: wait, and see its log".to_owned(),
        "WRONGPASS" | "NOAUTH" => {
            "correct the password in the env file (Redis: requirepass, or ACL)".to_owned()
        }
        "LOADING" => "it reads its data: wait, and look again".to_owned(),
        "DENIED" => {
            "Redis is in protected mode: set a password, or let it bind to this address".to_owned()
        }
        _ => "see its own log".to_owned(),
    }
}

#[cfg(test)]
#[path = "reach_tests.rs"]
mod tests;
