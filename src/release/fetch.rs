//! From what somebody wants to what a release is made of.

use std::path::{Path, PathBuf};

use super::{
    Account, Between, Commit, Failure, FetchError, History, Relation, Source, Tell, Upload, Wanted,
    archive,
    git::{DEPTH, Git, explain, kept_as},
    refs::{self, Chosen, NoChoice},
    source::Origin,
    space, tree, upload,
    workshop::{Workshop, away},
};
use crate::config::{Place, Remote, check_reference};

/// The most commits that are listed.
const LISTED: u32 = 500;

impl Workshop {
    /// Fetches what is wanted, so far that [`Workshop::build`] needs no remote. May be run again.
    ///
    /// # Errors
    /// When there is nothing of that name, or it cannot be had. Nothing is changed but the mirror.
    pub async fn fetch(&self, wanted: &Wanted, tell: Tell<'_>) -> Result<Source, FetchError> {
        self.furnish()?;
        self.check_places()?;
        let home = &self.places.home;
        let free = space::free(home).map_err(super::error::file("see the room left in", home))?;
        if let Some(shortage) = space::short(home, space::LEAST, free) {
            return Err(FetchError::Full(shortage.to_string()));
        }
        let name = match wanted {
            Wanted::Archive(upload) => {
                let (path, upload) = (self.upload(upload.id), upload.clone());
                return away(&self.places.home, move || archive_source(path, &upload)).await;
            }
            Wanted::Ref(name) => name.as_deref(),
        };
        let origin = self.app.code.origin.as_ref().ok_or(FetchError::NoSource)?;
        let name = name.or(origin.reference.as_deref());
        if let Some((name, why)) = name.and_then(|name| Some((name, check_reference(name).err()?)))
        {
            return Err(FetchError::BadReference { name: name.chars().take(64).collect(), why });
        }
        match &origin.place {
            Place::Remote(remote) => self.of_git(remote, name, tell).await,
            Place::Directory(path) if is_repository(path) => {
                self.of_git(&Remote::local(path), name, tell).await
            }
            Place::Directory(path) => {
                if let Some(name) = name {
                    return Err(FetchError::UnknownReference {
                        remote: format!("{}, which is no repository of git,", path.display()),
                        name: name.to_owned(),
                        like: None,
                    });
                }
                let path = path.clone();
                away(&self.places.home, move || directory_source(path)).await
            }
        }
    }

    async fn of_git(
        &self,
        remote: &Remote,
        name: Option<&str>,
        tell: Tell<'_>,
    ) -> Result<Source, FetchError> {
        let variables = self.variables()?;
        let token = self.app.code.origin.as_ref().and_then(|origin| origin.token_from.as_ref());
        let token = match token {
            Some(name) => {
                let value = variables.get(name).ok_or_else(|| FetchError::NoToken(name.clone()))?;
                Some((remote, value.expose()))
            }
            None => None,
        };
        let git = Git::new(self, &self.account()?, &variables, token);
        git.mirror(tell).await?;
        let (commit, reference, history) = match find(&git, remote, name, tell).await {
            Err(FetchError::Git { failure, .. }) if is_of_mirror(&failure) => {
                tell("the mirror is damaged; it is made anew");
                tree::remove(&self.places.mirror)?;
                git.mirror(tell).await?;
                find(&git, remote, name, tell).await?
            }
            found => found?,
        };
        let described = git.describe(&commit, 1).await.map_err(explain)?;
        let described: Commit =
            described.into_iter().next().ok_or(FetchError::Answer("git log"))?;
        let (weight, modules) = git.weigh(&commit).await.map_err(explain)?;
        if let History::Rewritten { was } = &history {
            let was = super::short(was);
            tell(&format!(
                "warning: it was forced, and does not hold {was} any more, where it stood"
            ));
        }
        for module in modules {
            tell(&format!("warning: the submodule {module} is left empty: aibk fetches none"));
        }
        for attributes in git.left_to_lfs(&commit).await {
            tell(&format!(
                "warning: {attributes} leaves files to Git LFS: the release gets pointers to them, for \
                 aibk fetches none"
            ));
        }
        Ok(Source {
            origin: Origin::Git,
            digest: described.id.clone(),
            commit: Some(described),
            reference,
            history,
            weight,
        })
    }

    /// What `new` holds and `old` does not, as far as the mirror reaches.
    ///
    /// # Errors
    /// When git fails. A commit that is not in the mirror is no error.
    pub async fn commits_between(&self, old: &str, new: &str) -> Result<Between, FetchError> {
        let unknown = Between { relation: Relation::Unknown, commits: Vec::new() };
        if !refs::is_commit(old)
            || !refs::is_commit(new)
            || !self.places.mirror.join("HEAD").is_file()
        {
            return Ok(unknown);
        }
        let git = Git::new(self, &self.account()?, &self.variables()?, None);
        if git.commit(old).await.is_none() || git.commit(new).await.is_none() {
            return Ok(unknown);
        }
        let relation = relation(&git, old, new).await;
        let commits = git.describe(&format!("{old}..{new}"), LISTED).await.map_err(explain)?;
        Ok(Between { relation, commits })
    }

    /// Who runs what is run for the application.
    pub(super) fn account(&self) -> Result<Account, super::AccountError> {
        Account::look_up(self.app.user.as_deref())
    }
}

/// The commit that is meant, what it is called, and what became of that name.
async fn find(
    git: &Git<'_>,
    remote: &Remote,
    name: Option<&str>,
    tell: Tell<'_>,
) -> Result<(String, Option<String>, History), FetchError> {
    let url = remote.as_str();
    let at = At { git, remote };
    // What has a whole name never changes: nobody has to be asked for what is here.
    if let Some(whole) = name.filter(|name| refs::is_commit(name))
        && let Some(commit) = git.commit(whole).await
    {
        return Ok((commit, None, History::Unknown));
    }
    let mut args = vec!["ls-remote", "--symref"];
    args.extend(at.trust());
    args.extend(["--", url, "HEAD", "refs/heads/*", "refs/tags/*"]);
    let advertised = refs::parse(&git.ask(&args, tell).await.map_err(explain)?);
    let chosen = refs::choose(&advertised, name).map_err(|why| no_choice(why, url, name))?;
    match chosen {
        Chosen::Named { name, .. } => {
            let kept = kept_as(&name);
            let was = git.commit(&kept).await;
            at.fetch(&[], &[&format!("+{name}:{kept}")], tell).await.map_err(explain)?;
            let commit = git.commit(&kept).await.ok_or(FetchError::Answer("git fetch"))?;
            let history = match was {
                Some(was) => history(git, was, &commit).await,
                None => History::Unknown,
            };
            let short =
                name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/"));
            Ok((commit, short.map(str::to_owned), history))
        }
        Chosen::Whole(commit) => {
            let kept = format!("+{commit}:{}", kept_as(&commit));
            // Not every server gives what no branch and no tag stands at.
            if at.fetch(&[], &[&kept], &mut |_| {}).await.is_err() {
                at.fetch_all(tell).await?;
            }
            let found = git.commit(&commit).await.ok_or_else(|| FetchError::UnknownReference {
                remote: url.to_owned(),
                name: commit.clone(),
                like: None,
            });
            Ok((found?, None, History::Unknown))
        }
        Chosen::Begun(begun) => {
            at.fetch_all(tell).await?;
            let commit = git.commit(&begun).await.ok_or_else(|| FetchError::NoSuchBeginning {
                remote: url.to_owned(),
                begun: begun.clone(),
                depth: DEPTH,
            })?;
            Ok((commit, None, History::Unknown))
        }
    }
}

/// git, and where it fetches from.
struct At<'a> {
    git: &'a Git<'a>,
    remote: &'a Remote,
}

impl At<'_> {
    /// git serves no repository of another user, unless somebody says so: here the operator did, by
    /// naming it.
    fn trust(&self) -> Option<&'static str> {
        let local = self.remote.is_local();
        local.then_some("--upload-pack=git -c 'safe.directory=*' upload-pack")
    }

    async fn fetch(&self, options: &[&str], specs: &[&str], tell: Tell<'_>) -> Result<(), Failure> {
        let depth = format!("--depth={DEPTH}");
        let mut args =
            vec!["fetch", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"];
        args.extend(["--update-shallow", &depth]);
        args.extend(options);
        args.extend(self.trust());
        args.extend(["--", self.remote.as_str()]);
        args.extend(specs);
        self.git.run(&args, tell).await
    }

    async fn fetch_all(&self, tell: Tell<'_>) -> Result<(), FetchError> {
        let all = ["+refs/heads/*:refs/aibk/all/heads/*", "+refs/tags/*:refs/aibk/all/tags/*"];
        self.fetch(&["--prune"], &all, tell).await.map_err(explain)
    }
}

async fn history(git: &Git<'_>, was: String, now: &str) -> History {
    match relation(git, &was, now).await {
        Relation::Same | Relation::Onward => History::Onward,
        Relation::Back | Relation::Apart => History::Rewritten { was },
        Relation::Unknown => History::Unknown,
    }
}

async fn relation(git: &Git<'_>, old: &str, new: &str) -> Relation {
    if old == new {
        return Relation::Same;
    }
    let base = git.maybe(&["merge-base", "--end-of-options", old, new]).await;
    match base.as_deref() {
        Some(base) if base == old => Relation::Onward,
        Some(base) if base == new => Relation::Back,
        Some(_) => Relation::Apart,
        // They may have one beyond what was fetched.
        None => match git.maybe(&["rev-parse", "--is-shallow-repository"]).await.as_deref() {
            Some("false") => Relation::Apart,
            _ => Relation::Unknown,
        },
    }
}

fn no_choice(why: NoChoice, url: &str, name: Option<&str>) -> FetchError {
    let (remote, name) = (url.to_owned(), name.unwrap_or("HEAD").to_owned());
    match why {
        NoChoice::Empty => FetchError::Empty { remote },
        NoChoice::NoDefault => FetchError::NoDefault { remote },
        NoChoice::Two => FetchError::TwoReferences { remote, name },
        NoChoice::Unknown { like } => FetchError::UnknownReference { remote, name, like },
    }
}

/// Whether the mirror is to blame: a killed git leaves locks, a full disk half a file.
fn is_of_mirror(failure: &Failure) -> bool {
    failure.says(&[".lock", "bad object", "corrupt", "is empty", "unable to read tree"])
}

fn is_repository(path: &Path) -> bool {
    path.join(".git").exists() || (path.join("HEAD").is_file() && path.join("objects").is_dir())
}

fn directory_source(path: PathBuf) -> Result<Source, FetchError> {
    let found =
        tree::survey(&path).map_err(|why| FetchError::Unusable { path: path.clone(), why })?;
    Ok(unversioned(Origin::Directory(path), found.digest, found.weight))
}

fn archive_source(path: PathBuf, upload: &Upload) -> Result<Source, FetchError> {
    let found = upload::check(&path, upload)
        .and_then(|()| archive::survey(&path))
        .map_err(|why| FetchError::Unusable { path: path.clone(), why })?;
    Ok(unversioned(Origin::Archive(path), found.digest, found.weight))
}

fn unversioned(origin: Origin, digest: String, weight: super::Weight) -> Source {
    let history = History::Unknown;
    Source { origin, commit: None, reference: None, digest, history, weight }
}
