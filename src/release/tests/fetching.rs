//! What a real git gives.

use std::{fs, process::Command};

use super::kit::Shop;
use crate::release::{FetchError, History, Relation, Wanted, id::made_at};

#[tokio::test]
async fn a_branch_a_tag_and_a_commit_are_fetched_and_their_history_is_known() {
    let mut shop = Shop::new("source: {git: REMOTE, ref: main}");
    shop.init();
    shop.write("backend/main.py", "one\n");
    let one = shop.commit("First");
    shop.git(&["tag", "--annotate", "v1", "--message", "the first"]);

    let first = shop.fetch(None).await.unwrap();
    let commit = first.commit.as_ref().unwrap();
    assert_eq!(
        (&commit.id, commit.subject.as_str(), commit.author.as_str()),
        (&one, "First", "Jo Doe")
    );
    assert_eq!((first.reference.as_deref(), &first.history), (Some("main"), &History::Unknown));
    assert!(first.weight.bytes >= 4096);
    let text = serde_json::to_string(&first).unwrap();
    assert_eq!(serde_json::from_str::<crate::release::Source>(&text).unwrap(), first);

    shop.write("backend/main.py", "two\n");
    shop.commit("Second");
    let three = shop.commit("Third");
    let later = shop.fetch(None).await.unwrap();
    assert_eq!((&later.digest, &later.history), (&three, &History::Onward));
    let between = shop.workshop.commits_between(&one, &three).await.unwrap();
    let subjects: Vec<_> = between.commits.iter().map(|commit| commit.subject.as_str()).collect();
    assert_eq!((between.relation, subjects), (Relation::Onward, vec!["Third", "Second"]));
    assert_eq!(shop.workshop.commits_between(&three, &one).await.unwrap().relation, Relation::Back);

    let tag = shop.fetch(Some("v1")).await.unwrap();
    assert_eq!((&tag.digest, tag.reference.as_deref()), (&one, Some("v1")));
    for name in [one.as_str(), &one[..8]] {
        assert_eq!(shop.fetch(Some(name)).await.unwrap().digest, one, "{name}");
    }

    // Somebody forces the branch.
    shop.git(&["reset", "--quiet", "--hard", &one]);
    let other = shop.commit("Another second");
    let forced = shop.fetch(Some("main")).await.unwrap();
    assert_eq!(forced.history, History::Rewritten { was: three.clone() });
    assert!(forced.rewritten());
    let between = shop.workshop.commits_between(&three, &other).await.unwrap();
    assert_eq!((between.relation, between.commits.len()), (Relation::Apart, 1));
    let gone = shop.workshop.commits_between(&"0".repeat(40), &other).await.unwrap();
    assert_eq!(gone.relation, Relation::Unknown);

    // What git does not have is told.
    let told = |shop: &Shop, of: &str| shop.told.iter().any(|line| line.contains(of));
    assert!(!told(&shop, "Git LFS"), "{:?}", shop.told);
    shop.write("models/.gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
    shop.commit("Models");
    shop.fetch(Some("main")).await.unwrap();
    assert!(told(&shop, "models/.gitattributes leaves files to Git LFS"), "{:?}", shop.told);
}

#[tokio::test]
async fn what_is_not_there_is_named_and_nothing_becomes_an_option() {
    let mut shop = Shop::new("source: {git: REMOTE}");
    let nothing = shop.fetch(None).await.unwrap_err().to_string();
    assert!(nothing.contains("correct `source.git`"), "{nothing}");
    shop.init();
    assert!(shop.fetch_error("main").await.contains("is an empty repository; push a branch"));
    let commit = shop.commit("First");
    shop.git(&["tag", "main"]);
    shop.commit("Second");
    for (name, told) in [
        ("mian", "has no branch, tag or commit `mian`; did you mean `main`?"),
        ("main", "has a branch and a tag `main`, which differ; write heads/main or tags/main"),
        ("--upload-pack=touch /tmp/x", "begins with `-`"),
        ("main^", "has a blank or one of"),
        ("abcdef0", "no single commit begins with `abcdef0` among the last 200"),
        (&"0".repeat(40), "has no branch, tag or commit `0000"),
    ] {
        let why = shop.fetch_error(name).await;
        assert!(why.contains(told), "{name}: {why}");
    }
    assert_eq!(shop.fetch(Some("tags/main")).await.unwrap().digest, commit);

    // A mirror that is damaged, or that a killed git left locked, is only a cache.
    fs::write(shop.workshop.places.mirror.join("shallow.lock"), "").unwrap();
    shop.fetch(Some("heads/main")).await.unwrap();
    fs::remove_file(shop.workshop.places.mirror.join("HEAD")).unwrap();
    shop.fetch(Some("heads/main")).await.unwrap();

    let mut none = Shop::new("keep: 2");
    assert!(matches!(none.fetch(None).await, Err(FetchError::NoSource)));
}

#[tokio::test]
async fn a_directory_and_an_archive_are_code_too() {
    let mut shop = Shop::new("source: {path: REMOTE}");
    shop.write("backend/main.py", "one\n");
    shop.write("backend/__pycache__/main.pyc", "old");
    let source = shop.fetch(None).await.unwrap();
    assert_eq!((&source.commit, source.digest.len()), (&None, 64));
    assert!(shop.fetch_error("main").await.contains("is no repository of git"));

    let archive = shop.dir.path().join("shop.tar.gz");
    let mut tar = Command::new("tar");
    tar.args(["--create", "--gzip", "--exclude=__pycache__", "--file"]).arg(&archive);
    assert!(tar.arg("remote").current_dir(shop.dir.path()).status().unwrap().success());
    let upload = shop.send(&fs::read(&archive).unwrap()).await;
    let wanted = Wanted::Archive(upload.clone());
    let packed = shop.workshop.fetch(&wanted, &mut |_| {}).await.unwrap();
    assert_eq!(packed.weight, source.weight);
    let built = shop.build(&packed).await.unwrap();
    let read = fs::read_to_string(shop.release(&built).join("backend/main.py")).unwrap();
    assert_eq!(read, "one\n");
    assert!(made_at(&built.id.0).is_some());

    // Code that changes between the two steps is not what was looked at.
    shop.write("backend/main.py", "two\n");
    let why = shop.build(&source).await.unwrap_err().to_string();
    assert!(why.contains("has changed since it was fetched"), "{why}");
    let stored = shop.workshop.upload(upload.id);
    fs::write(&stored, "something else").unwrap();
    let text = Wanted::Archive(shop.send(b"no archive").await);
    for (wanted, told) in [(&wanted, "is not what was sent any more"), (&text, "is no tarball")] {
        let why = shop.workshop.fetch(wanted, &mut |_| {}).await.unwrap_err().to_string();
        assert!(why.contains(told), "{why}");
    }
    shop.workshop.forget_upload(upload.id).await.unwrap();
    let why = shop.workshop.fetch(&wanted, &mut |_| {}).await.unwrap_err().to_string();
    assert!(why.contains("that was sent is gone; send it again"), "{why}");
    assert_eq!(shop.left(), [""; 0]);
}
