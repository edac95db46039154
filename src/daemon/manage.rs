//! What an operator does to instances and services beside rollouts.

use super::{Daemon, problems};
use crate::{
    api::{
        operations::{Answer, Caller},
        types::{Forgiven, Problem, ReloadedInstance, ResetFailed},
    },
    ident::InstanceId,
    instance::{Instance, Phase, ReloadError},
    store,
};

impl Daemon {
    /// Forgets the deaths of one instance, or of all that have failed.
    pub(super) async fn forgive(&self, by: &Caller, how: ResetFailed) -> Answer<Forgiven> {
        self.may_change()?;
        let instances: Vec<Instance> = match &how.instance {
            Some(id) => {
                self.refuse_own_nginx(id)?;
                vec![self.instance(id)?]
            }
            None => self
                .engine
                .crews()
                .values()
                .flat_map(|crew| crew.instances.values().cloned().collect::<Vec<_>>())
                .filter(|instance| instance.view().phase == Phase::Failed)
                .collect(),
        };
        let mut forgiven = Forgiven::default();
        for instance in instances {
            let had_failed = instance.view().phase == Phase::Failed;
            instance.forgive().await.map_err(|e| problems::failed(&e.to_string()))?;
            let view = instance.view();
            if let (Phase::Failed, Some(death)) = (view.phase, view.death) {
                let why = format!("{} cannot be stopped: {}", view.id, death.cause);
                return Err(problems::failed(&why));
            }
            if had_failed {
                let message = format!("{}: its failure is forgotten, by uid {}", view.id, by.uid);
                self.record_about(&view.id, "instance.forgiven", message);
                forgiven.instances.push(view.id.to_string());
            }
        }
        Ok(forgiven)
    }

    /// Tells an instance to read its own configuration again.
    pub(super) async fn tell_to_reload(
        &self,
        by: &Caller,
        on: InstanceId,
    ) -> Answer<ReloadedInstance> {
        let instance = self.instance(&on)?;
        self.refuse_own_nginx(&on)?;
        let crew = self.engine.crew(&on.service).map_err(|e| problems::of_engine(&e))?;
        let Some(how) = &crew.service.reload else {
            let hint = format!(
                "write `reload: {{signal: HUP}}` or `reload: {{http: POST /path}}` into {}, or use \
                 `aibkctl restart {on}`",
                on.service
            );
            let why = format!("nothing says how {on} reloads");
            return Err(problems::refused(&why, Some(hint)));
        };
        match instance.reload(how, crew.service.host()).await {
            Ok(observed) => {
                let message = format!("{on} was told {how} by uid {}, and {observed}", by.uid);
                self.record_about(&on, "instance.reloaded", message);
                Ok(ReloadedInstance { instance: on.to_string(), by: how.to_string(), observed })
            }
            Err(e @ ReloadError::NotRunning(_)) => {
                let hint = format!("`aibkctl start {on}` starts it");
                Err(problems::refused(&e.to_string(), Some(hint)))
            }
            Err(e) => {
                self.record_about(&on, "instance.reload-failed", e.to_string());
                let hint = format!("`aibkctl logs {on}` shows what it wrote");
                Err(Problem { hint: Some(hint), ..problems::failed(&e.to_string()) })
            }
        }
    }

    /// A managed nginx is nobody's to start or stop.
    pub(super) fn refuse_own_nginx(&self, id: &InstanceId) -> Answer<()> {
        if self.managed_nginx.as_ref().is_none_or(|nginx| nginx.id() != id) {
            return Ok(());
        }
        let hint = "it runs for as long as aibkd does; `aibkctl nginx test` and \
                    `aibkctl logs nginx` tell how it is";
        Err(problems::refused("nginx is aibkd's own here", Some(hint.to_owned())))
    }

    fn record_about(&self, id: &InstanceId, kind: &str, message: String) {
        self.store.record(store::Event {
            kind: kind.to_owned(),
            service: Some(id.service.to_string()),
            instance: Some(id.to_string()),
            message,
            ..store::Event::default()
        });
    }
}
