//! What a release would change, in lines for people. Pure.

use std::collections::BTreeSet;

use super::{
    record::{Schema, Way},
    words,
};
use crate::{
    migration::Pending,
    release::{Between, Relation, short},
};

/// Commits that are named; the rest is counted.
const NAMED: usize = 20;

/// The commits between what serves and the release.
pub(super) fn commits(between: &Between, old: &str) -> Vec<String> {
    let old = short(old);
    let head = match (between.relation, between.commits.len()) {
        (Relation::Same, _) => format!("the same commit as what serves ({old})"),
        (Relation::Onward, 1) => format!("1 commit since {old}, which serves:"),
        (Relation::Onward, n) => format!("{n} commits since {old}, which serves:"),
        (Relation::Back, _) => format!("an earlier commit than {old}, which serves"),
        (Relation::Apart, n) => {
            format!("it does not hold {old}, which serves; {n} commits that {old} does not hold:")
        }
        (Relation::Unknown, _) => format!("how it is related to {old}, which serves, is not known"),
    };
    let named = between.commits.iter().take(NAMED);
    let named = named.map(|commit| format!("  {} {}", short(&commit.id), commit.subject));
    let rest = between.commits.len().saturating_sub(NAMED);
    let rest = (rest > 0).then(|| format!("  and {rest} more"));
    std::iter::once(head).chain(named).chain(rest).collect()
}

/// What differs between two lists of what is installed.
pub(super) fn dependencies(old: &str, new: &str) -> Vec<String> {
    let lines = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().map(str::trim);
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
    };
    let (old, new) = (lines(old), lines(new));
    let gone = old.difference(&new).map(|line| format!("  - {line}"));
    let come = new.difference(&old).map(|line| format!("  + {line}"));
    let mut changed: Vec<String> = gone.chain(come).collect();
    if changed.is_empty() {
        return vec!["the dependencies are the same".to_owned()];
    }
    // A lock may have thousands of lines.
    let rest = changed.len().saturating_sub(2 * NAMED);
    changed.truncate(2 * NAMED);
    changed.insert(0, "the dependencies change:".to_owned());
    changed.extend((rest > 0).then(|| format!("  and {rest} more lines")));
    changed
}

/// What becomes of the database.
pub(super) fn schema(schema: Option<&Schema>, warnings: &[String]) -> Vec<String> {
    let Some(schema) = schema else {
        return vec!["the database is left alone".to_owned()];
    };
    let head = match schema.pending.as_slice() {
        _ if schema.way == Way::Untold => {
            "the migration is run: nobody can tell what is pending".to_owned()
        }
        [] => "no revision is pending".to_owned(),
        [one] => format!("1 revision is pending: {one}"),
        several => format!("{} revisions are pending: {}", several.len(), several.join(", ")),
    };
    let warnings = warnings.iter().map(|warning| format!("  warning: {warning}"));
    std::iter::once(head).chain(warnings).collect()
}

/// That the schema goes back.
pub(super) fn way_back(at: &str, to: &[String]) -> String {
    format!("the database is at {at}; with --db the schema goes back to {}", words::place(to))
}

/// What a release needs that the database has not.
pub(super) fn lacking(pending: &Pending) -> String {
    let ids: Vec<&str> = pending.revisions.iter().map(|revision| revision.id.as_str()).collect();
    let at = words::place(&pending.current);
    format!("the database is at {at}, and the release needs {} too", ids.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::Commit;

    fn between(relation: Relation, commits: usize) -> Between {
        let commit = |n: usize| Commit {
            id: format!("{n:040x}"),
            subject: format!("Change {n}"),
            author: "Ada".to_owned(),
            when: jiff::Timestamp::UNIX_EPOCH,
        };
        Between { relation, commits: (0..commits).map(commit).collect() }
    }

    #[test]
    fn commits_are_named_as_far_as_they_fit() {
        let old = "1a2b3c4d5e6f7081";
        let few = commits(&between(Relation::Onward, 2), old);
        assert_eq!(few[0], "2 commits since 1a2b3c4d5e6f, which serves:");
        assert_eq!(few[1], "  000000000000 Change 0");
        let many = commits(&between(Relation::Apart, 30), old);
        assert_eq!((many.len(), many[21].as_str()), (22, "  and 10 more"));
        assert!(many[0].starts_with("it does not hold 1a2b3c4d5e6f"));
        for relation in [Relation::Same, Relation::Back, Relation::Unknown] {
            assert_eq!(commits(&between(relation, 0), old).len(), 1, "{relation:?}");
        }
    }

    #[test]
    fn what_is_installed_otherwise_is_named() {
        let (old, new) = ("fastapi==1.0\n# x\nuvicorn==0.5\n", "uvicorn==0.5\nfastapi==1.1\n");
        let changed = ["the dependencies change:", "  - fastapi==1.0", "  + fastapi==1.1"];
        assert_eq!(dependencies(old, new), changed);
        assert_eq!(dependencies(old, old), ["the dependencies are the same"]);
        let long: Vec<String> = (0..100).map(|n| format!("p{n}")).collect();
        assert_eq!(dependencies("", &long.join("\n")).last().unwrap(), "  and 60 more lines");
    }

    #[test]
    fn what_is_pending_is_told_with_its_dangers() {
        let mut pending = Schema { pending: vec!["b2".into()], ..Schema::default() };
        let told = schema(Some(&pending), &["DROP COLUMN n".to_owned()]);
        assert_eq!(told, ["1 revision is pending: b2", "  warning: DROP COLUMN n"]);
        pending.pending.push("c3".into());
        assert_eq!(schema(Some(&pending), &[]), ["2 revisions are pending: b2, c3"]);
        assert_eq!(schema(Some(&Schema::default()), &[]), ["no revision is pending"]);
        assert_eq!(schema(None, &[]), ["the database is left alone"]);
    }
}
