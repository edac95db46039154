//! From an understood request to the operation, and from its result to the response.

use hyper::StatusCode;
use tokio_util::sync::CancellationToken;

use super::{
    answer::{self, Reply},
    deploys, openapi,
    operations::{Answer, Operations, Way},
    request::Ask,
    route::{Call, Change, Dumps, Read, Receive},
    sent::Sent,
    types::{Events, Logs, Plan, PlanWay, Problem, ProblemCode, Roll, Wait, WaitRun},
};
use crate::{
    config::Access,
    ident::{InstanceId, RunId},
};

/// Lines or events given back at most.
const MOST: usize = 10_000;
/// Lines or events given back where the client does not say.
const USUAL: usize = 100;
/// The longest a single `wait` takes, in seconds.
const LONGEST_WAIT: f64 = 60.0;
/// How long one takes where the client does not say, in seconds.
const USUAL_WAIT: f64 = 30.0;

/// Does what is asked.
pub(super) async fn dispatch(ops: &dyn Operations, ask: Ask, closing: CancellationToken) -> Reply {
    if let Err(problem) = allowed(&ask, ask.route.needs) {
        return answer::problem(&problem);
    }
    let done = match ask.route.call {
        Call::Read(what) => read(ops, what, &ask, closing).await,
        Call::Change(what) => change(ops, what, &ask).await,
        Call::Receive(_) => Err(Problem::bad_request("this takes a body of its own")),
    };
    done.unwrap_or_else(|problem| answer::problem(&problem))
}

/// Does what is asked with what is `sent`, of which nobody has heard anything yet.
pub(super) async fn receive(ops: &dyn Operations, what: Receive, ask: Ask, sent: Sent) -> Reply {
    let received = async {
        allowed(&ask, ask.route.needs)?;
        let by = ask.caller.clone();
        match what {
            Receive::Archive => ops.deploy_archive(by, ask.name()?, ask.query()?, sent).await,
        }
    };
    match received.await {
        Ok(rollout) => answer::accepted(&rollout),
        Err(problem) => answer::last(answer::problem(&problem)),
    }
}

async fn read(
    ops: &dyn Operations,
    what: Read,
    ask: &Ask,
    closing: CancellationToken,
) -> Answer<Reply> {
    Ok(match what {
        Read::Version => answer::json(&ops.version()),
        Read::Status => answer::json(&ops.status().await?),
        Read::Explain => answer::json(&ops.explain(ask.name()?).await?),
        Read::Rollouts => answer::json(&ops.rollouts().await?),
        Read::Rollout => answer::json(&ops.rollout(ask.rollout()?).await?),
        Read::Wait => {
            let how = within_limit(ask.query()?)?;
            answer::json(&ops.wait(ask.rollout()?, how).await?)
        }
        Read::Events => {
            let how: Events = ask.query()?;
            let after = ask.last_event.unwrap_or(0).max(how.after);
            let how = Events { after, n: Some(how.n.unwrap_or(USUAL).min(MOST)), ..how };
            answer::events(ops.events(how).await?, closing)
        }
        Read::Logs => {
            let how: Logs = ask.query()?;
            let of = names(how.of.as_deref().unwrap_or_default())?;
            let usual = how.since.is_none().then_some(USUAL);
            let how = Logs { n: how.n.or(usual).map(|n| n.min(MOST)), ..how };
            answer::lines(ops.logs(of, how).await?, closing)
        }
        Read::Runs => answer::json(&ops.runs(ask.name()?).await?),
        Read::RunEnd => {
            let how: WaitRun = ask.query()?;
            let timeout_s = Some(seconds_within_limit(how.timeout_s)?);
            answer::json(&ops.run_end(RunId(ask.name()?), WaitRun { timeout_s }).await?)
        }
        Read::Nginx => answer::json(&ops.nginx().await?),
        Read::NginxSnippet => answer::json(&ops.nginx_snippet(ask.name()?).await?),
        Read::Plan => {
            let how: Plan = ask.query()?;
            if how.hold && how.way != PlanWay::Swap {
                return Err(Problem::bad_request("only a swap can be held"));
            }
            if how.release.is_some() {
                allowed(ask, Access::Deploy)?;
            }
            answer::json(&ops.plan(ask.name()?, how).await?)
        }
        Read::PlanTogether => answer::json(&ops.plan_together(ask.query()?).await?),
        Read::Apps => answer::json(&ops.apps().await?),
        Read::Backups => answer::json(&ops.backups(ask.name()?).await?),
        Read::Deploys(what) => deploys::read(ops, what, ask).await?,
        Read::OpenApi => answer::json(&openapi::document()),
    })
}

async fn change(ops: &dyn Operations, what: Change, ask: &Ask) -> Answer<Reply> {
    let by = ask.caller.clone();
    Ok(match what {
        Change::Act(verb) => answer::accepted(&ops.act(by, verb, ask.name()?, ask.body()?).await?),
        Change::Roll(Way::Rollback) => {
            let what_is_warm = Roll::default();
            answer::accepted(&ops.roll(by, Way::Rollback, ask.name()?, what_is_warm).await?)
        }
        Change::Roll(way) => {
            let how: Roll = ask.body()?;
            if how.hold && way != Way::Swap {
                return Err(Problem::bad_request("only a swap can be held"));
            }
            if how.release.is_some() {
                allowed(ask, Access::Deploy)?;
            }
            answer::accepted(&ops.roll(by, way, ask.name()?, how).await?)
        }
        Change::Decide(decision) => answer::accepted(&ops.decide(by, decision, ask.name()?).await?),
        Change::RollTogether => answer::accepted(&ops.roll_together(by, ask.body()?).await?),
        Change::Cancel => answer::accepted(&ops.cancel(by, ask.rollout()?).await?),
        Change::ReloadInstance => answer::json(&ops.reload_instance(by, ask.name()?).await?),
        Change::Enable(boot) => {
            answer::json(&ops.enable(by, boot, ask.name()?, ask.body()?).await?)
        }
        Change::Deploys(what) => deploys::change(ops, what, ask).await?,
        Change::ResetFailed => answer::json(&ops.reset_failed(by, ask.body()?).await?),
        Change::Reload => answer::json(&ops.reload(by, ask.body()?).await?),
        Change::StopRun => answer::json(&ops.stop_run(by, ask.name()?).await?),
        Change::Run => answer::json(&ops.run(by, ask.name()?).await?),
        Change::Reexec => answer::json(&ops.reexec(by).await?),
        Change::Dumps(what) => dumps(ops, what, ask).await?,
        Change::NginxTest => answer::json(&ops.nginx_test().await?),
    })
}

async fn dumps(ops: &dyn Operations, what: Dumps, ask: &Ask) -> Answer<Reply> {
    let by = ask.caller.clone();
    Ok(match what {
        Dumps::Make => answer::json(&ops.backup(by, ask.name()?, ask.body()?).await?),
        Dumps::Verify => answer::json(&ops.verify(by, ask.name()?, ask.body()?).await?),
        Dumps::Restore => answer::json(&ops.restore(by, ask.name()?, ask.body()?).await?),
        Dumps::Prune => answer::json(&ops.prune(by, ask.name()?, ask.body()?).await?),
        Dumps::Cancel => answer::json(&ops.cancel_run(by, RunId(ask.name()?)).await?),
    })
}

/// Validated names, never paths (`C2`).
fn names(given: &str) -> Answer<Vec<InstanceId>> {
    let names = given.split(',').filter(|name| !name.is_empty());
    names.map(|name| name.parse().map_err(|e| Problem::bad_request(format!("{e}")))).collect()
}

fn within_limit(mut how: Wait) -> Answer<Wait> {
    how.timeout_s = Some(seconds_within_limit(how.timeout_s)?);
    Ok(how)
}

fn seconds_within_limit(asked: Option<f64>) -> Answer<f64> {
    let seconds = asked.unwrap_or(USUAL_WAIT);
    if !seconds.is_finite() || seconds < 0.0 {
        return Err(Problem::bad_request("`timeout_s` is not a number of seconds"));
    }
    Ok(seconds.min(LONGEST_WAIT))
}

fn allowed(ask: &Ask, needs: Access) -> Answer<()> {
    let has = ask.caller.access;
    if has >= needs {
        return Ok(());
    }
    let uid = ask.caller.uid;
    Err(Problem::new(
        ProblemCode::Forbidden,
        format!("uid {uid} has the access level `{}`; this needs `{}`", word(has), word(needs)),
        "ask as root, or have a group of yours granted that level under `control.grants`"
            .to_owned(),
    ))
}

/// The answer to somebody without any access.
pub(super) fn stranger(uid: u32) -> Reply {
    answer::problem(&Problem::new(
        ProblemCode::Forbidden,
        format!("uid {uid} may not ask anything here"),
        "become a member of a group that is granted a level under `control.grants`".to_owned(),
    ))
}

/// The answer to a request that took longer than any may.
pub(super) fn too_long() -> Reply {
    let said = Problem::failed("the daemon did not answer in time; what was begun goes on");
    answer::problem_as(StatusCode::GATEWAY_TIMEOUT, &said)
}

const fn word(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Operate => "operate",
        Access::Deploy => "deploy",
        Access::Admin => "admin",
    }
}
