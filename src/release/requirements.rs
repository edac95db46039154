//! What is to be installed, and by whom, by what the code says. Pure, but for a reader of files.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use super::BuildError;
use crate::config::{Installer, Python};

/// What a tree of code has at its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Present {
    pub(super) uv_lock: bool,
    pub(super) pylock: bool,
    pub(super) requirements: bool,
}

/// Whether this host has uv.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Uv {
    Here,
    Missing,
}

/// How an environment is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Recipe {
    /// Nothing is installed.
    Nothing,
    /// `uv sync` of a `uv.lock`.
    Sync(PathBuf),
    /// `uv pip install` of a file.
    Uv(PathBuf),
    /// `pip install` of a file.
    Pip(PathBuf),
}

impl Recipe {
    /// The file that says what is installed.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::Nothing => None,
            Self::Sync(file) | Self::Uv(file) | Self::Pip(file) => Some(file),
        }
    }

    /// Who installs.
    pub(super) const fn installer(&self) -> &'static str {
        match self {
            Self::Nothing => "nobody",
            Self::Sync(_) | Self::Uv(_) => "uv",
            Self::Pip(_) => "pip",
        }
    }
}

/// How the environment is made, by what is there and what the operator wants.
pub(super) fn recipe(wanted: &Python, present: Present, uv: Uv) -> Result<Recipe, BuildError> {
    let Present { uv_lock, pylock, requirements } = present;
    let by_uv = match wanted.installer {
        Installer::Auto => uv == Uv::Here,
        Installer::Uv => true,
        Installer::Pip => false,
    };
    let file = match &wanted.requirements {
        Some(file) => file.clone(),
        // Without uv a lock of uv's is of no use; what stands beside it is.
        None if uv_lock && (by_uv || !(pylock || requirements)) => "uv.lock".into(),
        None if pylock && (by_uv || !requirements) => "pylock.toml".into(),
        None if requirements => "requirements.txt".into(),
        None => return Ok(Recipe::Nothing),
    };
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let only_uv = name == "uv.lock" || (name.starts_with("pylock.") && name.ends_with(".toml"));
    match (only_uv, by_uv) {
        (true, false) => Err(BuildError::NeedsUv(file.display().to_string())),
        (true | false, true) if uv == Uv::Missing => {
            Err(BuildError::NeedsUv(file.display().to_string()))
        }
        (true, true) if name == "uv.lock" => Ok(Recipe::Sync(file)),
        (true | false, true) => Ok(Recipe::Uv(file)),
        (false, false) => Ok(Recipe::Pip(file)),
    }
}

/// A file with requirements, and all that it includes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bundle {
    /// By path below the release.
    pub(super) files: BTreeMap<PathBuf, Vec<u8>>,
    /// Something is to be installed.
    pub(super) any: bool,
    /// What is pinned with `==`, by its normal name.
    pub(super) pins: BTreeMap<String, String>,
}

/// Reads files below the release; `None` when there is none.
pub(super) type Reader<'r> = &'r dyn Fn(&Path) -> std::io::Result<Option<Vec<u8>>>;

/// A file that is larger names no requirements.
const LARGEST: usize = 4 << 20;

/// Reads `file` and all that it includes.
pub(super) fn bundle(file: &Path, read: Reader<'_>) -> Result<Bundle, BuildError> {
    let mut bundle = Bundle::default();
    let mut left = vec![(file.to_owned(), None::<String>)];
    while let Some((path, from)) = left.pop() {
        if bundle.files.contains_key(&path) {
            continue;
        }
        let wrong =
            |why: String| BuildError::Requirements { file: path.display().to_string(), why };
        let bytes = read(&path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
        let bytes = bytes.ok_or_else(|| {
            let why = from.as_ref().map_or_else(
                || "is not in the code; correct `python.requirements`".to_owned(),
                |from| {
                    format!("is not in the code, and {from} includes it; add it, or correct that")
                },
            );
            wrong(why)
        })?;
        if bytes.len() > LARGEST {
            return Err(wrong("is larger than 4 MiB; check that it is the right file".to_owned()));
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        bundle.files.insert(path.clone(), bytes);
        for (number, line) in joined(&text) {
            let included = bundle.take(&path, &line, read).map_err(|why| {
                let file = format!("{}, line {number}", path.display());
                BuildError::Requirements { file, why }
            })?;
            left.extend(included.map(|target| (target, Some(path.display().to_string()))));
        }
    }
    Ok(bundle)
}

impl Bundle {
    /// Takes a line of `path`; returns what it includes.
    fn take(
        &mut self,
        path: &Path,
        line: &str,
        read: Reader<'_>,
    ) -> Result<Option<PathBuf>, String> {
        match meaning(line) {
            Line::Nothing => {}
            Line::Includes(target) => {
                let target = within(path.parent().unwrap_or(Path::new("")), &target);
                return target.map(Some).ok_or_else(|| {
                    "includes a file that is not in the code; move it there".to_owned()
                });
            }
            Line::Itself => {
                return Err("installs a directory, but an environment is shared by releases; \
                            remove that line: the code itself is found in the release's own \
                            directory"
                    .to_owned());
            }
            Line::Wheel(target) => {
                self.any = true;
                let target = within(Path::new(""), &target)
                    .ok_or("installs a file that is not in the code; move it there")?;
                let bytes = read(&target).map_err(|e| format!("cannot be read: {e}"))?;
                let bytes = bytes.ok_or("installs a file that is not there; add it")?;
                self.files.insert(target, bytes);
            }
            Line::Requires(pin) => {
                self.any = true;
                self.pins.extend(pin);
            }
        }
        Ok(None)
    }
}

enum Line {
    Nothing,
    Includes(String),
    /// The code itself, or a directory.
    Itself,
    /// A file beside it, by its path from where the installer runs.
    Wheel(String),
    /// With name and version, where that is pinned.
    Requires(Option<(String, String)>),
}

/// Lines without comments, those that go on joined, with the number of the first.
fn joined(text: &str) -> Vec<(usize, String)> {
    let mut all: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (number, line) in text.lines().enumerate() {
        let code = match line.find(" #") {
            _ if line.trim_start().starts_with('#') => "",
            Some(at) => line.get(..at).unwrap_or(line),
            None => line,
        };
        let (code, more) = match code.strip_suffix('\\') {
            Some(code) => (code, true),
            None => (code, false),
        };
        match all.last_mut().filter(|_| goes_on) {
            Some((_, last)) => last.push_str(code),
            None => all.push((number + 1, code.to_owned())),
        }
        goes_on = more;
    }
    all
}

fn meaning(line: &str) -> Line {
    let line = line.trim();
    let option = |long: &str, short: &str| {
        let rest = match line.strip_prefix(long) {
            Some(rest) if rest.starts_with(['=', ' ', '\t']) => rest.get(1..)?,
            Some(_) => return None,
            None => line.strip_prefix(short).filter(|_| !line.starts_with("--"))?,
        };
        Some(rest.trim().trim_matches(['"', '\'']).to_owned())
    };
    if line.is_empty() {
        return Line::Nothing;
    }
    if let Some(file) = option("--requirement", "-r").or_else(|| option("--constraint", "-c")) {
        // Somebody else's file may change without the code.
        return if file.contains("://") { Line::Requires(None) } else { Line::Includes(file) };
    }
    if let Some(what) = option("--editable", "-e") {
        return if what.contains("://") { Line::Requires(None) } else { Line::Itself };
    }
    if line.starts_with('-') {
        return Line::Nothing;
    }
    let word = line.split([' ', ';']).next().unwrap_or(line);
    let place = line.split_once('@').map_or(word, |(_, place)| place.trim());
    let place = place.split([' ', ';', '#', '[']).next().unwrap_or(place);
    let local = place.strip_prefix("file://").or_else(|| place.strip_prefix("file:"));
    let packed = |file: &str| [".whl", ".tar.gz", ".zip"].iter().any(|end| file.ends_with(end));
    match local.unwrap_or(place) {
        file if local.is_some() && packed(file) => Line::Wheel(file.to_owned()),
        _ if local.is_some() => Line::Itself,
        url if url.contains("://") => Line::Requires(None),
        file if packed(file) => Line::Wheel(file.to_owned()),
        "." | ".." => Line::Itself,
        path if path.starts_with("./") || path.starts_with("../") || path.starts_with('/') => {
            Line::Itself
        }
        _ => Line::Requires(pin(line)),
    }
}

fn pin(line: &str) -> Option<(String, String)> {
    let (name, version) = line.split_once("==")?;
    let name = name.split('[').next().unwrap_or(name);
    let version = version.trim_start_matches('=').trim_start();
    let version = version.split([' ', ';', ',', '\t']).next()?;
    (!version.contains('*')).then(|| (normal(name), version.to_owned()))
}

/// The one spelling of a project's name: PEP 503.
pub(super) fn normal(name: &str) -> String {
    let lower = name.trim().to_ascii_lowercase();
    let parts = lower.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-")
}

/// `target` from `beside`, below the release.
fn within(beside: &Path, target: &str) -> Option<PathBuf> {
    let mut clean = beside.to_owned();
    for part in Path::new(target).components() {
        match part {
            Component::Normal(part) => clean.push(part),
            Component::CurDir => {}
            Component::ParentDir if clean.pop() => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}

/// What a lock of uv's pins, by normal name. `None` when it is no such lock.
pub(super) fn locked(text: &str) -> Option<BTreeMap<String, Vec<String>>> {
    let table: toml::Table = text.parse().ok()?;
    let packages = table.get("package").or_else(|| table.get("packages"))?.as_array()?;
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages {
        let text = |key: &str| package.get(key).and_then(toml::Value::as_str);
        if let (Some(name), Some(version)) = (text("name"), text("version")) {
            all.entry(normal(name)).or_default().push(version.to_owned());
        }
    }
    Some(all)
}

/// How what is pinned differs from what a lock has; `None` when it does not.
pub(super) fn differs(
    pins: &BTreeMap<String, String>,
    lock: &BTreeMap<String, Vec<String>>,
) -> Option<String> {
    const SHOWN: usize = 5;
    let other = |(name, pinned): (&String, &String)| {
        let locked = lock.get(name)?;
        (!locked.contains(pinned))
            .then(|| format!("{name} is {pinned} there and {} in the lock", locked.join(", ")))
    };
    let all: Vec<String> = pins.iter().filter_map(other).collect();
    let mut told = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if all.len() > SHOWN {
        told.push_str("; and more");
    }
    (!all.is_empty()).then_some(told)
}

#[cfg(test)]
#[path = "requirements_tests.rs"]
mod tests;
