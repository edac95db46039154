//! Why there is no release, said so that an operator can act on it. No secret is ever in it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{AccountError, Shortage, Unread, Untrusted};
use crate::process::{Exit, ProcessError};

/// A program of ours that failed.
#[derive(Debug)]
pub struct Failure {
    /// What it was, for the operator: `git fetch`.
    pub what: String,
    /// How it failed.
    pub how: How,
    /// The last lines it wrote.
    pub said: Vec<String>,
}

/// How a program failed.
#[derive(Debug)]
pub enum How {
    /// It said so by its status, or was killed.
    Ended(Exit),
    /// It took too long, and was ended.
    Late(Duration),
    /// It could not be run at all.
    Never(Box<ProcessError>),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, how, said } = self;
        match how {
            How::Ended(exit) => write!(f, "{what} {}", exit.told())?,
            How::Late(after) => write!(f, "{what} was ended after {} s", after.as_secs())?,
            How::Never(error) => write!(f, "{what} could not be run: {error}")?,
        }
        if said.is_empty() { Ok(()) } else { write!(f, ":\n{}", said.join("\n")) }
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// Whether one of its last lines has one of these words in it.
    pub(super) fn says(&self, words: &[&str]) -> bool {
        self.said.iter().any(|line| words.iter().any(|word| line.contains(word)))
    }

    /// Whether it ended because a disk is full, as far as it said so.
    pub(super) fn of_full_disk(&self) -> bool {
        self.says(&["No space left on device", "os error 28", "Errno 28", "Disk quota exceeded"])
    }
}

/// Why nothing was fetched. Nothing that serves was touched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There is nowhere to fetch from.
    #[error("this application has no `source`; write one (`git` or `path`), or send an archive")]
    NoSource,
    /// A name that git would not take.
    #[error("`{name}` {why}; name a branch, a tag or a commit")]
    BadReference {
        /// As it was given, shortened.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is nothing of that name.
    #[error("{remote} has no branch, tag or commit `{name}`; {}", suggestion(.like.as_deref()))]
    UnknownReference {
        /// Where it was looked for.
        remote: String,
        /// What was looked for.
        name: String,
        /// What is called nearly so.
        like: Option<String>,
    },
    /// Both a branch and a tag have that name.
    #[error(
        "{remote} has a branch and a tag `{name}`, which differ; write heads/{name} or tags/{name}"
    )]
    TwoReferences {
        /// Where.
        remote: String,
        /// The name.
        name: String,
    },
    /// It has no commit at all.
    #[error("{remote} is an empty repository; push a branch to it, or correct `source`")]
    Empty {
        /// Which.
        remote: String,
    },
    /// It does not say which branch is its own.
    #[error("{remote} does not say which branch is its own; write `source.ref`, or name one")]
    NoDefault {
        /// Which.
        remote: String,
    },
    /// The beginning of a commit's name fits more than one, or none that is known.
    #[error(
        "no single commit begins with `{begun}` among the last {depth} of each branch of {remote}; \
         write its whole name"
    )]
    NoSuchBeginning {
        /// Which.
        remote: String,
        /// The beginning.
        begun: String,
        /// How far back was looked.
        depth: u32,
    },
    /// The env file, which has the token, cannot be used.
    #[error(transparent)]
    EnvFile(#[from] crate::config::EnvFileError),
    /// The token is not there.
    #[error("the env file has no {0}; add it, or correct `source.token_from`")]
    NoToken(String),
    /// git failed.
    #[error("{failure}\n{hint}")]
    Git {
        /// How.
        failure: Box<Failure>,
        /// What to do.
        hint: &'static str,
    },
    /// What git said makes no sense.
    #[error("git answered something unexpected to {0}; try a newer git")]
    Answer(&'static str),
    /// The disk is full.
    #[error("the disk is full: {0}; make room, and deploy again")]
    Full(String),
    /// A directory or an archive cannot be used.
    #[error("{}: {why}", .path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The application's user.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// Others could change what is made.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// A directory or file of ours failed.
    #[error(transparent)]
    File(#[from] FileError),
}

fn suggestion(name: Option<&str>) -> String {
    match name {
        Some(name) => format!("did you mean `{name}`?"),
        None => "look at what was pushed".to_owned(),
    }
}

/// A directory or file of ours failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {}; check its owner, its mode and the space left", .path.display(), plain(.source))]
pub struct FileError {
    /// What was tried.
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// The system's reason.
    pub source: io::Error,
}

/// For `map_err`.
pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError { action, path, source }
}

/// The system's words without std's "(os error N)".
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words).to_owned()
}

/// Why there is no release. What was begun is removed; nothing that serves was touched.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// It would not fit.
    #[error("there is not enough room: {0}; make room (`aibkctl releases`), and deploy again")]
    NoRoom(Shortage),
    /// The disk became full.
    #[error("the disk became full: {0}; make room, and deploy again")]
    Full(String),
    /// It is no name of ours.
    #[error("`{0}` is no name of a release")]
    BadId(String),
    /// A release that is there cannot be read.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// The code is not any more what it was when it was fetched.
    #[error("{} has changed since it was fetched; deploy again", .0.display())]
    Changed(PathBuf),
    /// The code cannot be laid out.
    #[error("{}: {why}", .path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The code holds what is ours.
    #[error("the code holds `{path}`, which is {whose}; {todo}")]
    InTheWay {
        /// What.
        path: String,
        /// Whose it is instead.
        whose: &'static str,
        /// What to do.
        todo: &'static str,
    },
    /// What releases share is not there.
    #[error("{} is not there, and releases share it; create it, with the application's user as owner", .0.display())]
    NotShared(PathBuf),
    /// What says what is installed cannot be used.
    #[error("{file}: {why}")]
    Requirements {
        /// The file.
        file: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The lock does not fit what it locks.
    #[error("{lock} does not fit {other}: {why}")]
    LockDiffers {
        /// The lock.
        lock: String,
        /// What it should fit.
        other: String,
        /// How they differ, and what to do.
        why: String,
    },
    /// What is asked for cannot be installed together, or is not there.
    #[error("what {file} asks for cannot be installed; correct it, and deploy again\n{failure}")]
    Unresolvable {
        /// The file.
        file: String,
        /// What was said about it.
        failure: Box<Failure>,
    },
    /// There is no such Python.
    #[error("no usable Python: {why}; install it, or correct `python` of the application")]
    Python {
        /// What was tried.
        why: String,
    },
    /// uv is needed.
    #[error(
        "{0} can only be installed by uv, which was not found; install uv, or name a requirements file in `python.requirements`"
    )]
    NeedsUv(String),
    /// A program failed.
    #[error("{0}")]
    Program(Box<Failure>),
    /// A hook of the operator's failed.
    #[error("the build hook failed: {0}")]
    Hook(Box<Failure>),
    /// The env file cannot be used.
    #[error(transparent)]
    EnvFile(#[from] crate::config::EnvFileError),
    /// The application's user.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// Others could change what is made.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// A directory or file of ours failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl From<Failure> for BuildError {
    fn from(failure: Failure) -> Self {
        if failure.of_full_disk() {
            Self::Full(failure.to_string())
        } else {
            Self::Program(Box::new(failure))
        }
    }
}

/// Why what was asked of the shelf of releases was not done.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// It is no name of ours.
    #[error("`{0}` is no name of a release; `aibkctl releases` lists them")]
    BadId(String),
    /// There is no such release.
    #[error("there is no release {0}; `aibkctl releases` lists them")]
    NoSuch(String),
    /// It serves.
    #[error("release {0} is what `current` points to; deploy or roll back to another one first")]
    Serves(String),
    /// It cannot be read.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// A directory or file of ours failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A service's code is not in the releases.
    #[error("{} does not lie below {}, so that no deploy reaches it; correct `directory` of the service", .directory.display(), .current.display())]
    Outside {
        /// Of the service.
        directory: PathBuf,
        /// The link to the release that serves.
        current: PathBuf,
    },
}
