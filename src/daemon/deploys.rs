//! What the control socket asks of applications, done.

use std::time::Duration;

use futures_util::future::select_all;
use tokio::time::{Instant, timeout_at};

use super::{Daemon, operations::name, problems, views};
use crate::{
    api::{
        deploys::{Deploys, Fate},
        operations::{Answer, Caller, Pending},
        sent::Sent,
        types::{
            self, App, ArchiveHow, DeployHow, DeployScope, OfRelease, OutputLine, ReleaseState,
            RollbackHow, Wait,
        },
    },
    config,
    deploy::{
        Asked, DeployError, Pin,
        record::{Aim, Course, Deploy, Loss, Outcome, Scope, Taken},
    },
    ident::{AppName, ReleaseId, RolloutId},
    release::{Commit, Wanted},
};

impl Deploys for Daemon {
    fn releases(&self, of: AppName) -> Pending<'_, Answer<Vec<types::Release>>> {
        Box::pin(async move { self.releases_of(&of).await })
    }

    fn output(&self, of: RolloutId) -> Pending<'_, Answer<Vec<OutputLine>>> {
        Box::pin(async move {
            let deploy = self.deploys.look_up(of).await.map_err(|e| problems::of_deploy(&e))?;
            let deploy = deploy.ok_or_else(|| problems::no_deploy(of))?;
            let written = self.deploys.output(&deploy).await;
            let text = written.map_err(|e| problems::of_deploy(&e))?;
            Ok(text.lines().map(|line| OutputLine { text: line.to_owned() }).collect())
        })
    }

    fn deploy(
        &self,
        by: Caller,
        app: AppName,
        how: DeployHow,
    ) -> Pending<'_, Answer<types::Rollout>> {
        Box::pin(async move {
            let aim = Aim::New(Wanted::Ref(how.reference));
            self.begin_deploy(&by, &app, aim, (scope(how.scope), Loss::Never)).await
        })
    }

    fn deploy_archive(
        &self,
        by: Caller,
        app: AppName,
        how: ArchiveHow,
        sent: Sent,
    ) -> Pending<'_, Answer<types::Rollout>> {
        Box::pin(async move {
            let upload = self.receive(&app, sent).await?;
            let (id, aim) = (upload.id, Aim::New(Wanted::Archive(upload)));
            let begun = self.begin_deploy(&by, &app, aim, (scope(how.scope), Loss::Never)).await;
            if begun.is_err() {
                self.forget_upload(&app, id).await;
            }
            begun
        })
    }

    fn roll_back(
        &self,
        by: Caller,
        app: AppName,
        how: RollbackHow,
    ) -> Pending<'_, Answer<types::Rollout>> {
        Box::pin(async move {
            let scope = match (how.plan, how.db) {
                (true, _) => Scope::Look,
                (false, true) => Scope::Full,
                (false, false) => Scope::CodeOnly,
            };
            let loss = if how.force { Loss::Accepted } else { Loss::Never };
            let target = match how.to {
                Some(id) => ReleaseId(id),
                None => self.deploys.last_good(&app).await.map_err(|e| problems::of_deploy(&e))?,
            };
            self.begin_deploy(&by, &app, Aim::Kept(target), (scope, loss)).await
        })
    }

    fn decide_on(
        &self,
        by: Caller,
        app: AppName,
        fate: Fate,
        release: OfRelease,
    ) -> Pending<'_, Answer<Vec<types::Release>>> {
        Box::pin(async move {
            self.may_change()?;
            let id = ReleaseId(release.release);
            let done = match fate {
                Fate::Pinned => self.deploys.pin(&app, &id, Pin::Kept),
                Fate::Unpinned => self.deploys.pin(&app, &id, Pin::Free),
                Fate::Removed => self.deploys.remove(&app, &id).await,
            };
            done.map_err(|e| problems::of_deploy(&e))?;
            let word = match fate {
                Fate::Pinned => "pinned",
                Fate::Unpinned => "unpinned",
                Fate::Removed => "removed",
            };
            self.record(
                "release.decided",
                format!("release {id} of {app} {word} by {}", name(&by)),
            );
            self.releases_of(&app).await
        })
    }
}

impl Daemon {
    /// Every application, with what is current of it.
    pub(super) async fn app_statuses(&self) -> Vec<App> {
        let apps = self.deploys.apps();
        let mut shown = vec![];
        for app in apps.values() {
            let workshop = self.deploys.workshop(app);
            let current = workshop.current();
            let manifest = current.as_ref().and_then(|id| workshop.get(id).ok()?.manifest.ok());
            let brought = match &current {
                Some(id) => self.deploys.brought_in(&app.name, id).await.ok().flatten(),
                None => None,
            };
            shown.push(App {
                current: current.map(|id| id.to_string()),
                code: manifest.and_then(|it| code(it.commit.as_ref(), it.reference.as_ref())),
                by: brought.as_ref().map(|deploy| deploy.by.clone()),
                since: brought.and_then(|deploy| Some(views::moment(deploy.ended?))),
                rollout: self.deploys.under_way(&app.name).map(|deploy| shown_alone(&deploy)),
                ..self.app_view(app)
            });
        }
        shown
    }

    async fn begin_deploy(
        &self,
        by: &Caller,
        app: &AppName,
        aim: Aim,
        (scope, loss): (Scope, Loss),
    ) -> Answer<types::Rollout> {
        self.may_change()?;
        let asked = Asked { aim, scope, loss, disabled: self.disabled.all() };
        let begun = self.deploys.begin(app, asked, name(by)).await;
        Ok(shown_alone(&begun.map_err(|e| problems::of_deploy(&e))?))
    }

    /// Turns a deploy back; `None` when there is no deploy of this id.
    pub(super) async fn cancel_deploy(
        &self,
        id: RolloutId,
        by: &Caller,
    ) -> Answer<Option<types::Rollout>> {
        let found = self.deploys.look_up(id).await.map_err(|e| problems::of_deploy(&e))?;
        if found.is_none() {
            return Ok(None);
        }
        self.deploys.cancel(id, &name(by)).await.map_err(|e| problems::of_deploy(&e))?;
        self.deploy_shown(id).await
    }

    async fn releases_of(&self, app: &AppName) -> Answer<Vec<types::Release>> {
        let problem = |e: DeployError| problems::of_deploy(&e);
        let whole = self.deploys.app(app).map_err(problem)?;
        let workshop = self.deploys.workshop(&whole);
        let current = workshop.current();
        let record = self.deploys.outcomes(app).await.map_err(problem)?;
        let mut shown = vec![];
        let there = workshop.list().map_err(|e| problems::failed(&e.to_string()))?;
        for release in there {
            let manifest = release.manifest.as_ref();
            let state = match record.get(&release.id) {
                _ if current.as_ref() == Some(&release.id) => ReleaseState::Current,
                Some(Outcome::Done) => ReleaseState::Good,
                Some(Outcome::Undone | Outcome::Stuck) => ReleaseState::Failed,
                None => ReleaseState::Unused,
            };
            shown.push(types::Release {
                runs: self.instances_of(&whole, &release.id),
                id: release.id.to_string(),
                code: manifest.ok().and_then(|it| code(it.commit.as_ref(), it.reference.as_ref())),
                built: manifest.ok().map(|manifest| views::second(manifest.sealed)),
                by: manifest.ok().and_then(|manifest| manifest.by.clone()),
                pinned: release.notes.pinned,
                broken: manifest.err().map(ToString::to_string),
                state,
            });
        }
        Ok(shown)
    }

    fn instances_of(&self, app: &config::App, release: &ReleaseId) -> Vec<String> {
        let crews = self.engine.crews();
        let all = app.services.iter().filter_map(|service| crews.get(service));
        let all = all.flat_map(|crew| crew.instances.values());
        let views = all.map(crate::instance::Instance::view);
        let runs = views.filter(|view| {
            view.phase.is_up() && view.release.as_ref().is_some_and(|run| run.id == *release)
        });
        runs.map(|view| view.id.to_string()).collect()
    }

    /// A deploy with the rollouts of its services; `None` when there is no deploy of this id.
    pub(super) async fn deploy_shown(&self, id: RolloutId) -> Answer<Option<types::Rollout>> {
        let found = self.deploys.look_up(id).await.map_err(|e| problems::of_deploy(&e))?;
        match found {
            Some(deploy) => Ok(Some(shown(&deploy, self.members_of(&deploy).await))),
            None => Ok(None),
        }
    }

    /// Those that are still kept.
    async fn members_of(&self, deploy: &Deploy) -> Vec<types::Rollout> {
        let mut members = vec![];
        for id in &deploy.rollouts {
            let member = self.engine.find(*id).await.ok();
            members.extend(member.map(|member| views::rollout(&member, views::now())));
        }
        members
    }

    /// The last deploys, newest first.
    pub(super) async fn last_deploys(&self, most: usize) -> Answer<Vec<types::Rollout>> {
        let last = self.deploys.last(most).await.map_err(|e| problems::of_deploy(&e))?;
        let mut all = vec![];
        for deploy in last {
            let members = self.members_of(&deploy).await;
            all.push(shown(&deploy, members));
        }
        Ok(all)
    }

    /// A deploy, once it or a rollout of it has changed, or it has ended.
    pub(super) async fn deploy_changed(
        &self,
        id: RolloutId,
        how: &Wait,
    ) -> Answer<Option<types::Rollout>> {
        let within = Duration::try_from_secs_f64(how.timeout_s.unwrap_or_default());
        let end = Instant::now() + within.unwrap_or_default();
        loop {
            let Some(mut watch) = self.deploys.watch(id) else {
                return self.deploy_shown(id).await;
            };
            let seen = watch.borrow_and_update().clone();
            let now = shown(&seen, self.members_of(&seen).await);
            if now.revision != how.revision || now.state.ended() {
                return Ok(Some(now));
            }
            let mut news: Vec<Pending<'_, ()>> =
                vec![Box::pin(async move { drop(watch.changed().await) })];
            for member in &now.members {
                if let Some(mut watch) = self.engine.watch(RolloutId(member.id)) {
                    let revision = member.revision;
                    news.push(Box::pin(async move {
                        drop(watch.wait_for(|now| now.revision != revision).await);
                    }));
                }
            }
            if timeout_at(end, select_all(news)).await.is_err() {
                return self.deploy_shown(id).await;
            }
        }
    }
}

const fn scope(of: DeployScope) -> Scope {
    match of {
        DeployScope::Full => Scope::Full,
        DeployScope::CodeOnly => Scope::CodeOnly,
        DeployScope::MigrateOnly => Scope::MigrateOnly,
        DeployScope::Look => Scope::Look,
    }
}

fn shown_alone(deploy: &Deploy) -> types::Rollout {
    shown(deploy, vec![])
}

/// A deploy as clients see it: the steps of its services' rollouts stand in the place of its own.
fn shown(deploy: &Deploy, members: Vec<types::Rollout>) -> types::Rollout {
    let now = views::now();
    let mut steps = vec![];
    let mut left: Vec<&types::Rollout> = members.iter().collect();
    for (at, taken) in deploy.steps.iter().enumerate() {
        let next = deploy.steps.get(at + 1).map(|next| views::moment(next.begun));
        let (inside, later): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|member| next.as_ref().is_none_or(|next| member.begun < *next));
        let of_members: Vec<_> = inside.iter().flat_map(|member| member.steps.clone()).collect();
        left = later;
        if of_members.is_empty() {
            steps.push(step(taken, deploy));
        } else {
            steps.extend(of_members);
        }
    }
    types::Rollout {
        id: deploy.id.0,
        kind: deploy.word().to_owned(),
        service: deploy.app.to_string(),
        app: Some(deploy.app.to_string()),
        instance: None,
        release: deploy.release.as_ref().map(ToString::to_string),
        code: deploy.source.as_ref().and_then(|it| code(it.commit.as_ref(), it.reference.as_ref())),
        by: deploy.by.clone(),
        deploy: None,
        state: views::course(deploy.course),
        begun: views::moment(deploy.begun),
        elapsed_s: views::seconds_between(deploy.begun, deploy.ended.unwrap_or(now)),
        steps,
        failure: deploy.failure.clone(),
        requests: None,
        undo: None,
        cut: members.iter().map(|member| member.cut).sum(),
        held: None,
        report: deploy.report.clone(),
        committed: !deploy.can_turn_back() && deploy.course == Course::Forward,
        revision: deploy.revision + members.iter().map(|member| member.revision).sum::<u64>(),
        members,
    }
}

fn step(taken: &Taken, deploy: &Deploy) -> types::Step {
    types::Step {
        name: taken.step.word().to_owned(),
        on: deploy.app.to_string(),
        took_s: taken.took_ms.map(|ms| Duration::from_millis(ms).as_secs_f64()),
        note: taken.note.clone(),
        left: None,
        cut: 0,
        failed: taken.failed,
    }
}

fn code(commit: Option<&Commit>, reference: Option<&String>) -> Option<types::Code> {
    let Commit { id, subject, author, .. } = commit?.clone();
    Some(types::Code { commit: id, subject, author, reference: reference.cloned() })
}
