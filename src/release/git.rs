//! git, as the application's user: a bare mirror, and what is asked of it.

use std::{ffi::OsString, fs, path::Path, time::Duration};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{
    Account, Commit, Failure, FetchError, Tell, Weight,
    output::Censor,
    tree::{self, hex},
    workshop::{Task, Workshop, environment, meant_for},
};
use crate::config::{Remote, Variables};

/// How many commits of each branch are fetched: enough to tell what is new in a release.
pub(super) const DEPTH: u32 = 200;

/// The variable that the credential helper reads.
const TOKEN: &str = "AIBK_GIT_TOKEN";

/// git's work for one release, which has one deadline.
pub(super) struct Git<'w> {
    workshop: &'w Workshop,
    env: Vec<(OsString, OsString)>,
    censor: Censor,
    until: Instant,
}

/// Settings that no configuration of the user may change: nothing runs but git.
const ALWAYS: &[&str] = &[
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "gc.auto=0",
    "-c",
    "maintenance.auto=false",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "log.showSignature=false",
];

impl<'w> Git<'w> {
    /// For `workshop`; `token` opens the remote.
    pub(super) fn new(
        workshop: &'w Workshop,
        account: &Account,
        variables: &Variables,
        token: Option<(&Remote, &str)>,
    ) -> Self {
        let mut env = environment(account);
        let quiet = "ssh -oBatchMode=yes -oConnectTimeout=20";
        env.insert("GIT_SSH_COMMAND".into(), quiet.into());
        env.extend(meant_for(variables, &["GIT_SSH", "GIT_SSL"]));
        for (name, value) in [
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh"),
            ("LC_ALL", "C.UTF-8"),
        ] {
            env.insert(name.into(), value.into());
        }
        if let Some((remote, token)) = token {
            env.extend(credential(remote, token));
        }
        let until = Instant::now() + workshop.app.code.deadlines.fetch;
        let censor = Censor::of(variables);
        Self { workshop, env: env.into_iter().collect(), censor, until }
    }

    fn task(&self, args: &[&str], extra: &[(&str, &Path)]) -> Task<'_> {
        let places = &self.workshop.places;
        let mut at = OsString::from("--git-dir=");
        at.push(&places.mirror);
        let mut words: Vec<OsString> = vec!["git".into(), at];
        words.extend(ALWAYS.iter().chain(args).map(OsString::from));
        let mut env = self.env.clone();
        env.extend(extra.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        Task {
            what: format!("git {}", args.first().copied().unwrap_or_default()),
            argv: words,
            env,
            directory: &places.mirror,
            within: self
                .until
                .saturating_duration_since(Instant::now())
                .max(Duration::from_secs(1)),
            censor: &self.censor,
        }
    }

    /// Runs it; what it writes is told.
    pub(super) async fn run(&self, args: &[&str], tell: Tell<'_>) -> Result<(), Failure> {
        self.workshop.run(self.task(args, &[]), tell).await
    }

    /// Runs it for what it answers.
    pub(super) async fn ask(&self, args: &[&str], tell: Tell<'_>) -> Result<String, Failure> {
        let answer = self.workshop.ask(self.task(args, &[]), tell).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Runs it for a single line; `None` when it fails, which is an answer too.
    pub(super) async fn maybe(&self, args: &[&str]) -> Option<String> {
        let answer = self.ask(args, &mut |_| {}).await.ok()?;
        Some(answer.trim().to_owned()).filter(|answer| !answer.is_empty())
    }

    /// Makes the mirror where there is none that git can use.
    pub(super) async fn mirror(&self, tell: Tell<'_>) -> Result<(), FetchError> {
        let mirror = &self.workshop.places.mirror;
        if mirror.join("HEAD").is_file() && self.maybe(&["rev-parse", "--git-dir"]).await.is_some()
        {
            return Ok(());
        }
        tree::remove(mirror)?;
        fs::create_dir(mirror).map_err(super::error::file("create", mirror))?;
        tree::hand_over(mirror, self.workshop.owner()?)?;
        self.run(&["init", "--bare", "--quiet"], tell).await.map_err(explain)
    }

    /// The commit that `name` is, in the mirror.
    pub(super) async fn commit(&self, name: &str) -> Option<String> {
        let name = format!("{name}^{{commit}}");
        let args = ["rev-parse", "--verify", "--quiet", "--end-of-options", &name];
        self.maybe(&args).await.filter(|commit| super::refs::is_commit(commit))
    }

    /// What the mirror says of `commits` (a whole name, or `OLD..NEW` of such), newest first.
    pub(super) async fn describe(&self, commits: &str, most: u32) -> Result<Vec<Commit>, Failure> {
        let most = format!("--max-count={most}");
        let form = "--format=%H%x00%s%x00%an%x00%ct%x00";
        let text = self
            .ask(&["log", &most, "--no-color", form, "--end-of-options", commits], &mut |_| {})
            .await?;
        Ok(parse_log(&text, &self.censor))
    }

    /// What the files of `commit` need, and whether it has other repositories in it.
    pub(super) async fn weigh(&self, commit: &str) -> Result<(Weight, Vec<String>), Failure> {
        let args = ["ls-tree", "-r", "-t", "-l", "-z", "--full-tree", "--end-of-options", commit];
        Ok(parse_tree(&self.ask(&args, &mut |_| {}).await?))
    }

    /// The files by which `commit` leaves others to Git LFS: what it has of those are pointers.
    pub(super) async fn left_to_lfs(&self, commit: &str) -> Vec<String> {
        let pattern = ["grep", "-l", "--full-name", "-F", "-e", "filter=lfs"];
        let args = [&pattern[..], &[commit, "--", ":(glob)**/.gitattributes"]].concat();
        let found = self.maybe(&args).await.unwrap_or_default();
        let path = |line: &str| line.split_once(':').map_or(line, |(_, path)| path).to_owned();
        found.lines().map(path).collect()
    }

    /// Lays out the files of `commit` in `directory`.
    pub(super) async fn lay_out(
        &self,
        commit: &str,
        directory: &Path,
        tell: Tell<'_>,
    ) -> Result<(), Failure> {
        let index = self.workshop.places.mirror.join("aibk-index");
        let extra = [("GIT_INDEX_FILE", index.as_path()), ("GIT_WORK_TREE", directory)];
        let read = self.task(&["read-tree", "--end-of-options", commit], &extra);
        self.workshop.run(read, tell).await?;
        let mut write = self.task(&["checkout-index", "--all", "--force", "--quiet"], &extra);
        write.directory = directory;
        self.workshop.run(write, tell).await
    }
}

/// Names the reference under which the mirror keeps `name` of the remote. Flat: `a` and `a/b` may both
/// have been a branch.
pub(super) fn kept_as(name: &str) -> String {
    let digest = hex(&Sha256::digest(name.as_bytes()));
    format!("refs/aibk/at/{}", super::id::short(&digest))
}

/// Gives a token to the remote's own host and to nobody else, without a trace in any argument or file.
fn credential(remote: &Remote, token: &str) -> Vec<(OsString, OsString)> {
    let rest = remote.as_str().strip_prefix("https://").unwrap_or_default();
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').unwrap_or(("git", authority));
    let answer = format!(
        "!f() {{ test \"$1\" = get && printf 'username=%s\\npassword=%s\\n' '{}' \"${TOKEN}\"; }}; f",
        user.chars()
            .filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c))
            .collect::<String>()
    );
    vec![
        (TOKEN.into(), token.into()),
        ("GIT_CONFIG_COUNT".into(), "1".into()),
        ("GIT_CONFIG_KEY_0".into(), format!("credential.https://{host}.helper").into()),
        ("GIT_CONFIG_VALUE_0".into(), answer.into()),
    ]
}

fn parse_log(text: &str, censor: &Censor) -> Vec<Commit> {
    let fields: Vec<&str> = text.split('\0').collect();
    let commit = |four: &[&str]| {
        let [id, subject, author, when] = four else { return None };
        Some(Commit {
            id: id.trim().to_owned(),
            subject: censor.clean(subject),
            author: censor.clean(author),
            when: when.parse().ok().and_then(|s| Timestamp::from_second(s).ok())?,
        })
    };
    fields.chunks(4).filter_map(commit).filter(|c| super::refs::is_commit(&c.id)).collect()
}

/// What `git ls-tree -l -z` says, in whole blocks; and the paths of submodules.
fn parse_tree(text: &str) -> (Weight, Vec<String>) {
    let (mut weight, mut modules) = (Weight::default(), Vec::new());
    for (what, path) in text.split('\0').filter_map(|entry| entry.split_once('\t')) {
        let size: u64 = what.split_whitespace().last().and_then(|s| s.parse().ok()).unwrap_or(0);
        weight = weight.and(Weight { bytes: size.div_ceil(4096) * 4096, inodes: 1 });
        if what.starts_with("160000") {
            modules.push(path.to_owned());
        }
    }
    (weight, modules)
}

/// What to do about a git that failed.
pub(super) fn explain(failure: Failure) -> FetchError {
    if failure.of_full_disk() {
        return FetchError::Full(failure.to_string());
    }
    let hint = hint(&failure);
    FetchError::Git { failure: Box::new(failure), hint }
}

fn hint(failure: &Failure) -> &'static str {
    const HINTS: &[(&[&str], &str)] = &[
        (
            &[
                "Authentication failed",
                "could not read Username",
                "terminal prompts disabled",
                "403",
                "401",
            ],
            "git may not read it: name a variable of the env file with a token in \
             `source.token_from`, or give the application's user credentials of its own",
        ),
        (
            &["Host key verification failed"],
            "the application's user does not know that host yet: run `ssh` to it once as that user",
        ),
        (
            &["Permission denied (publickey"],
            "give the application's user a key without a passphrase, and allow it to read there",
        ),
        (
            &["dubious ownership"],
            "the repository belongs to somebody else: as the application's user, run `git config \
             --global --add safe.directory PATH`",
        ),
        (
            &["does not appear to be a git repository", "not found", "does not exist"],
            "correct `source.git`",
        ),
        (
            &["Could not resolve", "unable to access", "timed out", "refused", "unreachable"],
            "look whether this host can reach it",
        ),
    ];
    let fits = |(words, _): &&(&[&str], &str)| failure.says(words);
    HINTS
        .iter()
        .find(fits)
        .map_or("see what git says; deploy again when that is mended", |(_, todo)| todo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_read_as_git_tells_them() {
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        let text = format!("{a}\0Add \u{1b}[31mred\0Jo Doe\01764528000\0\n{b}\0\0X\00\0\n");
        let all = parse_log(&text, &Censor::default());
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].subject.as_str(), all[0].author.as_str()), ("Add red", "Jo Doe"));
        assert_eq!(all[0].when.to_string(), "2025-11-30T18:40:00Z");
        assert_eq!(all[1].id, b);
        assert_eq!(parse_log("nonsense\0x\0y\0z\0", &Censor::default()), []);
    }

    #[test]
    fn a_tree_is_weighed_in_blocks_and_submodules_are_seen() {
        let text = "100644 blob aa    5000\ta b\x00040000 tree bb       -\tdir\0\
                    160000 commit cc       -\tsub\x00100644 blob dd 0\tempty\0";
        let (weight, modules) = parse_tree(text);
        assert_eq!((weight, modules), (Weight { bytes: 8192, inodes: 4 }, vec!["sub".to_owned()]));
    }

    #[test]
    fn a_token_is_told_to_its_own_host_only() {
        let config = "services: {a: {command: [x], directory: /opt/x}}\napps: {shop: {services: [a], env_file: .env, \
                      source: {git: 'https://jo@git.example:8443/x.git', token_from: T}}}";
        let config = crate::config::Config::parse(config, Path::new("/etc/aibk.yaml")).unwrap();
        let app = config.apps.values().next().unwrap();
        let Some(crate::config::Place::Remote(remote)) = app.code.origin.as_ref().map(|o| &o.place)
        else {
            panic!("a remote")
        };
        let ask = |host: &str| {
            let mut git = std::process::Command::new("git");
            git.args(["credential", "fill"]).env_clear().env("PATH", super::super::workshop::PATH);
            git.env("GIT_TERMINAL_PROMPT", "0").env("HOME", "/nonexistent");
            git.envs(credential(remote, "s3cr3t'; $(x)"));
            let asked = tempfile::NamedTempFile::new().unwrap();
            fs::write(asked.path(), format!("protocol=https\nhost={host}\n\n")).unwrap();
            git.stdin(fs::File::open(asked.path()).unwrap());
            String::from_utf8(git.output().unwrap().stdout).unwrap()
        };
        let told = ask("git.example:8443");
        assert!(told.contains("username=jo\npassword=s3cr3t'; $(x)\n"), "{told}");
        assert!(!ask("evil.example").contains("s3cr3t"));
    }
}
