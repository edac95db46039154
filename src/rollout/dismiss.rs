//! What is not configured any more goes, once nothing of it runs.

use std::sync::Arc;

use super::{
    Standing,
    effects::Crew,
    engine::{Crews, Engine},
};
use crate::{
    ident::{InstanceId, ServiceName},
    instance::Phase,
};

impl Engine {
    /// Forgets the stopped instances of `service` whose slots are not configured, and the service
    /// itself when it is not either and nothing of it is left.
    pub fn dismiss(&self, service: &ServiceName) {
        let Ok(crew) = self.crew(service) else { return };
        let gone = former(&crew);
        if gone.is_empty() && crew.standing == Standing::Configured {
            return;
        }
        let mut rest = (*crew).clone();
        rest.instances.retain(|_, instance| !gone.contains(instance.id()));
        self.change(|crews: &mut Crews| {
            let there = crews.get(service).is_some_and(|now| Arc::ptr_eq(now, &crew));
            match (there, rest.standing) {
                // It was configured otherwise meanwhile.
                (false, _) => {}
                (true, Standing::Leaving) if rest.instances.is_empty() => {
                    crews.remove(service);
                }
                (true, _) => drop(crews.insert(service.clone(), Arc::new(rest))),
            }
        });
        self.forget(gone);
    }
}

fn former(crew: &Crew) -> Vec<InstanceId> {
    let configured = match crew.standing {
        Standing::Configured => crew.service.slots.all(),
        Standing::Leaving => vec![],
    };
    let stopped = crew.instances.iter().filter(|(slot, instance)| {
        !configured.contains(slot) && instance.view().phase == Phase::Stopped
    });
    stopped.map(|(_, instance)| instance.id().clone()).collect()
}
