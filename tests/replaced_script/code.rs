//! Its failures with code and with traffic.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use aibk::api::types::{ReleaseState, RolloutState};
use serde_json::json;

use crate::support::{
    LONG, Running, Shop, fetch, is_alive, listener_on, load::Plan, run, venv, wait_for,
};

/// The script: nginx is never rewritten, so the standby gets nothing, and the stop of the first port is
/// seen by clients.
#[test]
fn nginx_is_rewritten_and_the_stop_of_the_first_port_is_not_seen() {
    let mut shop = Shop::new();
    shop.push("one", "ok");
    shop.stage.start();
    let load = shop.stage.load_of(Plan::gets(shop.stage.address(), 2));
    let mut deploying = shop.stage.ctl_begun(&["deploy"]);
    let mut served = BTreeSet::new();
    wait_for("the end of the deploy", LONG, || {
        served.insert(shop.stage.serving());
        (!deploying.is_going_on()).then_some(())
    });
    deploying.end(LONG).expect(0);
    let report = load.finish(None).unwrap();
    assert!(report.lost == 0 && report.answered > 0, "{report}");
    let (blue, green) = (shop.stage.blue_name(), shop.stage.green_name());
    assert!(served.contains(&vec![green]), "the standby alone served: {served:?}");
    assert_eq!(shop.stage.serving(), [blue], "the first port serves again");
    assert_eq!(shop.stage.answering(), "one");
}

/// All that can be seen of the files below `directory` when somebody touches them.
fn touched(directory: &Path) -> BTreeMap<PathBuf, (u64, u32, i64, i64)> {
    let mut all = BTreeMap::new();
    let mut left = vec![fs::canonicalize(directory).unwrap()];
    while let Some(path) = left.pop() {
        let seen = fs::symlink_metadata(&path).unwrap();
        if seen.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        all.insert(path, (seen.ino(), seen.mode(), seen.ctime(), seen.ctime_nsec()));
    }
    all
}

/// Lets the application need a package of this name, which is installed without any network and leads to
/// uvicorn. No two names share an environment.
fn needs(shop: &Shop, name: &str) {
    let script = format!(
        "import sys, zipfile\nw = zipfile.ZipFile('{name}-1.0-py3-none-any.whl', 'w')\n\
         w.writestr('{name}.pth', next(p for p in sys.path if p.endswith('site-packages')))\n\
         w.writestr('{name}-1.0.data/scripts/uvicorn', '#!python\\nfrom uvicorn import main\\nmain()\\n')\n\
         about = '{name}-1.0.dist-info/'\n\
         w.writestr(about + 'METADATA', 'Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n')\n\
         w.writestr(about + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
         w.writestr(about + 'RECORD', '')\nw.close()\n"
    );
    let mut python = Command::new(venv().join("bin/python"));
    run(python.args(["-c", &script]).current_dir(&shop.work), LONG).expect(0);
    let requirements = format!("--no-index\n./{name}-1.0-py3-none-any.whl\n");
    fs::write(shop.work.join("requirements.txt"), requirements).unwrap();
}

/// The script: `git reset --hard` and `pip install` change the tree and the venv under running workers.
#[test]
fn the_tree_and_the_venv_of_running_workers_stay_as_they_are() {
    let mut shop = Shop::new();
    shop.stage.settings.set("apps.shop.roll_out", "swap");
    shop.stage.settings.set("services.api.venv", ".venv");
    let python = json!({"installer": "pip", "interpreter": venv().join("bin/python")});
    shop.stage.settings.set("apps.shop.python", python);
    fs::remove_file(shop.stage.path("current")).unwrap();
    needs(&shop, "tiny");
    shop.push("one", "ok");
    shop.stage.start();
    let first = shop.deploy(&[], 0).release.unwrap();
    let serving = shop.stage.serving().remove(0);
    let worker = shop.stage.instance(&serving).pid.unwrap();
    let tree = shop.release(&first);
    let environment = fs::canonicalize(tree.join(".venv")).unwrap();
    let before = (touched(&tree), touched(&environment));
    assert!(before.0.len() > 3 && before.1.len() > 10, "{before:?}");

    needs(&shop, "other");
    shop.push("two", "ok");
    let second = shop.deploy(&[], 0).release.unwrap();
    assert_eq!(shop.release_that_answers(), second);
    assert_ne!(fs::canonicalize(shop.release(&second).join(".venv")).unwrap(), environment);
    assert!(is_alive(worker), "it is warm");
    assert_eq!(fs::read_link(format!("/proc/{worker}/cwd")).unwrap(), tree);
    assert_eq!((touched(&tree), touched(&environment)), before);
}

/// The script: "start 8001" does nothing if an old 8001 still runs, and its `/health` then vouches for
/// old code.
#[test]
fn an_old_process_on_the_spare_port_cannot_vouch_for_new_code() {
    let mut shop = Shop::new();
    shop.push("one", "ok");
    shop.stage.start();
    let first = shop.deploy(&[], 0).release.unwrap();
    let green = shop.stage.green;
    let mut uvicorn = Command::new(venv().join("bin/python"));
    uvicorn.args(["-m", "uvicorn", "main:app", "--port", &green.to_string()]);
    uvicorn.current_dir(shop.stage.path("releases/v1"));
    let old = Running::start(&mut uvicorn);
    wait_for("the old one to answer", LONG, || fetch(green, "/health").ok());

    shop.push("two", "ok");
    let stopped = shop.deploy(&[], 1);
    let why = stopped.failure.unwrap();
    let (port, pid) = (green.to_string(), old.pid().to_string());
    assert!(why.contains(&port) && why.contains(&pid), "it is named: {why}");
    assert_eq!((stopped.state, shop.release_that_answers()), (RolloutState::Undone, first));
    assert!(is_alive(old.pid()), "it is not ours to end");

    drop(old);
    wait_for("the port to be free", LONG, || listener_on(green).is_none().then_some(()));
    let second = shop.deploy(&[], 0).release.unwrap();
    assert_eq!((shop.release_that_answers(), shop.stage.answering()), (second, "two".into()));
}

/// The script: rollback takes the newest folder by mtime, which may be `db/` or the broken release
/// itself.
#[test]
fn a_rollback_goes_by_record_and_not_by_time() {
    let mut shop = Shop::new();
    shop.push("one", "ok");
    shop.stage.start();
    let first = shop.deploy(&[], 0).release.unwrap();
    shop.push("two", "ok");
    let second = shop.deploy(&[], 0).release.unwrap();
    shop.push("three", "exit");
    let broken = shop.deploy(&[], 1).release.unwrap();
    for newest in ["db", "20991231T235959Z-abcdef012345"] {
        fs::create_dir(shop.release(newest)).unwrap();
        fs::copy(shop.release(&first).join("main.py"), shop.release(newest).join("main.py"))
            .unwrap();
    }
    run(Command::new("touch").arg(shop.release(&broken)), LONG).expect(0);

    let back = shop.rollback(&[], 0);
    assert_eq!(back.release.as_deref(), Some(first.as_str()));
    assert_eq!((shop.release_that_answers(), shop.stage.answering()), (first, "one".into()));
    let known = shop.releases();
    let failed = known.iter().find(|release| release.id == broken).unwrap();
    assert_eq!(failed.state, ReleaseState::Failed);
    assert!(known.iter().all(|release| release.id != "db"), "{known:?}");
    let refused = shop.stage.ctl(&["rollback", "--to", "db"]);
    assert!(refused.status != Some(0), "{refused}");
    assert_ne!(shop.release_that_answers(), second);
}

/// The script: there is no lock.
#[test]
fn a_second_deploy_is_refused_and_told_who_deploys() {
    let mut shop = Shop::new();
    shop.push("one", "ok");
    shop.stage.settings.set("apps.shop.hooks", json!({"build": [["sleep", "1000"]]}));
    shop.stage.start();
    let client = shop.stage.ctl_begun(&["deploy"]);
    wait_for("the hook", LONG, || (!shop.stage.processes("sleep").is_empty()).then_some(()));
    let refused = |shop: &Shop| {
        let told = shop.stage.ctl(&["deploy"]).expect(4);
        told.says(&["(deploy of shop) is under way", "s ago by uid", "at step `build`"]);
        shop.stage.ctl(&["rollback"]).expect(4);
    };
    refused(&shop);

    // It is the deploy's, not its client's, nor its daemon's.
    drop(client);
    refused(&shop);
    shop.stage.kill_daemon();
    shop.stage.restart_daemon();
    refused(&shop);
    let id = shop.stage.rollouts().iter().find(|rollout| rollout.kind == "deploy").unwrap().id;
    let id = id.to_string();
    shop.stage.ctl(&["cancel", &id]).expect(0).says(&["cancelled", "everything is as before"]);
    let shown = shop.stage.ctl(&["rollouts", &id]).expect(0).stdout;
    assert!(shown.contains("\ncancelled by uid"), "{shown}");
    assert!(shop.releases().is_empty() && shop.stage.answering() == "v1");
    let left = |of| fs::read_dir(shop.stage.path(of)).unwrap().flatten().map(|left| left.path());
    let left: Vec<_> = left("releases").chain(left("venvs")).collect();
    assert!(left.iter().all(|left| !left.to_string_lossy().contains(".building")), "{left:?}");
    assert!(shop.stage.processes("sleep").is_empty());
    shop.stage.settings.remove("apps.shop.hooks");
    shop.stage.write_files();
    shop.stage.ctl(&["daemon-reload"]).expect(0);
    shop.deploy(&[], 0);
}

/// The script: failures exit 0.
#[test]
fn every_failure_exits_with_1_and_says_why() {
    let mut shop = Shop::new();
    shop.stage.start();
    let fails = |shop: &Shop, args: &[&str], why: &str| {
        let failed = shop.deploy(args, 1);
        let told = failed.failure.unwrap();
        assert!(told.contains(why), "{why}: {told}");
        assert_eq!(failed.state, RolloutState::Undone, "{told}");
        assert_eq!(shop.stage.answering(), "v1");
    };
    fails(&shop, &[], "is an empty repository");
    shop.push("one", "ok");
    fails(&shop, &["mian"], "did you mean `main`?");
    let nowhere = shop.stage.ctl(&["deploy", "--archive", "nowhere.tar"]).expect(1);
    nowhere.says(&["cannot read nowhere.tar"]);
    fs::write(shop.work.join("requirements.txt"), "--no-index\nno-such-thing==1.0\n").unwrap();
    shop.push("two", "ok");
    fails(&shop, &[], "no-such-thing");
    fs::write(shop.work.join("requirements.txt"), "tiny==1.1\n").unwrap();
    let lock = "version = 1\n[[package]]\nname = \"tiny\"\nversion = \"1.0\"\n";
    fs::write(shop.work.join("uv.lock"), lock).unwrap();
    shop.push("three", "ok");
    fails(&shop, &[], "tiny is 1.1 there and 1.0 in the lock");
    shop.git(&["rm", "-q", "requirements.txt", "uv.lock"]);
    shop.push("four", "exit");
    fails(&shop, &[], "the licence has expired");
    let known: Vec<_> = shop.releases().iter().map(|release| release.state).collect();
    assert_eq!(known, [ReleaseState::Failed], "nothing half made is left");

    // A branch that was forced is told, and deployed.
    shop.git(&["reset", "-q", "--hard", "HEAD~3"]);
    shop.git(&["commit", "-q", "--amend", "-m", "Anew"]);
    shop.git(&["push", "-q", "--force", "origin", "main"]);
    let anew = shop.deploy(&[], 0);
    assert!(format!("{:?}", anew.steps).contains("the branch was forced"), "{:#?}", anew.steps);
    assert_eq!(shop.stage.answering(), "one");
}
