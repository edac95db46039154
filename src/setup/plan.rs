//! What is to be on the host, and what that needs, given what is there. Pure.

use std::path::{Path, PathBuf};

use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use super::written;

/// Something that is to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Want {
    /// A group of the system.
    Group(String),
    /// A user of the system, who cannot log in.
    User {
        name: String,
        home: PathBuf,
    },
    Directory {
        path: PathBuf,
        owner: Option<String>,
        mode: u32,
    },
    /// A certificate that vouches for itself.
    Certificate {
        certificate: PathBuf,
        key: PathBuf,
        name: String,
    },
    File {
        path: PathBuf,
        mode: u32,
        text: String,
    },
    /// A symbolic link.
    Link {
        path: PathBuf,
        to: PathBuf,
    },
}

/// What is there of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    Absent,
    /// It is there, and no more is asked for.
    There,
    /// A directory, with this mode.
    Directory(u32),
    /// A file that says this.
    Text(String),
    /// A link to there.
    Link(PathBuf),
    /// Something else.
    Other(&'static str),
}

/// What follows for one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum Step {
    /// It is as it is to be.
    Done {
        /// What.
        what: String,
    },
    /// It is to be made.
    Change {
        /// What is made.
        what: String,
        /// Lines of a file, those that go with `-`, those that come with `+`.
        diff: Vec<String>,
    },
    /// Somebody else made it: it is left as it is.
    Kept {
        /// What is left.
        what: String,
        /// How it differs.
        diff: Vec<String>,
        /// What to do.
        next: String,
    },
}

impl Want {
    /// The place of it, if it has one.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Group(_) | Self::User { .. } => None,
            Self::Directory { path, .. } | Self::File { path, .. } | Self::Link { path, .. } => {
                Some(path)
            }
            Self::Certificate { certificate, .. } => Some(certificate),
        }
    }

    fn what(&self) -> String {
        match self {
            Self::Group(name) => format!("group {name}"),
            Self::User { name, home } => format!("user {name}, home {}", home.display()),
            Self::Directory { path, owner, mode } => {
                let owner = owner.as_deref().unwrap_or("root");
                format!("directory {} ({mode:04o}, {owner})", path.display())
            }
            Self::Certificate { certificate, name, .. } => {
                format!("self-signed certificate {} for {name}", certificate.display())
            }
            Self::File { path, mode, .. } => format!("file {} ({mode:04o})", path.display()),
            Self::Link { path, to } => format!("link {} -> {}", path.display(), to.display()),
        }
    }
}

/// What `want` needs where `seen` is there. `hidden` are values that are not shown.
pub(super) fn step(want: &Want, seen: &Seen, hidden: &[String]) -> Step {
    let what = want.what();
    match (want, seen) {
        (Want::File { text, .. }, Seen::Absent) => {
            Step::Change { diff: diff("", text, hidden), what }
        }
        (_, Seen::Absent) => Step::Change { what, diff: vec![] },
        (Want::Group(_) | Want::User { .. }, _) | (Want::Certificate { .. }, Seen::There) => {
            Step::Done { what }
        }
        (Want::Directory { path, mode, .. }, Seen::Directory(has)) => {
            let (has, path) = (has & 0o7777, path.display());
            // Tighter is somebody's choice; what others may do beyond ours is told.
            if has & 0o777 | mode == *mode {
                return Step::Done { what };
            }
            Step::Kept {
                what: format!("directory {path} (mode {has:04o}, not {mode:04o})"),
                diff: vec![],
                next: format!("if nobody needs that: chmod {mode:04o} {path}"),
            }
        }
        (Want::File { text, .. }, Seen::Text(has)) if text == has => Step::Done { what },
        (Want::File { text, .. }, Seen::Text(has)) if written::is_untouched(has) => {
            Step::Change { what, diff: diff(has, text, hidden) }
        }
        (Want::File { path, text, .. }, Seen::Text(has)) => Step::Kept {
            what: format!(
                "file {}, which setup did not write, or somebody has edited",
                path.display()
            ),
            diff: diff(has, text, hidden),
            next: "take over what you want of it, or move the file away and run setup again".into(),
        },
        (Want::Link { to, .. }, Seen::Link(has)) if to == has => Step::Done { what },
        (_, other) => Step::Kept {
            what: format!("{what}: there is {}", described(other)),
            diff: vec![],
            next: "move it away, and run setup again".to_owned(),
        },
    }
}

fn described(seen: &Seen) -> String {
    match seen {
        Seen::Absent | Seen::There => "something else".to_owned(),
        Seen::Directory(_) => "a directory".to_owned(),
        Seen::Text(_) => "a file".to_owned(),
        Seen::Link(to) => format!("a link to {}", to.display()),
        Seen::Other(what) => (*what).to_owned(),
    }
}

/// The lines that differ, with two around them; the values in `hidden` are not shown.
fn diff(before: &str, after: &str, hidden: &[String]) -> Vec<String> {
    let diff = TextDiff::from_lines(before, after);
    let mut lines = Vec::new();
    for group in diff.grouped_ops(2) {
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            lines.push(masked(&format!("{sign} {}", change.value().trim_end()), hidden));
        }
    }
    lines
}

fn masked(line: &str, hidden: &[String]) -> String {
    let values = hidden.iter().filter(|value| !value.is_empty());
    values.fold(line.to_owned(), |line, value| line.replace(value.as_str(), "…"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Want {
        Want::File { path: "/f".into(), mode: 0o644, text: text.to_owned() }
    }

    fn told(want: &Want, seen: &Seen) -> &'static str {
        match step(want, seen, &[]) {
            Step::Done { .. } => "done",
            Step::Change { .. } => "change",
            Step::Kept { .. } => "kept",
        }
    }

    #[test]
    fn what_somebody_else_made_is_never_touched() {
        let text = |text: &str| Seen::Text(text.to_owned());
        let ours = written::marked("a\n");
        for (want, seen, expected) in [
            (file("a"), Seen::Absent, "change"),
            (file("a"), text("a"), "done"),
            (file("a"), text("b"), "kept"),
            (file("a"), text(&ours), "change"),
            (file("a"), text(&(ours.clone() + "edited")), "kept"),
            (file("a"), Seen::Directory(0), "kept"),
            (file("a"), Seen::Link("/x".into()), "kept"),
            (Want::Group("g".into()), Seen::Absent, "change"),
            (Want::Group("g".into()), Seen::There, "done"),
            (Want::User { name: "u".into(), home: "/h".into() }, Seen::There, "done"),
        ] {
            assert_eq!(told(&want, &seen), expected, "{want:?} {seen:?}");
        }
        let directory = Want::Directory { path: "/d".into(), owner: None, mode: 0o750 };
        assert_eq!(told(&directory, &Seen::Absent), "change");
        assert_eq!(told(&directory, &Seen::Directory(0o40_750)), "done");
        assert_eq!(told(&directory, &Seen::Directory(0o40_700)), "done");
        assert_eq!(told(&directory, &Seen::Directory(0o40_755)), "kept");
        assert_eq!(told(&directory, &Seen::Text(String::new())), "kept");
        let link = Want::Link { path: "/l".into(), to: "/t".into() };
        assert_eq!(told(&link, &Seen::Link("/t".into())), "done");
        assert_eq!(told(&link, &Seen::Link("/other".into())), "kept");
        let certificate =
            Want::Certificate { certificate: "/c".into(), key: "/k".into(), name: "x".into() };
        assert_eq!(told(&certificate, &Seen::There), "done");
        assert_eq!(told(&certificate, &Seen::Other("a socket")), "kept");
    }

    #[test]
    fn a_difference_is_shown_without_its_secrets() {
        let (want, seen) = (file("a: 1\nkey: hunter2\n"), Seen::Text("a: 1\nb: 2\n".into()));
        let Step::Kept { diff, .. } = step(&want, &seen, &["hunter2".into()]) else { panic!() };
        assert_eq!(diff, ["  a: 1", "- b: 2", "+ key: …"]);
    }
}
