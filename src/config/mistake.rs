//! Mistakes in a configuration file: all of them are collected, then told in the order they stand.

use std::{
    cell::{Cell, RefCell},
    fmt,
    path::{Path, PathBuf},
};

/// A place in the file, both numbers from 1; columns count characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: u64,
    /// Column.
    pub column: u64,
}

/// What is wrong with one value, before its place is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    what: String,
    suggestion: Option<String>,
}

impl Wrong {
    /// `what` is wrong; nothing better comes to mind.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), suggestion: None }
    }

    /// With the name of the key it is about.
    pub(super) fn about(mut self, key: &str) -> Self {
        self.what = format!("{key}: {}", self.what);
        self
    }

    /// With what to write instead.
    pub(super) fn instead(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    /// With `did you mean`, where one of `known` is close to `given`.
    pub(super) fn like<'k>(self, given: &str, known: impl IntoIterator<Item = &'k str>) -> Self {
        match closest(given, known) {
            Some(name) => self.instead(format!("did you mean `{name}`?")),
            None => self,
        }
    }
}

/// The most similar name, unless more than a third of it would have to change.
fn closest<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let given = given.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(&given, &name.to_lowercase()), name))
        .filter(|(changes, name)| *changes <= (name.chars().count() / 3).max(1))
        .min_by_key(|(changes, _)| *changes)
        .map(|(_, name)| name)
}

/// One mistake, with its place where it has one. Never contains a value of `env`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands; `None` when it is about the file as a whole.
    pub at: Option<Position>,
    /// What is wrong.
    pub what: String,
    /// What to write or do instead.
    pub suggestion: Option<String>,
}

impl Mistake {
    pub(super) fn new(at: Option<Position>, wrong: Wrong) -> Self {
        Self { at, what: wrong.what, suggestion: wrong.suggestion }
    }
}

/// Where readers put their mistakes. Shared, because sections of sections report into one list.
#[derive(Debug, Default)]
pub(super) struct Mistakes {
    list: RefCell<Vec<Mistake>>,
    count: Cell<usize>,
}

impl Mistakes {
    pub(super) fn add(&self, at: Position, wrong: Wrong) {
        self.count.set(self.count.get() + 1);
        self.list.borrow_mut().push(Mistake::new(Some(at), wrong));
    }

    /// How many so far: equal numbers before and after mean that nothing was wrong between.
    pub(super) fn count(&self) -> usize {
        self.count.get()
    }

    /// All of them by position, each once: an anchor's mistake is met wherever it is used.
    pub(super) fn into_sorted(self) -> Vec<Mistake> {
        let mut list = self.list.into_inner();
        list.sort_by(|a, b| (a.at, &a.what).cmp(&(b.at, &b.what)));
        list.dedup();
        list
    }
}

/// Everything wrong with a configuration file. Its `Display` is one line for each mistake,
/// `FILE:LINE:COLUMN: what; suggestion`, and a last line that counts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// At least one, by position.
    pub mistakes: Vec<Mistake>,
}

impl ConfigError {
    /// A file that is wrong as a whole.
    pub(super) fn whole(path: &Path, wrong: Wrong) -> Self {
        Self { path: path.to_owned(), mistakes: vec![Mistake::new(None, wrong)] }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.path.display();
        for mistake in &self.mistakes {
            match mistake.at {
                Some(Position { line, column }) => write!(f, "{file}:{line}:{column}: ")?,
                None => write!(f, "{file}: ")?,
            }
            f.write_str(&mistake.what)?;
            if let Some(suggestion) = &mistake.suggestion {
                write!(f, "; {suggestion}")?;
            }
            f.write_str("\n")?;
        }
        match self.mistakes.len() {
            1 => write!(f, "1 mistake in {file}"),
            n => write!(f, "{n} mistakes in {file}"),
        }
    }
}
