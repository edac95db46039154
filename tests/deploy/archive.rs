//! Archives that are sent.

use std::{
    fs,
    io::Write as _,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    process::Command,
};

use aibk::api::types::{Rollout, RolloutState};

use crate::support::{LONG, Shop, run, wait_for};

/// How many archives are kept.
fn kept(shop: &Shop) -> usize {
    fs::read_dir(shop.stage.path("uploads")).map_or(0, Iterator::count)
}

#[test]
fn an_archive_is_sent_and_its_deploy_outlives_the_daemon() {
    let mut shop = Shop::new();
    let packed = |shop: &Shop, version: &str| {
        shop.push(version, "ok");
        let path = shop.stage.path(&format!("{version}.tar.gz"));
        shop.git(&["archive", "--format=tar.gz", "-o", path.to_str().unwrap(), "HEAD"]);
        path
    };
    let (one, two) = (packed(&shop, "one"), packed(&shop, "two"));
    fs::remove_file(shop.stage.path("current")).unwrap();
    shop.stage.start();
    let uploads = shop.stage.path("uploads");
    shop.stage.ctl(&["deploy", "--archive", "nowhere.tar"]).expect(1).says(&["cannot read"]);

    // The daemon dies before it has looked at what it was sent, and before it has made anything of it.
    shop.stage.die_at("deploy.intent:1");
    let begun = shop.stage.ctl(&["deploy", "--no-wait", "--archive", one.to_str().unwrap()]);
    let id = begun.expect(0).stdout.trim().to_owned();
    for strike in [Some("deploy.effect:1"), None] {
        wait_for("the daemon's death", LONG, || (!shop.stage.daemon_goes_on()).then_some(()));
        let entry = fs::read_dir(&uploads).unwrap().next().unwrap().unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        // Nobody needs this one: its client was cut off by the daemon's death.
        fs::write(uploads.join("1.archive"), "half").unwrap();
        shop.stage.bury_daemon();
        if let Some(strike) = strike {
            shop.stage.launch();
            shop.stage.die_at(strike);
        }
    }
    shop.stage.restart_daemon();
    let waited = run(&mut shop.stage.aibkctl(&["wait", &id, "--json"]), LONG).expect(0);
    let first: Rollout = serde_json::from_str(&waited.stdout).unwrap();
    assert!(first.steps.iter().any(|step| {
        step.note.as_deref().is_some_and(|note| note.contains("of an archive with the SHA-256"))
    }));
    assert_eq!(shop.stage.answering(), "one");
    assert_eq!(kept(&shop), 0, "it goes with its deploy");

    // By a pipe, and by what everybody has.
    let aibkctl = shop.stage.aibkctl(&[]);
    let line = r#"cat "$1" | "$2" deploy --archive - --json"#;
    let mut piped = Command::new("sh");
    piped.args(["-c", line, "sh"]).arg(&two).arg(aibkctl.get_program());
    let piped = run(piped.env("AIBK_SOCKET", shop.stage.socket()), LONG).expect(0);
    let piped: Rollout = serde_json::from_str(&piped.stdout).unwrap();
    assert_eq!((piped.state, shop.stage.answering()), (RolloutState::Done, "two".to_owned()));
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-X", "POST", "-T"]).arg(&one).arg("--unix-socket").arg(shop.stage.socket());
    curl.arg("http://aibk/v1/apps/shop/deploy/archive?scope=code-only");
    let sent: Rollout = serde_json::from_str(&run(&mut curl, LONG).expect(0).stdout).unwrap();
    run(&mut shop.stage.aibkctl(&["wait", &sent.id.to_string()]), LONG).expect(0);
    assert_eq!(shop.stage.answering(), "one");
    nothing_is_left_of_what_is_no_archive(&shop);
}

/// Nor of what is empty, or never whole.
fn nothing_is_left_of_what_is_no_archive(shop: &Shop) {
    let kept = || kept(shop);
    let nonsense = shop.stage.path("nonsense.tar");
    fs::write(&nonsense, "nonsense").unwrap();
    let refused = shop.deploy(&["--archive", nonsense.to_str().unwrap()], 1);
    assert!(refused.failure.unwrap().contains("is no tarball"));
    fs::write(&nonsense, "").unwrap();
    let empty = shop.stage.ctl(&["deploy", "--archive", nonsense.to_str().unwrap()]);
    empty.expect(2).says(&["the archive is empty"]);
    let mut cut = UnixStream::connect(shop.stage.socket()).unwrap();
    let head =
        "POST /v1/apps/shop/deploy/archive HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n123";
    cut.write_all(head.as_bytes()).unwrap();
    wait_for("a file for what comes", LONG, || (kept() == 1).then_some(()));
    drop(cut);
    wait_for("nothing left of what was cut", LONG, || (kept() == 0).then_some(()));
    let last: Vec<Rollout> =
        serde_json::from_str(&shop.stage.ctl(&["rollouts", "--json"]).expect(0).stdout).unwrap();
    assert_eq!(last[0].id, refused.id, "nothing was begun since");
}
