//! Which of a remote's references somebody means. Pure.

use std::collections::BTreeMap;

/// What `git ls-remote --symref` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Advertised {
    /// The branch that `HEAD` stands for.
    head: Option<String>,
    /// Commits by whole name (`refs/heads/main`); a tag with a message stands for its commit.
    refs: BTreeMap<String, String>,
}

/// What is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chosen {
    /// A branch or a tag.
    Named {
        /// Its whole name.
        name: String,
        /// Where it stands.
        commit: String,
    },
    /// A commit by its whole name.
    Whole(String),
    /// A commit by the beginning of its name.
    Begun(String),
}

/// Why nothing is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoChoice {
    /// There is nothing there.
    Empty,
    /// There is nothing of that name.
    Unknown {
        /// What is called nearly so.
        like: Option<String>,
    },
    /// A branch and a tag have that name, and are not the same.
    Two,
    /// Nothing was named, and the remote names nothing either.
    NoDefault,
}

/// Reads what `git ls-remote --symref` wrote.
pub(super) fn parse(text: &str) -> Advertised {
    let mut all = Advertised::default();
    for (what, name) in text.lines().filter_map(|line| line.split_once('\t')) {
        match what.strip_prefix("ref: ") {
            Some(target) if name == "HEAD" => all.head = Some(target.to_owned()),
            None if is_commit(what) => match name.strip_suffix("^{}") {
                Some(tag) => drop(all.refs.insert(tag.to_owned(), what.to_owned())),
                None => drop(all.refs.insert(name.to_owned(), what.to_owned())),
            },
            Some(_) | None => {}
        }
    }
    all
}

/// Whether `name` is the whole name of a commit.
pub(super) fn is_commit(name: &str) -> bool {
    matches!(name.len(), 40 | 64) && is_hex(name)
}

fn is_hex(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
}

/// Which of `all` is meant by `wanted`.
pub(super) fn choose(all: &Advertised, wanted: Option<&str>) -> Result<Chosen, NoChoice> {
    if all.refs.is_empty() {
        return Err(NoChoice::Empty);
    }
    let named = |name: &str| {
        let commit = all.refs.get(name).cloned()?;
        Some(Chosen::Named { name: name.to_owned(), commit })
    };
    let Some(wanted) = wanted.filter(|wanted| *wanted != "HEAD") else {
        let only = || all.refs.keys().filter(|name| name.starts_with("refs/heads/"));
        return match &all.head {
            Some(head) => named(head).ok_or(NoChoice::NoDefault),
            None if only().count() == 1 => {
                only().find_map(|name| named(name)).ok_or(NoChoice::NoDefault)
            }
            None => Err(NoChoice::NoDefault),
        };
    };
    let branch = named(&format!("refs/heads/{wanted}"));
    let tag = named(&format!("refs/tags/{wanted}"));
    match (branch, tag) {
        (Some(Chosen::Named { commit: a, .. }), Some(Chosen::Named { commit: b, .. }))
            if a != b =>
        {
            return Err(NoChoice::Two);
        }
        (Some(found), _) | (None, Some(found)) => return Ok(found),
        (None, None) => {}
    }
    let spelled = ["refs/heads/", "refs/tags/"].iter().find_map(|kind| {
        let whole = format!("refs/{wanted}");
        [wanted, &whole].into_iter().find(|name| name.starts_with(kind)).and_then(named)
    });
    if let Some(found) = spelled {
        return Ok(found);
    }
    let lower = wanted.to_ascii_lowercase();
    if is_commit(&lower) {
        return Ok(Chosen::Whole(lower));
    }
    if (7..64).contains(&lower.len()) && is_hex(&lower) {
        return Ok(Chosen::Begun(lower));
    }
    Err(NoChoice::Unknown { like: like(all, wanted) })
}

/// What is called nearly as `wanted`.
fn like(all: &Advertised, wanted: &str) -> Option<String> {
    let short = |name: &String| {
        let name = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/"))?;
        let changes = strsim::osa_distance(&name.to_lowercase(), &wanted.to_lowercase());
        (changes <= (name.chars().count() / 3).max(1)).then(|| (changes, name.to_owned()))
    };
    all.refs.keys().filter_map(short).min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(c: char) -> String {
        c.to_string().repeat(40)
    }

    fn remote() -> Advertised {
        let (a, b, c, d) = (hash('a'), hash('b'), hash('c'), hash('d'));
        parse(&format!(
            "ref: refs/heads/main\tHEAD\n{a}\tHEAD\n{a}\trefs/heads/main\n{b}\trefs/heads/release/1\n\
             {b}\trefs/heads/both\n{c}\trefs/tags/both\n{a}\trefs/heads/same\n{a}\trefs/tags/same\n\
             {c}\trefs/tags/v1\n{d}\trefs/tags/v1^{{}}\n{a}\trefs/pull/1/head\nnonsense\nx\ty\n"
        ))
    }

    fn named(name: &str, c: char) -> Chosen {
        Chosen::Named { name: name.to_owned(), commit: hash(c) }
    }

    #[test]
    fn a_name_means_a_branch_a_tag_or_a_commit() {
        let all = remote();
        for (wanted, found) in [
            (None, Ok(named("refs/heads/main", 'a'))),
            (Some("HEAD"), Ok(named("refs/heads/main", 'a'))),
            (Some("main"), Ok(named("refs/heads/main", 'a'))),
            (Some("heads/main"), Ok(named("refs/heads/main", 'a'))),
            (Some("refs/heads/main"), Ok(named("refs/heads/main", 'a'))),
            (Some("release/1"), Ok(named("refs/heads/release/1", 'b'))),
            (Some("v1"), Ok(named("refs/tags/v1", 'd'))),
            (Some("both"), Err(NoChoice::Two)),
            (Some("tags/both"), Ok(named("refs/tags/both", 'c'))),
            (Some("same"), Ok(named("refs/heads/same", 'a'))),
            (Some(&hash('E')), Ok(Chosen::Whole(hash('e')))),
            (Some("ABCDEF1"), Ok(Chosen::Begun("abcdef1".to_owned()))),
            (Some("abcdef"), Err(NoChoice::Unknown { like: None })),
            (Some("mian"), Err(NoChoice::Unknown { like: Some("main".to_owned()) })),
            (Some("refs/pull/1/head"), Err(NoChoice::Unknown { like: None })),
        ] {
            assert_eq!(choose(&all, wanted), found, "{wanted:?}");
        }
    }

    #[test]
    fn nothing_named_needs_a_default() {
        let (a, b) = (hash('a'), hash('b'));
        assert_eq!(choose(&parse(""), None), Err(NoChoice::Empty));
        assert_eq!(choose(&parse(""), Some("main")), Err(NoChoice::Empty));
        let only = parse(&format!("{a}\trefs/heads/trunk\n{b}\trefs/tags/v1\n"));
        assert_eq!(choose(&only, None), Ok(named("refs/heads/trunk", 'a')));
        let two = parse(&format!("{a}\trefs/heads/x\n{b}\trefs/heads/y\n"));
        assert_eq!(choose(&two, None), Err(NoChoice::NoDefault));
        let dangling = parse(&format!("ref: refs/heads/gone\tHEAD\n{a}\trefs/heads/x\n"));
        assert_eq!(choose(&dangling, None), Err(NoChoice::NoDefault));
    }
}
