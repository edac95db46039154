//! Releases that are really built.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    time::Duration,
};

use nix::unistd::geteuid;

use super::kit::Shop;
use crate::{
    ident::ReleaseId,
    release::{BuildError, Manifest, Pruned, Release, ShelfError},
};

#[tokio::test]
async fn a_release_is_whole_sealed_and_shares_its_environment() {
    let mut shop = Shop::new(
        "env_file: shared/.env, source: {git: REMOTE}, python: {installer: pip}, shared: [.env, logs], \
         hooks: {build: [[sh, -c, 'echo $AIBK_RELEASE > built; echo token is $API_TOKEN; python -c \"import tiny\"']]}",
    );
    shop.init();
    shop.write("backend/main.py", "X = 1\n");
    shop.write("backend/broken.py", "def\n");
    shop.write("requirements.txt", "--no-index\n-r deep/more.txt\n");
    shop.write("deep/more.txt", "./wheels/tiny-1.0-py3-none-any.whl\n");
    shop.wheel("tiny");
    let one = shop.commit("First");
    fs::create_dir_all(shop.home().join("shared")).unwrap();
    fs::write(shop.home().join("shared/.env"), "API_TOKEN=hunter2\n").unwrap();

    let first = shop.deploy(None).await;
    let release = shop.release(&first);
    assert_eq!(first.id.0, format!("20261130T191600Z-{}", &one[..12]));
    assert_eq!(fs::read_to_string(release.join("built")).unwrap().trim(), first.id.0);
    assert_eq!((first.by.as_deref(), first.reference.as_deref()), (Some("jo"), Some("main")));
    assert!(release.join("backend/__pycache__").is_dir(), "compiled beforehand");
    assert!(!release.join(".git").exists());
    let all = shop.told.join("\n");
    assert!(all.contains("token is …") && !all.contains("hunter2"), "{all}");
    assert!(all.contains("not all of the code could be compiled"), "{all}");
    for path in
        ["", "backend", "backend/main.py", "built", ".aibk-release.json", ".venv/bin", ".venv"]
    {
        let mode = fs::metadata(release.join(path)).unwrap().mode();
        assert_eq!(mode & 0o222, 0, "{path} may be written to");
    }
    fs::write(release.join("logs/x"), "").unwrap();
    assert!(shop.home().join("shared/logs/x").exists());

    // Run again, it is what it was; an unchanged lock costs nothing.
    let source = shop.fetch(None).await.unwrap();
    assert_eq!(shop.build_as(&first.id, &source).await.unwrap(), first);
    shop.write("backend/main.py", "X = 2\n");
    shop.commit("Second");
    shop.told.clear();
    let second = shop.deploy(None).await;
    assert_eq!(second.venv, first.venv);
    assert!(shop.told.iter().any(|line| line.contains("is there already")), "{:?}", shop.told);

    // What a service runs of it.
    shop.workshop.point_current(&first.id).unwrap();
    assert_eq!(shop.workshop.current(), Some(first.id.clone()));
    let backend = shop.home().join("current/backend");
    assert_eq!(
        Release::at(&backend).unwrap(),
        Release { id: first.id.clone(), directory: release.join("backend") }
    );
    shop.workshop.point_current(&second.id).unwrap();
    assert_eq!(Release::at(&backend).unwrap().id, second.id);

    retention(shop, first, second).await;
}

/// What is to go goes, what it alone needed goes with it, and what is not ours is left alone.
async fn retention(mut shop: Shop, first: Manifest, second: Manifest) {
    let release = shop.release(&first);
    shop.workshop.pin(&first.id).unwrap();
    shop.workshop.note_heads(&first.id, vec!["abc".into()]).unwrap();
    let third = shop.deploy(None).await;
    let listed: Vec<_> =
        shop.workshop.list().unwrap().into_iter().map(|r| (r.id, r.notes.pinned)).collect();
    assert_eq!(
        listed,
        [(third.id.clone(), false), (second.id.clone(), false), (first.id.clone(), true)]
    );
    assert_eq!(shop.workshop.prune(&[]).await.unwrap(), Pruned::default());
    // Somebody opens what a release runs with: it looks unfinished, and is needed all the same.
    let venv = shop.workshop.places.venvs.join(&first.venv.as_ref().unwrap().hash);
    for mode in [0o755, 0o555] {
        fs::set_permissions(&venv, fs::Permissions::from_mode(mode)).unwrap();
        shop.workshop.clear_up().await.unwrap();
        assert!(venv.join("bin/python").exists(), "it was removed under what runs");
    }
    shop.workshop.unpin(&first.id).unwrap();
    assert_eq!(shop.workshop.get(&first.id).unwrap().notes.heads, Some(vec!["abc".to_owned()]));
    let cut = shop.workshop.places.releases.join(format!(".{}.removing", first.id));
    fs::create_dir(&cut).unwrap();
    fs::create_dir(shop.workshop.places.releases.join("somebody-elses")).unwrap();
    let pruned = shop.workshop.prune(std::slice::from_ref(&first.id)).await.unwrap();
    assert_eq!((&pruned.releases, pruned.venvs.len()), (&vec![first.id.clone()], 0));
    assert!(!release.exists() && !cut.exists());
    let serving = shop.workshop.remove(&second.id).await;
    assert!(matches!(serving, Err(ShelfError::Serves(_))), "{serving:?}");
    fs::remove_file(shop.home().join("current")).unwrap();
    for id in [&second.id, &third.id] {
        shop.workshop.remove(id).await.unwrap();
    }
    let pruned = shop.workshop.prune(&[]).await.unwrap();
    assert_eq!(pruned.venvs, [first.venv.unwrap().hash]);
    assert!(shop.workshop.places.releases.join("somebody-elses").exists(), "it is none of ours");
    for id in ["../..", "current", ""] {
        let refused = shop.workshop.remove(&ReleaseId(id.to_owned())).await;
        assert!(matches!(refused, Err(ShelfError::BadId(_))), "{id}");
    }
}

#[tokio::test]
async fn what_fails_leaves_nothing_and_says_what_to_do() {
    let mut shop = Shop::new("source: {path: REMOTE}, python: {installer: pip}, shared: [uploads]");
    shop.write("main.py", "");
    shop.write("requirements.txt", "--no-index\nno-such-thing==1.0\n");
    let source = shop.fetch(None).await.unwrap();
    let why = shop.build(&source).await.unwrap_err();
    assert!(matches!(why, BuildError::Unresolvable { .. }), "{why}");
    assert!(why.to_string().contains("no-such-thing"), "{why}");

    shop.write("requirements.txt", "tiny==1.1\n");
    shop.write("uv.lock", "version = 1\n[[package]]\nname = \"tiny\"\nversion = \"1.0\"\n");
    let source = shop.fetch(None).await.unwrap();
    let why = shop.build(&source).await.unwrap_err().to_string();
    assert!(why.contains("tiny is 1.1 there and 1.0 in the lock"), "{why}");

    shop.write("requirements.txt", "-e .\n");
    fs::remove_file(shop.remote().join("uv.lock")).unwrap();
    let source = shop.fetch(None).await.unwrap();
    assert!(matches!(shop.build(&source).await, Err(BuildError::Requirements { .. })));

    shop.write("requirements.txt", "# nothing\n");
    shop.write("uploads/mine.txt", "");
    let source = shop.fetch(None).await.unwrap();
    assert!(matches!(shop.build(&source).await, Err(BuildError::InTheWay { .. })));
    assert_eq!(shop.left(), [""; 0]);
    assert!(shop.workshop.list().unwrap().is_empty());

    let mut failing = Shop::new(
        "source: {path: REMOTE}, hooks: {build: [[sh, -c, 'echo no paint; exit 3']]}, deadlines: {hook: 20s}",
    );
    failing.write("main.py", "");
    let source = failing.fetch(None).await.unwrap();
    let why = failing.build(&source).await.unwrap_err().to_string();
    assert!(why.contains("ended with exit status 3:\nno paint"), "{why}");
    let mut old =
        Shop::new("source: {path: REMOTE}, python: {version: '3.99', requirements: r.txt}");
    old.write("r.txt", "");
    let source = old.fetch(None).await.unwrap();
    let why = old.build(&source).await.unwrap_err().to_string();
    assert!(why.contains("cannot find `python3.99`"), "{why}");
    assert_eq!((failing.left(), old.left()), (vec![], vec![]));
}

/// What a build that was killed has left: half a tree that nobody may take for a release, and half an
/// environment.
#[tokio::test]
async fn a_build_that_was_cut_is_made_anew() {
    let mut shop = Shop::new("source: {path: REMOTE}, python: {installer: pip}");
    shop.write("main.py", "");
    shop.write("requirements.txt", "");
    let whole = shop.deploy(None).await;
    let venv = shop.workshop.places.venvs.join(&whole.venv.as_ref().unwrap().hash);
    shop.workshop.remove(&whole.id).await.unwrap();
    let half = shop.workshop.places.releases.join(format!(".{}.building", whole.id));
    fs::create_dir(&half).unwrap();
    fs::write(half.join("old.py"), "").unwrap();
    // pip was killed: no mark, and what it had begun.
    crate::release::tree::remove(&venv).unwrap();
    fs::create_dir_all(venv.join("lib/half")).unwrap();
    assert_eq!(shop.left().len(), 2);

    let source = shop.fetch(None).await.unwrap();
    let again = shop.build_as(&whole.id, &source).await.unwrap();
    assert_eq!((&again.id, &again.venv), (&whole.id, &whole.venv));
    assert!(!shop.release(&again).join("old.py").exists());
    assert!(!venv.join("lib/half").exists() && venv.join("bin/python").exists());
    assert_eq!(shop.left(), [""; 0]);

    // Dropped in the middle of a hook, nothing of it runs on, and it can be run again.
    let mut slow = Shop::new(
        "source: {path: REMOTE}, hooks: {build: [[sh, -c, 'test -e HOME/go || { echo $$ > HOME/pid.new; \
         mv HOME/pid.new HOME/pid; sleep 1000; }']]}",
    );
    slow.write("main.py", "");
    let source = slow.fetch(None).await.unwrap();
    let id = source.release_id("2026-11-30T19:15:00Z".parse().unwrap());
    let pid = slow.home().join("pid");
    let begun = async {
        while !pid.exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        done = slow.build_as(&id, &source) => panic!("{done:?}"),
        done = tokio::time::timeout(Duration::from_secs(20), begun) => done.unwrap(),
    }
    assert_eq!(slow.left().len(), 1, "as a killed daemon leaves it");
    fs::write(slow.home().join("go"), "").unwrap();
    assert_eq!(slow.build_as(&id, &source).await.unwrap().id, id);
    let pid = fs::read_to_string(&pid).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists());
    assert_eq!(slow.left(), [""; 0]);
}

/// As root, everything is built by the application's user, and is nobody's but root's afterwards.
#[tokio::test]
async fn the_application_s_user_builds_and_can_change_nothing_afterwards() {
    if !geteuid().is_root() {
        return;
    }
    let mut shop = Shop::new(
        "user: nobody, source: {path: REMOTE}, python: {installer: pip, interpreter: /usr/bin/python3}, shared: [logs], \
         hooks: {build: [[sh, -c, 'id -un > who && touch secret && chmod 600 secret']]}",
    );
    shop.init();
    shop.write("main.py", "");
    shop.write("requirements.txt", "");
    shop.commit("of root, which named it");
    let built = shop.deploy(None).await;
    let release = shop.release(&built);
    assert_eq!(fs::read_to_string(release.join("who")).unwrap(), "nobody\n");
    for path in ["", "main.py", "who", "__pycache__", ".venv", ".venv/pyvenv.cfg"] {
        let seen = fs::metadata(release.join(path)).unwrap();
        assert_eq!((seen.uid(), seen.mode() & 0o222), (0, 0), "{path}");
    }
    assert_eq!(
        fs::metadata(release.join("secret")).unwrap().mode() & 0o777,
        0o440,
        "for the group"
    );
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
    assert_eq!(fs::metadata(shop.home().join("shared/logs")).unwrap().uid(), nobody);
}

#[tokio::test]
async fn a_disk_that_is_full_is_seen_before_anything_is_made() {
    let mut shop = Shop::new("source: {path: REMOTE}");
    shop.write("main.py", "");
    let mut source = shop.fetch(None).await.unwrap();
    source.weight.bytes = u64::MAX / 2;
    let why = shop.build(&source).await.unwrap_err();
    assert!(matches!(why, BuildError::NoRoom(_)), "{why}");
    assert!(why.to_string().contains("make room"), "{why}");
    source.weight.bytes = 0;
    source.weight.inodes = u64::MAX / 2;
    assert!(matches!(shop.build(&source).await, Err(BuildError::NoRoom(_))));
    assert_eq!(shop.left(), [""; 0]);
    fs::set_permissions(shop.home(), fs::Permissions::from_mode(0o777)).unwrap();
    let why = shop.fetch(None).await.unwrap_err().to_string();
    assert!(why.contains("chmod o-w"), "{why}");
    fs::set_permissions(shop.home(), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("/nonexistent", shop.home().join("current")).unwrap();
    assert_eq!(shop.workshop.current(), None);
    assert!(Path::new(&shop.home()).join("releases").is_dir());
}

/// Where this host has uv; the lock is one that uv wrote.
#[tokio::test]
async fn uv_installs_what_is_locked_and_refuses_a_lock_that_does_not_fit() {
    let mut shop = Shop::new("source: {path: REMOTE}, python: {installer: uv}");
    let project = |needs: &str| {
        format!(
            "[project]\nname = \"shop\"\nversion = \"0.1.0\"\nrequires-python = \">=3.9\"\n\
             dependencies = [{needs}]\n[tool.uv]\nno-index = true\nfind-links = [\"./wheels\"]\n"
        )
    };
    shop.wheel("tiny");
    shop.write("pyproject.toml", &project("\"tiny\""));
    shop.write(
        "uv.lock",
        "version = 1\nrevision = 3\nrequires-python = \">=3.9\"\n\n[[package]]\nname = \"shop\"\n\
         version = \"0.1.0\"\nsource = { virtual = \".\" }\ndependencies = [\n    { name = \"tiny\" },\n]\n\n\
         [package.metadata]\nrequires-dist = [{ name = \"tiny\" }]\n\n[[package]]\nname = \"tiny\"\n\
         version = \"1.0\"\nsource = { registry = \"wheels\" }\nwheels = [\n    \
         { path = \"tiny-1.0-py3-none-any.whl\" },\n]\n",
    );
    let source = shop.fetch(None).await.unwrap();
    let built = match shop.build(&source).await {
        Err(BuildError::NeedsUv(lock)) => {
            eprintln!("skipped: this host has no uv, which {lock} needs");
            return;
        }
        built => built.unwrap_or_else(|e| panic!("{e}\n{:#?}", shop.told)),
    };
    let venv = built.venv.as_ref().unwrap();
    assert_eq!((venv.installer.as_str(), venv.from.to_str()), ("uv", Some("uv.lock")));
    let installed = shop.release(&built).join(".venv/lib");
    let python = fs::read_dir(installed).unwrap().next().unwrap().unwrap().path();
    let module = python.join("site-packages/tiny.py");
    let seen = fs::metadata(module).unwrap();
    assert_eq!((seen.nlink(), seen.mode() & 0o222), (1, 0), "it is no link into a cache");

    shop.write("pyproject.toml", &project("\"tiny>=0.5\""));
    let source = shop.fetch(None).await.unwrap();
    let why = shop.build(&source).await.unwrap_err();
    assert!(matches!(why, BuildError::LockDiffers { .. }), "{why}");
    shop.write("pyproject.toml", &project("\"tiny\", \"no-such-thing\""));
    let source = shop.fetch(None).await.unwrap();
    let why = shop.build(&source).await.unwrap_err();
    assert!(matches!(why, BuildError::Unresolvable { .. }), "{why}");
    shop.write("requirements.txt", "./wheels/tiny-1.0-py3-none-any.whl\n");
    fs::remove_file(shop.remote().join("uv.lock")).unwrap();
    let plain = shop.deploy(None).await;
    assert_eq!(plain.venv.unwrap().from.to_str(), Some("requirements.txt"));
    assert_eq!(shop.left(), [""; 0]);
}
