//! The chain of revisions, as Alembic lists it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::MigrationError;

/// One revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its name.
    pub id: String,
    /// The revisions that it follows; none: it is the first.
    pub after: Vec<String>,
    /// Its first line.
    pub title: String,
}

/// All revisions of a release, as `alembic history` lists them: newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain(Vec<Revision>);

const ORIGIN: &str = "<base>";

impl Chain {
    /// Reads `a1, b2 -> c3 (head) (mergepoint), title`, one a line.
    ///
    /// # Errors
    /// The first line that is something else.
    pub fn read(history: &str) -> Result<Self, MigrationError> {
        let lines = history.lines().map(str::trim).filter(|line| !line.is_empty());
        let read = |line| {
            revision(line).ok_or_else(|| MigrationError::Unreadable {
                command: "alembic history".to_owned(),
                line: line.chars().take(200).collect(),
            })
        };
        lines.map(read).collect::<Result<_, _>>().map(Self)
    }

    /// It knows `revision`.
    #[must_use]
    pub fn has(&self, revision: &str) -> bool {
        self.0.iter().any(|known| known.id == revision)
    }

    /// The revisions that none follows.
    #[must_use]
    pub fn heads(&self) -> Vec<String> {
        let followed: BTreeSet<&String> = self.0.iter().flat_map(|r| &r.after).collect();
        let heads = self.0.iter().filter(|revision| !followed.contains(&revision.id));
        heads.map(|revision| revision.id.clone()).collect()
    }

    /// What leads from `current` to the one head, first to last.
    ///
    /// # Errors
    /// More than one head, a revision that another one follows and that is not there, or a database
    /// that is at a revision this release does not know.
    pub fn pending(&self, current: &[String]) -> Result<Vec<Revision>, MigrationError> {
        let known: BTreeMap<&str, &Revision> =
            self.0.iter().map(|revision| (revision.id.as_str(), revision)).collect();
        for revision in &self.0 {
            if let Some(gone) = revision.after.iter().find(|on| !known.contains_key(on.as_str())) {
                return Err(MigrationError::Broken {
                    revision: revision.id.clone(),
                    missing: gone.clone(),
                });
            }
        }
        let heads = self.heads();
        match heads.len() {
            0 if self.0.is_empty() => {}
            0 => return Err(MigrationError::Circle),
            1 => {}
            _ => return Err(MigrationError::Heads(heads)),
        }
        if let Some(gone) = current.iter().find(|at| !known.contains_key(at.as_str())) {
            return Err(MigrationError::Unknown { at: gone.clone(), heads });
        }
        let mut applied = BTreeSet::new();
        let mut next: Vec<&str> = current.iter().map(String::as_str).collect();
        while let Some(id) = next.pop() {
            if applied.insert(id) {
                next.extend(
                    known.get(id).into_iter().flat_map(|r| r.after.iter().map(String::as_str)),
                );
            }
        }
        let open = self.0.iter().rev().filter(|revision| !applied.contains(revision.id.as_str()));
        Ok(open.cloned().collect())
    }
}

/// What Alembic says of a database that is at a revision which the release does not have.
const STRANGER: &str = "Can't locate revision identified by '";

impl Chain {
    /// What a failure of `alembic current` means: the database may be beyond the release.
    pub(super) fn stranger(&self, error: MigrationError) -> MigrationError {
        let words = match &error {
            MigrationError::Failed { words, .. } => words.split_once(STRANGER),
            _ => None,
        };
        match words.and_then(|(_, rest)| rest.split('\'').next()).and_then(id) {
            Some(at) => MigrationError::Unknown { at, heads: self.heads() },
            None => error,
        }
    }
}

/// A name, without what stands in brackets behind it.
fn id(word: &str) -> Option<String> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let name = word.trim();
    (!name.is_empty() && name.chars().all(plain)).then(|| name.to_owned())
}

fn revision(line: &str) -> Option<Revision> {
    let (after, rest) = line.split_once(" -> ")?;
    let (own, title) = rest.split_once(',').unwrap_or((rest, ""));
    let own = own.split(" (").next()?;
    let after = match after.trim() {
        ORIGIN => vec![],
        several => several.split(", ").map(id).collect::<Option<_>>()?,
    };
    Some(Revision { id: id(own)?, after, title: title.trim().to_owned() })
}

/// The revisions that `alembic current` or `alembic heads` prints: `a1 (head)`, one a line.
///
/// # Errors
/// The first line that is something else.
pub(super) fn names(command: &str, answer: &str) -> Result<Vec<String>, MigrationError> {
    let lines = answer.lines().map(str::trim).filter(|line| !line.is_empty());
    let read = |line: &str| {
        let name = line.split(" (").next().and_then(id);
        name.ok_or_else(|| MigrationError::Unreadable {
            command: command.to_owned(),
            line: line.chars().take(200).collect(),
        })
    };
    lines.map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(history: &str) -> Chain {
        Chain::read(history).unwrap()
    }

    fn pending(history: &str, current: &[&str]) -> Result<Vec<String>, String> {
        let current: Vec<String> = current.iter().map(|at| (*at).to_owned()).collect();
        let pending = chain(history).pending(&current).map_err(|e| e.to_string())?;
        Ok(pending.into_iter().map(|revision| revision.id).collect())
    }

    const LINE: &str =
        "b2 -> c3 (head), third, and last\na1 -> b2, second\n<base> -> a1, first: it\n";

    #[test]
    fn a_database_beyond_the_release_is_told_from_a_tool_that_fails() {
        let failed = |words: &str| MigrationError::Failed {
            command: "alembic current".to_owned(),
            exit: crate::process::Exit::Code(255),
            words: words.to_owned(),
        };
        let said = "FAILED: Can't locate revision identified by 'd4'";
        let beyond = chain(LINE).stranger(failed(said));
        assert!(
            matches!(&beyond, MigrationError::Unknown { at, heads } if at == "d4" && *heads == ["c3"]),
            "{beyond}"
        );
        let other = chain(LINE).stranger(failed("FAILED: no such host"));
        assert!(matches!(other, MigrationError::Failed { .. }), "{other}");
    }

    /// A revision without a docstring has no title.
    #[test]
    fn a_revision_need_not_have_a_title() {
        let untitled = "a1 -> b2 (head),\n<base> -> a1,\n";
        assert_eq!(pending(untitled, &[]).unwrap(), ["a1", "b2"]);
        assert_eq!(chain(untitled).0.iter().map(|r| r.title.len()).sum::<usize>(), 0);
    }

    #[test]
    fn what_is_pending_comes_in_order() {
        assert_eq!(pending(LINE, &[]).unwrap(), ["a1", "b2", "c3"]);
        assert_eq!(pending(LINE, &["a1"]).unwrap(), ["b2", "c3"]);
        assert_eq!(pending(LINE, &["c3"]).unwrap(), [""; 0]);
        assert_eq!(pending("", &[]).unwrap(), [""; 0]);
        let merged = "b2, b3 -> c4 (head) (mergepoint), merge\na1 -> b3, x\na1 -> b2, y\n<base> -> a1 \
                      (branchpoint), z\n";
        assert_eq!(pending(merged, &["b2"]).unwrap(), ["b3", "c4"]);
        assert_eq!(chain(LINE).0[0].title, "third, and last");
    }

    #[test]
    fn a_chain_that_cannot_be_followed_is_told() {
        let two = "a1 -> b2 (head), x\na1 -> b3 (head), y\n<base> -> a1 (branchpoint), z\n";
        assert!(pending(two, &["a1"]).unwrap_err().contains("b2, b3"));
        let broken = "zz -> b2 (head), x\n<base> -> a1, z\n";
        assert!(pending(broken, &[]).unwrap_err().contains("zz"));
        assert!(pending(LINE, &["gone"]).unwrap_err().contains("gone"));
        let circle = "a1 -> b2, x\nb2 -> a1, y\n";
        assert!(pending(circle, &[]).unwrap_err().contains("circle"));
        for bad in ["Traceback", "a1 ->", "a b -> c (head), x", "-> a1, x"] {
            assert!(Chain::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn current_and_heads_are_names() {
        assert_eq!(
            names("alembic current", "a1 (head)\n\nb2 (mergepoint)\n").unwrap(),
            ["a1", "b2"]
        );
        assert_eq!(names("alembic current", "").unwrap(), [""; 0]);
        assert!(names("alembic current", "INFO [x] y").is_err());
    }
}
