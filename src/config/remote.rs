//! Names that reach git: the URL of a remote, and references. Neither may become an option, and
//! neither may run anything.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::{
    mistake::Wrong,
    scalar::{self, shown},
    tree::Node,
};

/// A remote that git may be given. It holds no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote(String);

impl Remote {
    /// For git's command line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For a repository in a directory.
    #[must_use]
    pub fn local(path: &Path) -> Self {
        Self(path.to_string_lossy().into_owned())
    }

    /// Whether it is on this host.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.0.starts_with('/') || self.0.starts_with("file://")
    }

    /// Whether a token may be given to it: it is asked for one, and nobody else hears it.
    #[must_use]
    pub fn takes_token(&self) -> bool {
        self.0.starts_with("https://")
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads a remote; a path begins at `home`. A message never shows the URL, which may hold a password.
pub(super) fn remote(node: &Node, home: &Path) -> Result<Remote, Wrong> {
    const EXAMPLES: &str =
        "write for example https://HOST/PATH.git, git@HOST:PATH.git or /srv/git/app.git";
    let given = scalar::text(node)?;
    if given.starts_with('-') || given.contains(char::is_whitespace) {
        return Err(Wrong::new("is not a URL that git knows").instead(EXAMPLES));
    }
    if let Some((scheme, rest)) = given.split_once("://") {
        if !["https", "http", "ssh", "git", "file"].contains(&scheme) {
            return Err(
                Wrong::new(format!("`{}://` is not allowed", shown(scheme))).instead(EXAMPLES)
            );
        }
        let authority = rest.split('/').next().unwrap_or_default();
        if let Some((user, _)) = authority.rsplit_once('@')
            && (user.contains(':') || user.contains('%'))
        {
            return Err(Wrong::new("holds a password, which everybody on this host could see")
                .instead("keep it in the env file, and name the variable in `source.token_from`"));
        }
        if authority.starts_with('-') || (authority.is_empty() && scheme != "file") {
            return Err(Wrong::new("names no host").instead(EXAMPLES));
        }
        return Ok(Remote(given));
    }
    // `transport::address` would run a program named after the transport.
    if given.contains("::") {
        return Err(
            Wrong::new("names a transport of its own, which is not allowed").instead(EXAMPLES)
        );
    }
    // git's own rule: a colon before the first slash is a host's.
    match given.split('/').next().and_then(|first| first.split_once(':')) {
        Some((host, _)) if host.is_empty() || host.contains("@-") => {
            Err(Wrong::new("names no host").instead(EXAMPLES))
        }
        Some(_) => Ok(Remote(given)),
        None => {
            let path: PathBuf = home.join(given).components().collect();
            Ok(Remote(path.to_string_lossy().into_owned()))
        }
    }
}

/// Reads a branch, a tag or a commit.
pub(super) fn reference(node: &Node) -> Result<String, Wrong> {
    let given = scalar::text(node)?;
    match check_reference(&given) {
        Ok(()) => Ok(given),
        Err(why) => Err(Wrong::new(format!("`{}` {why}", shown(&given)))
            .instead("name a branch, a tag or a commit")),
    }
}

/// Whether `name` can be a branch, a tag or a commit, by the rules of git-check-ref-format(1) and
/// no looser.
///
/// # Errors
/// What is wrong with it, as the rest of a sentence.
pub fn check_reference(name: &str) -> Result<(), &'static str> {
    const LONGEST: usize = 200;
    let odd = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    if name.is_empty() || name.len() > LONGEST {
        return Err("is empty, or too long");
    }
    if name.starts_with('-') {
        return Err("begins with `-`");
    }
    if name.contains(odd) {
        return Err("has a blank or one of ~ ^ : ? * [ \\ in it");
    }
    if name.contains("..") || name.contains("@{") || name == "@" {
        return Err("is an expression, not a name");
    }
    let bad = |part: &str| {
        part.is_empty() || part.starts_with('.') || part.to_ascii_lowercase().ends_with(".lock")
    };
    if name.split('/').any(bad) || name.ends_with('.') {
        return Err("is no name that git allows");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_name_and_nothing_else() {
        for good in
            ["main", "release/1.2", "v1.0.3", "deadbeef", "a@b", "feature-#12", "größe", "HEAD"]
        {
            assert_eq!(check_reference(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "-x",
            "--upload-pack=touch x",
            "a b",
            "a\nb",
            "a..b",
            "main~1",
            "main^",
            "a:b",
            "a?",
            "a*",
            "[a",
            "a\\b",
            "@",
            "a@{1}",
            "/a",
            "a/",
            "a//b",
            ".a",
            "a/.b",
            "a.lock",
            "a.lock/b",
            "a.",
            "a\0b",
        ] {
            assert!(check_reference(bad).is_err(), "{bad:?}");
        }
        assert!(check_reference(&"a".repeat(201)).is_err());
    }
}
