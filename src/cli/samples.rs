//! Answers of a daemon, for the tests of what is drawn from them.
#![allow(clippy::indexing_slicing, reason = "only tests are compiled with it")]

use crate::api::types::{
    Colour, Confined, DaemonStatus, InstanceState, InstanceStatus, JobStatus, NginxStatus, Rollout,
    RolloutState, Run, RunState, ServiceStatus, Status, Step, Traffic, WorkerStatus,
};

fn instance(name: &str, colour: Option<Colour>, traffic: Option<Traffic>) -> InstanceStatus {
    InstanceStatus {
        name: name.into(),
        colour,
        state: InstanceState::Ready,
        traffic,
        share: None,
        release: Some("v2".into()),
        generation: Some(14),
        pid: Some(4711),
        uptime_s: Some(273_600.0),
        restarts: 0,
        detail: Some("3 probes in a row answered 200".into()),
        confined: Confined { enforced: vec!["limits.nofile 65535".into()], refused: vec![] },
        workers: vec![],
    }
}

/// An instance of two workers, one of which waits to be started again.
pub(super) fn with_workers() -> InstanceStatus {
    let one = WorkerStatus {
        name: "a1".into(),
        state: InstanceState::Ready,
        generation: Some(14),
        pid: Some(4711),
        uptime_s: Some(273_600.0),
        restarts: 0,
        detail: None,
    };
    let other = WorkerStatus {
        name: "a2".into(),
        state: InstanceState::Backoff,
        pid: None,
        uptime_s: None,
        restarts: 3,
        detail: Some("ended with exit status 3\nits last lines:\n  no".into()),
        ..one.clone()
    };
    InstanceStatus { workers: vec![one, other], ..instance("api@8000", None, None) }
}

fn service(name: &str, instances: Vec<InstanceStatus>) -> ServiceStatus {
    ServiceStatus { name: name.into(), enabled: true, instances, rollout: None, waits: None }
}

/// Two services, three instances, nothing to complain about.
pub(super) fn all_fine() -> Status {
    let mut green = instance("api@8001", Some(Colour::Green), Some(Traffic::Backup));
    green.release = Some("v1".into());
    green.generation = Some(13);
    green.pid = Some(1_048_576);
    green.uptime_s = Some(3.9);
    let blue = instance("api@8000", Some(Colour::Blue), Some(Traffic::Serving));
    let mut admin = instance("admin@8002", None, Some(Traffic::Serving));
    admin.release = Some("2026-02-28_1a2b3c4".into());
    admin.restarts = 2;
    Status {
        daemon: DaemonStatus {
            version: "0.1.0".into(),
            pid: 321,
            uptime_s: 273_650.0,
            config: "/etc/aibk/aibk.yaml".into(),
        },
        nginx: Some(NginxStatus {
            answers: true,
            edition: Some(12),
            master: Some(4000),
            workers: 2,
            leaving: 1,
            problem: None,
        }),
        services: vec![service("admin", vec![admin]), service("api", vec![blue, green])],
        apps: vec![],
        jobs: vec![],
    }
}

/// `admin` has been given up.
pub(super) fn one_failed() -> Status {
    let mut status = all_fine();
    let admin = &mut status.services[0].instances[0];
    admin.state = InstanceState::Failed;
    admin.traffic = Some(Traffic::Down);
    (admin.generation, admin.pid, admin.uptime_s, admin.restarts) = (Some(20), None, None, 5);
    admin.detail = Some(
        "exited with status 3, 5 times within 12 s; it was given up. Its last lines:\n    \
         ModuleNotFoundError: No module named 'admin.main'\n\
         Mend it, then `aibkctl start admin@8002`."
            .into(),
    );
    status
}

/// `admin` alone, stopped; no nginx.
pub(super) fn single_slot() -> Status {
    let mut status = all_fine();
    status.nginx = None;
    status.services.truncate(1);
    let admin = &mut status.services[0].instances[0];
    (admin.state, admin.traffic) = (InstanceState::Stopped, None);
    (admin.release, admin.generation, admin.pid, admin.uptime_s) = (None, None, None, None);
    status
}

/// nginx serves something else than the file says.
pub(super) fn nginx_problem() -> Status {
    let mut status = all_fine();
    if let Some(nginx) = &mut status.nginx {
        nginx.edition = Some(11);
        nginx.problem = Some(
            "it serves edition 11, but the file is edition 12: [emerg] bind() to 0.0.0.0:443 \
             failed (98: Address already in use)"
                .into(),
        );
    }
    status
}

/// Names as long as they may be.
pub(super) fn long_names() -> Status {
    let mut status = all_fine();
    let api = &mut status.services[1];
    api.name = "a-service-with-a-very-long-name".into();
    for (instance, port) in api.instances.iter_mut().zip([8000, 8001]) {
        instance.name = format!("{}@{port}", api.name);
        instance.release = Some("2026-02-28T23-59-59Z_1a2b3c4d5e6f".into());
    }
    status
}

/// A rolling update is under way.
pub(super) fn under_way() -> Status {
    let mut status = all_fine();
    let api = &mut status.services[1];
    api.rollout = Some(rolling_under_way());
    api.instances[1].state = InstanceState::Starting;
    api.instances[1].traffic = None;
    status
}

fn step(name: &str, on: &str, took_s: Option<f64>, note: &str) -> Step {
    let note = (!note.is_empty()).then(|| note.to_owned());
    Step { name: name.into(), on: on.into(), took_s, note, left: None, cut: 0, failed: false }
}

/// A rolling update at its second step.
pub(super) fn rolling_under_way() -> Rollout {
    Rollout {
        id: 12,
        kind: "rolling".into(),
        service: "api".into(),
        app: None,
        instance: None,
        release: Some("v2".into()),
        code: None,
        by: "uid 0".into(),
        deploy: None,
        state: RolloutState::Running,
        begun: "2026-03-01T11:59:00Z".into(),
        elapsed_s: 2.9,
        steps: vec![
            step("start", "api@8001", Some(0.8), "pid 4712"),
            step("await-ready", "api@8001", None, "1 of 3 probes answered"),
        ],
        failure: None,
        requests: None,
        undo: None,
        cut: 0,
        report: vec![],
        members: vec![],
        committed: false,
        held: None,
        revision: 4,
    }
}

/// A rolling update that succeeded.
pub(super) fn done_rolling() -> Rollout {
    let mut rollout = rolling_under_way();
    rollout.state = RolloutState::Done;
    rollout.elapsed_s = 14.2;
    rollout.committed = true;
    rollout.steps[1].took_s = Some(2.1);
    rollout.steps.push(step("publish", "api@8000, api@8001", Some(0.12), "edition 12 is served"));
    rollout
}

/// A rolling update whose new release does not start; undone.
pub(super) fn failed_rolling() -> Rollout {
    let mut rollout = rolling_under_way();
    rollout.state = RolloutState::Undone;
    rollout.elapsed_s = 12.0;
    rollout.failure = Some(
        "api@8001 (release v2) exited with status 1 before it was ready. Its last lines:\n    \
         Traceback (most recent call last):\n    \
         ModuleNotFoundError: No module named 'fastapi'\n\
         nginx never saw it, and api@8000 was not touched. Install what is missing into the \
         release's venv, then try again."
            .into(),
    );
    rollout.steps[1].took_s = Some(10.0);
    rollout.steps[1].failed = true;
    rollout.steps[1].note = Some("exited with status 1".into());
    rollout.steps.push(step("stop", "api@8001", Some(0.03), ""));
    rollout.steps.push(step("settle", "api", None, "writing the result"));
    rollout
}

fn one_run(id: u64, state: RunState, told: Option<&str>) -> Run {
    Run {
        id,
        job: "backup".into(),
        cause: "its schedule".into(),
        scheduled: Some("2026-03-01T03:30:00Z".into()),
        state,
        begun: "2026-03-01T03:31:12Z".into(),
        elapsed_s: 192.0,
        progress: None,
        told: told.map(str::to_owned),
    }
}

/// Three runs of a job: one under way, one that failed, one that is done.
pub(super) fn runs() -> Vec<Run> {
    let failed = "ended with exit status 1\nits last lines:\n  pg_dump: no space is left";
    let mut done = one_run(4, RunState::Done, Some("ended with exit status 0"));
    (done.begun, done.cause) = ("2026-02-28T03:30:07Z".into(), "asked by uid 0".into());
    vec![one_run(6, RunState::Running, None), one_run(5, RunState::Failed, Some(failed)), done]
}

/// A job of each kind, in each state.
pub(super) fn jobs() -> Vec<JobStatus> {
    let job = |name: &str, last: Option<Run>| JobStatus {
        name: name.into(),
        schedule: None,
        next: None,
        last,
        enabled: true,
        waits: None,
    };
    let mut backup = job("backup", runs().pop());
    backup.schedule = Some("30 3 * * * Asia/Shanghai".into());
    backup.next = Some("2026-03-02T19:33:41Z".into());
    let mut held = job("reindex", None);
    held.waits = Some("it requires db, which is stopped".into());
    vec![backup, job("migrate", runs().into_iter().nth(1)), held]
}
