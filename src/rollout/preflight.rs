//! What is looked at before a rollout begins: whether what it will start can start at all.
//!
//! A start that can only fail would be undone; but where the old has to stop first, the undoing may
//! fail for the same reason (a broken env file), and a service that was well would be down.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use super::{
    EngineError,
    draft::Draft,
    record::{Start, Want},
    world::World,
};
use crate::{
    config::{self, Service, Severity},
    ident::{Port, Slot},
    instance::Phase,
    process,
    sys::blocking,
};

/// How long the host may take to show what a start needs.
const LOOK: Duration = Duration::from_secs(10);

/// Looks at the user, the environment and the files of every release that `draft` starts, and whether
/// somebody else has the port of an empty slot that it starts something in.
///
/// # Errors
/// [`EngineError::Preflight`] with every reason why a start would fail.
pub(super) async fn check(
    service: &Service,
    draft: &Draft,
    world: &World,
) -> Result<(), EngineError> {
    let starts = starts(draft, world);
    if starts.is_empty() {
        return Ok(());
    }
    let (service, ports) = (service.clone(), ports(service, draft, world));
    let look = move || -> BTreeSet<String> {
        let of = |directory| Service { directory, ..service.clone() };
        let findings = starts.into_iter().flat_map(|start| config::check_service(&of(start)));
        let errors = findings.filter(|finding| finding.severity == Severity::Error);
        let errors = errors.map(|finding| format!("{}: {}", finding.about, finding.what));
        errors.chain(ports.into_iter().filter_map(taken)).collect()
    };
    let reasons = blocking::within(LOOK, look).await.map_err(|e| {
        EngineError::Preflight(format!(
            "what a start needs cannot be seen: {e}; look whether its file systems answer"
        ))
    })?;
    if reasons.is_empty() {
        return Ok(());
    }
    let reasons: Vec<String> = reasons.into_iter().collect();
    Err(EngineError::Preflight(format!("it could not start: {}", reasons.join("\n"))))
}

/// The directories of the releases that `draft` starts in `world`.
fn starts(draft: &Draft, world: &World) -> BTreeSet<PathBuf> {
    let wants = draft.stages.iter().flat_map(|stage| &stage.wants);
    wants
        .filter_map(|(slot, want)| {
            let Want::Run { release, start, .. } = want else { return None };
            let runs = world
                .slots
                .get(slot)
                .is_some_and(|seen| seen.phase.is_up() && seen.release.as_ref() == Some(release));
            (*start == Start::Fresh || !runs).then(|| release.directory.clone())
        })
        .collect()
}

/// The ports that instances of their own would listen on, in slots where nothing is.
fn ports(service: &Service, draft: &Draft, world: &World) -> BTreeSet<Port> {
    let wants = draft.stages.iter().flat_map(|stage| &stage.wants);
    let is_empty = |slot: &Slot| {
        let phase = world.slots.get(slot).map(|seen| seen.phase);
        matches!(phase, Some(Phase::Stopped | Phase::Failed | Phase::Finished))
    };
    let starts = wants.filter(|(_, want)| matches!(want, Want::Run { .. }));
    let empty = starts.map(|(slot, _)| *slot).filter(is_empty);
    empty.filter_map(Slot::port).filter(|_| service.held().is_none()).collect()
}

/// Who cannot be seen is found out by the start.
fn taken(port: Port) -> Option<String> {
    if process::is_free(port) != Some(false) {
        return None;
    }
    let holder = process::port_holder(port).ok().flatten()?;
    Some(format!("port {port} is held by {holder}; stop that, or give the service another slot"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        ident::ServiceName,
        release::Release,
        rollout::{
            record::{Loss, Stage},
            world::{Proof, Room, Seen},
        },
    };

    fn world(release: &Release) -> World {
        let seen = Seen {
            phase: Phase::Ready,
            wanted: true,
            rest: None,
            release: Some(release.clone()),
            generation: None,
            rollout: None,
            room: Room::None,
        };
        World { slots: [(Slot::Sole, seen)].into(), members: None, proof: Proof::Agreed }
    }

    fn draft(release: &Release, start: Start) -> Draft {
        let want = Want::Run { release: release.clone(), start, role: None };
        Draft {
            release: None,
            loss: Loss::Never,
            origin: Stage::default(),
            served: BTreeSet::new(),
            stages: vec![Stage { wants: vec![(Slot::Sole, want)], watch: false }],
            preview: None,
        }
    }

    #[tokio::test]
    async fn what_is_started_must_be_able_to_and_what_runs_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let env_file = home.path().join("env");
        std::fs::write(&env_file, "no assignment\n").unwrap();
        let text = format!(
            "services:\n  w:\n    command: [sleep]\n    directory: /\n    env_file: {}\n",
            env_file.display()
        );
        let config = Config::parse(&text, std::path::Path::new("/etc/aibk.yaml")).unwrap();
        let service = &config.services[&ServiceName::new("w").unwrap()];
        let release = Release::unversioned(home.path());
        let world = world(&release);
        check(service, &draft(&release, Start::Any), &world).await.unwrap();
        let refused = check(service, &draft(&release, Start::Fresh), &world).await.unwrap_err();
        assert!(refused.to_string().contains("services.w.env_file"), "{refused}");
        std::fs::write(&env_file, "KEY=value\n").unwrap();
        check(service, &draft(&release, Start::Fresh), &world).await.unwrap();
    }
}
