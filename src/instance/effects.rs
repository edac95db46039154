//! What a driver does to the world: finds, spawns and ends processes, writes the slot down, tells.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::{
    InstanceError,
    driver::Driver,
    life::{Event, State, Then},
    view::{Cause, Death, Phase, View},
};
use crate::{
    config::{self, StopSignal, Variables},
    ident::{Generation, InstanceId, RolloutId},
    process::{Exit, Identity, SpawnSpec},
    release::{self, Account, Release},
    store::{self, SlotRow},
    sync_point,
};

/// How long the kernel may take to end a killed tree.
const END_DEADLINE: Duration = Duration::from_secs(10);
/// How long the port of an ended tree may stay bound.
const PORT_DEADLINE: Duration = Duration::from_secs(2);
/// How many last words are kept of a death.
const LAST_LINES: usize = 12;

impl Driver {
    /// Adopts the tree of an earlier daemon (`P4`), or ends whatever is left of it (`P3`).
    pub(super) async fn find_predecessor(&mut self) -> Option<Event> {
        let row = self.row.clone()?;
        let identity = row.identity.as_deref().and_then(|text| serde_json::from_str(text).ok());
        match identity.map(|who: Identity| self.ground.launcher.adopt(&self.id, &who)) {
            Some(Ok(Some(tree))) => {
                self.tree = Some(tree);
                self.capture.begin(row.generation);
                self.runs = Some(row.clone());
                self.record("instance.adopted", format!("{} goes on as it was", self.id));
                return Some(Event::Adopted(row.generation));
            }
            Some(Ok(None)) | None => {}
            Some(Err(e)) => self.record("instance.not-adopted", e.to_string()),
        }
        if let Err(e) = self.ground.launcher.sweep(&self.id, END_DEADLINE).await {
            self.record("instance.leftovers", e.to_string());
        }
        None
    }

    pub(super) async fn spawn(&mut self) -> Event {
        match self.try_spawn().await {
            Ok(generation) => Event::Spawned(generation),
            Err(why) => {
                let message = format!("{} cannot be started: {why}", self.id);
                self.death = Some(Death {
                    generation: None,
                    cause: Cause::System(message),
                    last_lines: vec![],
                });
                Event::SpawnFailed
            }
        }
    }

    async fn try_spawn(&mut self) -> Result<Generation, String> {
        let row = self.row.clone().ok_or("no release is known for this slot")?;
        if let Some(port) = self.id.slot.port()
            && let Some(holder) =
                self.ground.launcher.port_holder(port).map_err(|e| e.to_string())?
        {
            return Err(format!(
                "port {port} is held by {holder}; stop that, or give {} another slot",
                self.id.service
            ));
        }
        let generation = self.ground.store.next_generation().await.map_err(|e| e.to_string())?;
        let release = Release { id: row.release.clone(), directory: (&row.directory).into() };
        let spec = self.specify(&release, generation, row.rollout)?;
        clear_stale(&self.service.clears);
        self.capture.begin(generation);
        let tree = self
            .ground
            .launcher
            .spawn(&self.id, &spec, &self.capture)
            .await
            .map_err(|e| e.to_string())?;
        let row =
            SlotRow { generation, identity: serde_json::to_string(tree.identity()).ok(), ..row };
        self.tree = Some(tree);
        self.runs = Some(row.clone());
        sync_point!("instance.spawned");
        if let Err(e) = self.write(row).await {
            // It runs all the same; only a daemon that dies before the next write would not know it.
            tracing::error!(instance = %self.id, "{e}");
        }
        Ok(generation)
    }

    /// What is started, by the configuration, the account and the env file as they are now.
    fn specify(
        &self,
        release: &Release,
        generation: Generation,
        rollout: Option<RolloutId>,
    ) -> Result<SpawnSpec, String> {
        let account = Account::look_up(self.service.user.as_deref()).map_err(|e| e.to_string())?;
        let env_file = match &self.service.env_file {
            Some(path) => config::load_env_file(path).map_err(|e| e.to_string())?,
            None => Variables::new(),
        };
        Ok(release::launch(&release::Start {
            service: &self.service,
            release,
            slot: self.id.slot,
            generation,
            rollout,
            account: &account,
            env_file: &env_file,
        }))
    }

    pub(super) fn terminate(&mut self) {
        let signal = match self.service.stop.signal {
            StopSignal::Term => Signal::TERM,
            StopSignal::Quit => Signal::QUIT,
        };
        if let Some(Err(e)) = self.tree.as_ref().map(|tree| tree.signal(signal)) {
            tracing::error!(instance = %self.id, "{e}");
        }
    }

    /// Ends the tree, and sees that it is gone and its port free (`P2`).
    pub(super) async fn end(&mut self) -> Option<Event> {
        let State::Ending(generation, then) = self.life.state else { return None };
        if let Some(tree) = self.tree.take()
            && let Err(e) = tree.end(END_DEADLINE).await
        {
            self.give_up(generation, e.to_string());
            return Some(Event::EndFailed(generation));
        }
        self.capture.settle().await;
        if then == Then::Stop
            && let Err(why) = self.port_is_free().await
        {
            self.give_up(generation, why);
            return Some(Event::EndFailed(generation));
        }
        Some(Event::Ended(generation))
    }

    async fn port_is_free(&mut self) -> Result<(), String> {
        let Some(port) = self.id.slot.port() else { return Ok(()) };
        let deadline = Instant::now() + PORT_DEADLINE;
        loop {
            match self.ground.launcher.port_holder(port).map_err(|e| e.to_string())? {
                None => return Ok(()),
                Some(holder) if Instant::now() > deadline => {
                    return Err(format!("its tree is gone, but port {port} is held by {holder}"));
                }
                Some(_) => sleep(Duration::from_millis(5)).await,
            }
        }
    }

    fn give_up(&mut self, generation: Generation, why: String) {
        self.death = Some(Death {
            generation: Some(generation),
            cause: Cause::System(why),
            last_lines: vec![],
        });
    }

    /// Keeps how the main process ended, and its last words.
    pub(super) async fn note_exit(&mut self, generation: Generation, exit: Exit) {
        self.capture.settle().await;
        let known = self.death.as_ref().is_some_and(|death| {
            death.generation == Some(generation) && !matches!(death.cause, Cause::Exited(_))
        });
        if !known {
            self.death = Some(Death {
                generation: Some(generation),
                cause: Cause::Exited(exit),
                last_lines: self.capture.tail_of(generation, LAST_LINES).await,
            });
        }
        self.record("instance.died", format!("{} {}", self.id, exit.told()));
    }

    /// Keeps that the start deadline passed; the exit that follows is a consequence.
    pub(super) async fn note_not_ready(&mut self) {
        if let State::Starting(generation) = self.life.state {
            let last_probe =
                self.probing.complaint().unwrap_or_else(|| "not enough successes yet".to_owned());
            self.death = Some(Death {
                generation: Some(generation),
                cause: Cause::NotReady { last_probe },
                last_lines: self.capture.tail_of(generation, LAST_LINES).await,
            });
        }
    }

    /// Makes `row` durable, then holds it for true.
    pub(super) async fn write(&mut self, row: SlotRow) -> Result<(), InstanceError> {
        self.ground
            .store
            .put_slot(row.clone())
            .await
            .map_err(|source| InstanceError::Store { id: self.id.clone(), source })?;
        self.row = Some(row);
        Ok(())
    }

    /// Tells of a change of state.
    pub(super) fn tell(&self, before: State) {
        // A start is told once it has a generation.
        if self.life.state == State::Spawning {
            return;
        }
        let is = Phase::from(self.life.state);
        if before != State::Spawning && Phase::from(before) == is {
            return;
        }
        let why = match (is, &self.death) {
            (Phase::Failed | Phase::Backoff, Some(death)) => format!(": {}", death.cause),
            _ => String::new(),
        };
        let state = match is {
            Phase::Backoff => "waits before its next start",
            Phase::Failed => "has failed and is given up",
            is => &format!("is {}", is.word()),
        };
        let message = format!("{} {state}{why}", self.id);
        self.record(&format!("instance.{}", is.word()), message);
    }

    pub(super) fn record(&self, kind: &str, message: String) {
        let row = self.runs.as_ref().or(self.row.as_ref());
        self.ground.store.record(store::Event {
            kind: kind.to_owned(),
            service: Some(self.id.service.to_string()),
            instance: Some(self.id.to_string()),
            generation: row.map(|row| row.generation.0),
            rollout: row.and_then(|row| row.rollout).map(|id| id.0),
            message,
            ..store::Event::default()
        });
    }
}

/// A unix socket whose listener was killed stays behind and would refuse the next bind.
fn clear_stale(sockets: &[std::path::PathBuf]) {
    for socket in sockets {
        let refused = std::os::unix::net::UnixStream::connect(socket)
            .is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused);
        if refused && let Err(e) = std::fs::remove_file(socket) {
            tracing::warn!(socket = %socket.display(), "cannot remove a stale socket: {e}");
        }
    }
}

impl View {
    pub(super) const fn unknown(id: InstanceId) -> Self {
        Self {
            id,
            phase: Phase::Stopped,
            wanted: false,
            release: None,
            rollout: None,
            generation: None,
            identity: None,
            restarts: 0,
            complaint: None,
            death: None,
        }
    }
}
