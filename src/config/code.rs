//! What releases of an application are made of, and how: `source`, `releases`, `keep`, `python`,
//! `shared`, `hooks`.

use std::{
    path::{Component, Path, PathBuf},
    time::Duration,
};

use super::{
    mistake::Wrong,
    remote::{self, Remote},
    scalar::{self, shown, some_time},
    section::Section,
    service::is_variable,
    tree::Node,
};

/// How releases are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// Where the code comes from; `None`: only from archives that are handed in.
    pub origin: Option<Origin>,
    /// Releases lie here, and nothing else.
    pub releases: PathBuf,
    /// How many of the newest stay; what serves, what served before it, and what is pinned always do.
    pub keep: usize,
    /// What a release's environment is made with.
    pub python: Python,
    /// What releases share, below `shared` of the application's home; relative, and below the release.
    pub shared: Vec<PathBuf>,
    /// What the operator wants to be run.
    pub hooks: Hooks,
    /// How long each part may take.
    pub deadlines: Deadlines,
}

/// Where code comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The place.
    pub place: Place,
    /// Branch, tag or commit, where a deploy names none; `None`: the remote's own branch.
    pub reference: Option<String>,
    /// The variable of the application's env file that is the password or token for it.
    pub token_from: Option<String>,
}

/// A place of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// For git.
    Remote(Remote),
    /// A directory, which may be a repository of git.
    Directory(PathBuf),
}

/// What a release's environment is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    /// `3.12`, or `3.12.4`.
    pub version: Option<String>,
    /// The program; wins over the version's usual name.
    pub interpreter: Option<PathBuf>,
    /// The file that names what is installed, below the release; `None`: what is found there.
    pub requirements: Option<PathBuf>,
    /// Who installs.
    pub installer: Installer,
}

/// Who installs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Installer {
    /// uv where it is there, else pip.
    #[default]
    Auto,
    /// uv.
    Uv,
    /// pip.
    Pip,
}

/// What the operator wants to be run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// In a new release, before it is sealed: argument vectors, in order.
    pub build: Vec<Vec<String>>,
}

/// How long each part may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadlines {
    /// All of git's work for one release.
    pub fetch: Duration,
    /// The making of an environment.
    pub install: Duration,
    /// One hook.
    pub hook: Duration,
}

/// Reads them. Paths begin at `home`.
pub(super) fn code(s: &mut Section<'_>, home: &Path, has_env_file: bool) -> Code {
    let origin =
        s.has("source").then(|| s.section("source", |s| origin(s, home, has_env_file))).flatten();
    let releases = s.get("releases", scalar::path).map_or_else(
        || super::App::usual_releases(home),
        |given| home.join(given).components().collect(),
    );
    if let Some(Origin { place: Place::Directory(directory), .. }) = &origin
        && releases.starts_with(directory)
    {
        let what = format!("{} lies within the code ({})", releases.display(), directory.display());
        let wrong = Wrong::new(what).instead("choose a directory outside of `source.path`");
        s.complain("releases", wrong);
    }
    Code {
        origin,
        releases,
        keep: s.or("keep", 5, scalar::whole(1..=1000)),
        python: s.section("python", python),
        shared: shared(s),
        hooks: s.section("hooks", |s| Hooks { build: hooks(s, "build") }),
        deadlines: s.section("deadlines", |s| Deadlines {
            fetch: s.or("fetch", Duration::from_secs(300), some_time),
            install: s.or("install", Duration::from_secs(1200), some_time),
            hook: s.or("hook", Duration::from_secs(600), some_time),
        }),
    }
}

fn origin(s: &mut Section<'_>, home: &Path, has_env_file: bool) -> Option<Origin> {
    let remote = s.get("git", |node| remote::remote(node, home));
    let directory = s.get("path", scalar::path).map(|path| home.join(path).components().collect());
    match (s.has("git"), s.has("path")) {
        (true, true) => s.refuse(&["path"], "`git` says it already"),
        (false, false) => s.complain_here(
            Wrong::new("has neither `git` nor `path`").instead("write for example `git: URL`"),
        ),
        _ => {}
    }
    let token_from = s.get("token_from", variable);
    if s.has("token_from") {
        let https = remote.as_ref().is_some_and(Remote::takes_token);
        if !has_env_file {
            let wrong = Wrong::new("names a variable of an env file, and there is none");
            s.complain("token_from", wrong.instead("write the application's `env_file`"));
        } else if s.sound() && !https {
            let wrong = Wrong::new("only `https://` takes a token");
            s.complain("token_from", wrong.instead("use a key of the user for ssh"));
        }
    }
    let reference = s.get("ref", remote::reference);
    let place = remote.map(Place::Remote).or(directory.map(Place::Directory));
    Some(Origin { place: place?, reference, token_from })
}

fn variable(node: &Node) -> Result<String, Wrong> {
    let given = scalar::text(node)?;
    if is_variable(&given) {
        Ok(given)
    } else {
        let wrong = Wrong::new("is not the name of a variable");
        Err(wrong.instead("name the variable of the env file, not its value"))
    }
}

fn python(s: &mut Section<'_>) -> Python {
    let installers = &[("auto", Installer::Auto), ("uv", Installer::Uv), ("pip", Installer::Pip)];
    let version = s.node("version").and_then(|node| s.literal(node));
    let version = version.filter(|given| {
        let good = is_version(given);
        if !good {
            let wrong = Wrong::new(format!("`{}` is not a version of Python", shown(given)));
            s.complain("version", wrong.instead("write for example \"3.12\""));
        }
        good
    });
    Python {
        version,
        interpreter: s.get("interpreter", interpreter),
        requirements: s.get("requirements", below),
        installer: s.or("installer", Installer::Auto, scalar::one_of(installers)),
    }
}

fn is_version(given: &str) -> bool {
    let number = |part: &str| {
        !part.is_empty() && part.len() <= 3 && part.chars().all(|c| c.is_ascii_digit())
    };
    (2..=3).contains(&given.split('.').count()) && given.split('.').all(number)
}

/// A name that is looked up, or a whole path.
fn interpreter(node: &Node) -> Result<PathBuf, Wrong> {
    let path = scalar::path(node)?;
    let plain = path.components().count() == 1 && !path.to_string_lossy().starts_with('-');
    if path.is_absolute() || plain {
        Ok(path)
    } else {
        Err(Wrong::new("is neither a name nor a whole path")
            .instead("write for example /usr/bin/python3.12"))
    }
}

/// A path below a release.
fn below(node: &Node) -> Result<PathBuf, Wrong> {
    let given = scalar::path(node)?;
    let inside =
        given.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let clean: PathBuf =
        given.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    if inside && !clean.as_os_str().is_empty() {
        Ok(clean)
    } else {
        Err(Wrong::new(format!("`{}` is not below the release", shown(&given.to_string_lossy())))
            .instead("write a relative path without `..`"))
    }
}

fn shared(s: &mut Section<'_>) -> Vec<PathBuf> {
    const OURS: &[&str] = &[".venv", ".git"];
    let mut all: Vec<PathBuf> = Vec::new();
    for (at, path) in s.list("shared", below).unwrap_or_default() {
        let shown = shown(&path.to_string_lossy());
        if OURS.iter().any(|ours| path.starts_with(ours)) {
            let wrong = Wrong::new(format!("`{shown}` is each release's own"));
            s.complain_at(at, "shared", wrong.instead("remove it"));
        } else if let Some(other) = all.iter().find(|o| o.starts_with(&path) || path.starts_with(o))
        {
            let wrong = Wrong::new(format!("`{shown}` and `{}` overlap", other.display()));
            s.complain_at(at, "shared", wrong.instead("keep one"));
        } else {
            all.push(path);
        }
    }
    all
}

/// A list of argument vectors.
fn hooks(s: &mut Section<'_>, key: &'static str) -> Vec<Vec<String>> {
    let given = s.list(key, |node| {
        let super::tree::Value::List(words) = &node.value else {
            return Err(scalar::expected("a list of arguments", node)
                .instead("write [[program, argument], [program]]"));
        };
        match words.iter().map(scalar::text).collect::<Result<Vec<String>, Wrong>>()? {
            none if none.is_empty() => {
                Err(Wrong::new("is empty").instead("write [program, argument]"))
            }
            argv => Ok(argv),
        }
    });
    given.unwrap_or_default().into_iter().map(|(_, argv)| argv).collect()
}
