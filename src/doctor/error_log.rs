//! What nginx logged: errors of the last day, grouped by their cause.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use jiff::{Span, civil::DateTime};

use super::{Finding, Severity, Topic, site::Site};

/// How much of the end of a log is read.
const TAIL: u64 = 512 * 1024;
/// Errors younger than this are a problem that goes on.
const RECENT: i64 = 15;

/// A cause of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    Refused,
    TimedOut,
    Denied,
    Closed,
    NoneAlive,
    NoSocket,
    NoName,
    BigHeader,
    BigBody,
    Descriptors,
    FileDenied,
    Emergency,
}

/// What is in the message, what it means for whoever asked, and what to do next.
const CAUSES: [(Cause, &[&str], &str, &str); 11] = [
    (
        Cause::NoneAlive,
        &["no live upstreams"],
        "502: nginx held every member of an upstream for dead",
        "see why they failed (the other findings); aibk's own upstreams have max_fails=0",
    ),
    (
        Cause::Refused,
        &["(111: Connection refused)"],
        "502: nobody listened where nginx passed a request to",
        "see whether the instance runs (aibkctl status) and whether the site passes to the \
         upstream of aibk (aibkctl nginx snippet SERVICE)",
    ),
    (
        Cause::Denied,
        &["(13: Permission denied) while connecting to upstream"],
        "502: nginx was not permitted to connect",
        "SELinux: setsebool -P httpd_can_network_connect 1; of a unix socket, its mode",
    ),
    (
        Cause::NoSocket,
        &["(2: No such file or directory) while connecting to upstream"],
        "502: the socket that nginx passed a request to was not there",
        "see whether the instance runs (aibkctl status), and correct the path in the site",
    ),
    (
        Cause::TimedOut,
        &["upstream timed out"],
        "504: an instance did not answer in time",
        "see what it waits for (aibkctl logs SERVICE): often a database, or too few workers",
    ),
    (
        Cause::Closed,
        &["upstream prematurely closed", "(104: Connection reset by peer) while reading"],
        "502: an instance closed the connection before it had answered",
        "it died or was stopped meanwhile (aibkctl events), or its keep-alive is shorter than \
         nginx's",
    ),
    (
        Cause::NoName,
        &["could not be resolved", "host not found"],
        "502: the name of an upstream could not be resolved",
        "correct the name in the site, or its `resolver`",
    ),
    (
        Cause::BigHeader,
        &["upstream sent too big header"],
        "502: an answer had more headers than nginx takes",
        "raise proxy_buffer_size in the site, or send fewer cookies",
    ),
    (
        Cause::BigBody,
        &["client intended to send too large body"],
        "413: a client sent more than the site allows",
        "raise client_max_body_size in the site, where uploads are meant to be larger",
    ),
    (
        Cause::Descriptors,
        &["worker_connections are not enough", "Too many open files"],
        "nginx ran out of connections or descriptors",
        "raise worker_connections and worker_rlimit_nofile in nginx.conf",
    ),
    (
        Cause::FileDenied,
        &["(13: Permission denied)"],
        "403: nginx may not read a file",
        "let nginx's user read it and enter every directory above (namei -l FILE)",
    ),
];

/// A log, as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Log {
    path: PathBuf,
    /// Its end, or why it cannot be read.
    text: Result<String, String>,
}

pub(super) fn look(site: &Site) -> Vec<Log> {
    let Some(settings) = &site.settings else { return vec![] };
    let mut paths = vec![settings.error_log.clone()];
    let named = site.values("error_log").into_iter().map(PathBuf::from);
    paths.extend(named.filter(|path| path.is_absolute()));
    paths.sort();
    paths.dedup();
    let read = |path: PathBuf| {
        // A device or a FIFO would never end.
        let text = path
            .metadata()
            .and_then(|meta| if meta.is_file() { tail(&path) } else { Ok(String::new()) });
        Log { text: text.map_err(|error| error.to_string()), path }
    };
    paths.into_iter().map(read).collect()
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Errors of one cause.
struct Group {
    count: usize,
    last: DateTime,
    /// The last one, in nginx's words.
    example: String,
}

pub(super) fn findings(logs: &[Log], now: DateTime) -> Vec<Finding> {
    let mut groups: BTreeMap<Cause, Group> = BTreeMap::new();
    let mut found = Vec::new();
    for log in logs {
        match &log.text {
            Ok(text) => text.lines().for_each(|line| add(&mut groups, line, now)),
            Err(why) => found.push(Finding::warning(
                Topic::Nginx,
                format!("nginx's error log {} cannot be read: {why}", log.path.display()),
                "look as root, or correct `nginx.error_log`",
            )),
        }
    }
    if groups.is_empty() && found.is_empty() && !logs.is_empty() {
        let what = "nginx logged no error of a known kind within a day";
        found.push(Finding::ok(Topic::Nginx, what));
    }
    found.extend(groups.into_iter().map(|(cause, group)| finding(cause, &group, now)));
    found
}

fn add(groups: &mut BTreeMap<Cause, Group>, line: &str, now: DateTime) {
    let Some((at, message)) = read(line, now) else { return };
    let Some(cause) = cause(message) else { return };
    let example = message.chars().take(300).collect();
    let group = groups.entry(cause).or_insert(Group { count: 0, last: at, example: String::new() });
    group.count += 1;
    if at >= group.last {
        (group.last, group.example) = (at, example);
    }
}

/// When and what, of an error within the last day: `2026/01/02 03:04:05 [error] 7#7: *1 …`.
fn read(line: &str, now: DateTime) -> Option<(DateTime, &str)> {
    let (time, rest) = line.split_at_checked(19)?;
    let at = DateTime::strptime("%Y/%m/%d %H:%M:%S", time).ok()?;
    let rest = rest.trim_start();
    let level = rest.strip_prefix('[')?.split(']').next()?;
    let is_error = matches!(level, "error" | "crit" | "alert" | "emerg");
    let yesterday = now.checked_sub(Span::new().days(1)).ok()?;
    (is_error && at >= yesterday).then_some((at, rest))
}

fn cause(message: &str) -> Option<Cause> {
    if message.starts_with("[emerg]") {
        return Some(Cause::Emergency);
    }
    let has = |words: &&[&str]| words.iter().any(|word| message.contains(word));
    CAUSES.iter().find(|(_, words, ..)| has(words)).map(|(cause, ..)| *cause)
}

fn finding(cause: Cause, group: &Group, now: DateTime) -> Finding {
    let known = CAUSES.iter().find(|(known, ..)| *known == cause);
    let (what, next) = known.map_or(
        (
            "nginx could not do what it was told",
            "correct what it names, then nginx -t and systemctl reload nginx",
        ),
        |(_, _, what, next)| (what, next),
    );
    let recent = now.checked_sub(Span::new().minutes(RECENT));
    let is_recent = recent.is_ok_and(|recent| group.last >= recent);
    let times = if group.count == 1 { "once".to_owned() } else { format!("{} times", group.count) };
    let last = group.last.strftime("%m-%d %H:%M:%S");
    let observed = format!("{what} ({times} within a day, last {last}):\n{}", group.example);
    // What clients do wrong, and a start that has failed before, is over.
    let past = matches!(cause, Cause::BigBody | Cause::Emergency);
    let severity = if is_recent && !past { Severity::Problem } else { Severity::Warning };
    Finding { severity, ..Finding::warning(Topic::Nginx, observed, next) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[(&str, &str)]) -> Vec<Finding> {
        let line = |(at, said): &(&str, &str)| format!("2026/03/04 {at} {said}\n");
        let text = Ok(lines.iter().map(line).collect());
        let now = "2026-03-04T12:00:00".parse().unwrap();
        findings(&[Log { path: "/log".into(), text }], now)
    }

    #[test]
    fn each_cause_is_known_by_the_words_of_nginx() {
        use Cause as C;
        for (said, expected) in [
            ("connect() failed (111: Connection refused) while connecting to upstream", C::Refused),
            ("upstream timed out (110: Connection timed out) while reading", C::TimedOut),
            (
                "connect() to 1:1 failed (13: Permission denied) while connecting to upstream",
                C::Denied,
            ),
            ("open() \"/srv/x\" failed (13: Permission denied), client: 1", C::FileDenied),
            ("upstream prematurely closed connection while reading", C::Closed),
            ("recv() failed (104: Connection reset by peer) while reading response", C::Closed),
            ("no live upstreams while connecting to upstream", C::NoneAlive),
            (
                "connect() to unix:/x failed (2: No such file or directory) while connecting to upstream",
                C::NoSocket,
            ),
            ("api.example could not be resolved (3: Host not found)", C::NoName),
            ("upstream sent too big header while reading", C::BigHeader),
            ("client intended to send too large body: 9 bytes", C::BigBody),
            ("512 worker_connections are not enough", C::Descriptors),
            ("accept4() failed (24: Too many open files)", C::Descriptors),
        ] {
            assert_eq!(cause(&format!("[error] 7#7: *1 {said}")), Some(expected), "{said}");
            assert!(CAUSES.iter().any(|(cause, ..)| *cause == expected));
        }
        assert_eq!(cause("[emerg] 1#1: bind() failed"), Some(C::Emergency));
        assert_eq!(cause("[error] 1#1: access forbidden by rule"), None);
    }

    #[test]
    fn what_goes_on_is_a_problem_and_what_is_over_a_warning() {
        let refused = "[error] 7#7: *1 connect() failed (111: Connection refused) while";
        let found = told(&[("01:00:00", refused), ("11:50:00", refused)]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].severity, Severity::Problem);
        assert!(found[0].observed.contains("(2 times within a day, last 03-04 11:50:00)"));
        assert_eq!(told(&[("11:44:59", refused)])[0].severity, Severity::Warning);
        assert_eq!(told(&[("11:59:00", "[emerg] 1#1: bind()")])[0].severity, Severity::Warning);
    }

    #[test]
    fn old_lines_notices_and_noise_say_nothing() {
        let text = "2026/03/03 11:59:59 [error] 1#1: (111: Connection refused)\n\
                    2026/03/04 11:59:59 [notice] 1#1: (111: Connection refused)\n\
                    \u{fffd}cut off\n";
        let now = "2026-03-04T12:00:00".parse().unwrap();
        let log = Log { path: "/log".into(), text: Ok(text.to_owned()) };
        let found = findings(std::slice::from_ref(&log), now);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].severity, Severity::Ok);
        let unread = Log { text: Err("no".into()), ..log };
        assert_eq!(findings(&[unread], now)[0].severity, Severity::Warning);
        assert_eq!(findings(&[], now), []);
    }
}
