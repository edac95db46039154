//! What became of releases, by what is recorded of deploys: never by the time of a file.

use std::collections::BTreeMap;

use super::{
    DeployError,
    engine::{Engine, read},
    record::{Aim, Deploy, Outcome, Step},
};
use crate::{
    ident::{AppName, ReleaseId},
    store::Store,
};

/// Deploys that are looked at.
pub(super) const LOOKED_AT: usize = 1000;

/// Deploys among which the last one that came off is found: it is asked for often.
const RECENT: usize = 20;

/// The last `n` deploys of `app`, newest first.
pub(super) async fn of(store: &Store, app: &AppName, n: usize) -> Result<Vec<Deploy>, DeployError> {
    let rows = store.deploys_of(app, n).await?;
    // One that cannot be read was told of when the daemon came up.
    Ok(rows.iter().filter_map(|row| read(row).ok()).collect())
}

impl Engine {
    /// How the last deploy of each release of `app` ended.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn outcomes(
        &self,
        app: &AppName,
    ) -> Result<BTreeMap<ReleaseId, Outcome>, DeployError> {
        Ok(outcomes(&self.last_of(app, LOOKED_AT).await?))
    }

    /// The deploy that last brought the release `id` of `app` into service.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn brought_in(
        &self,
        app: &AppName,
        id: &ReleaseId,
    ) -> Result<Option<Deploy>, DeployError> {
        let history = self.last_of(app, RECENT).await?;
        Ok(history.into_iter().find(|deploy| served(deploy) && deploy.release.as_ref() == Some(id)))
    }

    /// The last release of `app` that served before the present one, and is still there.
    ///
    /// # Errors
    /// When there is none.
    pub async fn last_good(&self, app: &AppName) -> Result<ReleaseId, DeployError> {
        let whole = self.app(app)?;
        let hands = self.hands(&whole);
        let current = hands.workshop().current();
        let history = self.last_of(app, LOOKED_AT).await?;
        let shelved = hands.shelved().await?;
        let there = |id: &ReleaseId| shelved.iter().any(|it| it.id == *id && it.manifest.is_ok());
        last_good(&history, current.as_ref(), there).ok_or_else(|| {
            DeployError::NoRelease(format!(
                "{app} has no release to go back to: none that served before is still there"
            ))
        })
    }
}

/// It brought its release into service.
fn served(deploy: &Deploy) -> bool {
    deploy.outcome() == Some(Outcome::Done) && deploy.scope.reaches_services()
}

/// Its end says something about its release. A way back that ended before it touched a service does not.
fn tells(deploy: &Deploy) -> bool {
    let rolled = || deploy.steps.iter().any(|taken| taken.step == Step::RollOut);
    let tried = matches!(deploy.aim, Aim::New(_)) || rolled() || served(deploy);
    tried && deploy.scope.reaches_services()
}

/// `history` is newest first.
fn outcomes(history: &[Deploy]) -> BTreeMap<ReleaseId, Outcome> {
    history
        .iter()
        .rev()
        .filter(|deploy| tells(deploy))
        .filter_map(|deploy| Some((deploy.release.clone()?, deploy.outcome()?)))
        .collect()
}

/// The release before the one that is current: of those that came into service before it did for the
/// first time the last one, unless it failed when it was last brought in. What was gone back from is
/// not gone back to.
pub(super) fn last_good(
    history: &[Deploy],
    current: Option<&ReleaseId>,
    there: impl Fn(&ReleaseId) -> bool,
) -> Option<ReleaseId> {
    let outcomes = outcomes(history);
    // What nobody knows of came into service before or beside all of them: by hand.
    let oldest_first = || history.iter().rev().filter_map(|deploy| deploy.release.as_ref());
    let rank = |id: &ReleaseId| oldest_first().position(|known| known == id);
    let present = current.and_then(rank);
    let older = |id: &&ReleaseId| present.is_none_or(|present| rank(id) < Some(present));
    history
        .iter()
        .filter(|deploy| served(deploy))
        .filter_map(|deploy| deploy.release.as_ref())
        .filter(older)
        .find(|id| outcomes.get(*id) == Some(&Outcome::Done) && there(id))
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::plan_tests::ended;

    fn id(of: &str) -> ReleaseId {
        ReleaseId(of.to_owned())
    }

    fn back(history: &[(&str, Outcome)], current: &str) -> Option<String> {
        let mut deploys: Vec<Deploy> =
            history.iter().map(|(release, outcome)| ended(release, *outcome)).collect();
        deploys.reverse();
        // Whoever is not begun says nothing.
        for deploy in deploys.iter_mut().filter(|deploy| deploy.outcome() != Some(Outcome::Done)) {
            deploy.begin(Step::RollOut, 1);
        }
        deploys.insert(0, ended("a", Outcome::Undone));
        last_good(&deploys, Some(&id(current)), |id| id.0 != "gone").map(|id| id.0)
    }

    #[test]
    fn what_served_last_before_the_present_one_is_gone_back_to() {
        use Outcome::{Done, Stuck, Undone};
        for (history, current, expected) in [
            (vec![("a", Done), ("b", Done)], "b", Some("a")),
            (vec![("z", Done), ("b", Done)], "b", Some("z")),
            (vec![("a", Done), ("b", Done)], "by hand", Some("b")),
            (vec![("a", Done), ("b", Undone), ("c", Done)], "c", Some("a")),
            (vec![("a", Done), ("b", Stuck), ("c", Done)], "c", Some("a")),
            // Back from c to b, and further back.
            (vec![("a", Done), ("b", Done), ("c", Done), ("b", Done)], "b", Some("a")),
            // It failed when it was brought in again.
            (vec![("a", Done), ("b", Done), ("c", Done), ("b", Undone)], "c", Some("a")),
            (vec![("a", Done)], "a", None),
            (vec![("gone", Done), ("h", Done)], "h", None),
            (vec![], "a", None),
        ] {
            let found = back(&history, current);
            assert_eq!(found.as_deref(), expected, "{history:?}");
        }
    }
}
