//! From code to a sealed release.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{
    BuildError, Failure, Manifest, Source, Tell, archive,
    error::file,
    git::Git,
    id,
    manifest::{self, MANIFEST},
    output::Censor,
    refs, share,
    source::Origin,
    space, tree,
    venv::{Bench, Needed},
    workshop::{Task, Workshop, away, environment},
};
use crate::ident::ReleaseId;

/// Ends the name of what is being built.
pub(super) const BUILDING: &str = ".building";

impl Workshop {
    /// Makes the release `id` of `source`, or returns it as it is when it is there. However it is cut,
    /// it may be run again; until it is whole, nothing has the release's name.
    ///
    /// # Errors
    /// What failed, and what to do. Nothing of it is left then, and nothing that serves was touched.
    pub async fn build(
        &self,
        id: &ReleaseId,
        source: &Source,
        by: Option<&str>,
        tell: Tell<'_>,
    ) -> Result<Manifest, BuildError> {
        if id::made_at(&id.0).is_none() {
            return Err(BuildError::BadId(id.0.chars().take(64).collect()));
        }
        let release = self.places.releases.join(&id.0);
        if let Some(sealed) = Manifest::read(&release)? {
            tell(&format!("release {id} is there already"));
            return Ok(sealed);
        }
        self.quiet().await?;
        self.furnish()?;
        self.check_places()?;
        let code = self.places.releases.join(format!(".{id}{BUILDING}"));
        let built = self.build_in(&code, id, source, by, tell).await;
        if built.is_err() {
            // What is left is removed before the next one, if not here.
            let left = code.clone();
            let _ = away(&code, move || tree::remove(&left)).await;
        }
        built
    }

    async fn build_in(
        &self,
        code: &Path,
        id: &ReleaseId,
        source: &Source,
        by: Option<&str>,
        tell: Tell<'_>,
    ) -> Result<Manifest, BuildError> {
        let variables = self.variables()?;
        let last = self.newest();
        let need =
            space::needed(source.weight, last.as_ref().map(|m| m.weight), space::Venv::Nothing);
        self.room(need)?;
        let left = code.to_owned();
        away(code, move || {
            tree::remove(&left)?;
            fs::create_dir(&left).map_err(file("create", &left))
        })
        .await?;
        let owner = self.owner()?;
        tree::hand_over(code, owner)?;
        self.lay_out(code, source, tell).await?;
        let censor = Censor::of(&variables);
        let account = self.account()?;
        let bench = Bench { workshop: self, account, variables, censor, code: code.to_owned() };
        let needed = bench.needs(tell).await?;
        if let Some(needed) = &needed {
            self.room(space::needed(
                space::Weight::default(),
                None,
                self.expected(Some(needed), last.as_ref().and_then(|m| m.venv.as_ref())),
            ))?;
            bench.make(needed, tell).await?;
            self.link_venv(code, needed)?;
        }
        share::link(code, &self.places.shared, &self.app.code.shared, owner, tell)?;
        if needed.is_some() {
            self.compile(&bench, tell).await?;
        }
        self.hooks(&bench, id, needed.as_ref(), tell).await?;
        let manifest = Manifest {
            id: id.clone(),
            app: self.app.name.to_string(),
            commit: source.commit.clone(),
            reference: source.reference.clone(),
            digest: source.digest.clone(),
            sealed: Timestamp::now(),
            by: by.map(str::to_owned),
            venv: needed.map(|needed| needed.note),
            weight: space::Weight::default(),
        };
        let manifest = self.seal(code, manifest).await?;
        if let Some(commit) = source.commit.as_ref().filter(|_| source.origin == Origin::Git) {
            self.keep_commit(id, &commit.id, tell).await;
        }
        tell(&format!("release {id} is sealed: {}", manifest.weight));
        Ok(manifest)
    }

    fn room(&self, needed: space::Weight) -> Result<(), BuildError> {
        for place in [&self.places.releases, &self.places.venvs] {
            let free = space::free(place).map_err(file("see the room left in", place))?;
            if let Some(shortage) = space::short(place, needed, free) {
                return Err(BuildError::NoRoom(shortage));
            }
        }
        Ok(())
    }

    async fn lay_out(
        &self,
        code: &Path,
        source: &Source,
        tell: Tell<'_>,
    ) -> Result<(), BuildError> {
        let (from, to, digest) = match &source.origin {
            Origin::Git => {
                if !refs::is_commit(&source.digest) {
                    return Err(BuildError::BadId(source.digest.chars().take(64).collect()));
                }
                tell(&format!("laying out {}", id::short(&source.digest)));
                let git = Git::new(self, &self.account()?, &self.variables()?, None);
                return Ok(git.lay_out(&source.digest, code, tell).await?);
            }
            Origin::Directory(path) | Origin::Archive(path) => {
                tell(&format!("copying {}", path.display()));
                (path.clone(), code.to_owned(), source.digest.clone())
            }
        };
        let is_archive = matches!(source.origin, Origin::Archive(_));
        let owner = self.owner()?;
        away(code, move || {
            let copied =
                if is_archive { archive::unpack(&from, &to) } else { tree::copy(&from, &to) };
            let copied = copied.map_err(|why| BuildError::Unusable { path: from.clone(), why })?;
            if copied.digest != digest {
                return Err(BuildError::Changed(from));
            }
            Ok(tree::hand_over(&to, owner)?)
        })
        .await
    }

    /// Beside the file that says what is in it, and at the top, where services look for it.
    fn link_venv(&self, code: &Path, needed: &Needed) -> Result<(), BuildError> {
        let venv = self.places.venvs.join(&needed.note.hash);
        let beside = needed.note.from.parent().unwrap_or(Path::new(""));
        let mut places = vec![PathBuf::new()];
        places.extend(Some(beside.to_owned()).filter(|beside| !beside.as_os_str().is_empty()));
        for place in places {
            let link = code.join(&place).join(".venv");
            // A link of the code's own could lead anywhere, and we may be root.
            if link.symlink_metadata().is_ok() || !tree::is_plain(code, &place) {
                return Err(BuildError::InTheWay {
                    path: place.join(".venv").display().to_string(),
                    whose: "each release's own environment",
                    todo: "remove it from the code",
                });
            }
            symlink(&venv, &link).map_err(file("link", &link))?;
        }
        Ok(())
    }

    /// Code that does not compile may be meant for another Python, so that is told and no more.
    async fn compile(&self, bench: &Bench<'_>, tell: Tell<'_>) -> Result<(), BuildError> {
        let python = bench.code.join(".venv/bin/python");
        let argv = ["-m", "compileall", "-q", "-x", r"(^|/)(node_modules|\.git)/", "."];
        let argv = std::iter::once(python.into()).chain(argv.iter().map(OsString::from)).collect();
        match self.run(bench.task("python -m compileall", argv), tell).await {
            Err(failure) if failure.of_full_disk() => Err(failure.into()),
            Err(Failure { how: super::How::Ended(crate::process::Exit::Code(1)), .. }) => {
                tell("warning: not all of the code could be compiled beforehand");
                Ok(())
            }
            done => Ok(done?),
        }
    }

    async fn hooks(
        &self,
        bench: &Bench<'_>,
        id: &ReleaseId,
        needed: Option<&Needed>,
        tell: Tell<'_>,
    ) -> Result<(), BuildError> {
        let mut env = environment(&bench.account);
        let venv = bench.code.join(".venv");
        if needed.is_some() {
            let mut path = venv.join("bin").into_os_string();
            path.push(":");
            path.push(super::workshop::PATH);
            env.extend([("PATH".into(), path), ("VIRTUAL_ENV".into(), venv.into())]);
        }
        let own = bench.variables.iter();
        env.extend(own.map(|(name, value)| (name.into(), value.expose().into())));
        env.insert("AIBK_APP".into(), self.app.name.as_str().into());
        env.insert("AIBK_RELEASE".into(), id.0.clone().into());
        for hook in &self.app.code.hooks.build {
            let what = hook.join(" ");
            tell(&format!("running `{what}`"));
            let task = Task {
                what: format!("`{what}`"),
                argv: hook.iter().map(OsString::from).collect(),
                env: env.clone().into_iter().collect(),
                directory: &bench.code,
                within: self.app.code.deadlines.hook,
                censor: &bench.censor,
            };
            self.run(task, tell).await.map_err(|failure| {
                if failure.of_full_disk() {
                    failure.into()
                } else {
                    BuildError::Hook(Box::new(failure))
                }
            })?;
        }
        Ok(())
    }

    /// Nobody writes to it from here on, and then it gets its name.
    async fn seal(&self, code: &Path, mut manifest: Manifest) -> Result<Manifest, BuildError> {
        let owner = self.owner()?;
        let (code, releases) = (code.to_owned(), self.places.releases.clone());
        away(&releases.clone(), move || {
            manifest.weight = tree::weigh(&code)?;
            let path = code.join(MANIFEST);
            tree::remove(&path)?;
            manifest::write(&path, &manifest).map_err(file("write", &path))?;
            tree::seal(&code, owner)?;
            let release = releases.join(&manifest.id.0);
            crate::sync_point!("release.sealed");
            fs::rename(&code, &release).map_err(file("rename", &code))?;
            manifest::sync(&releases).map_err(file("flush", &releases))?;
            Ok(manifest)
        })
        .await
    }

    /// Lets the mirror keep the commit, so that what is new in the next release can be told.
    async fn keep_commit(&self, id: &ReleaseId, commit: &str, tell: Tell<'_>) {
        let (Ok(account), Ok(variables)) = (self.account(), self.variables()) else { return };
        let git = Git::new(self, &account, &variables, None);
        let name = format!("refs/aibk/releases/{id}");
        if git.run(&["update-ref", &name, commit], &mut |_| {}).await.is_err() {
            tell(
                "warning: the mirror does not keep this commit; what is new in the next release may not be told",
            );
        }
    }

    /// The mirror need not keep the commit of `id` any more.
    pub(super) async fn forget_commit(&self, id: &ReleaseId) {
        let (Ok(account), Ok(variables)) = (self.account(), self.variables()) else { return };
        if !self.places.mirror.join("HEAD").is_file() {
            return;
        }
        let git = Git::new(self, &account, &variables, None);
        let name = format!("refs/aibk/releases/{id}");
        // Where it fails, the mirror only holds more than it need.
        let _ = git.run(&["update-ref", "-d", &name], &mut |_| {}).await;
    }

    /// Packs the mirror, when git finds that it is time.
    pub(super) async fn tidy_mirror(&self) {
        let (Ok(account), Ok(variables)) = (self.account(), self.variables()) else { return };
        if self.places.mirror.join("HEAD").is_file() {
            let git = Git::new(self, &account, &variables, None);
            // Where it fails, the mirror only takes more room than it need.
            let _ = git
                .run(
                    &["-c", "gc.auto=2000", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet"],
                    &mut |_| {},
                )
                .await;
        }
    }
}
