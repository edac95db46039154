//! What the control socket asks of the daemon, done.

use std::{path::Path, time::Duration};

use tokio::sync::{broadcast, mpsc};

use super::{Daemon, views};
use crate::{
    api::{
        operations::{Answer, Caller, Operations, Pending, Verb, Way},
        types::{
            Act, Events, LogLine, Logs, NginxFile, NginxTest, PROTOCOL, Problem, ProblemCode, Roll,
            Rollout, Status, Version, Wait,
        },
    },
    ident::{InstanceId, RolloutId, ServiceName},
    instance::Instance,
    release::Release,
    rollout::{
        EngineError,
        draft::Request,
        record::{Kind, Loss},
    },
    store::Event,
};

/// Lines or events that a slow reader may be behind.
const BACKLOG: usize = 256;
/// The most lines or events that one request may look back.
const LOOK_BACK: usize = 10_000;

impl Operations for Daemon {
    fn version(&self) -> Version {
        Version {
            daemon: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL,
            pid: std::process::id(),
        }
    }

    fn status(&self) -> Pending<'_, Answer<Status>> {
        Box::pin(async { Ok(self.look().await) })
    }

    fn act(
        &self,
        by: Caller,
        verb: Verb,
        on: InstanceId,
        how: Act,
    ) -> Pending<'_, Answer<Rollout>> {
        Box::pin(async move {
            self.instance(&on)?;
            if self.managed_nginx.as_ref().is_some_and(|nginx| *nginx.id() == on) {
                let hint = "it runs for as long as aibkd does; `aibkctl nginx test` and \
                            `aibkctl logs nginx` tell how it is";
                return Err(refused("nginx is aibkd's own here", Some(hint.to_owned())));
            }
            let kind = match verb {
                Verb::Start => Kind::Start,
                Verb::Stop => Kind::Stop,
                Verb::Restart => Kind::Restart,
            };
            let loss = loss(how.force);
            let request =
                |current| Request { kind, slot: Some(on.slot), named: None, current, loss };
            self.begin(&on.service, request, None, &by).await
        })
    }

    fn roll(
        &self,
        by: Caller,
        way: Way,
        on: ServiceName,
        how: Roll,
    ) -> Pending<'_, Answer<Rollout>> {
        Box::pin(async move {
            let kind = match way {
                Way::Rolling => Kind::Rolling,
                Way::Swap => Kind::Swap,
            };
            let named = how.release.as_deref().map(|path| Release::at(Path::new(path)));
            let named = named.transpose().map_err(|e| refused(&e.to_string(), None))?;
            let given = named.clone();
            let loss = loss(how.force);
            let request = |current| Request { kind, slot: None, named, current, loss };
            self.begin(&on, request, given, &by).await
        })
    }

    fn rollouts(&self) -> Pending<'_, Answer<Vec<Rollout>>> {
        Box::pin(async {
            let last = self.engine.last(50).await.map_err(|e| problem(&e))?;
            Ok(last.iter().map(|rollout| views::rollout(rollout, views::now())).collect())
        })
    }

    fn rollout(&self, id: RolloutId) -> Pending<'_, Answer<Rollout>> {
        Box::pin(async move {
            let found = self.engine.find(id).await.map_err(|e| problem(&e))?;
            Ok(views::rollout(&found, views::now()))
        })
    }

    fn wait(&self, id: RolloutId, how: Wait) -> Pending<'_, Answer<Rollout>> {
        Box::pin(async move {
            let within = how.timeout_s.unwrap_or(30.0).clamp(0.0, 60.0);
            if let Some(mut rollout) = self.engine.watch(id) {
                let news =
                    rollout.wait_for(|r| r.revision != how.revision || r.outcome().is_some());
                // Its end and a timeout are told alike: by what it is then.
                let _ = tokio::time::timeout(Duration::from_secs_f64(within), news).await;
            }
            self.rollout(id).await
        })
    }

    fn cancel(&self, by: Caller, id: RolloutId) -> Pending<'_, Answer<Rollout>> {
        Box::pin(async move {
            let cancelled = self.engine.cancel(id, &name(&by)).await.map_err(|e| problem(&e))?;
            Ok(views::rollout(&cancelled, views::now()))
        })
    }

    fn logs(&self, of: InstanceId, how: Logs) -> Pending<'_, Answer<mpsc::Receiver<LogLine>>> {
        Box::pin(async move {
            let output = self.instance(&of)?.output().clone();
            let n = how.n.unwrap_or(100).min(LOOK_BACK);
            let (lines, more) = if how.follow {
                let (lines, more) = output.follow(n).await;
                (lines, Some(more))
            } else {
                (output.tail(n).await, None)
            };
            let (send, receive) = mpsc::channel(BACKLOG);
            tokio::spawn(async move {
                for line in lines {
                    if send.send(views::log_line(line)).await.is_err() {
                        return;
                    }
                }
                let Some(mut more) = more else { return };
                loop {
                    let line = tokio::select! {
                        line = more.recv() => line,
                        () = send.closed() => None,
                    };
                    let Some(line) = line else { return };
                    if send.send(views::log_line(line)).await.is_err() {
                        return;
                    }
                }
            });
            Ok(receive)
        })
    }

    fn events(&self, how: Events) -> Pending<'_, Answer<mpsc::Receiver<Event>>> {
        Box::pin(async move {
            let more = how.follow.then(|| self.store.subscribe());
            let n = how.n.unwrap_or(100).min(LOOK_BACK);
            let past = self.store.events(how.after, n).await.map_err(|e| failed(&e.to_string()))?;
            let (send, receive) = mpsc::channel(BACKLOG);
            tokio::spawn(forward(past, how.after, more, send));
            Ok(receive)
        })
    }

    fn nginx(&self) -> Pending<'_, Answer<NginxFile>> {
        Box::pin(async { self.nginx_file().await.ok_or_else(no_nginx) })
    }

    fn nginx_test(&self) -> Pending<'_, Answer<NginxTest>> {
        Box::pin(async {
            let nginx = self.nginx.as_ref().ok_or_else(no_nginx)?;
            Ok(match nginx.test().await {
                Ok(output) => NginxTest { ok: true, output },
                Err(e) => NginxTest { ok: false, output: e.to_string() },
            })
        })
    }
}

impl Daemon {
    async fn begin(
        &self,
        service: &ServiceName,
        request: impl FnOnce(Release) -> Request,
        given: Option<Release>,
        by: &Caller,
    ) -> Answer<Rollout> {
        let crew = self.engine.crew(service).map_err(|e| problem(&e))?;
        let current = match given {
            Some(given) => given,
            None => Release::resolve(&crew.service).map_err(|e| refused(&e.to_string(), None))?,
        };
        let begun = self.engine.begin(service, request(current), name(by)).await;
        Ok(views::rollout(&begun.map_err(|e| problem(&e))?, views::now()))
    }

    fn instance(&self, id: &InstanceId) -> Answer<&Instance> {
        let known =
            self.engine.crew(&id.service).ok().and_then(|crew| crew.instances.get(&id.slot));
        let nginx = self.managed_nginx.as_ref().filter(|nginx| nginx.id() == id);
        known.or(nginx).ok_or_else(|| Problem {
            code: ProblemCode::NotFound,
            message: format!("there is no instance `{id}`"),
            hint: Some("`aibkctl status` lists every instance".to_owned()),
        })
    }
}

/// Past events, then new ones; what both hold is told once.
async fn forward(
    past: Vec<Event>,
    after: u64,
    more: Option<broadcast::Receiver<Event>>,
    send: mpsc::Sender<Event>,
) {
    let mut told = past.last().map_or(after, |event| event.id);
    for event in past {
        if send.send(event).await.is_err() {
            return;
        }
    }
    let Some(mut more) = more else { return };
    loop {
        let event = tokio::select! {
            event = more.recv() => event,
            () = send.closed() => return,
        };
        match event {
            Ok(event) if event.id <= told => {}
            Ok(event) => {
                told = event.id;
                if send.send(event).await.is_err() {
                    return;
                }
            }
            // A reader that is too slow finds what it missed by asking again, after its last id.
            Err(broadcast::error::RecvError::Lagged(_) | broadcast::error::RecvError::Closed) => {
                return;
            }
        }
    }
}

const fn loss(force: bool) -> Loss {
    if force { Loss::Accepted } else { Loss::Never }
}

fn name(by: &Caller) -> String {
    format!("uid {}", by.uid)
}

fn problem(error: &EngineError) -> Problem {
    let (code, hint) = match error {
        EngineError::NoService(_) => {
            (ProblemCode::NotFound, Some("`aibkctl status` lists every service".to_owned()))
        }
        EngineError::NoRollout(_) => {
            (ProblemCode::NotFound, Some("`aibkctl rollouts` lists the last ones".to_owned()))
        }
        EngineError::Busy(_) => {
            (ProblemCode::Busy, Some("wait for it, or `aibkctl cancel` it, by its id".to_owned()))
        }
        EngineError::Refused(refusal) => (ProblemCode::Refused, Some(refusal.hint())),
        EngineError::TooLate(..) | EngineError::NoRelease(_) | EngineError::Ending => {
            (ProblemCode::Refused, None)
        }
        EngineError::Nginx(_) => {
            (ProblemCode::Failed, Some("`aibkctl nginx test` shows what nginx says".to_owned()))
        }
        EngineError::Store(_) | EngineError::Unreadable(..) => (ProblemCode::Failed, None),
    };
    Problem { code, message: error.to_string(), hint }
}

fn refused(message: &str, hint: Option<String>) -> Problem {
    Problem { code: ProblemCode::Refused, message: message.to_owned(), hint }
}

fn failed(message: &str) -> Problem {
    Problem { code: ProblemCode::Failed, message: message.to_owned(), hint: None }
}

fn no_nginx() -> Problem {
    Problem {
        code: ProblemCode::NotFound,
        message: "aibk drives no nginx here".to_owned(),
        hint: Some("add an `nginx` section to the configuration".to_owned()),
    }
}
