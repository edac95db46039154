//! The effects behind the steps. Each may be run twice: it looks before it acts (`S1`).

use std::sync::Arc;

use super::{
    DeployError,
    output::Output,
    plan::{self, Runs, World},
    record::{Aim, Deploy, Off, Setback, Step, Told},
};
use crate::{
    config::{App, Variables, load_env_file},
    ident::{ReleaseId, RolloutId, ServiceName},
    process::Launcher,
    release::{Censor, Release, Wanted, Workshop},
    rollout::{self, part::Direction},
    store::Store,
};

/// Tells what is heard of a step.
pub(super) type Tell<'t> = &'t (dyn Fn(Told) + Sync);

/// An application, and all that a deploy of it acts on.
#[derive(Debug, Clone)]
pub(super) struct Hands {
    pub(super) app: Arc<App>,
    pub(super) launcher: Arc<Launcher>,
    pub(super) rollouts: rollout::Engine,
    pub(super) store: Store,
}

impl Hands {
    pub(super) fn workshop(&self) -> Workshop {
        Workshop::new(&self.app, &self.launcher)
    }

    /// Refuses what can never come off.
    pub(super) fn can_aim_at(&self, aim: &Aim) -> Result<(), DeployError> {
        match aim {
            Aim::New(Wanted::Ref(_)) if self.app.code.origin.is_none() => {
                Err(DeployError::NoSource(self.app.name.clone()))
            }
            Aim::New(_) => Ok(()),
            Aim::Kept(id) if self.has(id) => Ok(()),
            Aim::Kept(id) => Err(DeployError::NoRelease(format!(
                "there is no release {id} of {}; `aibkctl releases list` shows what there is",
                self.app.name
            ))),
        }
    }

    /// Looks at the services, at `release`, and at what is current.
    pub(super) async fn observe<'s>(
        &self,
        services: impl Iterator<Item = &'s ServiceName>,
        release: Option<&ReleaseId>,
    ) -> Result<World, DeployError> {
        let workshop = self.workshop();
        let mut world = World {
            sealed: release.is_some_and(|release| self.has(release)),
            current: workshop.current(),
            ..World::default()
        };
        for service in services {
            let serving = self.rollouts.presence(service).await?.serving;
            let runs = match serving.as_slice() {
                [] => Runs::Nothing,
                [release] => Runs::Alone(release.clone()),
                _ => Runs::Several,
            };
            world.services.insert(service.clone(), runs);
        }
        Ok(world)
    }

    /// Performs `step` of `deploy`; `tell` is called with what is heard of it.
    pub(super) async fn perform(
        &self,
        step: Step,
        deploy: &Deploy,
        world: &World,
        tell: Tell<'_>,
    ) -> Result<Off, Setback> {
        let censor = Censor::of(&self.env_file());
        let mut output = Output::open(&self.app.home, deploy.id, censor);
        output.keep(&format!("== {}", step.word()));
        let mut hear = |line: &str| tell(Told::Line(output.keep(line)));
        let came = match step {
            Step::Fetch => self.fetch(deploy, &mut hear).await,
            Step::Build => self.build(deploy, &mut hear).await,
            Step::Check => self.check(deploy, &mut hear).await,
            Step::Backup => self.dump(deploy, tell).await,
            Step::Migrate => self.migrate(deploy, &mut hear).await,
            Step::RollOut => self.roll_out(deploy, tell).await,
            Step::RollBack => {
                let before = plan::to_roll_back(deploy, world);
                let targets = before.map(|(service, release)| (service.clone(), release.clone()));
                self.bring(deploy, Direction::Back, targets.collect(), tell).await
            }
            Step::Settle => self.settle(deploy).await,
            Step::Prune => self.prune(deploy, &mut hear).await,
        };
        came.map_err(|setback| Setback { why: output.keep(&setback.why), ..setback })
    }

    /// What cannot be read now is told by whoever needs it.
    pub(super) fn env_file(&self) -> Variables {
        let file = self.app.env_file.as_deref();
        file.and_then(|file| load_env_file(file).ok()).unwrap_or_default()
    }

    /// Asks the rollouts of services to turn back, for `by`.
    pub(super) async fn turn_back(&self, rollouts: Vec<RolloutId>, by: &str) {
        for id in rollouts {
            if let Err(e) = self.rollouts.cancel(id, by).await {
                tracing::info!("{e}");
            }
        }
    }

    async fn roll_out(&self, deploy: &Deploy, tell: Tell<'_>) -> Result<Off, Setback> {
        let id = release(deploy)?;
        let target = |service: &ServiceName| Ok((service.clone(), self.release_for(service, id)?));
        let targets: Result<Vec<_>, String> = deploy.services.iter().map(target).collect();
        self.bring(deploy, Direction::Out, targets?, tell).await
    }

    /// What `service` runs of the release `id`.
    pub(super) fn release_for(
        &self,
        service: &ServiceName,
        id: &ReleaseId,
    ) -> Result<Release, String> {
        let crew = self.rollouts.crew(service).map_err(|e| e.to_string())?;
        self.workshop().release_of(&crew.service, id).map_err(|e| e.to_string())
    }

    /// The release `id` is there, and whole.
    fn has(&self, id: &ReleaseId) -> bool {
        is_whole(&self.workshop(), id)
    }
}

/// The release `id` is there, and whole.
pub(super) fn is_whole(workshop: &Workshop, id: &ReleaseId) -> bool {
    workshop.get(id).is_ok_and(|release| release.manifest.is_ok())
}

/// Asked for by the plan only once the release has a name.
pub(super) fn release(deploy: &Deploy) -> Result<&ReleaseId, Setback> {
    let none = || "the release has no name; this is a mistake in aibk".to_owned();
    deploy.release.as_ref().ok_or_else(|| none().into())
}
