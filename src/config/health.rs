//! `startup`, `ready` and `live` of a service: when it has come up, may have traffic, or hangs.

use std::{fmt, ops::RangeInclusive, path::PathBuf, time::Duration};

use super::{
    mistake::Wrong,
    scalar::{self, some_time},
    section::Section,
    tree::{Node, Value},
};

/// When an instance may have traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// What tells that it may.
    pub sign: Sign,
    /// It must have come up this long after its start: by its startup check where it has one, else
    /// by being ready.
    pub deadline: Duration,
}

/// What tells that an instance is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sign {
    /// Staying alive this long is enough.
    Alive {
        /// How long.
        after: Duration,
    },
    /// It is asked.
    Asked(Box<Check>),
}

/// One question about an instance: how it is put, how often, and what counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// How it is asked.
    pub how: How,
    /// Time between an answer and the next question.
    pub interval: Duration,
    /// How long one answer may take.
    pub timeout: Duration,
    /// What counts.
    pub thresholds: Thresholds,
}

/// How many answers in a row count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Successes in a row that are a yes.
    pub successes: u32,
    /// Failures in a row that are a no; [`u32::MAX`] where only a deadline is.
    pub failures: u32,
}

/// How an instance is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// A GET on a fresh connection.
    Http(Box<Http>),
    /// A connection to its port. The kernel answers for a process that hangs, too.
    Tcp,
    /// A program that is run as the instance is; status 0 is yes. `{port}` is the slot's port.
    Command(Vec<String>),
}

/// A GET, and which answers to it are a yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// The unix socket that is asked instead of the slot's port.
    pub socket: Option<PathBuf>,
    /// Path and query.
    pub path: String,
    /// Its status is one of these,
    pub status: Statuses,
    /// it has this header,
    pub header: Option<Header>,
    /// and this text is in the part of its body that is read.
    pub body: Option<String>,
}

/// A header that an answer must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name, in lower case.
    pub name: String,
    /// Its whole value; `None`: any.
    pub value: Option<String>,
}

/// A set of HTTP statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses(Vec<RangeInclusive<u16>>);

impl Statuses {
    /// 200 to 299.
    #[must_use]
    pub fn success() -> Self {
        Self(vec![200..=299])
    }

    /// Whatever is an answer.
    #[must_use]
    pub fn any() -> Self {
        Self(vec![100..=999])
    }

    /// Whether `status` is one of them.
    #[must_use]
    pub fn has(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::any() {
            return f.write_str("any status");
        }
        for (at, range) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { ", " })?;
            match (range.start(), range.end()) {
                (one, same) if one == same => write!(f, "{one}")?,
                (first, last) => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("a connection"),
            Self::Command(argv) => write!(f, "command {}", argv.join(" ")),
            Self::Http(http) => {
                write!(f, "GET {}: {}", http.path, http.status)?;
                match &http.header {
                    Some(Header { name, value: Some(value) }) => write!(f, ", {name}: {value}")?,
                    Some(Header { name, value: None }) => write!(f, ", a header {name}")?,
                    None => {}
                }
                http.body.iter().try_for_each(|text| write!(f, ", \"{text}\" in its body"))
            }
        }
    }
}

impl Ready {
    /// Answers in a row that make it ready, and unready.
    #[must_use]
    pub const fn thresholds(&self) -> Thresholds {
        match &self.sign {
            Sign::Alive { .. } => Thresholds { successes: 1, failures: 1 },
            Sign::Asked(check) => check.thresholds,
        }
    }
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// What the three sections have to know of their service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around {
    /// It is an `app`.
    pub(super) is_asgi: bool,
    /// It has a port.
    pub(super) has_port: bool,
}

/// Keys that say how to ask, of which a check has one.
const WAYS: [&str; 3] = ["path", "tcp", "command"];
/// Keys that have a meaning only where something is asked.
const PACE: &[&str] = &["interval", "timeout", "successes", "failures"];
/// Keys that have a meaning only with a `path`.
const MATCH: &[&str] = &["expect", "header", "body"];

/// Reads `ready`.
pub(super) fn ready(s: &mut Section<'_>, around: Around) -> Ready {
    let after = s.get("alive", scalar::duration);
    let written = written(s);
    let asks = around.is_asgi && !s.has("alive") || !written.is_empty();
    let usual = || {
        let (socket, path, status) = (None, "/health".to_owned(), Statuses::success());
        How::Http(Box::new(Http { socket, path, status, header: None, body: None }))
    };
    let how = asks.then(|| how(s, around, Some(usual()))).flatten();
    if !asks {
        s.refuse(PACE, "`alive` asks nothing");
        s.refuse(MATCH, "only a check by `path` has this");
    } else if let Some(way) = written.first().filter(|_| s.has("alive")) {
        let wrong = Wrong::new(format!("`{way}` and `alive` exclude each other"));
        s.complain("alive", wrong.instead("keep one"));
    }
    let check = asks.then(|| check(s, how, (seconds(5), seconds(2)), (2, 3))).flatten();
    let sign = match check {
        Some(check) => Sign::Asked(Box::new(check)),
        None => Sign::Alive { after: after.unwrap_or(seconds(1)) },
    };
    Ready { sign, deadline: deadline_after(s, after) }
}

fn deadline_after(s: &mut Section<'_>, alive: Option<Duration>) -> Duration {
    let deadline = s.or("deadline", seconds(30).max(alive.unwrap_or_default() * 2), some_time);
    if alive.is_some_and(|alive| alive > deadline) && s.sound() {
        s.complain("deadline", Wrong::new("is shorter than `alive`").instead("make it longer"));
    }
    deadline
}

/// Reads `startup`; `None` without the key: then `ready` plays its part.
pub(super) fn startup(s: &mut Section<'_>, around: Around, ready: &Ready) -> Option<Check> {
    s.has("startup").then(|| {
        s.section("startup", |s| {
            let usual = match &ready.sign {
                Sign::Asked(check) => Some(check.how.clone()),
                Sign::Alive { .. } => None,
            };
            let how = how(s, around, usual);
            check(s, how, (Duration::from_millis(200), seconds(2)), (1, u32::MAX))
        })
    })?
}

/// Reads `live`. Without the key, an `app` that is asked by HTTP whether it is ready is alive as
/// long as it gives any answer to that; `none` is none.
pub(super) fn live(s: &mut Section<'_>, around: Around, ready: &Ready) -> Option<Check> {
    let asked = match &ready.sign {
        Sign::Asked(check) => Some(&check.how),
        Sign::Alive { .. } => None,
    };
    let usual = match asked {
        Some(How::Http(http)) => Some(How::Http(Box::new(Http {
            status: Statuses::any(),
            header: None,
            body: None,
            ..(**http).clone()
        }))),
        _ => None,
    };
    let read = |s: &mut Section<'_>, usual| {
        let how = how(s, around, usual);
        check(s, how, (seconds(10), seconds(5)), (1, 3))
    };
    match s.node("live").map(|node| &node.value) {
        Some(Value::Text(word)) if word == "none" => None,
        Some(Value::Text(word)) => {
            let wrong = Wrong::new("expected a mapping or `none`").like(word, ["none"]);
            s.complain("live", wrong);
            None
        }
        None if !around.is_asgi || usual.is_none() => None,
        _ => s.section("live", |s| read(s, usual)),
    }
}

/// Which ways to ask are written, whatever they say.
fn written(s: &mut Section<'_>) -> Vec<&'static str> {
    WAYS.into_iter().filter(|way| s.has(way)).collect()
}

/// How to ask; `usual` where nothing is written. `None` when that is wrong, or not to be known.
fn how(s: &mut Section<'_>, around: Around, usual: Option<How>) -> Option<How> {
    let written = written(s);
    // Known keys, also where a mistake keeps them from being read.
    let _ = MATCH.iter().filter(|key| s.has(key)).count();
    if let [one, other, ..] = written[..] {
        let wrong = Wrong::new(format!("`{one}` and `{other}` exclude each other"));
        s.complain(other, wrong.instead("keep one"));
    }
    if !around.has_port && !around.is_asgi {
        for way in written.iter().copied().filter(|way| *way != "command") {
            let wrong = Wrong::new("there is no port to ask");
            s.complain(way, wrong.instead("give the service `slots`, or use `alive` or `command`"));
        }
    }
    let how = match written.first() {
        Some(&"path") => Some(How::Http(Box::new(Http {
            socket: None,
            path: s.get("path", scalar::request_path)?,
            status: Statuses::success(),
            header: None,
            body: None,
        }))),
        Some(&"tcp") => {
            s.get("tcp", only_true)?;
            Some(How::Tcp)
        }
        Some(_) => Some(How::Command(argv(s, around.has_port)?)),
        None => usual,
    };
    match how {
        Some(How::Http(http)) => Some(How::Http(Box::new(matching(s, *http)))),
        Some(other) => {
            s.refuse(MATCH, "only a check by `path` has this");
            Some(other)
        }
        None => {
            let wrong = Wrong::new("does not say how to ask");
            s.complain_here(wrong.instead("write `path`, `tcp: true` or `command`"));
            s.refuse(MATCH, "only a check by `path` has this");
            None
        }
    }
}

fn only_true(node: &Node) -> Result<(), Wrong> {
    if scalar::boolean(node)? { Ok(()) } else { Err(Wrong::new("is false").instead("remove it")) }
}

fn matching(s: &mut Section<'_>, http: Http) -> Http {
    Http {
        status: s.or("expect", http.status, statuses),
        header: s.get("header", header).or(http.header),
        body: s.get("body", scalar::text).or(http.body),
        ..http
    }
}

/// The rest of a check, with its defaults: interval and timeout, successes and failures.
fn check(
    s: &mut Section<'_>,
    how: Option<How>,
    (interval, timeout): (Duration, Duration),
    (successes, failures): (u32, u32),
) -> Option<Check> {
    let interval = s.or("interval", interval, some_time);
    let timeout = s.or("timeout", timeout, some_time);
    let successes = s.or("successes", successes, scalar::whole(1..=100));
    let failures = s.or("failures", failures, scalar::whole(1..=100));
    Some(Check { how: how?, interval, timeout, thresholds: Thresholds { successes, failures } })
}

/// The `command` of a section: an argument vector.
pub(super) fn argv(s: &mut Section<'_>, has_port: bool) -> Option<Vec<String>> {
    let argv = s.list("command", scalar::text)?;
    if argv.is_empty() && s.sound() {
        s.complain("command", Wrong::new("is empty").instead("write [program, argument]"));
    }
    for (at, argument) in &argv {
        if argument.contains("{port}") && !has_port {
            let wrong = Wrong::new("`{port}` has no port to stand for");
            s.complain_at(*at, "command", wrong.instead("give the service `slots`"));
        }
    }
    Some(argv.into_iter().map(|(_, argument)| argument).collect())
}

/// `any`, one status or range, or a list of them.
fn statuses(node: &Node) -> Result<Statuses, Wrong> {
    match &node.value {
        Value::Text(word) if word == "any" => Ok(Statuses::any()),
        Value::List(items) if items.is_empty() => {
            Err(Wrong::new("is empty").instead("write for example [200-299]"))
        }
        Value::List(items) => items.iter().map(range).collect::<Result<_, _>>().map(Statuses),
        _ => range(node).map(|one| Statuses(vec![one])),
    }
}

fn range(node: &Node) -> Result<RangeInclusive<u16>, Wrong> {
    let wrong = || {
        let wrong = Wrong::new("expected statuses from 100 to 599");
        wrong.instead("write for example 200, 200-299, [200, 401] or any")
    };
    let status = |text: &str| text.parse().ok().filter(|status| (100..=599).contains(status));
    let range = match &node.value {
        Value::Int(number) => {
            let number = status(&number.to_string()).ok_or_else(wrong)?;
            number..=number
        }
        Value::Text(text) => {
            let (first, last) = text.split_once('-').ok_or_else(wrong)?;
            status(first).ok_or_else(wrong)?..=status(last).ok_or_else(wrong)?
        }
        _ => return Err(wrong()),
    };
    if range.is_empty() { Err(Wrong::new("ends before it begins")) } else { Ok(range) }
}

/// `Name` or `Name: value`.
fn header(node: &Node) -> Result<Header, Wrong> {
    let text = scalar::text(node)?;
    let (name, value) = match text.split_once(':') {
        Some((name, value)) => (name, Some(value.trim().to_owned())),
        None => (text.as_str(), None),
    };
    // RFC 9110, 5.6.2: token.
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(token) {
        let wrong = Wrong::new("is no header");
        return Err(wrong.instead("write for example \"X-Ready: yes\""));
    }
    Ok(Header { name: name.to_ascii_lowercase(), value })
}
