//! From what the rooms know to what the control socket says. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::requests;
use crate::{
    api::types,
    config::Slots,
    ident::{Port, ServiceName, Slot},
    instance::{Phase, View},
    nginx::{Members, Role},
    process::{Confined, Line, Reading, Refusal},
    rollout::{
        left::Left,
        record::{Course, Outcome, Rollout, Step, Taken},
    },
    store::RunRow,
};

/// A rollout as clients see it, at `now` (microseconds since the epoch).
pub(super) fn rollout(rollout: &Rollout, now: i64) -> types::Rollout {
    let instance =
        rollout.slot.map(|slot| crate::ident::InstanceId::new(rollout.service.clone(), slot));
    types::Rollout {
        id: rollout.id.0,
        kind: rollout.kind.word().to_owned(),
        service: rollout.service.to_string(),
        app: None,
        instance: instance.map(|id| id.to_string()),
        release: rollout.release.as_ref().map(|release| release.id.to_string()),
        code: None,
        by: rollout.by.clone(),
        deploy: rollout.part_of.map(|part| part.deploy.0),
        state: state(rollout),
        begun: moment(rollout.begun),
        elapsed_s: seconds_between(rollout.begun, rollout.ended.unwrap_or(now)),
        steps: rollout.steps.iter().map(|taken| step(taken, rollout)).collect(),
        failure: rollout.failure.clone(),
        requests: requests::requests(&rollout.clients),
        undo: rollout.undo.as_ref().map(|steps| undo(steps, &rollout.service)),
        cut: rollout.cut(),
        held: held(rollout),
        report: vec![],
        members: vec![],
        committed: rollout.committed,
        revision: rollout.revision,
    }
}

fn held(rollout: &Rollout) -> Option<types::Held> {
    let (preview, until) = rollout.held()?;
    let instance = crate::ident::InstanceId::new(rollout.service.clone(), preview.slot);
    Some(types::Held {
        instance: instance.to_string(),
        address: preview.address.to_string(),
        until: Timestamp::from_microsecond(until).map_or_else(|_| String::from("?"), second),
    })
}

const fn state(rollout: &Rollout) -> types::RolloutState {
    match rollout.course {
        Course::Forward if rollout.is_idle() => types::RolloutState::Waiting,
        Course::Ended(_) if rollout.was_forgone() => types::RolloutState::Skipped,
        course => self::course(course),
    }
}

/// Which way something goes, as clients see it.
pub(super) const fn course(course: Course) -> types::RolloutState {
    match course {
        Course::Forward => types::RolloutState::Running,
        Course::Back => types::RolloutState::Undoing,
        Course::Ended(Outcome::Done) => types::RolloutState::Done,
        Course::Ended(Outcome::Undone) => types::RolloutState::Undone,
        Course::Ended(Outcome::Stuck) => types::RolloutState::Stuck,
    }
}

pub(super) fn undo(steps: &[Step], service: &ServiceName) -> Vec<types::Undo> {
    let one = |step: &Step| types::Undo { name: step.word().to_owned(), on: step.subject(service) };
    steps.iter().map(one).collect()
}

fn step(taken: &Taken, rollout: &Rollout) -> types::Step {
    types::Step {
        name: taken.step.word().to_owned(),
        on: taken.step.subject(&rollout.service),
        took_s: taken.took_ms.map(|ms| Duration::from_millis(ms).as_secs_f64()),
        note: taken.note.clone(),
        left: taken.left.as_ref().map(left),
        cut: taken.cut,
        failed: taken.failed,
    }
}

fn left(left: &Left) -> types::Left {
    let Left { connections, oldest_s, old_workers } = left.clone();
    types::Left { connections, oldest_s, old_workers }
}

/// An instance as clients see it. `members` is what nginx itself answered for its service.
pub(super) fn instance(
    view: &View,
    slots: Slots,
    members: Option<&Members>,
) -> types::InstanceStatus {
    let up = view.identity.as_ref();
    types::InstanceStatus {
        name: view.id.to_string(),
        colour: colour(slots, view.id.slot),
        state: phase(view.phase),
        traffic: traffic(view.id.slot.port(), members),
        share: share(view.id.slot.port(), members),
        release: view.release.as_ref().map(|release| release.id.to_string()),
        generation: view.generation.map(|generation| generation.0),
        pid: up.map(|who| who.pid),
        uptime_s: up.map(|who| who.uptime().as_secs_f64()),
        restarts: view.restarts,
        detail: detail(view),
        workers: workers(view),
        confined: confined(&view.confined),
    }
}

fn confined(confined: &Confined) -> types::Confined {
    let refusal = |Refusal { asked, reason }: &Refusal| types::Refusal {
        asked: asked.clone(),
        reason: reason.clone(),
    };
    types::Confined {
        enforced: confined.enforced.clone(),
        refused: confined.refused.iter().map(refusal).collect(),
    }
}

/// Those of the set beside come last.
fn workers(view: &View) -> Vec<types::WorkerStatus> {
    let beside = view.beside.iter().flat_map(|beside| &beside.workers);
    let worker = |view: &View| types::WorkerStatus {
        name: view.id.worker.map(|worker| worker.to_string()).unwrap_or_default(),
        state: phase(view.phase),
        generation: view.generation.map(|generation| generation.0),
        pid: view.identity.as_ref().map(|who| who.pid),
        uptime_s: view.identity.as_ref().map(|who| who.uptime().as_secs_f64()),
        restarts: view.restarts,
        detail: detail(view),
    };
    view.workers.iter().chain(beside).map(worker).collect()
}

fn detail(view: &View) -> Option<String> {
    match view.phase {
        Phase::Starting | Phase::Unready => {
            view.complaint.clone().or_else(|| view.death.as_ref().map(|d| d.cause.to_string()))
        }
        Phase::Failed => view.death.as_ref().map(ToString::to_string),
        Phase::Backoff | Phase::Hung | Phase::Finished => {
            view.death.as_ref().map(|death| death.cause.to_string())
        }
        Phase::Stopped | Phase::Ready | Phase::Stopping | Phase::Ending => None,
    }
}

const fn phase(phase: Phase) -> types::InstanceState {
    match phase {
        Phase::Stopped => types::InstanceState::Stopped,
        Phase::Starting => types::InstanceState::Starting,
        Phase::Ready => types::InstanceState::Ready,
        Phase::Unready => types::InstanceState::Unready,
        Phase::Hung => types::InstanceState::Hung,
        Phase::Backoff => types::InstanceState::Backoff,
        Phase::Stopping | Phase::Ending => types::InstanceState::Stopping,
        Phase::Failed => types::InstanceState::Failed,
        Phase::Finished => types::InstanceState::Finished,
    }
}

fn traffic(port: Option<Port>, members: Option<&Members>) -> Option<types::Traffic> {
    Some(match members?.get(&port?)? {
        Role::Serving => types::Traffic::Serving,
        Role::Backup => types::Traffic::Backup,
        Role::Down => types::Traffic::Down,
        Role::Preview => types::Traffic::Preview,
        Role::Canary(_) => types::Traffic::Canary,
    })
}

fn share(port: Option<Port>, members: Option<&Members>) -> Option<u8> {
    match members?.get(&port?)? {
        Role::Canary(share) => Some(share.percent()),
        _ => None,
    }
}

fn colour(slots: Slots, slot: Slot) -> Option<types::Colour> {
    let Slots::Two { blue, green } = slots else { return None };
    match slot.port()? {
        port if port == blue => Some(types::Colour::Blue),
        port if port == green => Some(types::Colour::Green),
        _ => None,
    }
}

/// A run of a job as clients see it.
pub(super) fn run(run: &RunRow) -> types::Run {
    let until = run.end.as_ref().map_or_else(Timestamp::now, |end| end.at);
    let state = match &run.end {
        None => types::RunState::Running,
        Some(end) if end.success => types::RunState::Done,
        Some(_) => types::RunState::Failed,
    };
    types::Run {
        id: run.id,
        job: run.job.to_string(),
        cause: run.cause.clone(),
        scheduled: run.scheduled.map(second),
        state,
        begun: second(run.begun),
        elapsed_s: seconds_between(run.begun.as_microsecond(), until.as_microsecond()),
        progress: None,
        told: run.end.as_ref().map(|end| end.told.clone()),
    }
}

/// RFC 3339, to the second.
pub(super) fn second(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// A line of output as clients see it.
pub(super) fn log_line(instance: &str, line: Line) -> types::LogLine {
    let Reading { priority, message, fields } = line.read();
    let message = (message != line.text).then(|| message.into_owned());
    types::LogLine {
        instance: instance.to_owned(),
        // All digits, so that text is sorted as time is.
        at: Timestamp::from_microsecond(line.at)
            .map_or_else(|_| String::from("?"), |at| format!("{at:.6}")),
        generation: line.generation.0,
        stream: line.stream.word().to_owned(),
        priority: priority.word().to_owned(),
        message,
        fields,
        text: line.text,
    }
}

/// RFC 3339, of microseconds since the epoch.
pub(super) fn moment(at: i64) -> String {
    Timestamp::from_microsecond(at).map_or_else(|_| String::from("?"), |at| at.to_string())
}

pub(super) fn seconds_between(from: i64, to: i64) -> f64 {
    let micros = u64::try_from(to.saturating_sub(from)).unwrap_or(0);
    Duration::from_micros(micros).as_secs_f64()
}

/// Now, in microseconds since the epoch.
pub(super) fn now() -> i64 {
    Timestamp::now().as_microsecond()
}
