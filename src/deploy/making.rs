//! The steps that are about code: where it comes from, what is made of it, and which of it is current.

use std::{collections::BTreeSet, fs, time::Duration};

use jiff::Timestamp;

use super::{
    DeployError,
    hands::{Hands, release},
    record::{Aim, Deploy, Harm, Learnt, Off, Setback},
    report, words,
};
use crate::{
    ident::{ReleaseId, ServiceName},
    release::Manifest,
    sys::blocking,
};

/// What hears a step's output.
pub(super) type Hear<'h> = &'h mut (dyn FnMut(&str) + Send);

/// How long the disk may take to keep what is current.
const SETTLE: Duration = Duration::from_secs(60);

impl Hands {
    pub(super) async fn fetch(&self, deploy: &Deploy, hear: Hear<'_>) -> Result<Off, Setback> {
        let Aim::New(wanted) = &deploy.aim else { return Ok(Off::QUIET) };
        let source = self.workshop().fetch(wanted, hear).await.map_err(|e| e.to_string())?;
        let when = Timestamp::from_microsecond(deploy.begun).unwrap_or_default();
        let (note, id) = (words::source(&source, wanted.upload()), source.release_id(when));
        Ok(Off { note: Some(note), learnt: Learnt::Source(source, id) })
    }

    pub(super) async fn build(&self, deploy: &Deploy, hear: Hear<'_>) -> Result<Off, Setback> {
        let id = release(deploy)?;
        let Some(source) = &deploy.source else {
            return Err("nothing was fetched".to_owned().into());
        };
        let built = self.workshop().build(id, source, Some(&deploy.by), hear).await;
        built.map_err(|e| e.to_string())?;
        Ok(Off::saying(format!("release {id}")))
    }

    /// Looks whether each service could get the release now.
    pub(super) async fn check(&self, deploy: &Deploy, hear: Hear<'_>) -> Result<Off, Setback> {
        let id = release(deploy)?;
        let mut wrong = vec![];
        for service in &deploy.services {
            if let Err(e) = self.check_service(service, id).await {
                wrong.push(format!("{service}: {e}"));
            }
        }
        if !wrong.is_empty() {
            return Err(wrong.join("\n").into());
        }
        let mut report = self.compared(deploy).await;
        let (schema, told) = self.look_at_schema(deploy, hear).await?;
        report.extend(told);
        let note = schema.as_ref().and_then(words::pending);
        Ok(Off { note, learnt: Learnt::Checked(schema, report) })
    }

    /// The release beside the one that is current. What cannot be compared is left out: it is looked at
    /// for people, and nothing depends on it.
    async fn compared(&self, deploy: &Deploy) -> Vec<String> {
        let workshop = self.workshop();
        let manifest = |id: &Option<ReleaseId>| workshop.get(id.as_ref()?).ok()?.manifest.ok();
        let (Some(old), Some(new)) = (manifest(&deploy.before), manifest(&deploy.release)) else {
            return vec![];
        };
        let mut report = vec![];
        if let (Some(was), Some(is)) = (&old.commit, &new.commit)
            && let Ok(between) = workshop.commits_between(&was.id, &is.id).await
        {
            report.extend(report::commits(&between, &was.id));
        }
        let installed = |manifest: &Manifest| {
            let from = &manifest.venv.as_ref()?.from;
            fs::read_to_string(workshop.places.releases.join(&manifest.id.0).join(from)).ok()
        };
        if let (Some(was), Some(is)) = (installed(&old), installed(&new)) {
            report.extend(report::dependencies(&was, &is));
        }
        report
    }

    async fn check_service(&self, service: &ServiceName, id: &ReleaseId) -> Result<(), String> {
        let release = self.release_for(service, id)?;
        let request = self.request_for(service, release);
        self.rollouts.forecast(service, &request).await.map(drop).map_err(|e| e.to_string())
    }

    pub(super) async fn settle(&self, deploy: &Deploy) -> Result<Off, Setback> {
        let (id, workshop) = (release(deploy)?.clone(), self.workshop());
        let harmful = |why: String| Setback { why, harm: Harm::Left };
        let pointed = blocking::within(SETTLE, move || workshop.point_current(&id)).await;
        pointed
            .map_err(|e| harmful(format!("`current` cannot be changed: {e}")))?
            .map_err(|e| harmful(e.to_string()))?;
        Ok(Off::QUIET)
    }

    /// The releases that are current or run.
    pub(super) async fn live(&self) -> Result<BTreeSet<ReleaseId>, DeployError> {
        let mut live: BTreeSet<ReleaseId> = self.workshop().current().into_iter().collect();
        for service in &self.app.services {
            let there = self.rollouts.presence(service).await?;
            live.extend(there.all().map(|release| release.id.clone()));
        }
        Ok(live)
    }
}
