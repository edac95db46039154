//! A mapping of the configuration, read key by key.
//!
//! Every key that is asked for becomes a known one; what is left when the section has been read
//! is a mistake. A wrong value is noted and read as absent, so reading always goes on to the end.

use std::path::{Path, PathBuf};

use super::{
    mistake::{Mistakes, Position, Wrong},
    scalar,
    tree::{Key, Node, Value},
};

/// What every reader of one file needs.
#[derive(Debug)]
pub(super) struct File<'f> {
    /// The text, to see scalars as they were written.
    pub(super) source: &'f str,
    /// Directory of the file, absolute: relative paths begin here.
    pub(super) base: &'f Path,
    /// All mistakes so far.
    pub(super) mistakes: &'f Mistakes,
}

/// One mapping that is being read. An absent section is read like an empty one, for its defaults.
pub(super) struct Section<'f> {
    file: &'f File<'f>,
    name: String,
    at: Position,
    entries: &'f [(Key, Node)],
    asked: Vec<&'static str>,
    mistakes_before: usize,
    /// It is no mapping at all: that is told once, not also whatever is missing in it.
    broken: bool,
}

impl<'f> Section<'f> {
    /// Reads `node` as the mapping called `name` whose key stands at `at`.
    pub(super) fn read<T>(
        file: &'f File<'f>,
        name: String,
        at: Position,
        node: Option<&'f Node>,
        reader: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let mistakes_before = file.mistakes.count();
        let entries = match node.map(|node| (node, &node.value)) {
            None => &[],
            Some((_, Value::Map(entries))) => entries.as_slice(),
            Some((node, _)) => {
                file.mistakes.add(node.at, not_a_mapping(&name, node));
                &[]
            }
        };
        let broken = file.mistakes.count() > mistakes_before;
        let asked = Vec::new();
        let mut section = Self { file, name, at, entries, asked, mistakes_before, broken };
        let value = reader(&mut section);
        section.refuse_unknown();
        value
    }

    fn refuse_unknown(&self) {
        let strangers = self.entries.iter().filter(|(key, _)| !self.asked.contains(&&*key.name));
        for (key, _) in strangers {
            let known = self.asked.iter().copied();
            let wrong = Wrong::new(format!("unknown key `{}`", self.path(&key.name)))
                .like(&key.name, known);
            self.file.mistakes.add(key.at, wrong);
        }
    }

    /// The full name of `key`: `services.api.workers`.
    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn entry(&mut self, key: &'static str) -> Option<(&'f Key, &'f Node)> {
        self.asked.push(key);
        self.entries.iter().find(|(k, _)| k.name == key).map(|(key, node)| (key, node))
    }

    /// The place of the section's own key.
    pub(super) fn at(&self) -> Position {
        self.at
    }

    /// Whether `key` is there, right or wrong.
    pub(super) fn has(&mut self, key: &'static str) -> bool {
        self.entry(key).is_some()
    }

    /// The value of `key` as it stands, for the few keys that may be of more than one kind.
    pub(super) fn node(&mut self, key: &'static str) -> Option<&'f Node> {
        self.entry(key).map(|(_, node)| node)
    }

    /// Nothing was wrong in this section so far, so that its values may be compared.
    pub(super) fn sound(&self) -> bool {
        self.file.mistakes.count() == self.mistakes_before
    }

    /// The value of `key`; `None` when it is absent or wrong.
    pub(super) fn get<T>(
        &mut self,
        key: &'static str,
        reader: impl Fn(&Node) -> Result<T, Wrong>,
    ) -> Option<T> {
        let (_, node) = self.entry(key)?;
        self.note(key, node.at, reader(node))
    }

    /// The value of `key`, which must be there.
    pub(super) fn require<T>(
        &mut self,
        key: &'static str,
        reader: impl Fn(&Node) -> Result<T, Wrong>,
    ) -> Option<T> {
        if !self.has(key) {
            self.missing(key);
        }
        self.get(key, reader)
    }

    /// Notes that `key` should be there.
    pub(super) fn missing(&self, key: &'static str) {
        if !self.broken {
            self.file.mistakes.add(self.at, Wrong::new(format!("`{}` is missing", self.path(key))));
        }
    }

    /// The value of `key`, or `default`.
    pub(super) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        reader: impl Fn(&Node) -> Result<T, Wrong>,
    ) -> T {
        self.get(key, reader).unwrap_or(default)
    }

    /// A path, made absolute from the file's directory.
    pub(super) fn path_at(&mut self, key: &'static str) -> Option<PathBuf> {
        self.get(key, scalar::path).map(|path| absolute(self.file.base, &path))
    }

    /// A list of paths with their places, made absolute from the file's directory.
    pub(super) fn paths_at(&mut self, key: &'static str) -> Option<Vec<(Position, PathBuf)>> {
        let base = self.file.base;
        self.list(key, |node| scalar::path(node).map(|path| absolute(base, &path)))
    }

    /// The items of a list with their places, without the wrong ones; `None` when absent.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        reader: impl Fn(&Node) -> Result<T, Wrong>,
    ) -> Option<Vec<(Position, T)>> {
        let (_, node) = self.entry(key)?;
        let Value::List(items) = &node.value else {
            let wrong = Wrong::new(format!("expected a list, found {}", node.kind()));
            return self.note(key, node.at, Err(wrong.instead("write [one, two]")));
        };
        let read = |item: &Node| Some((item.at, self.note(key, item.at, reader(item))?));
        Some(items.iter().filter_map(read).collect())
    }

    /// The entries of a mapping whose keys the operator chose; none when absent.
    pub(super) fn entries(&mut self, key: &'static str) -> &'f [(Key, Node)] {
        match self.entry(key).map(|(_, node)| (node, &node.value)) {
            None => &[],
            Some((_, Value::Map(entries))) => entries,
            Some((node, _)) => {
                self.file.mistakes.add(node.at, not_a_mapping(&self.path(key), node));
                &[]
            }
        }
    }

    /// A section within this one.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        reader: impl FnOnce(&mut Section<'f>) -> T,
    ) -> T {
        let entry = self.entry(key);
        let at = entry.map_or(self.at, |(key, _)| key.at);
        Section::read(self.file, self.path(key), at, entry.map(|(_, node)| node), reader)
    }

    /// A section under a key that the operator chose.
    pub(super) fn named<T>(
        &self,
        map: &str,
        (key, node): &'f (Key, Node),
        reader: impl FnOnce(&mut Section<'f>) -> T,
    ) -> T {
        let name = format!("{}.{}", self.path(map), key.name);
        Section::read(self.file, name, key.at, Some(node), reader)
    }

    /// Notes what is wrong with `key`, at its value, or at the section when it was a default.
    pub(super) fn complain(&mut self, key: &'static str, wrong: Wrong) {
        let at = self.entry(key).map_or(self.at, |(_, node)| node.at);
        self.complain_at(at, key, wrong);
    }

    /// Notes what is wrong with the section itself.
    pub(super) fn complain_here(&self, wrong: Wrong) {
        if !self.broken {
            self.file.mistakes.add(self.at, wrong.about(&self.name));
        }
    }

    /// Notes what is wrong with a part of `key`.
    pub(super) fn complain_at(&self, at: Position, key: &str, wrong: Wrong) {
        self.file.mistakes.add(at, wrong.about(&self.path(key)));
    }

    /// Notes that `key` has no meaning here, because of `why`.
    pub(super) fn refuse(&mut self, keys: &[&'static str], why: &str) {
        for key in keys.iter().copied() {
            if let Some((written, _)) = self.entry(key) {
                self.complain_at(written.at, key, Wrong::new(why).instead("remove it"));
            }
        }
    }

    /// A scalar as it was written.
    pub(super) fn literal(&self, node: &Node) -> Option<String> {
        node.literal(self.file.source)
    }

    fn note<T>(&self, key: &str, at: Position, result: Result<T, Wrong>) -> Option<T> {
        result.map_err(|wrong| self.complain_at(at, key, wrong)).ok()
    }
}

fn not_a_mapping(name: &str, node: &Node) -> Wrong {
    let wrong = Wrong::new(format!("expected a mapping, found {}", node.kind()));
    let wrong = if node.value == Value::Null {
        wrong.instead("write `{}` for the defaults, or remove the key")
    } else {
        wrong
    };
    if name.is_empty() { wrong } else { wrong.about(name) }
}

/// `path` from `base`, without `.` components; links are not followed.
fn absolute(base: &Path, path: &Path) -> PathBuf {
    base.join(path).components().collect()
}
