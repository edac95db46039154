//! What a rollout would do, and nothing of it done.

use super::{Daemon, operations::loss, problems, views};
use crate::{
    api::{
        operations::Answer,
        types::{Plan, PlanTogether, PlanWay, Planned, PlannedStep},
    },
    ident::{InstanceId, Port, ServiceName, Slot},
    rollout::{
        Prospect,
        draft::{Pause, Request},
        forecast::{Failure, Foreseen},
        record::{Kind, Loss},
    },
};

impl Daemon {
    pub(super) async fn foretell(&self, on: ServiceName, how: Plan) -> Answer<Planned> {
        let kind = match how.way {
            PlanWay::Rolling => Kind::Rolling,
            PlanWay::Swap => Kind::Swap,
            PlanWay::Rollback => Kind::Rollback,
            PlanWay::Start => Kind::Start,
            PlanWay::Stop => Kind::Stop,
            PlanWay::Restart => Kind::Restart,
        };
        let (slot, loss) = (self.slot_of(&on, kind, how.port)?, loss(how.force));
        let named = match how.release {
            Some(path) => Some(self.named(&on, path).await?),
            None => None,
        };
        let given = named.clone().or_else(|| self.present(kind, &on));
        let pause = if how.hold { Pause::BeforeTraffic } else { Pause::Never };
        let request = |current| Request { slot, named, loss, pause, ..Request::of(kind, current) };
        let request = self.prepared(&on, request, given)?;
        let prospect = self.engine.forecast(&on, &request).await;
        Ok(told(&prospect.map_err(|e| problems::of_engine(&e))?))
    }

    pub(super) async fn foretell_together(&self, how: PlanTogether) -> Answer<Vec<Planned>> {
        let named = how.services.split(',').filter(|name| !name.is_empty());
        let mut planned = vec![];
        for (service, request) in self.asked_together(named, how.way, how.force)? {
            let prospect = self.engine.forecast(&service, &request).await;
            planned.push(told(&prospect.map_err(|e| problems::of_engine(&e))?));
        }
        Ok(planned)
    }

    /// A rolling update and a swap are about a whole service, all else is about an instance.
    fn slot_of(&self, on: &ServiceName, kind: Kind, port: Option<u16>) -> Answer<Option<Slot>> {
        let port = match port.map(Port::new) {
            Some(None) => {
                return Err(problems::bad_request("0 is no port of an instance".to_owned()));
            }
            port => port.flatten(),
        };
        match (kind, port) {
            (Kind::Rolling | Kind::Swap | Kind::Rollback, None) => Ok(None),
            (Kind::Rolling | Kind::Swap | Kind::Rollback, Some(_)) => Err(problems::bad_request(
                format!("a {} is of all of {on}: name the service without a port", kind.word()),
            )),
            (_, port) => {
                let slot = port.map_or(Slot::Sole, Slot::Port);
                if self.jobs.has(on) {
                    return Err(problems::is_job(on));
                }
                let instance = InstanceId::new(on.clone(), slot);
                self.instance(&instance)?;
                self.refuse_own_nginx(&instance)?;
                Ok(Some(slot))
            }
        }
    }
}

fn told(prospect: &Prospect) -> Planned {
    let Prospect { crew, rollout, steps, holder } = prospect;
    let seconds = |foreseen: &Foreseen| crew.longest(&foreseen.step, rollout.kind).as_secs_f64();
    let step = |foreseen: &Foreseen| PlannedStep {
        name: foreseen.step.word().to_owned(),
        on: foreseen.step.subject(&rollout.service),
        deadline_s: seconds(foreseen),
        undo: match &foreseen.failure {
            Failure::Undone(steps) => Some(views::undo(steps, &rollout.service)),
            Failure::Stays => None,
        },
    };
    let instance = rollout.slot.map(|slot| InstanceId::new(rollout.service.clone(), slot));
    Planned {
        kind: rollout.kind.word().to_owned(),
        service: rollout.service.to_string(),
        instance: instance.map(|id| id.to_string()),
        release: rollout.release.as_ref().map(|release| release.id.to_string()),
        held: holder.clone(),
        steps: steps.iter().map(step).collect(),
        no_return: steps.iter().position(|foreseen| foreseen.failure == Failure::Stays),
        deadline_s: steps.iter().map(seconds).sum(),
        lossy: rollout.loss == Loss::Accepted,
    }
}
