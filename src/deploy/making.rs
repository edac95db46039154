//! The steps that are about code: where it comes from, what is made of it, and which of it is current.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    DeployError,
    hands::{Hands, release},
    output,
    record::{Aim, Deploy, Harm, Learnt, Off, Setback},
    words,
};
use crate::{
    ident::{ReleaseId, ServiceName},
    rollout::{draft::Request, record::Kind},
};

/// What hears a step's output.
pub(super) type Hear<'h> = &'h mut (dyn FnMut(&str) + Send);

/// Output of so many of the last rollouts is kept.
const KEPT_OUTPUT: u64 = 1000;

impl Hands {
    pub(super) async fn fetch(&self, deploy: &Deploy, hear: Hear<'_>) -> Result<Off, Setback> {
        let Aim::New(wanted) = &deploy.aim else { return Ok(Off::QUIET) };
        let source = self.workshop().fetch(wanted, hear).await.map_err(|e| e.to_string())?;
        let when = Timestamp::from_microsecond(deploy.begun).unwrap_or_default();
        let (note, id) = (words::source(&source), source.release_id(when));
        Ok(Off { note: Some(note), learnt: Learnt::Source(source, id) })
    }

    pub(super) async fn build(&self, deploy: &Deploy, hear: Hear<'_>) -> Result<Off, Setback> {
        let id = release(deploy)?;
        let Some(source) = &deploy.source else {
            return Err("nothing was fetched".to_owned().into());
        };
        let built = self.workshop().build(id, source, Some(&deploy.by), hear).await;
        built.map_err(|e| e.to_string())?;
        Ok(Off::QUIET)
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
        let schema = self.look_at_schema(deploy, hear).await?;
        let note = schema.as_ref().and_then(words::pending);
        Ok(Off { note, learnt: Learnt::Schema(schema) })
    }

    async fn check_service(&self, service: &ServiceName, id: &ReleaseId) -> Result<(), String> {
        let release = self.release_for(service, id)?;
        let named = Some(release.clone());
        let request = Request { named, ..Request::of(Kind::Rolling, release) };
        self.rollouts.forecast(service, &request).await.map(drop).map_err(|e| e.to_string())
    }

    pub(super) fn settle(&self, deploy: &Deploy) -> Result<Off, Setback> {
        let id = release(deploy)?;
        let harm = Harm::Left;
        let pointed = self.workshop().point_current(id);
        pointed.map_err(|e| Setback { why: e.to_string(), harm })?;
        Ok(Off::QUIET)
    }

    /// The releases that are current or run.
    pub(super) async fn needed(&self) -> Result<BTreeSet<ReleaseId>, DeployError> {
        let mut needed: BTreeSet<ReleaseId> = self.workshop().current().into_iter().collect();
        for service in &self.app.services {
            let there = self.rollouts.presence(service).await?;
            needed.extend(there.all().map(|release| release.id.clone()));
        }
        Ok(needed)
    }

    /// What runs stays, and what was before: it is what a rollback goes to.
    pub(super) async fn prune(&self, deploy: &Deploy) -> Result<Off, Setback> {
        let mut protected = self.needed().await.map_err(|e| e.to_string())?;
        protected.extend([&deploy.release, &deploy.before].into_iter().flatten().cloned());
        let gone = self
            .workshop()
            .prune(self.app.code.keep, &protected)
            .await
            .map_err(|e| e.to_string())?;
        output::prune(&self.app.home, |id| id.0 + KEPT_OUTPUT > deploy.id.0);
        Ok(match gone.releases.len() {
            0 => Off::QUIET,
            1 => Off::saying("1 old release"),
            n => Off::saying(format!("{n} old releases")),
        })
    }
}
