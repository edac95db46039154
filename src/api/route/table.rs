//! Every route, with the access it needs and how it answers.

use hyper::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{Answers, Call, Change, Dumps, Read, Receive, Route, SchemaOf};
use crate::{
    api::{
        deploys::{self, Fate},
        explain::Explanation,
        operations::{AtBoot, Decision, Verb, Way},
        types::{
            Act, App, ArchiveHow, Backup, DeployHow, Enable, Enablement, Events, Forgiven, LogLine,
            Logs, MakeBackup, NginxFile, NginxSnippet, NginxTest, OfRelease, OutputLine, Plan,
            PlanTogether, Planned, PruneBackups, PrunedBackups, Reexec, Release, Reload, Reloaded,
            ReloadedInstance, ResetFailed, RestoreBackup, Roll, RollTogether, RollbackHow, Rollout,
            Run, Status, VerifyBackup, Version, Wait, WaitRun,
        },
    },
    config::Access,
    store::Event,
};

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const fn read(path: &'static str, what: Read, summary: &'static str, answers: Answers) -> Route {
    let (method, needs, call) = (Method::GET, Access::Read, Call::Read(what));
    Route { method, path, needs, call, summary, query: None, body: None, answers }
}

const fn operate(
    path: &'static str,
    what: Change,
    summary: &'static str,
    answers: Answers,
) -> Route {
    let (method, needs, call) = (Method::POST, Access::Operate, Call::Change(what));
    Route { method, path, needs, call, summary, query: None, body: None, answers }
}

const fn receive(path: &'static str, what: Receive, summary: &'static str) -> Route {
    let (method, needs, call) = (Method::POST, Access::Deploy, Call::Receive(what));
    let answers = Answers::Accepted;
    Route { method, path, needs, call, summary, query: None, body: None, answers }
}

const fn of_release(path: &'static str, fate: Fate, summary: &'static str) -> Route {
    operate(
        path,
        Change::Deploys(deploys::Change::OfRelease(fate)),
        summary,
        Answers::Json(of::<Vec<Release>>),
    )
    .with_body(of::<OfRelease>)
    .needing(Access::Deploy)
}

impl Route {
    const fn with_query(mut self, query: SchemaOf) -> Self {
        self.query = Some(query);
        self
    }

    const fn needing(mut self, level: Access) -> Self {
        self.needs = level;
        self
    }

    const fn with_body(mut self, body: SchemaOf) -> Self {
        self.body = Some(body);
        self
    }
}

/// Every route there is.
pub(in crate::api) static TABLE: [Route; 49] = [
    read("/v1/version", Read::Version, "Who answers", Answers::Json(of::<Version>)),
    read("/v1/status", Read::Status, "The whole state, observed now", Answers::Json(of::<Status>)),
    read(
        "/v1/instances/{instance}/explain",
        Read::Explain,
        "One instance: why it is in its state, and its last answers to probes",
        Answers::Json(of::<Explanation>),
    ),
    read(
        "/v1/rollouts",
        Read::Rollouts,
        "The last rollouts, newest first",
        Answers::Json(of::<Vec<Rollout>>),
    ),
    read("/v1/rollouts/{id}", Read::Rollout, "One rollout", Answers::Json(of::<Rollout>)),
    read(
        "/v1/rollouts/{id}/wait",
        Read::Wait,
        "One rollout, once it has changed or ended, or after `timeout_s`",
        Answers::Json(of::<Rollout>),
    )
    .with_query(of::<Wait>),
    read("/v1/events", Read::Events, "Events, as server-sent events", Answers::Sent(of::<Event>))
        .with_query(of::<Events>),
    read(
        "/v1/logs",
        Read::Logs,
        "Output of instances, one JSON document per line",
        Answers::Lines(of::<LogLine>),
    )
    .with_query(of::<Logs>),
    read(
        "/v1/jobs/{job}/runs",
        Read::Runs,
        "The last runs of a job, newest first",
        Answers::Json(of::<Vec<Run>>),
    ),
    read(
        "/v1/runs/{run}/wait",
        Read::RunEnd,
        "A run of a job, once it has ended, or after `timeout_s`",
        Answers::Json(of::<Run>),
    )
    .with_query(of::<WaitRun>),
    read(
        "/v1/nginx",
        Read::Nginx,
        "The owned file and what nginx answers",
        Answers::Json(of::<NginxFile>),
    ),
    read(
        "/v1/nginx/snippets/{service}",
        Read::NginxSnippet,
        "The lines that a site needs for a service",
        Answers::Json(of::<NginxSnippet>),
    ),
    read(
        "/v1/services/{service}/plan",
        Read::Plan,
        "What a rollout of a service would do; naming a release needs the level `deploy`",
        Answers::Json(of::<Planned>),
    )
    .with_query(of::<Plan>),
    read(
        "/v1/plan",
        Read::PlanTogether,
        "What one rollout of several services would do, in order",
        Answers::Json(of::<Vec<Planned>>),
    )
    .with_query(of::<PlanTogether>),
    read("/v1/apps", Read::Apps, "Every application", Answers::Json(of::<Vec<App>>)),
    read(
        "/v1/apps/{app}/backups",
        Read::Backups,
        "The dumps of an application, oldest first",
        Answers::Json(of::<Vec<Backup>>),
    ),
    read(
        "/v1/apps/{app}/releases",
        Read::Deploys(deploys::Read::Releases),
        "The releases of an application, newest first",
        Answers::Json(of::<Vec<Release>>),
    ),
    read(
        "/v1/rollouts/{id}/output",
        Read::Deploys(deploys::Read::Output),
        "What the steps of a deploy wrote, without secrets",
        Answers::Json(of::<Vec<OutputLine>>),
    ),
    read("/v1/openapi.json", Read::OpenApi, "This document", Answers::Document),
    operate(
        "/v1/instances/{instance}/start",
        Change::Act(Verb::Start),
        "Start an instance",
        Answers::Accepted,
    )
    .with_body(of::<Act>),
    operate(
        "/v1/instances/{instance}/stop",
        Change::Act(Verb::Stop),
        "Stop an instance",
        Answers::Accepted,
    )
    .with_body(of::<Act>),
    operate(
        "/v1/instances/{instance}/restart",
        Change::Act(Verb::Restart),
        "Stop and start an instance, the same release",
        Answers::Accepted,
    )
    .with_body(of::<Act>),
    operate(
        "/v1/services/{service}/rolling",
        Change::Roll(Way::Rolling),
        "Rolling update of a service; naming a release needs the level `deploy`",
        Answers::Accepted,
    )
    .with_body(of::<Roll>),
    operate(
        "/v1/services/{service}/swap",
        Change::Roll(Way::Swap),
        "Swap the colours of a service; naming a release needs the level `deploy`",
        Answers::Accepted,
    )
    .with_body(of::<Roll>),
    operate(
        "/v1/services/{service}/rollback",
        Change::Roll(Way::Rollback),
        "Go back to the colour from before the last swap, while it is warm",
        Answers::Accepted,
    ),
    operate(
        "/v1/services/{service}/promote",
        Change::Decide(Decision::Promote),
        "Let the swap of a service that is held go on",
        Answers::Accepted,
    ),
    operate(
        "/v1/services/{service}/abort",
        Change::Decide(Decision::Abort),
        "Turn the swap of a service that is held back",
        Answers::Accepted,
    ),
    operate(
        "/v1/rollouts",
        Change::RollTogether,
        "One rollout of several services, one after another",
        Answers::Accepted,
    )
    .with_body(of::<RollTogether>),
    operate(
        "/v1/rollouts/{id}/cancel",
        Change::Cancel,
        "Turn a rollout back, if it has not passed its point of no return",
        Answers::Accepted,
    ),
    operate(
        "/v1/instances/{instance}/reload",
        Change::ReloadInstance,
        "Tell an instance to read its own configuration again, as its service says, and see to it",
        Answers::Json(of::<ReloadedInstance>),
    ),
    operate(
        "/v1/services/{service}/enable",
        Change::Enable(AtBoot::Enabled),
        "Let a service come up with its host",
        Answers::Json(of::<Enablement>),
    )
    .with_body(of::<Enable>),
    operate(
        "/v1/services/{service}/disable",
        Change::Enable(AtBoot::Disabled),
        "Let a service not come up with its host",
        Answers::Json(of::<Enablement>),
    )
    .with_body(of::<Enable>),
    operate(
        "/v1/reset-failed",
        Change::ResetFailed,
        "Forget the deaths of an instance, or of all that have failed, which are stopped then",
        Answers::Json(of::<Forgiven>),
    )
    .with_body(of::<ResetFailed>),
    operate(
        "/v1/daemon/reexec",
        Change::Reexec,
        "Let the installed program take this one's place; needs the level `admin`",
        Answers::Json(of::<Reexec>),
    )
    .needing(Access::Admin),
    operate(
        "/v1/daemon/reload",
        Change::Reload,
        "Read the configuration again, and apply what differs; needs the level `deploy`",
        Answers::Json(of::<Reloaded>),
    )
    .with_body(of::<Reload>)
    .needing(Access::Deploy),
    operate(
        "/v1/apps/{app}/deploy",
        Change::Deploys(deploys::Change::Deploy),
        "Bring new code of an application into service; needs the level `deploy`",
        Answers::Accepted,
    )
    .with_body(of::<DeployHow>)
    .needing(Access::Deploy),
    receive(
        "/v1/apps/{app}/deploy/archive",
        Receive::Archive,
        "Bring the code of an archive into service, which is the body; needs the level `deploy`",
    )
    .with_query(of::<ArchiveHow>),
    operate(
        "/v1/apps/{app}/rollback",
        Change::Deploys(deploys::Change::Rollback),
        "Bring a release of an application back; needs the level `deploy`",
        Answers::Accepted,
    )
    .with_body(of::<RollbackHow>)
    .needing(Access::Deploy),
    of_release("/v1/apps/{app}/pin", Fate::Pinned, "Keep a release whatever comes"),
    of_release("/v1/apps/{app}/unpin", Fate::Unpinned, "Let a release go when its time comes"),
    of_release("/v1/apps/{app}/remove", Fate::Removed, "Remove a release that nothing needs"),
    operate("/v1/jobs/{job}/run", Change::Run, "Run a job now", Answers::Json(of::<Run>)),
    operate(
        "/v1/jobs/{job}/stop",
        Change::StopRun,
        "Stop the run of a job that goes on",
        Answers::Json(of::<Run>),
    ),
    operate(
        "/v1/apps/{app}/backups",
        Change::Dumps(Dumps::Make),
        "Dump the database of an application",
        Answers::Json(of::<Run>),
    )
    .with_body(of::<MakeBackup>),
    operate(
        "/v1/apps/{app}/backups/verify",
        Change::Dumps(Dumps::Verify),
        "Check a dump, also by restoring it into a database of its own",
        Answers::Json(of::<Run>),
    )
    .with_body(of::<VerifyBackup>),
    operate(
        "/v1/apps/{app}/backups/restore",
        Change::Dumps(Dumps::Restore),
        "Make the database of an application what a dump is; needs the level `admin`",
        Answers::Json(of::<Run>),
    )
    .with_body(of::<RestoreBackup>)
    .needing(Access::Admin),
    operate(
        "/v1/apps/{app}/backups/prune",
        Change::Dumps(Dumps::Prune),
        "Let go of the dumps that retention does not keep; needs the level `deploy`",
        Answers::Json(of::<PrunedBackups>),
    )
    .with_body(of::<PruneBackups>)
    .needing(Access::Deploy),
    operate(
        "/v1/runs/{run}/cancel",
        Change::Dumps(Dumps::Cancel),
        "End what is done for an application: everything is as it was",
        Answers::Json(of::<Run>),
    ),
    operate("/v1/nginx/test", Change::NginxTest, "Run `nginx -t`", Answers::Json(of::<NginxTest>)),
];
