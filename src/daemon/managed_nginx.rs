//! The private nginx of `nginx.mode: managed`, as a service like any other.

use std::time::Duration;

use crate::{
    config::{
        self, Check, Drain, How, Http, Kind, OnDeadline, Ready, Restart, RestartPolicy,
        RolloutPolicy, Service, Sign, Slots, Standby, Statuses, Stop, StopSignal, Thresholds,
        Websocket,
    },
    ident::{InstanceId, ServiceName, Slot},
    nginx::{Nginx, PROOF_PATH},
    sys::confine::Confinement,
};

/// nginx as a service: one slot, ready when its proof socket answers.
pub(super) fn service(name: ServiceName, nginx: &Nginx, config: &config::Nginx) -> Service {
    let ask = |status, failures| Check {
        how: How::Http(Box::new(Http {
            socket: Some(config.proof_socket.clone()),
            path: PROOF_PATH.to_owned(),
            status,
            header: None,
            body: None,
        })),
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(5),
        thresholds: Thresholds { successes: 1, failures },
    };
    // Paths come from the configuration, which is UTF-8.
    let argv = nginx.command().iter().map(|word| word.to_string_lossy().into_owned()).collect();
    Service {
        name,
        kind: Kind::Command(argv),
        slots: Slots::Sole,
        directory: config.prefix.clone().unwrap_or_else(|| "/".into()),
        user: None,
        group: None,
        confinement: Confinement::default(),
        env: Box::default(),
        env_file: None,
        job: None,
        depends: config::Depends::default(),
        startup: None,
        ready: Ready {
            sign: Sign::Asked(Box::new(ask(Statuses::success(), 3))),
            deadline: Duration::from_secs(20),
        },
        // Ending it cuts whatever it serves, so it gets longer than others.
        live: Some(Box::new(ask(Statuses::any(), 6))),
        // SIGTERM would make nginx cut what it serves; SIGQUIT lets it finish (nginx(8)).
        stop: Stop { signal: StopSignal::Quit, deadline: Duration::from_secs(30) },
        restart: Restart {
            policy: RestartPolicy::Always,
            delay: Duration::from_millis(200),
            factor: 2.0,
            cap: Duration::from_secs(10),
            stable: Duration::from_secs(30),
            // Nobody can start it by hand, so it is never given up.
            limit: u32::MAX,
            window: None,
        },
        reload: None,
        drain: Drain {
            deadline: Duration::from_secs(10),
            on_deadline: OnDeadline::Stop,
            websocket: Websocket::Wait,
        },
        rollout: RolloutPolicy {
            canary: vec![],
            judge: None,
            watch: Duration::ZERO,
            keep_old: Duration::ZERO,
            hold: Duration::ZERO,
            standby: Standby::Stopped,
        },
        clears: vec![config.proof_socket.clone()],
        upstream: None,
    }
}

/// The instance that nginx is.
pub(super) const fn id(name: ServiceName) -> InstanceId {
    InstanceId::new(name, Slot::Sole)
}
