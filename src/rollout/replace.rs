//! New processes take over from old ones in the same slot, on a socket that the daemon holds.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::{
    effects::{Crew, Result},
    left::{Tell, Told},
    record::{Kind, Rollout, Start},
};
use crate::{
    config::OnDeadline,
    ident::Slot,
    instance::{Fresh, Instance, Phase, View},
    release::Release,
    sync_point,
};

/// A connection may be between the kernel's queue and the process that takes it, so two looks this
/// far apart must find none.
const APART: Duration = Duration::from_millis(50);
/// Between two looks otherwise.
const PAUSE: Duration = Duration::from_millis(100);
/// What nginx may take longer than its `keepalive_timeout` to close an idle connection.
const LATE: Duration = Duration::from_millis(500);

impl Crew {
    /// Brings up `release` beside what runs in `slot`; when that is ready, new connections go to it,
    /// the old ones are waited for, and what had them is stopped. What was done of it already is
    /// found done.
    pub(super) async fn replace(
        &self,
        (slot, release, start): (Slot, &Release, Start),
        rollout: &Rollout,
        tell: Tell<'_>,
    ) -> Result {
        let instance = self.instance(slot)?;
        let fresh = match start {
            Start::Fresh => Fresh::Only,
            Start::Any | Start::AsIs => Fresh::Any,
        };
        let raised = instance.beside(release.clone(), Some(rollout.id), fresh).await;
        raised.map_err(|e| e.to_string())?;
        sync_point!("rollout.beside");
        if let Err(why) = self.await_beside(instance, rollout.kind, tell).await {
            return Err(match self.dismiss(slot, tell).await {
                Ok(_) => why,
                Err(left) => format!("{why}\nand {left}"),
            });
        }
        instance.face().await.map_err(|e| e.to_string())?;
        sync_point!("rollout.faced");
        let left = self.drain_beside(instance, tell).await?;
        if left > 0 && self.service.drain.on_deadline == OnDeadline::Keep {
            let within = self.service.drain.deadline;
            return Err(format!(
                "{slot} still has {left} old connections after {within:?}, and \
                 `drain.on_deadline` is `keep`"
            ));
        }
        let cut = self.dismiss(slot, tell).await?;
        let who = instance.view().identity.map(|who| format!(", pid {}", who.pid));
        let late = (left > 0).then(|| format!(", {left} old connections at the deadline"));
        let cut = cut.map(|cut| format!(", {cut}"));
        let more: String = [who, late, cut].into_iter().flatten().collect();
        Ok(Some(format!("release {}{more}", release.id)))
    }

    async fn await_beside(&self, instance: &Instance, kind: Kind, tell: Tell<'_>) -> Result<()> {
        let lost = |view: &View| view.phase != Phase::Ready && view.death.is_some();
        let decided = |view: &View| match &view.beside {
            Some(beside) => {
                beside.complaint.iter().for_each(|complaint| tell(complaint.clone().into()));
                beside.phase == Phase::Ready || lost(beside)
            }
            None => true,
        };
        let view = instance.until(self.patience(kind), decided).await;
        let beside = view.map_err(|e| e.to_string())?.beside;
        let beside = beside.ok_or_else(|| format!("nothing stands beside {}", instance.id()))?;
        match (lost(&beside), &beside.death) {
            (true, Some(death)) => Err(death.of(instance.id())),
            _ => Ok(()),
        }
    }

    /// Waits until the old set has no connection any more, and returns how many it has at the
    /// deadline. nginx keeps connections open for as long as it uses them; where it does, it is
    /// reloaded, so that its old workers close them.
    async fn drain_beside(&self, instance: &Instance, tell: Tell<'_>) -> Result<usize> {
        let end =
            Instant::now() + self.service.drain.grace().unwrap_or(self.service.drain.deadline);
        let Some(nginx) = self.nginx.clone() else {
            return Ok(empty(instance, end, tell).await);
        };
        let idle = self.service.upstream.as_ref().map(|upstream| upstream.keepalive_timeout);
        let by_itself = Instant::now() + idle.unwrap_or_default() + LATE;
        if empty(instance, by_itself.min(end), tell).await == 0 {
            return Ok(0);
        }
        tell(Told::Note("nginx opens new connections".to_owned()));
        // To its end, even if nobody waits for it any more.
        let renewing = tokio::spawn(async move { nginx.renew().await });
        match renewing.await {
            Ok(renewed) => drop(renewed.map_err(|e| e.to_string())?),
            Err(e) => return Err(format!("nginx could not be reloaded: {e}")),
        }
        Ok(empty(instance, end, tell).await)
    }
}

/// Waits until what stands beside `instance` has no connection, at most until `end`.
async fn empty(instance: &Instance, end: Instant, tell: Tell<'_>) -> usize {
    let mut before = None;
    loop {
        let left = instance.connections().await;
        if left == 0 && before == Some(0) {
            return 0;
        }
        if left > 0 && before != Some(left) {
            tell(Told::Note(format!("{left} connections to the old processes")));
        }
        before = Some(left);
        let pause = if left == 0 { APART } else { PAUSE };
        if timeout_at(end, sleep(pause)).await.is_err() {
            return left;
        }
    }
}
