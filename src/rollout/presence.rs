//! Which releases of a service are there.

use super::{EngineError, engine::Engine, world::World};
use crate::{ident::ServiceName, nginx::Role, release::Release};

/// The releases of a service, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presence {
    /// Those that clients get; where the service is not behind nginx, those that run.
    pub serving: Vec<Release>,
    /// Those that are ready beside them.
    pub warm: Vec<Release>,
    /// Those that run otherwise, or are meant to and do not.
    pub meant: Vec<Release>,
}

impl Engine {
    /// What is seen of `service` now.
    ///
    /// # Errors
    /// When there is no such service, or it cannot be seen what nginx serves.
    pub async fn presence(&self, service: &ServiceName) -> Result<Presence, EngineError> {
        Ok(Presence::of(&self.crew(service)?.observe().await?))
    }
}

impl Presence {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Release> {
        self.serving.iter().chain(&self.warm).chain(&self.meant)
    }

    fn of(world: &World) -> Self {
        let mut presence = Self::default();
        for (slot, seen) in &world.slots {
            let Some(release) = &seen.release else { continue };
            let serves = match &world.members {
                Some(_) => world.role(*slot) == Some(Role::Serving),
                None => seen.phase.is_up(),
            };
            let releases = match (serves, world.is_ready(*slot)) {
                (true, _) => &mut presence.serving,
                (false, true) => &mut presence.warm,
                (false, false) if seen.wanted || seen.phase.is_up() => &mut presence.meant,
                (false, false) => continue,
            };
            if !releases.contains(release) {
                releases.push(release.clone());
            }
        }
        presence
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        instance::Phase,
        rollout::plan_tests::{at_rest, both, release},
    };

    #[test]
    fn what_is_ready_and_gets_no_requests_is_warm() {
        let alone = Presence::of(&at_rest());
        assert_eq!((alone.serving.len(), alone.warm.len()), (1, 0));
        let warm = Presence::of(&both(Role::Backup));
        assert_eq!((warm.serving.len(), warm.warm.len()), (1, 1));
        let mut unseen = both(Role::Serving);
        assert_eq!(Presence::of(&unseen).serving.len(), 1, "each once");
        unseen.members = None;
        assert_eq!(Presence::of(&unseen).warm, []);
        let slot = *unseen.slots.keys().next().unwrap();
        unseen.slots.get_mut(&slot).unwrap().phase = Phase::Failed;
        assert_eq!(Presence::of(&unseen).meant, [release("v1")]);
        assert!(Presence::of(&unseen).serving.contains(&release("v1")));
    }
}
