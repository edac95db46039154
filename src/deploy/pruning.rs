//! Removing what is kept no more, as `retention` decides.

use std::{collections::BTreeMap, time::Duration};

use jiff::tz::TimeZone;

use super::{
    DeployError,
    engine::Engine,
    hands::Hands,
    history::{self, LOOKED_AT},
    making::Hear,
    output,
    record::{Deploy, Off, Setback},
    retention::{self, Kept, Need, Rules, State, Stock},
};
use crate::{
    backup::{BackupError, Claim, DumpName, Hold, Manifest, Shelf},
    ident::{AppName, ReleaseId},
    release::Shelved,
    sys::blocking,
};

/// How long a disk may take to tell what releases there are.
const LOOK: Duration = Duration::from_secs(30);

/// Output of so many of the last rollouts is kept.
const KEPT_OUTPUT: u64 = 1000;

/// Whether what goes is really removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// It is only told what would be.
    Foresee,
    /// It is.
    Remove,
}

impl Engine {
    /// Lets go of the dumps of `app` that nothing keeps; gives their names. What is no whole dump of ours
    /// is left alone.
    ///
    /// # Errors
    /// What could not be looked at, or removed.
    pub async fn prune_dumps(
        &self,
        app: &AppName,
        how: Prune,
    ) -> Result<Vec<DumpName>, DeployError> {
        let app = self.app(app)?;
        let place = Shelf::of(&app)?;
        let hands = self.hands(&app);
        let _hold = match how {
            Prune::Foresee => None,
            Prune::Remove => Some(place.claim(Claim::Alone).await?),
        };
        let releases = hands.kept(self.under_way(&app.name).as_ref()).await?;
        let stock = Stock { releases, dumps: place.manifests().await? };
        let gone = retention::decide(&stock, &hands.rules()).dumps;
        for name in gone.iter().filter(|_| how == Prune::Remove) {
            place.remove(name).await?;
        }
        Ok(gone)
    }
}

impl Hands {
    /// What the operator wants to be kept.
    fn rules(&self) -> Rules {
        Rules {
            releases: self.app.code.keep,
            dumps: self.app.backup.as_ref().map(|backup| backup.keep),
            zone: TimeZone::system(),
        }
    }

    /// The releases that are there, newest first.
    pub(super) async fn shelved(&self) -> Result<Vec<Shelved>, DeployError> {
        let workshop = self.workshop();
        let listed = blocking::within(LOOK, move || workshop.list()).await;
        listed
            .map_err(|e| DeployError::Unseen(format!("releases cannot be looked at: {e}")))?
            .map_err(|e| DeployError::Unseen(e.to_string()))
    }

    /// The same, with what each is needed for, also by the deploy that is `under_way`.
    pub(super) async fn kept(&self, under_way: Option<&Deploy>) -> Result<Vec<Kept>, DeployError> {
        let shelved = self.shelved().await?;
        let mut live = self.live().await?;
        live.extend(under_way.and_then(|deploy| deploy.release.clone()));
        let history = history::of(&self.store, &self.app.name, LOOKED_AT).await?;
        let whole = |id: &ReleaseId| shelved.iter().any(|it| it.id == *id && it.manifest.is_ok());
        let before = history::last_good(&history, self.workshop().current().as_ref(), whole);
        let before = [before, under_way.and_then(|deploy| deploy.before.clone())];
        let need = |id: &ReleaseId| match () {
            () if live.contains(id) => Some(Need::Live),
            () if before.iter().flatten().any(|before| before == id) => Some(Need::Before),
            () => None,
        };
        let dumps = dumps_of(&history, under_way);
        let kept = shelved.iter().map(|release| Kept {
            id: release.id.clone(),
            state: if release.manifest.is_ok() { State::Whole } else { State::Unreadable },
            pinned: release.notes.pinned,
            need: need(&release.id),
            dump: dumps.get(&release.id).cloned(),
        });
        Ok(kept.collect())
    }

    /// Dumps that may be removed, for as long as they are held; none while somebody else does something
    /// with them.
    async fn dumps(&self) -> Result<Option<(Shelf, Hold, Vec<Manifest>)>, BackupError> {
        if self.app.backup.is_none() {
            return Ok(None);
        }
        let place = Shelf::of(&self.app)?;
        let hold = match place.claim(Claim::Alone).await {
            Err(BackupError::Busy(_)) => return Ok(None),
            hold => hold?,
        };
        let dumps = place.manifests().await?;
        Ok(Some((place, hold, dumps)))
    }

    /// Releases and dumps go together, and so does what deploys wrote long ago.
    pub(super) async fn prune(&self, deploy: &Deploy, hear: Hear<'_>) -> Result<Off, Setback> {
        let releases = self.kept(Some(deploy)).await.map_err(|e| e.to_string())?;
        let held = self.dumps().await.map_err(|e| e.to_string())?;
        let dumps = held.as_ref().map(|(.., dumps)| dumps.clone()).unwrap_or_default();
        let gone = retention::decide(&Stock { releases, dumps }, &self.rules());
        for id in &gone.releases {
            hear(&format!("release {id} goes"));
        }
        self.workshop().prune(&gone.releases).await.map_err(|e| e.to_string())?;
        if let Some((place, ..)) = &held {
            for name in &gone.dumps {
                hear(&format!("dump {name} goes"));
                place.remove(name).await.map_err(|e| e.to_string())?;
            }
        }
        let last = deploy.id.0;
        let home = self.app.home.clone();
        let old = move || output::prune(&home, |id| id.0 + KEPT_OUTPUT > last);
        // What stays goes with the next deploy.
        let _ = blocking::within(LOOK, old).await;
        let told = [counted(gone.releases.len(), "release"), counted(gone.dumps.len(), "dump")];
        let told: Vec<String> = told.into_iter().flatten().collect();
        Ok(if told.is_empty() { Off::QUIET } else { Off::saying(told.join(", ")) })
    }
}

/// The dump that was made last for a deploy of each release. `history` is newest first.
fn dumps_of(history: &[Deploy], under_way: Option<&Deploy>) -> BTreeMap<ReleaseId, DumpName> {
    let mut dumps = BTreeMap::new();
    for deploy in under_way.into_iter().chain(history) {
        if let (Some(release), Some(dump)) = (&deploy.release, &deploy.dump)
            && let Ok(name) = dump.parse()
        {
            dumps.entry(release.clone()).or_insert(name);
        }
    }
    dumps
}

fn counted(n: usize, what: &str) -> Option<String> {
    match n {
        0 => None,
        1 => Some(format!("1 old {what}")),
        n => Some(format!("{n} old {what}s")),
    }
}
