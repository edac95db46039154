//! Several services in one rollout: in order, as one record, whatever becomes of one of them or of the
//! daemon.

use std::{net::Ipv4Addr, os::unix::fs::symlink};

use aibk::api::types::{InstanceState, Planned, Rollout, RolloutState, Traffic};
use rustix::process::Signal;

use crate::support::{
    LONG, Stage, kill,
    load::{Load, Plan},
    run, wait_for,
};

/// `api` in two slots, `admin` in one that the daemon holds, behind `api`; `worker` behind nobody.
fn stage() -> Stage {
    let mut stage = Stage::new();
    stage.settings.set("services.api.rollout.watch", "100ms");
    stage.add_admin();
    stage.add_command("worker", &["sleep", "1000"]);
    stage.settings.set("services.admin.socket", "held");
    stage.settings.set("services.admin.after", serde_json::json!(["api"]));
    stage.settings.set("services.admin.directory", stage.path("admin").to_str().unwrap());
    stage.releases.write("v2", "ok");
    admin_is(&stage, "v1");
    stage
}

/// What a rolling update of `admin` brings in.
fn admin_is(stage: &Stage, release: &str) {
    let _ = std::fs::remove_file(stage.path("admin"));
    symlink(stage.path("releases").join(release), stage.path("admin")).unwrap();
}

fn loads(stage: &Stage) -> [Load; 2] {
    let (_, public) = stage.admin.unwrap();
    let to_admin = Plan::gets((Ipv4Addr::LOCALHOST, public).into(), 1);
    [stage.load_of(Plan::gets(stage.address(), 2)), Load::start(to_admin).unwrap()]
}

fn lose_nothing(loads: [Load; 2]) {
    for load in loads {
        let report = load.finish(None).unwrap();
        assert!(report.lost == 0 && report.answered > 0, "{report}");
    }
}

fn states(rollout: &Rollout) -> Vec<(&str, RolloutState)> {
    rollout.members.iter().map(|member| (member.service.as_str(), member.state)).collect()
}

#[track_caller]
fn shown(stage: &Stage, id: u64) -> Rollout {
    let output = stage.ctl(&["rollouts", &id.to_string(), "--json"]).expect(0);
    serde_json::from_str(&output.stdout).unwrap()
}

fn release_of(stage: &Stage, instance: &str) -> String {
    stage.instance(instance).release.unwrap()
}

/// Struck between the first and the second, and then inside the second, the daemon goes on.
#[test]
fn several_services_roll_in_order_over_the_deaths_of_the_daemon() {
    let mut stage = stage();
    stage.start();
    let loads = loads(&stage);
    stage.releases.set_current("v2");
    admin_is(&stage, "v2");
    let before = stage.rollouts().len();
    let worker = stage.instance("worker").pid;
    stage.die_at("rollout.turn:2");
    let begun = run(&mut stage.aibkctl(&["rolling", "admin", "worker", "api", "--no-wait"]), LONG);
    let id: u64 = begun.expect(0).stdout.trim().parse().unwrap();
    for strike in [Some("rollout.effect:1"), None] {
        wait_for("the daemon's death", LONG, || (!stage.daemon_goes_on()).then_some(()));
        stage.bury_daemon();
        match strike {
            Some(strike) => {
                stage.launch();
                stage.die_at(strike);
            }
            None => stage.restart_daemon(),
        }
    }
    run(&mut stage.aibkctl(&["wait", &id.to_string()]), LONG).expect(0);
    lose_nothing(loads);

    let rollout = shown(&stage, id);
    let done = ["worker", "api", "admin"].map(|service| (service, RolloutState::Done));
    assert_eq!((rollout.state, states(&rollout)), (RolloutState::Done, done.to_vec()));
    let admin = format!("admin@{}", stage.admin.unwrap().0);
    assert_eq!((release_of(&stage, &admin).as_str(), stage.answering().as_str()), ("v2", "v2"));
    assert_ne!(stage.instance("worker").pid, worker);
    let ours = |rollout: &&Rollout| rollout.kind == "rolling";
    let history = stage.rollouts();
    assert_eq!(history.iter().filter(ours).map(|seen| seen.id).collect::<Vec<_>>(), [id]);
    assert!(history.len() > before, "{history:#?}");
    // Each of its numbers is all of it.
    let last = rollout.members.last().unwrap().id;
    assert_eq!(shown(&stage, last).id, id);
    stage.ctl(&["rollouts", &id.to_string()]).expect(0).says(&["rolling update of admin", "done"]);
}

#[test]
fn one_that_fails_or_is_cancelled_stops_those_behind_it_and_each_is_told() {
    let mut stage = stage();
    stage.settings.set("services.admin.rollout.watch", "5m");
    stage.start();
    stage.releases.write("bad", "exit");
    let loads = loads(&stage);
    let admin = format!("admin@{}", stage.admin.unwrap().0);
    let worker = stage.instance("worker").pid;
    let begun = |stage: &Stage| stage.rollouts().iter().filter(|r| r.kind == "rolling").count();

    // What is refused of one is refused of all, and nothing is begun.
    stage.ctl(&["rolling", "api", "nobody"]).expect(4).says(&["no service `nobody`"]);
    stage.ctl(&["rolling", "api", "admin", "--release", "."]).expect(2);
    stage.ctl(&["swap", "api", "admin"]).expect(4).says(&["admin has one slot"]);
    assert_eq!(begun(&stage), 0);

    // The second one fails: the first one stays, the third one is not begun.
    stage.releases.set_current("v2");
    admin_is(&stage, "bad");
    let failed = run(&mut stage.aibkctl(&["rolling", "api", "admin", "worker"]), LONG).expect(5);
    failed.says(&[
        "1 of 3 done",
        "api: rolling update done",
        "admin: rolling update failed",
        "worker: not begun: admin comes before it, and failed",
    ]);
    let rollout = stage.rollouts().remove(0);
    let ends = [RolloutState::Done, RolloutState::Undone, RolloutState::Skipped];
    let services = ["api", "admin", "worker"];
    assert_eq!(states(&rollout), services.into_iter().zip(ends).collect::<Vec<_>>());
    assert_eq!(rollout.state, RolloutState::Stuck);
    assert_eq!((release_of(&stage, &admin).as_str(), stage.answering().as_str()), ("v1", "v2"));

    // A cancel ends the whole: it says what it undoes, and nobody slips in between before.
    admin_is(&stage, "v2");
    run(&mut stage.aibkctl(&["rolling", "admin", "worker", "--no-wait"]), LONG).expect(0);
    let id = stage.wait_step("watch").id;
    assert_eq!(states(&shown(&stage, id))[1], ("worker", RolloutState::Waiting));
    stage.ctl(&["status"]).expect(0).says(&["waits for its turn"]);
    stage.ctl(&["restart", "worker"]).expect(4).says(&["waiting for admin"]);
    stage.ctl(&["plan", "worker", "restart"]).expect(0).says(&["waiting for admin"]);
    let planned = stage.ctl(&["plan", "admin", "worker", "api", "--json"]).expect(0);
    let planned: Vec<Planned> = serde_json::from_str(&planned.stdout).unwrap();
    let order = planned.iter().map(|one| (one.service.as_str(), one.held.is_some()));
    assert!(order.eq([("worker", true), ("api", false), ("admin", true)]), "{planned:#?}");
    stage.ctl(&["plan", "api", "worker"]).expect(0).says(&["api, worker, one after another"]);
    stage.ctl(&["plan", "api", "worker", "stop"]).expect(2).says(&["of several services"]);
    let id = id.to_string();
    let cancelled = stage.ctl(&["cancel", &id, "--no-wait"]).expect(0);
    cancelled.says(&["goes back", &format!("replace {admin}")]);
    run(&mut stage.aibkctl(&["wait", &id]), LONG).expect(1);
    let rollout = stage.rollouts().remove(0);
    let ends = [("admin", RolloutState::Undone), ("worker", RolloutState::Skipped)];
    assert_eq!((rollout.state, states(&rollout)), (RolloutState::Undone, ends.to_vec()));
    assert_eq!(release_of(&stage, &admin), "v1");
    assert_eq!(stage.instance("worker").pid, worker, "nothing was done to it");
    lose_nothing(loads);
    run(&mut stage.aibkctl(&["restart", "worker"]), LONG).expect(0);
}

/// While a service waits for its turn, nginx is told at once of a member that dies, and when it is back.
#[test]
fn who_dies_while_its_service_waits_leaves_the_upstream_and_comes_back() {
    let mut stage = stage();
    stage.settings.remove("services.admin.after");
    stage.settings.set("services.admin.rollout.watch", "5m");
    stage.settings.set("services.api.rollout.standby", "hot");
    stage.start();
    let (blue, green) = (stage.blue_name(), stage.green_name());
    stage.wait_state(&green, InstanceState::Ready);
    let load = stage.load_of(Plan::gets(stage.address(), 2));
    run(&mut stage.aibkctl(&["rolling", "admin", "api", "--no-wait"]), LONG).expect(0);
    let id = stage.wait_step("watch").id;
    for _ in 0..2 {
        let edition = stage.edition();
        kill(stage.instance(&blue).pid.unwrap(), Signal::KILL);
        wait_for("it to leave, and to come back", LONG, || {
            let stands = stage.instance(&green).traffic == Some(Traffic::Backup);
            (stage.edition() >= edition + 2 && stage.serving() == [blue.clone()] && stands)
                .then_some(())
        });
    }
    assert_eq!(states(&shown(&stage, id))[1], ("api", RolloutState::Waiting));
    let told = [format!("waits; relieve {}", stage.blue), format!("waits; restore {}", stage.blue)];
    stage.ctl(&["events", "-n", "200"]).expect(0).says(&[&told[0], &told[1]]);

    stage.ctl(&["cancel", &id.to_string()]).expect(0);
    let report = load.finish(None).unwrap();
    assert!(report.lost <= 2 * 2, "no more than they had in hand: {report}");
}

/// So it is although the daemon dies between that death and the publication.
#[test]
fn who_dies_while_its_service_waits_leaves_the_upstream_although_the_daemon_dies_then() {
    let mut stage = stage();
    stage.settings.remove("services.admin.after");
    stage.settings.set("services.admin.rollout.watch", "5m");
    stage.settings.set("services.api.rollout.standby", "hot");
    stage.settings.set("services.api.restart", serde_json::json!({"policy": "never"}));
    stage.start();
    let (blue, green) = (stage.blue_name(), stage.green_name());
    stage.wait_state(&green, InstanceState::Ready);
    let load = stage.load_of(Plan::gets(stage.address(), 2));
    run(&mut stage.aibkctl(&["rolling", "admin", "api", "--no-wait"]), LONG).expect(0);
    let id = stage.wait_step("watch").id;
    stage.die_at("rollout.tended:1");
    kill(stage.instance(&blue).pid.unwrap(), Signal::KILL);
    wait_for("the daemon's death", LONG, || (!stage.daemon_goes_on()).then_some(()));
    stage.bury_daemon();
    // Its rollouts go on; it is up once they have ended.
    stage.launch();
    wait_for("an answer", LONG, || (stage.ctl(&["status"]).status == Some(0)).then_some(()));
    wait_for("the dead one to leave", LONG, || (stage.serving() == [green.clone()]).then_some(()));
    assert_eq!(states(&shown(&stage, id))[1], ("api", RolloutState::Waiting));
    stage.ctl(&["cancel", &id.to_string()]).expect(0);
    run(&mut stage.aibkctl(&["start", &blue]), LONG).expect(0);
    assert_eq!(stage.instance(&blue).traffic, Some(Traffic::Backup));
    assert_eq!(stage.serving(), [green]);
    let report = load.finish(None).unwrap();
    assert!(report.lost <= 2, "no more than they had in hand: {report}");
}
