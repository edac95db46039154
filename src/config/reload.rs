//! `reload` of a service: how it is told to read its own configuration again.

use std::time::Duration;

use hyper::Method;

use super::{
    mistake::Wrong,
    scalar::{self, some_time},
    section::Section,
    tree::Node,
};

/// The longest that the result of a reload is watched for: whoever asked waits for it.
const LONGEST: Duration = Duration::from_secs(60);

/// How a service is told to read its own configuration again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reload {
    /// By a signal to its main process, which must live on.
    Signal {
        /// Which.
        signal: ReloadSignal,
        /// It must be alive this long afterwards.
        alive: Duration,
    },
    /// By a request on its port, which must be answered with a 2xx.
    Http {
        /// GET, POST or PUT.
        method: Method,
        /// Path and query.
        path: String,
        /// How long the answer may take.
        deadline: Duration,
    },
}

/// Signals that programs take for a word, not for the order to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadSignal {
    /// SIGHUP.
    Hup,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
    /// SIGWINCH.
    Winch,
    /// SIGTTIN.
    Ttin,
    /// SIGTTOU.
    Ttou,
}

const SIGNALS: &[(&str, ReloadSignal)] = &[
    ("HUP", ReloadSignal::Hup),
    ("USR1", ReloadSignal::Usr1),
    ("USR2", ReloadSignal::Usr2),
    ("WINCH", ReloadSignal::Winch),
    ("TTIN", ReloadSignal::Ttin),
    ("TTOU", ReloadSignal::Ttou),
];

impl std::fmt::Display for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Signal { signal, .. } => {
                let name = SIGNALS.iter().find(|(_, of)| of == signal).map_or("", |(name, _)| name);
                write!(f, "SIG{name}")
            }
            Self::Http { method, path, .. } => write!(f, "{method} {path}"),
        }
    }
}

/// Reads the section, which is there.
pub(super) fn reload(s: &mut Section<'_>, has_port: bool) -> Option<Reload> {
    match (s.has("signal"), s.has("http")) {
        (true, true) => {
            let wrong = Wrong::new("`signal` and `http` exclude each other");
            s.complain("http", wrong.instead("keep one"));
        }
        (false, false) => {
            let wrong = Wrong::new("has neither `signal` nor `http`");
            s.complain_here(wrong.instead("write for example `signal: HUP`"));
        }
        (true, false) => s.refuse(&["deadline"], "`signal` has no answer"),
        (false, true) => s.refuse(&["alive"], "`http` has an answer"),
    }
    let signal = s.get("signal", scalar::one_of(SIGNALS));
    let request = s.get("http", request);
    let alive = s.or("alive", Duration::from_secs(1), observed);
    let deadline = s.or("deadline", Duration::from_secs(10), observed);
    if s.has("http") && !has_port {
        let wrong = Wrong::new("there is no port to ask");
        s.complain("http", wrong.instead("give the service `slots`, or use `signal`"));
    }
    let (method, path) = match (signal, request) {
        (Some(signal), _) => return Some(Reload::Signal { signal, alive }),
        (None, request) => request?,
    };
    Some(Reload::Http { method, path, deadline })
}

fn observed(node: &Node) -> Result<Duration, Wrong> {
    match some_time(node)? {
        given if given > LONGEST => Err(Wrong::new("is too long").instead("use at most 1m")),
        given => Ok(given),
    }
}

/// `POST /path`.
fn request(node: &Node) -> Result<(Method, String), Wrong> {
    let given = scalar::text(node)?;
    let example = "write for example `POST /reload`";
    let Some((method, path)) = given.split_once(' ') else {
        return Err(Wrong::new("is not a method and a path").instead(example));
    };
    let method = match method {
        "GET" => Method::GET,
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        _ => return Err(Wrong::new("begins with no method").instead("use GET, POST or PUT")),
    };
    Ok((method, scalar::check_request_path(path)?))
}
