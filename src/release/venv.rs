//! Environments, shared by the hash of all that goes into them.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Account, BuildError, Failure, Tell, VenvNote, Weight,
    error::file,
    manifest,
    output::Censor,
    requirements::{self, Bundle, Present, Recipe, Uv},
    space,
    tree::{self, Hasher, hex},
    workshop::{Task, Workshop, away, environment, meant_for},
};
use crate::config::Variables;

/// In an environment that is whole; it is written last.
pub(super) const MARK: &str = ".aibk-venv.json";

/// What is asked of an interpreter.
const ASK: &str = "import json,platform,sys,sysconfig;print(json.dumps({'program':sys.executable,\
                   'version':platform.python_version(),'tag':sys.implementation.cache_tag,\
                   'platform':sysconfig.get_platform()}))";

/// A Python of this host.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Interpreter {
    program: PathBuf,
    version: String,
    tag: String,
    platform: String,
}

/// What is written into an environment once it is whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) weight: Weight,
}

/// An environment that a release needs.
pub(super) struct Needed {
    pub(super) note: VenvNote,
    recipe: Recipe,
    any: bool,
    python: Interpreter,
    uv: Option<PathBuf>,
}

/// What the making of an environment needs.
pub(super) struct Bench<'b> {
    pub(super) workshop: &'b Workshop,
    pub(super) account: Account,
    pub(super) variables: Variables,
    pub(super) censor: Censor,
    /// Where the code is laid out.
    pub(super) code: PathBuf,
}

impl Bench<'_> {
    /// Which environment the code needs; `None`: none.
    pub(super) async fn needs(&self, tell: Tell<'_>) -> Result<Option<Needed>, BuildError> {
        let wanted = &self.workshop.app.code.python;
        let has = |name: &str| self.code.join(name).is_file();
        let uv = self.uv();
        let present = Present {
            uv_lock: has("uv.lock"),
            pylock: has("pylock.toml"),
            requirements: has("requirements.txt"),
        };
        let here = if uv.is_some() { Uv::Here } else { Uv::Missing };
        let recipe = requirements::recipe(wanted, present, here)?;
        let Some(from) = recipe.file().map(Path::to_owned) else { return Ok(None) };
        let bundle = self.bundle(&recipe, &from)?;
        self.agree(&from, &bundle, present)?;
        let python = self.interpreter(tell).await?;
        let mut lock = Hasher::default();
        for (path, bytes) in &bundle.files {
            lock.part(path.as_os_str().as_encoded_bytes());
            lock.part(bytes);
        }
        let lock = lock.found().digest;
        let hash = hash(&python, &recipe, &lock);
        let note = VenvNote {
            hash,
            from,
            lock,
            python: python.version.clone(),
            installer: recipe.installer().to_owned(),
        };
        let needed = Needed { note, recipe, any: bundle.any, python, uv };
        if let Recipe::Sync(file) = &needed.recipe {
            self.check_lock(&needed, file, tell).await?;
        }
        Ok(Some(needed))
    }

    fn bundle(&self, recipe: &Recipe, from: &Path) -> Result<Bundle, BuildError> {
        // As another user than its own: a link of the code's could lead to what is nobody's business.
        let read = |path: &Path| match fs::read(self.code.join(path)) {
            Ok(_) if !tree::is_plain(&self.code, path) => {
                Err(io::Error::other("a link leads to it; put the file itself there"))
            }
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        };
        let name = from.file_name().unwrap_or_default();
        if matches!(recipe, Recipe::Pip(_)) || name.to_string_lossy().ends_with(".txt") {
            return requirements::bundle(from, &read);
        }
        let mut files = BTreeMap::new();
        for path in [from.to_owned(), from.with_file_name("pyproject.toml")] {
            let found = read(&path).map_err(file("read", &self.code.join(&path)))?;
            files.extend(found.map(|bytes| (path, bytes)));
        }
        if !files.contains_key(from) {
            let why = "is not in the code; correct `python.requirements`".to_owned();
            return Err(BuildError::Requirements { file: from.display().to_string(), why });
        }
        Ok(Bundle { files, any: true, pins: BTreeMap::new() })
    }

    /// A lock and pinned requirements that stand beside each other must say the same, whichever of
    /// them is used.
    fn agree(&self, from: &Path, used: &Bundle, present: Present) -> Result<(), BuildError> {
        if !present.requirements {
            return Ok(());
        }
        let txt = Path::new("requirements.txt");
        let pins = if from == txt {
            used.pins.clone()
        } else {
            self.bundle(&Recipe::Pip(txt.into()), txt)?.pins
        };
        let locks = [("uv.lock", present.uv_lock), ("pylock.toml", present.pylock)];
        for (name, _) in locks.into_iter().filter(|(_, there)| *there) {
            let path = self.code.join(name);
            let lock = fs::read_to_string(&path).map_err(file("read", &path))?;
            let lock = requirements::locked(&lock).ok_or_else(|| BuildError::Requirements {
                file: name.to_owned(),
                why: "is no lock that can be read; make it anew, and commit it".to_owned(),
            })?;
            if let Some(why) = requirements::differs(&pins, &lock) {
                return Err(BuildError::LockDiffers {
                    lock: name.to_owned(),
                    other: txt.display().to_string(),
                    why: format!(
                        "{why}; write it anew (uv export -o requirements.txt), or remove one"
                    ),
                });
            }
        }
        Ok(())
    }

    async fn check_lock(
        &self,
        needed: &Needed,
        lock: &Path,
        tell: Tell<'_>,
    ) -> Result<(), BuildError> {
        let mut argv = words(needed.uv(), &["lock", "--check", "--python"]);
        argv.push((&needed.python.program).into());
        let mut task = self.task("uv lock --check", argv);
        let beside = self.code.join(lock).parent().map(Path::to_owned).unwrap_or_default();
        task.directory = &beside;
        self.workshop.run(task, tell).await.map_err(|failure| lock_failed(failure, lock))
    }

    async fn interpreter(&self, tell: Tell<'_>) -> Result<Interpreter, BuildError> {
        let wanted = &self.workshop.app.code.python;
        let named = wanted.version.as_deref().map(|version| {
            let minor = version.split('.').take(2).collect::<Vec<_>>().join(".");
            PathBuf::from(format!("python{minor}"))
        });
        let program = wanted.interpreter.clone().or(named).unwrap_or_else(|| "python3".into());
        let argv = vec![program.clone().into(), "-I".into(), "-c".into(), ASK.into()];
        let unusable = |why: String| BuildError::Python { why };
        let answer = self.workshop.ask(self.task(&program.to_string_lossy(), argv), tell).await;
        let answer = answer.map_err(|failure| unusable(failure.to_string()))?;
        let found: Interpreter = serde_json::from_slice(&answer)
            .map_err(|_| unusable(format!("{} did not say which it is", program.display())))?;
        match &wanted.version {
            Some(version) if !is_of(&found.version, version) => Err(unusable(format!(
                "{} is {}, not {version}",
                found.program.display(),
                found.version
            ))),
            _ => Ok(found),
        }
    }

    /// Makes the environment, unless it is there and whole.
    pub(super) async fn make(&self, needed: &Needed, tell: Tell<'_>) -> Result<(), BuildError> {
        let place = self.workshop.places.venvs.join(&needed.note.hash);
        if is_whole(&place) {
            tell(&format!(
                "the environment {} is there already",
                super::id::short(&needed.note.hash)
            ));
            return Ok(());
        }
        tree::remove(&place)?;
        fs::create_dir(&place).map_err(file("create", &place))?;
        let owner = self.workshop.owner()?;
        tree::hand_over(&place, owner)?;
        tell(&format!("making an environment with Python {}", needed.note.python));
        if let Err(error) = self.fill(needed, &place, tell).await {
            // What is left is removed before the next one, if not here.
            let _ = tree::remove(&place);
            return Err(error);
        }
        let sealed = place.clone();
        away(&place, move || {
            let path = sealed.join(MARK);
            let weight = tree::weigh(&sealed)?;
            manifest::write(&path, &Mark { weight }).map_err(file("write", &path))?;
            // Whole is what has a mark and is closed: one with a mark alone is closed again.
            tree::seal(&sealed, owner).map(drop).map_err(BuildError::from)
        })
        .await
    }

    async fn fill(&self, needed: &Needed, place: &Path, tell: Tell<'_>) -> Result<(), BuildError> {
        let make = self.task("the making of an environment", needed.creation(place));
        self.workshop.run(make, tell).await.map_err(venv_failed)?;
        let Some((what, argv)) = needed.installation(place) else { return Ok(()) };
        let mut task = self.task(what, argv);
        task.env.push(("UV_PROJECT_ENVIRONMENT".into(), place.into()));
        let beside = match &needed.recipe {
            Recipe::Sync(lock) => self.code.join(lock).parent().map(Path::to_owned),
            _ => None,
        };
        let beside = beside.unwrap_or_else(|| self.code.clone());
        task.directory = &beside;
        let from = &needed.note.from;
        self.workshop.run(task, tell).await.map_err(|failure| install_failed(failure, from))
    }

    /// A program of the installer's, in the code.
    pub(super) fn task(&self, what: &str, argv: Vec<OsString>) -> Task<'_> {
        let mut env = environment(&self.account);
        env.extend(meant_for(&self.variables, &["PIP_", "UV_"]));
        for (name, value) in [
            ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
            ("PIP_NO_INPUT", "1"),
            // A link into a cache that others write to is no sealed file.
            ("UV_LINK_MODE", "copy"),
            ("UV_COMPILE_BYTECODE", "1"),
            ("UV_NO_PROGRESS", "1"),
            ("UV_PYTHON_DOWNLOADS", "never"),
        ] {
            env.insert(name.into(), value.into());
        }
        if !self.account.home.is_dir() {
            env.insert("UV_NO_CACHE".into(), "1".into());
        }
        Task {
            what: what.to_owned(),
            argv,
            env: env.into_iter().collect(),
            directory: &self.code,
            within: self.workshop.app.code.deadlines.install,
            censor: &self.censor,
        }
    }

    /// uv, where it usually is: its own installer puts it below the user's home.
    fn uv(&self) -> Option<PathBuf> {
        let home = &self.account.home;
        let own = [home.join(".local/bin"), home.join(".cargo/bin")];
        std::env::split_paths(super::workshop::PATH)
            .chain(own)
            .map(|directory| directory.join("uv"))
            .find(|program| program.is_file())
    }
}

impl Needed {
    fn uv(&self) -> OsString {
        self.uv.clone().unwrap_or_else(|| "uv".into()).into()
    }

    /// What makes an empty environment at `place`.
    fn creation(&self, place: &Path) -> Vec<OsString> {
        let python = OsString::from(&self.python.program);
        let mut argv = match &self.recipe {
            Recipe::Sync(_) | Recipe::Uv(_) => {
                let mut argv = words(self.uv(), &["venv", "--allow-existing", "--python"]);
                argv.push(python);
                argv
            }
            // pip comes with it only where there is something to install: it takes seconds.
            _ if !self.any => words(python, &["-m", "venv", "--without-pip"]),
            Recipe::Pip(_) | Recipe::Nothing => words(python, &["-m", "venv"]),
        };
        argv.push(place.into());
        argv
    }

    /// What installs into the environment at `place`, and how that is called; `None`: nothing has to.
    fn installation(&self, place: &Path) -> Option<(&'static str, Vec<OsString>)> {
        let inside = OsString::from(place.join("bin/python"));
        match &self.recipe {
            Recipe::Nothing => None,
            _ if !self.any => None,
            Recipe::Sync(_) => {
                let alone = ["--no-install-project", "--no-install-workspace"];
                let mut argv = words(self.uv(), &["sync", "--frozen", "--no-dev"]);
                argv.extend(alone.map(OsString::from));
                // Whatever the code itself would rather have.
                argv.extend(["--python".into(), inside]);
                Some(("uv sync", argv))
            }
            Recipe::Uv(from) => {
                let mut argv = words(self.uv(), &["pip", "install", "--python"]);
                argv.extend([inside, "-r".into(), from.into()]);
                Some(("uv pip install", argv))
            }
            Recipe::Pip(from) => {
                let quiet = ["-m", "pip", "install", "--no-input", "--progress-bar", "off", "-r"];
                let mut argv = words(inside, &quiet);
                argv.push(from.into());
                Some(("pip install", argv))
            }
        }
    }
}

fn words(first: OsString, more: &[&str]) -> Vec<OsString> {
    std::iter::once(first).chain(more.iter().map(OsString::from)).collect()
}

impl Workshop {
    /// What an environment is expected to need.
    pub(super) fn expected(&self, needed: Option<&Needed>, last: Option<&VenvNote>) -> space::Venv {
        let Some(needed) = needed else { return space::Venv::Nothing };
        if !needed.any || is_whole(&self.places.venvs.join(&needed.note.hash)) {
            return space::Venv::Nothing;
        }
        let mark = |note: &VenvNote| {
            manifest::read::<Mark>(&self.places.venvs.join(&note.hash).join(MARK))
        };
        match last.and_then(|note| mark(note).ok().flatten()) {
            Some(mark) => space::Venv::Like(mark.weight),
            None => space::Venv::First,
        }
    }
}

/// Whether the environment at `place` was finished and closed.
pub(super) fn is_whole(place: &Path) -> bool {
    let closed = place.metadata().is_ok_and(|seen| seen.permissions().readonly());
    closed && place.join(MARK).is_file()
}

/// Names an environment by all that goes into it.
fn hash(python: &Interpreter, recipe: &Recipe, lock: &str) -> String {
    let Interpreter { program, version, tag, platform } = python;
    let kind = match recipe {
        Recipe::Nothing => "nothing",
        Recipe::Sync(_) => "uv sync",
        Recipe::Uv(_) => "uv",
        Recipe::Pip(_) => "pip",
    };
    let mut all = Sha256::new();
    let program = program.to_string_lossy();
    for part in ["1", &program, version, tag, platform, kind, lock] {
        all.update((part.len() as u64).to_le_bytes());
        all.update(part.as_bytes());
    }
    hex(&all.finalize()).chars().take(32).collect()
}

/// Whether `found` (`3.12.4`) is `wanted` (`3.12`).
fn is_of(found: &str, wanted: &str) -> bool {
    found.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn venv_failed(failure: Failure) -> BuildError {
    if failure.says(&["ensurepip"]) {
        let why = format!("it cannot make environments (apt-get install python3-venv)\n{failure}");
        return BuildError::Python { why };
    }
    failure.into()
}

/// How pip and uv say that something does not fit together, or is not there.
const UNRESOLVED: &[&str] = &[
    "No matching distribution found",
    "ResolutionImpossible",
    "No solution found",
    "Invalid requirement",
    "DO NOT MATCH THE HASHES",
    "Hash mismatch",
    "Couldn't parse requirement",
];

fn lock_failed(failure: Failure, lock: &Path) -> BuildError {
    let other = "pyproject.toml";
    if failure.says(&["needs to be updated", "Missing lockfile", "Unable to find lockfile"]) {
        return BuildError::LockDiffers {
            lock: lock.display().to_string(),
            other: other.to_owned(),
            why: "run `uv lock`, and commit what it writes".to_owned(),
        };
    }
    install_failed(failure, &lock.with_file_name(other))
}

fn install_failed(failure: Failure, from: &Path) -> BuildError {
    if failure.says(UNRESOLVED) {
        let file = from.display().to_string();
        return BuildError::Unresolvable { file, failure: Box::new(failure) };
    }
    failure.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_another_when_anything_in_it_is() {
        let python = |program: &str, version: &str, tag: &str, platform: &str| Interpreter {
            program: program.into(),
            version: version.into(),
            tag: tag.into(),
            platform: platform.into(),
        };
        let usual = || python("/usr/bin/python3", "3.11.2", "cpython-311", "linux-x86_64");
        let pip = || Recipe::Pip("requirements.txt".into());
        let first = hash(&usual(), &pip(), "lock");
        assert_eq!((first.len(), &first), (32, &hash(&usual(), &pip(), "lock")));
        assert_eq!(first, hash(&usual(), &Recipe::Pip("other.txt".into()), "lock"));
        for other in [
            hash(&python("/opt/python3", "3.11.2", "cpython-311", "linux-x86_64"), &pip(), "lock"),
            hash(
                &python("/usr/bin/python3", "3.11.3", "cpython-311", "linux-x86_64"),
                &pip(),
                "lock",
            ),
            hash(&python("/usr/bin/python3", "3.11.2", "pypy39", "linux-x86_64"), &pip(), "lock"),
            hash(
                &python("/usr/bin/python3", "3.11.2", "cpython-311", "linux-aarch64"),
                &pip(),
                "lock",
            ),
            hash(&usual(), &Recipe::Uv("requirements.txt".into()), "lock"),
            hash(&usual(), &pip(), "other"),
        ] {
            assert_ne!(first, other);
        }
        assert!(is_of("3.12.4", "3.12") && is_of("3.12.4", "3.12.4"));
        assert!(!is_of("3.12.4", "3.1") && !is_of("3.12.4", "3.12.5"));
    }
}
