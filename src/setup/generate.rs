//! The configuration that units of systemd amount to. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use crate::ident::ServiceName;

use super::{
    unit::{Unit, words},
    uvicorn::{self, Uvicorn},
};

/// What a configuration is made from.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// The units, in the order in which they were named.
    pub(super) units: Vec<Unit>,
    /// Home directories, by user.
    pub(super) homes: BTreeMap<String, PathBuf>,
    /// Env files that have a `DATABASE_URL` of PostgreSQL.
    pub(super) databases: BTreeSet<PathBuf>,
    /// The site's own names of upstreams, by a port in them.
    pub(super) upstreams: BTreeMap<u16, String>,
    /// Where output goes.
    pub(super) output: Output,
}

/// Where the output of instances is to go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Output {
    /// systemd's journal is there.
    Journal,
    /// It is not.
    #[default]
    Files,
}

/// A configuration, and what it does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Generated {
    pub(super) text: String,
    /// What units say that is not in it, or that the operator should know.
    pub(super) notes: Vec<String>,
    /// Values in it that may be secrets.
    pub(super) hidden: Vec<String>,
}

/// Keys of a unit that have a meaning here, or none for a service that aibkd runs.
const KNOWN: &[&str] = &[
    "Environment",
    "EnvironmentFile",
    "ExecReload",
    "ExecStart",
    "Group",
    "KillMode",
    "LimitNOFILE",
    "LimitNPROC",
    "MemoryHigh",
    "MemoryMax",
    "Nice",
    "NoNewPrivileges",
    "NotifyAccess",
    "PIDFile",
    "PrivateTmp",
    "Restart",
    "RestartSec",
    "StandardError",
    "StandardOutput",
    "SyslogIdentifier",
    "TasksMax",
    "TimeoutStartSec",
    "Type",
    "UMask",
    "User",
    "WorkingDirectory",
];

/// A mapping of the configuration.
type Fields = Map<String, Value>;

fn put(fields: &mut Fields, key: &str, value: Value) {
    fields.insert(key.to_owned(), value);
}

/// # Errors
/// What a unit has that cannot be taken over.
pub(super) fn generate(found: &Found) -> Result<Generated, String> {
    let mut services: BTreeMap<String, (Fields, Vec<u16>)> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    let mut told = Generated::default();
    let (app, names) = names(&found.units);
    for (unit, name) in found.units.iter().zip(names) {
        let wrong = |why: String| format!("{}: {why}", unit.name);
        let line = unit.value("ExecStart").ok_or_else(|| wrong("has no ExecStart".into()))?;
        let runs = uvicorn::parse(line).map_err(wrong)?;
        let port = runs.port.unwrap_or(8000);
        if let Some((_, slots)) = services.get_mut(&name) {
            if !slots.contains(&port) {
                slots.push(port);
            }
            if slots.len() > 2 {
                return Err(wrong(format!("{name} has more than two instances; name two")));
            }
            continue;
        }
        notes(unit, &runs, &mut told);
        services.insert(name.clone(), (service(unit, &runs, &mut told)?, vec![port]));
        order.push(name);
    }
    let mut written = Fields::new();
    for name in &order {
        let Some((mut service, slots)) = services.remove(name) else { continue };
        let upstream = slots.iter().find_map(|port| found.upstreams.get(port));
        let upstream = upstream.filter(|name| name.parse::<ServiceName>().is_ok());
        let upstream = upstream.cloned().unwrap_or_else(|| format!("{name}_backend"));
        put(&mut service, "upstream", json!({"name": upstream}));
        if slots.len() == 1 {
            alone(name, &mut service, &mut told);
        }
        put(&mut service, "slots", json!(slots));
        put(&mut written, name, Value::Object(service));
    }
    let mut whole = Fields::new();
    put(&mut whole, "nginx", json!({}));
    put(&mut whole, "services", Value::Object(written));
    if found.output == Output::Journal {
        put(&mut whole, "logs", json!({"to": "journal"}));
    }
    put(&mut whole, "apps", json!({(app): application(&order, found)}));
    told.text = serde_yaml::to_string(&whole).map_err(|error| error.to_string())?;
    Ok(told)
}

/// The application, and a service for each unit: what their names begin with alike is the
/// application's.
fn names(units: &[Unit]) -> (String, Vec<String>) {
    let user = units.iter().find_map(|unit| unit.value("User"));
    let prefixes: BTreeSet<&str> = units.iter().map(Unit::prefix).collect();
    let shared = user.filter(|user| {
        prefixes.iter().all(|prefix| prefix.strip_prefix(*user).is_some_and(|rest| rest.len() > 1))
    });
    let shared = shared.map(str::to_owned).or_else(|| {
        let first = prefixes.first()?;
        let cut = first.rfind('-')?;
        let head = first.get(..cut)?;
        let all = prefixes.iter().all(|prefix| prefix.starts_with(&format!("{head}-")));
        (all && prefixes.len() > 1).then(|| head.to_owned())
    });
    let of = |unit: &Unit| {
        let name = shared.as_ref().and_then(|shared| unit.prefix().strip_prefix(shared.as_str()));
        plain(name.map_or(unit.prefix(), |rest| rest.trim_start_matches('-')))
    };
    let app = shared.clone().or_else(|| user.map(str::to_owned));
    (plain(app.as_deref().unwrap_or("app")), units.iter().map(of).collect())
}

/// As names have to be: 1 to 32 lower-case letters, digits, `-` or `_`.
fn plain(name: &str) -> String {
    let allowed =
        |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' { c } else { '-' };
    let name: String = name.to_lowercase().chars().map(allowed).take(32).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase()).to_owned();
    if name.is_empty() { "app".to_owned() } else { name }
}

fn service(unit: &Unit, runs: &Uvicorn, told: &mut Generated) -> Result<Fields, String> {
    let directory = unit.value("WorkingDirectory").map(|path| path.trim_start_matches('-'));
    let directory = directory.ok_or_else(|| {
        format!("{}: has no WorkingDirectory, so that it is not known where its code is", unit.name)
    })?;
    let mut service = Fields::new();
    let mut put = |key: &str, value: Option<Value>| {
        service.extend(value.map(|value| (key.to_owned(), value)));
    };
    put("app", Some(json!(runs.app)));
    put("directory", Some(json!(directory)));
    put("venv", runs.venv.as_ref().map(|venv| json!(venv)));
    put("host", runs.host.as_deref().filter(|host| *host != "127.0.0.1").map(|host| json!(host)));
    put("user", unit.value("User").map(|user| json!(user)));
    put(
        "group",
        unit.value("Group").filter(|group| Some(*group) != unit.value("User")).map(|g| json!(g)),
    );
    put("umask", unit.value("UMask").map(|umask| json!(umask)));
    put(
        "nice",
        unit.value("Nice").and_then(|nice| nice.parse::<i32>().ok()).map(|nice| json!(nice)),
    );
    put("env_file", env_file(unit, runs).map(|file| json!(file)));
    put("workers", runs.workers.filter(|count| *count > 1).map(|count| json!(count)));
    put("loop", runs.event_loop.as_ref().map(|word| json!(word)));
    put("http", runs.http.as_ref().map(|word| json!(word)));
    put("args", Some(&runs.args).filter(|args| !args.is_empty()).map(|args| json!(args)));
    let environment: Map<String, Value> =
        unit.environment().into_iter().map(|(name, value)| (name, json!(value))).collect();
    told.hidden.extend(environment.values().filter_map(|value| value.as_str().map(str::to_owned)));
    put("env", Some(environment).filter(|all| !all.is_empty()).map(Value::Object));
    put("limits", limits(unit));
    let private = unit.value("PrivateTmp").is_some_and(is_yes);
    put("sandbox", private.then(|| json!({"private_tmp": true})));
    let policy = match unit.value("Restart") {
        Some("no") => Some("never"),
        Some("on-failure" | "on-abnormal" | "on-abort") => Some("on-failure"),
        _ => None,
    };
    put("restart", policy.map(|policy| json!({"policy": policy})));
    Ok(service)
}

fn is_yes(word: &str) -> bool {
    matches!(word, "yes" | "true" | "on" | "1")
}

/// The first one; `notes` tells of others.
fn env_file(unit: &Unit, runs: &Uvicorn) -> Option<String> {
    let first = unit.all("EnvironmentFile").first();
    first.map(|file| file.trim_start_matches('-').to_owned()).or_else(|| runs.env_file.clone())
}

fn limits(unit: &Unit) -> Option<Value> {
    let mut limits = Map::new();
    for (theirs, ours) in [("LimitNOFILE", "nofile"), ("LimitNPROC", "nproc"), ("TasksMax", "pids")]
    {
        let value = unit.value(theirs).map(|value| value.replace("infinity", "unlimited"));
        let value = value.filter(|value| value.split(':').all(|part| part.parse::<u64>().is_ok()));
        limits.extend(value.map(|value| {
            (ours.to_owned(), value.parse::<u64>().map_or_else(|_| json!(value), |n| json!(n)))
        }));
    }
    for (theirs, ours) in [("MemoryMax", "memory"), ("MemoryHigh", "memory_high")] {
        limits.extend(unit.value(theirs).and_then(size).map(|size| (ours.to_owned(), json!(size))));
    }
    (!limits.is_empty()).then_some(Value::Object(limits))
}

/// `512M` is `512MiB`.
fn size(text: &str) -> Option<String> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    number.parse::<u64>().ok()?;
    matches!(unit, "K" | "M" | "G" | "T").then(|| format!("{number}{unit}iB"))
}

/// One slot: a socket that aibkd holds lets it be replaced without a gap.
fn alone(name: &str, service: &mut Fields, told: &mut Generated) {
    let count = service.get("workers").cloned().unwrap_or_else(|| json!(1));
    put(service, "socket", json!("held"));
    put(service, "workers", json!({"count": count, "by": "aibkd"}));
    told.notes.push(format!(
        "{name} has one slot, so aibkd holds its socket; with a second instance \
         (--from-systemd, twice) it gets two slots"
    ));
}

fn notes(unit: &Unit, runs: &Uvicorn, told: &mut Generated) {
    let name = &unit.name;
    let mut note = |what: String| told.notes.push(format!("{name}: {what}"));
    for left in &runs.left {
        note(format!("not taken over: {left}"));
    }
    for key in unit.keys().filter(|key| !KNOWN.contains(key)) {
        note(format!("not taken over: {key}; see `limits` and `sandbox`, and hooks of your own"));
    }
    if let [_, others @ ..] = unit.all("EnvironmentFile")
        && !others.is_empty()
    {
        note(format!("only its first EnvironmentFile is read, not {}", others.join(", ")));
    }
    let unclear = |word: &String| word.contains('%') || word.contains('$');
    let commands = unit.value("ExecStart").map(words).unwrap_or_default();
    for word in commands.iter().filter(|word| unclear(word)) {
        note(format!("`{word}` is taken as it stands; nothing is put in its place"));
    }
}

fn application(services: &[String], found: &Found) -> Value {
    let user = found.units.iter().find_map(|unit| unit.value("User"));
    let files = found.units.iter().filter_map(|unit| unit.all("EnvironmentFile").first());
    let mut files = files.map(|file| file.trim_start_matches('-').to_owned());
    let file = files.next();
    let mut app = Fields::new();
    put(&mut app, "services", json!(services));
    if let Some(user) = user {
        let home = found.homes.get(user).cloned();
        put(&mut app, "user", json!(user));
        put(&mut app, "home", json!(home.unwrap_or_else(|| Path::new("/home").join(user))));
    }
    if let Some(file) = file {
        if found.databases.contains(Path::new(&file)) {
            put(&mut app, "database", json!({"url_from": "DATABASE_URL"}));
        }
        put(&mut app, "env_file", json!(file));
    }
    Value::Object(app)
}

#[cfg(test)]
#[path = "generate_tests.rs"]
mod tests;
