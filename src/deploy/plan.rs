//! The plan: from a deploy and the observed world to the next step. Reads no clock and no file; the
//! engine asks it again after each step, and after a crash in just the same way.

use std::collections::BTreeMap;

use super::record::{Aim, Course, Deploy, Order, Outcome, Schema, Scope, Step, Way};
use crate::{
    ident::{ReleaseId, ServiceName},
    release::Release,
};

/// What is seen of an application.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    /// The release of the deploy is there, whole.
    pub sealed: bool,
    /// What serves of each service.
    pub services: BTreeMap<ServiceName, Runs>,
    /// What the application's `current` is.
    pub current: Option<ReleaseId>,
}

impl World {
    /// Something serves of `service`.
    #[must_use]
    pub fn serves(&self, service: &ServiceName) -> bool {
        !matches!(self.services.get(service), None | Some(Runs::Nothing))
    }

    /// The release that serves of `service`, where that is one.
    #[must_use]
    pub fn release_of(&self, service: &ServiceName) -> Option<&Release> {
        match self.services.get(service)? {
            Runs::Alone(release) => Some(release),
            Runs::Nothing | Runs::Several => None,
        }
    }
}

/// What serves of a service; of one that is not behind nginx, what runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runs {
    /// Nothing.
    Nothing,
    /// This release, and nothing else.
    Alone(Release),
    /// More than one release.
    Several,
}

/// What the engine is to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// This effect.
    Do(Step),
    /// The deploy is over.
    End(Outcome),
}

/// The next thing to do for `deploy` in `world`.
#[must_use]
pub fn next_step(deploy: &Deploy, world: &World) -> Next {
    match deploy.course {
        Course::Ended(outcome) => Next::End(outcome),
        Course::Forward => forward(deploy, world).map_or(Next::End(Outcome::Done), Next::Do),
        Course::Back => {
            let is_touched = |service| is_touched(service, deploy, world);
            if to_roll_back(deploy, world).next().is_some() {
                Next::Do(Step::RollBack)
            } else if deploy.services.iter().any(is_touched) {
                // It had nothing before that it could go back to.
                Next::End(Outcome::Stuck)
            } else {
                Next::End(Outcome::Undone)
            }
        }
    }
}

/// A migration comes before the code that needs it and after a dump (`D1`); on a way back it may come
/// after the code that cannot do without it, and the dump then holds what that code wrote.
fn forward(deploy: &Deploy, world: &World) -> Option<Step> {
    let due = |step: Step| !deploy.passed.contains(&step);
    let is_new = matches!(deploy.aim, Aim::New(_));
    let (touches_data, touches_code) = match deploy.scope {
        Scope::Full => (deploy.needs_migration(), true),
        Scope::CodeOnly => (false, true),
        Scope::MigrateOnly => (deploy.needs_migration(), false),
        Scope::Look => (false, false),
    };
    let middle = match deploy.order() {
        Order::SchemaFirst => [Step::Backup, Step::Migrate, Step::RollOut],
        Order::CodeFirst => [Step::RollOut, Step::Backup, Step::Migrate],
    };
    let touches = |step| if step == Step::RollOut { touches_code } else { touches_data };
    let middle = middle.map(|step| (step, touches(step) && due(step)));
    let first = [
        (Step::Fetch, is_new && due(Step::Fetch)),
        // Somebody may have removed it since it was built.
        (Step::Build, is_new && !world.sealed),
        (Step::Check, due(Step::Check)),
    ];
    let last = [
        (Step::Settle, touches_code && due(Step::Settle)),
        (Step::Prune, due(Step::Prune) && deploy.scope != Scope::Look),
    ];
    let all = first.into_iter().chain(middle).chain(last);
    all.into_iter().find_map(|(step, is_next)| is_next.then_some(step))
}

/// The service has the release, or a part of it, and had not when the deploy began.
fn is_touched(service: &ServiceName, deploy: &Deploy, world: &World) -> bool {
    let had = deploy.origin.get(service).map(|before| &before.id);
    match world.services.get(service) {
        Some(Runs::Alone(now)) => Some(&now.id) == deploy.release.as_ref() && Some(&now.id) != had,
        Some(Runs::Several) => true,
        Some(Runs::Nothing) | None => false,
    }
}

/// The services to bring back to what they had before, in the order in which they got the release.
pub(super) fn to_roll_back<'d>(
    deploy: &'d Deploy,
    world: &'d World,
) -> impl Iterator<Item = (&'d ServiceName, &'d Release)> {
    let touched = |service: &&ServiceName| is_touched(service, deploy, world);
    let before = |service: &'d ServiceName| Some((service, deploy.origin.get(service)?));
    deploy.services.iter().filter(touched).filter_map(before)
}

impl Deploy {
    /// What goes first, the services or the database.
    #[must_use]
    pub fn order(&self) -> Order {
        self.schema.as_ref().map(|schema| schema.order).unwrap_or_default()
    }

    /// The database is not where the release wants it.
    #[must_use]
    pub fn needs_migration(&self) -> bool {
        let needs = |schema: &Schema| !schema.pending.is_empty() || schema.way != Way::Forward;
        self.schema.as_ref().is_some_and(needs)
    }
}
