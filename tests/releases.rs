//! Releases on a disk that becomes full.

use std::{fs, path::Path, sync::Arc};

use aibk::{
    config::Config,
    process::Launcher,
    release::{BuildError, FetchError, Wanted, Workshop},
};

use crate::support::SmallDisk;

fn workshop(home: &Path, code: &Path, launcher: &Arc<Launcher>) -> Workshop {
    let text = format!(
        "services: {{api: {{command: [x], directory: /opt/x}}}}\n\
         apps: {{shop: {{home: {}, services: [api], source: {{path: {}}}, \
         hooks: {{build: [[sh, -c, 'test -e {0}/little || head -c 90000000 /dev/zero > big']]}}}}}}",
        home.display(),
        code.display()
    );
    let config = Config::parse(&text, Path::new("/etc/aibk.yaml")).unwrap();
    Workshop::new(config.apps.values().next().unwrap(), launcher)
}

#[tokio::test]
async fn a_full_disk_leaves_nothing_behind_and_is_told() {
    let disk = SmallDisk::new(64 * 1024);
    let other = tempfile::tempdir().unwrap();
    let (code, runtime) = (other.path().join("code"), other.path().join("run"));
    fs::create_dir(&code).unwrap();
    fs::create_dir(&runtime).unwrap();
    fs::write(code.join("main.py"), "X = 1\n").unwrap();
    let launcher = Launcher::new(&runtime).unwrap();
    let home = disk.path().join("home");
    let workshop = workshop(&home, &code, &launcher);
    let names = |place: &str| fs::read_dir(home.join(place)).unwrap().count();

    // It becomes full while the release is built.
    let wanted = Wanted::Ref(None);
    let source = workshop.fetch(&wanted, &mut |_| {}).await.unwrap();
    let id = source.release_id("2026-11-30T19:15:00Z".parse().unwrap());
    let why = workshop.build(&id, &source, None, &mut |_| {}).await.unwrap_err();
    assert!(matches!(why, BuildError::Full(_)), "{why}");
    assert!(why.to_string().contains("make room, and deploy again"), "{why}");
    assert_eq!(names("releases"), 0);

    // It is full before.
    disk.fill();
    let why = workshop.build(&id, &source, None, &mut |_| {}).await.unwrap_err();
    assert!(matches!(why, BuildError::NoRoom(_)), "{why}");
    let why = workshop.fetch(&wanted, &mut |_| {}).await.unwrap_err();
    assert!(matches!(why, FetchError::Full(_)), "{why}");
    assert_eq!(names("releases"), 0);

    disk.make_room();
    fs::write(home.join("little"), "").unwrap();
    let built = workshop.build(&id, &source, None, &mut |_| {}).await.unwrap();
    assert_eq!(workshop.list().unwrap()[0].id, built.id);
}
