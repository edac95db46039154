//! The directory of dumps, in every state that a death may leave it in.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::{
    BackupError, DumpName, Manifest, Reason,
    shelf::{Claim, Shelf},
};

fn shelf(directory: &Path) -> Shelf {
    Shelf { app: "ledger".parse().unwrap(), directory: directory.join("backups") }
}

#[tokio::test]
async fn dumps_are_listed_with_what_is_known_of_them() {
    let home = tempfile::tempdir().unwrap();
    let shelf = shelf(home.path());
    assert_eq!(shelf.list().await.unwrap(), [], "there is no directory yet");
    let _hold = shelf.claim(Claim::Alone).await.unwrap();
    let good = Manifest::sample("2026-03-01T03:00:00Z", Reason::Manual);
    for name in
        [&good.name.dump(), "ledger-20260302T030000Z.dump", "other-20260302T030000Z.dump", "x"]
    {
        fs::write(shelf.directory().join(name), "12345").unwrap();
    }
    shelf.describe(&good).await.unwrap();
    let told: Vec<_> = shelf.list().await.unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!((told[0].size, told[0].manifest.as_ref().unwrap()), (Some(5), &good));
    assert_eq!(told[1].manifest.as_ref().unwrap_err(), "there is no manifest beside it");
    assert_eq!(shelf.manifests().await.unwrap(), std::slice::from_ref(&good));
    assert_eq!(shelf.find(&good.name.to_string()).await.unwrap(), good);
    for (name, error) in [
        ("../x", "is not the name of a dump"),
        ("ledger-20270101T000000Z", "ledger has no dump"),
        ("ledger-20260302T030000Z", "there is no manifest beside it"),
    ] {
        let told = shelf.find(name).await.unwrap_err().to_string();
        assert!(told.contains(error), "{told}");
    }
    shelf.remove(&good.name).await.unwrap();
    shelf.remove(&good.name).await.unwrap();
    assert_eq!(shelf.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_not_whole_is_never_listed_and_does_not_stay() {
    let home = tempfile::tempdir().unwrap();
    let shelf = shelf(home.path());
    let _hold = shelf.claim(Claim::Alone).await.unwrap();
    let name = DumpName::new("ledger".parse().unwrap(), "2026-03-01T03:00:00Z".parse().unwrap());
    let partial = shelf.begin(name.dump()).await.unwrap();
    let mode = partial.file().metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode, shelf.list().await.unwrap().len()), (0o600, 0));
    // As if the daemon had been killed.
    std::mem::forget(partial);
    assert!(shelf.begin(name.dump()).await.is_err(), "it is in the way");
    shelf.sweep().await.unwrap();
    let partial = shelf.begin(name.dump()).await.unwrap();
    drop(partial);
    let partial = shelf.begin(name.dump()).await.unwrap();
    let known = Manifest::sample("2026-03-01T03:00:00Z", Reason::Manual);
    shelf.place(partial, &known).await.unwrap();
    assert_eq!(shelf.manifests().await.unwrap(), std::slice::from_ref(&known));

    // Killed before what is known had its name: it gets that, unless it is not whole itself.
    let at = |name: String| shelf.directory().join(name);
    let (last, partial) = (at(name.manifest()), at(format!(".{}.partial", name.manifest())));
    fs::rename(&last, &partial).unwrap();
    shelf.sweep().await.unwrap();
    assert_eq!(shelf.manifests().await.unwrap(), [known]);
    for text in ["{", "{}"] {
        fs::write(&partial, text).unwrap();
        shelf.sweep().await.unwrap();
        assert_eq!((partial.exists(), shelf.manifests().await.unwrap().len()), (false, 1));
    }
    fs::remove_file(&last).unwrap();
    fs::write(&partial, "{").unwrap();
    shelf.sweep().await.unwrap();
    assert!(!partial.exists() && !last.exists());
}

#[tokio::test]
async fn who_writes_is_alone() {
    let home = tempfile::tempdir().unwrap();
    let shelf = shelf(home.path());
    let reader = shelf.claim(Claim::Reading).await.unwrap();
    let other = shelf.claim(Claim::Reading).await.unwrap();
    assert!(matches!(shelf.claim(Claim::Alone).await, Err(BackupError::Busy(_))));
    drop((reader, other));
    let writer = shelf.claim(Claim::Alone).await.unwrap();
    assert!(matches!(shelf.claim(Claim::Reading).await, Err(BackupError::Busy(_))));
    drop(writer);
    shelf.claim(Claim::Alone).await.unwrap();
}
