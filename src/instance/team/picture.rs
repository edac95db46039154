//! What a slot is, from what its workers are. Pure.

use std::time::Instant;

use crate::{
    config::Socket,
    ident::InstanceId,
    instance::{Phase, View},
};

/// The slot `id` with these `workers`, who have all been ready since they were started if `proven`;
/// it is known since `born`.
pub(super) fn of(id: &InstanceId, workers: Vec<View>, proven: bool, born: Instant) -> View {
    let phases: Vec<Phase> = workers.iter().map(|view| view.phase).collect();
    let newest = workers.iter().max_by_key(|view| view.generation);
    let death = workers
        .iter()
        .filter(|view| view.death.is_some())
        .max_by_key(|view| (view.phase == Phase::Failed, view.generation));
    View {
        id: id.clone(),
        phase: phase(&phases, proven),
        wanted: workers.iter().any(|view| view.wanted),
        release: newest.and_then(|view| view.release.clone()),
        rollout: newest.and_then(|view| view.rollout),
        generation: newest.and_then(|view| view.generation),
        identity: workers.iter().find_map(|view| view.identity.clone()),
        rest: workers.iter().find_map(|view| view.rest),
        restarts: workers.iter().map(|view| view.restarts).sum(),
        since: workers.iter().map(|view| view.since).max().unwrap_or(born),
        next_start: workers.iter().filter_map(|view| view.next_start).min(),
        complaint: workers.iter().find_map(|view| view.complaint.clone()),
        death: death.and_then(|view| view.death.clone()),
        exit: workers.iter().find_map(|view| view.exit),
        confined: workers
            .iter()
            .find(|view| view.identity.is_some())
            .map(|view| view.confined.clone())
            .unwrap_or_default(),
        workers,
        socket: Socket::Held,
        beside: None,
    }
}

/// A slot becomes ready when all its workers are, and stays so while one of them is. It has failed
/// when nothing of it will come up by itself, or, before it was ready, when one worker has.
fn phase(workers: &[Phase], proven: bool) -> Phase {
    use Phase::{
        Backoff, Ending, Failed, Finished, Hung, Ready, Starting, Stopped, Stopping, Unready,
    };
    let any = |phase| workers.contains(&phase);
    let all = |phases: &[Phase]| workers.iter().all(|phase| phases.contains(phase));
    let order: &[Phase] = match () {
        () if all(&[Stopped]) => return Stopped,
        () if all(&[Stopped, Finished]) => return Finished,
        () if all(&[Stopped, Finished, Failed]) => return Failed,
        () if all(&[Stopped, Finished, Failed, Stopping, Ending]) => &[Stopping, Ending],
        () if proven => &[Ready, Unready, Hung, Starting, Backoff, Ending, Stopping],
        () if all(&[Ready, Stopped]) => return Ready,
        () => &[Failed, Finished, Backoff, Starting, Unready, Hung, Ending, Stopping],
    };
    order.iter().copied().find(|phase| any(*phase)).unwrap_or(Starting)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Phase; 10] = [
        Phase::Stopped,
        Phase::Starting,
        Phase::Ready,
        Phase::Unready,
        Phase::Hung,
        Phase::Backoff,
        Phase::Stopping,
        Phase::Ending,
        Phase::Failed,
        Phase::Finished,
    ];

    #[test]
    fn a_worker_alone_is_the_slot() {
        for one in ALL {
            assert_eq!((phase(&[one], true), phase(&[one], false)), (one, one));
        }
    }

    #[test]
    fn it_becomes_ready_with_all_and_stays_so_with_one() {
        use Phase::{Backoff, Failed, Ready, Starting, Stopped, Stopping};
        for (workers, unproven, proven) in [
            ([Ready, Ready], Ready, Ready),
            ([Ready, Starting], Starting, Ready),
            ([Ready, Backoff], Backoff, Ready),
            ([Ready, Failed], Failed, Ready),
            ([Failed, Starting], Failed, Starting),
            ([Failed, Backoff], Failed, Backoff),
            ([Failed, Failed], Failed, Failed),
            ([Failed, Stopped], Failed, Failed),
            ([Stopped, Stopped], Stopped, Stopped),
            ([Stopping, Stopped], Stopping, Stopping),
            ([Stopping, Failed], Stopping, Stopping),
        ] {
            let both = |proven| {
                let [one, other] = workers;
                assert_eq!(phase(&[one, other], proven), phase(&[other, one], proven));
                phase(&workers, proven)
            };
            assert_eq!((both(false), both(true)), (unproven, proven), "{workers:?}");
        }
    }

    #[test]
    fn it_is_stopped_only_when_all_are() {
        for one in ALL {
            for other in ALL {
                for proven in [false, true] {
                    let stopped = phase(&[one, other], proven) == Phase::Stopped;
                    assert_eq!(stopped, one == Phase::Stopped && other == Phase::Stopped);
                }
            }
        }
    }
}
