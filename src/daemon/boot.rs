//! How a daemon comes up: store, nginx, instances, engine; then every service as it is meant to be.

use std::{
    fs::{DirBuilder, Permissions},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::Path,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use super::{
    Daemon, DaemonError,
    calm::give_back_when_calm,
    enable::Disabled,
    journal::Journal,
    managed_nginx,
    muster::{Muster, site},
    reload::Loaded,
    request_log,
    rise::{Turn, Waits},
    roster::Roster,
    strays,
};
use crate::{
    config::{Config, NginxMode, Service},
    deploy,
    ident::{InstanceId, Port, ServiceName, Slot},
    instance::{Ground, Instance, Phase, stopped_for_now},
    nginx::{Members, Mended, Nginx, NginxError, Role, Upstreams},
    process::{Launcher, Shelf},
    release::{Account, Release},
    rollout::{
        Crew, Engine, EngineError, Standing,
        draft::Request,
        record::{Kind, Outcome, Rollout},
        was_serving,
    },
    store::{self, RolloutRow, SlotRow, Store},
    sys::blocking,
};

/// How long it may take to look up who the daemon is; whoever needs it tells why it cannot be.
const LOOK_UP: Duration = Duration::from_secs(10);
/// How long a managed nginx may take to answer before services are started without it.
const NGINX_PATIENCE: Duration = Duration::from_secs(30);
/// How many rollouts of a service are asked which slot was in service.
const HINTS: usize = 100;

/// Opens everything and takes over what runs already. Nothing new is started yet.
pub(super) async fn assemble(
    config: Config,
    path: &Path,
    shelf: Shelf,
) -> Result<(Daemon, Journal), DaemonError> {
    let began = Instant::now();
    make_dirs(&config)?;
    let store = Store::open(&config.state_dir)?;
    let journal = Journal::begin(&store);
    let launcher = Launcher::new(&config.runtime_dir)?;
    // Every start asks for it. Coming up they would all ask at once, with a thread each.
    let _ = blocking::within(LOOK_UP, || Account::look_up(None)).await;
    let boot = launcher.boot_id().to_owned();
    store.begin_daemon(&boot, &stopped_for_now()).await?;
    let disabled = Disabled::new(store.disabled().await?);
    let rows = store.slots().await?;
    let runtime_dir = config.runtime_dir.as_path().into();
    let ground = Ground { launcher, store: store.clone(), shelf, runtime_dir };
    strays::find_fifos(&config, &rows, &ground);
    let nginx = config.nginx.as_ref().map(|nginx| Nginx::new(nginx.clone(), site(&config)));
    if let Some(nginx) = &nginx {
        write_first_file(nginx, &config, &rows, &ground).await;
    }
    let managed_nginx = match (&config.nginx, &nginx) {
        (Some(settings), Some(nginx)) if settings.mode == NginxMode::Managed => {
            let rows = rows.as_slice();
            Some(begin_nginx(
                settings,
                nginx,
                Muster { config: &config, nginx: None, ground: &ground, rows },
            )?)
        }
        _ => None,
    };
    let muster = Muster { config: &config, nginx: nginx.as_ref(), ground: &ground, rows: &rows };
    strays::put_away(muster).await?;
    let engine = Engine::new(store.clone(), muster.all()?);
    let deploys = deploy::Engine::new(&ground, engine.clone(), config.apps.clone());
    // Whoever holds a socket has taken it.
    ground.shelf.clear_listeners();
    let jobs = Roster::new(muster.jobs()?);
    let daemon = Daemon {
        config: Loaded::new(config),
        config_path: path.display().to_string(),
        began,
        since: super::views::now(),
        boot,
        store,
        ground,
        engine,
        deploys,
        nginx,
        managed_nginx,
        resumed: OnceLock::new(),
        waits: Waits::default(),
        replaced: tokio::sync::watch::Sender::new(None),
        me: OnceLock::new(),
        disabled,
        jobs,
        tasks: super::tasks::Tasks::default(),
        task_turn: tokio::sync::Mutex::default(),
        apps_changed: tokio::sync::watch::Sender::new(()),
    };
    Ok((daemon, journal))
}

/// What a rollout that is not waited for any more came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Ended,
    Held,
}

impl Daemon {
    /// Brings every service to where it is meant to be: rollouts that an earlier daemon left go on,
    /// the other services boot. Returns when each is ready or was reported as failed.
    pub(super) async fn bring_up(self: Arc<Self>) -> Result<(), DaemonError> {
        if let Some(nginx) = &self.managed_nginx
            && let Err(e) = self.start_nginx(nginx).await
        {
            self.record("nginx.failed", e.to_string());
        }
        for e in self.engine.resume().await? {
            self.record("rollout.unreadable", e.to_string());
        }
        match self.deploys.resume().await {
            Ok(left) => left.iter().for_each(|e| self.record("deploy.left", e.to_string())),
            Err(e) => self.record("deploy.left", e.to_string()),
        }
        self.forget_upstreams().await;
        self.engine.look_after();
        if let Some(nginx) = self.nginx.clone() {
            tokio::spawn(request_log::keep_small(self.engine.clone(), nginx));
        }
        // From now on others may begin rollouts, too.
        self.resumed.get_or_init(|| ());
        Arc::clone(&self).rise().await;
        if let Err(e) = self.engine.resume_retirements().await {
            self.record("retirement.failed", format!("old colours stay warm: {e}"));
        }
        self.open_jobs().await;
        self.end_lost_tasks().await;
        tokio::spawn(Arc::clone(&self).keep_backups());
        // By now everybody has taken what is theirs.
        self.ground.shelf.clear();
        tokio::spawn(give_back_when_calm(self.store.subscribe()));
        self.record("daemon.up", format!("aibkd {} is up", env!("CARGO_PKG_VERSION")));
        Ok(())
    }

    async fn start_nginx(&self, own: &Instance) -> Result<(), DaemonError> {
        let view = own.view();
        if !view.phase.is_up() {
            let release = view.release.unwrap_or_else(|| Release::unversioned(Path::new("/")));
            own.start(release, None).await?;
        }
        let up = own.until(NGINX_PATIENCE, |view| view.identity.is_some()).await?;
        // One that runs already may have lost the files by which it is told and asked.
        if let Some(nginx) = &self.nginx {
            match nginx.mend(up.identity.map(|who| who.pid)).await {
                Ok(mended) => {
                    let told = mended.iter().map(ToString::to_string);
                    told.for_each(|message| self.record("nginx.mended", message));
                    if mended.contains(&Mended::SocketGone) {
                        // It was seen to answer, which its probe sees later.
                        return Ok(());
                    }
                }
                Err(e) => self.record("nginx.amiss", e.to_string()),
            }
        }
        own.until(NGINX_PATIENCE, |view| view.phase == Phase::Ready).await?;
        Ok(())
    }

    /// A rollout that is under way already comes first; how the service is to be is seen then. `turn`
    /// is given up once it has been started.
    pub(super) async fn boot(self: Arc<Self>, name: ServiceName, mut turn: Turn) {
        let began = loop {
            // Boxed, so that whoever waits for the rollout is small.
            match Box::pin(self.begin_boot(&name)).await {
                Err(EngineError::Busy(_)) => {
                    turn = None;
                    if let Some(other) = self.engine.under_way(&name)
                        && self.rest_of(&other).await == Some(Rest::Held)
                    {
                        return;
                    }
                }
                began => break began,
            }
        };
        let failure = match began {
            Ok(None) => return,
            Ok(Some(rollout)) => match self.end_of(&rollout, turn).await {
                Some(ended) if ended.outcome() != Some(Outcome::Done) => {
                    let why = ended.failure.unwrap_or_default();
                    let why = why.lines().next().unwrap_or_default();
                    format!("{name} is not as it should be: {why}")
                }
                _ => return,
            },
            Err(e) => format!("{name} cannot be brought up: {e}"),
        };
        self.record_of(&name, "service.failed", failure);
    }

    /// Whether `rollout` has ended, or is held: an operator decides when that ends, and until then the
    /// service is as it was.
    async fn rest_of(&self, rollout: &Rollout) -> Option<Rest> {
        let mut watch = self.engine.watch_of(&rollout.service, rollout.id)?;
        let rests = |rollout: &Rollout| rollout.outcome().is_some() || rollout.held().is_some();
        let seen = watch.wait_for(|rollout| rests(rollout)).await.ok()?;
        Some(if seen.outcome().is_some() { Rest::Ended } else { Rest::Held })
    }

    /// `rollout`, once it has ended; `None` when nobody drives it any more.
    async fn end_of(&self, rollout: &Rollout, turn: Turn) -> Option<Rollout> {
        let mut watch = self.engine.watch_of(&rollout.service, rollout.id)?;
        let _ = watch.wait_for(|rollout| !rollout.is_starting()).await;
        drop(turn);
        let ended = watch.wait_for(|rollout| rollout.outcome().is_some()).await;
        ended.ok().map(|rollout| rollout.clone())
    }

    /// What is not configured any more is seen out instead.
    pub(super) async fn begin_boot(
        &self,
        name: &ServiceName,
    ) -> Result<Option<Rollout>, EngineError> {
        let crew = self.engine.crew(name)?;
        if crew.standing == Standing::Configured && self.stays_down(&crew) {
            return Ok(None);
        }
        let (kind, current) = match crew.standing {
            Standing::Leaving => (Kind::Remove, Ok(Release::unversioned(Path::new("/")))),
            Standing::Configured => (Kind::Boot, Release::resolve(&crew.service)),
        };
        let current = current.map_err(|e| EngineError::NoRelease(e.to_string()))?;
        let request = Request::of(kind, current);
        let begun = self.engine.begin_if_needed(name, request, "aibkd".to_owned()).await?;
        if begun.is_none() {
            self.engine.dismiss(name);
        }
        Ok(begun)
    }

    /// nginx must not know what is about to be seen out.
    async fn forget_upstreams(&self) {
        let leaving = |crew: &Arc<Crew>| crew.standing == Standing::Leaving;
        if let Some(nginx) =
            self.nginx.as_ref().filter(|_| self.engine.crews().values().any(leaving))
            && let Err(e) = nginx.resite(site(&self.config.now()), &Upstreams::new()).await
        {
            self.record("nginx.failed", e.to_string());
        }
    }

    pub(super) fn record_of(&self, service: &ServiceName, kind: &str, message: String) {
        self.store.record(store::Event {
            kind: kind.to_owned(),
            service: Some(service.to_string()),
            message,
            ..store::Event::default()
        });
    }

    pub(super) fn record(&self, kind: &str, message: String) {
        self.store.record(store::Event {
            kind: kind.to_owned(),
            message,
            ..store::Event::default()
        });
    }
}

fn make_dirs(config: &Config) -> Result<(), DaemonError> {
    for (dir, mode) in
        [(&config.runtime_dir, 0o750), (&config.state_dir, 0o700), (&config.log_dir, 0o750)]
    {
        make_dir(dir, mode)?;
    }
    open_to_group(config)
}

pub(super) fn make_dir(path: &Path, mode: u32) -> Result<(), DaemonError> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|source| DaemonError::Directory { path: path.to_owned(), source })
}

/// The control socket's group must get as far as the socket. A directory that may be somebody
/// else's is left as it is: only systemd's `RUNTIME_DIRECTORY` (systemd.exec(5)), or one that is
/// closed to everybody else already, is ours.
pub(super) fn open_to_group(config: &Config) -> Result<(), DaemonError> {
    let path = &config.runtime_dir;
    let failed = |source| DaemonError::Directory { path: path.clone(), source };
    let Some(name) = &config.control.group else { return Ok(()) };
    let systemds = std::env::var_os("RUNTIME_DIRECTORY").is_some_and(|dir| dir == path.as_os_str());
    let closed = path.metadata().map_err(failed)?.mode() % 0o10 == 0;
    let group = nix::unistd::Group::from_name(name).map_err(|e| failed(e.into()))?;
    // A group that does not exist is told when the socket is made.
    if let Some(group) = group.filter(|_| systemds || closed) {
        std::os::unix::fs::chown(path, None, Some(group.gid.as_raw())).map_err(failed)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o750)).map_err(failed)?;
    }
    Ok(())
}

/// nginx's configuration names our upstreams, so the file must be there before nginx is, by the
/// settings of now; the members it names already stay. Services run without nginx too, so trouble
/// with it is only told: a publish fails then, and says so.
async fn write_first_file(nginx: &Nginx, config: &Config, rows: &[SlotRow], ground: &Ground) {
    let living = rows.iter().filter(|row| row.wanted && strays::lives(row, ground));
    let living: Vec<&InstanceId> = living.map(|row| &row.instance).collect();
    let (kind, trouble) = match first_file(nginx, config, &living, &ground.store).await {
        Ok(None) => return,
        Ok(Some(warning)) => ("nginx.warning", warning),
        Err(error) => ("nginx.failed", error),
    };
    tracing::error!("{trouble}");
    let (kind, message) = (kind.to_owned(), trouble.to_string());
    ground.store.record(store::Event { kind, message, ..store::Event::default() });
}

/// All that is missing or was configured otherwise in one write; what nginx has against its
/// configuration. The boots publish it to an nginx that runs.
async fn first_file(
    nginx: &Nginx,
    config: &Config,
    living: &[&InstanceId],
    store: &Store,
) -> Result<Option<NginxError>, NginxError> {
    nginx.check().await?;
    let written = nginx.on_disk()?.unwrap_or_default().upstreams;
    let behind = config.services.values().filter(|service| service.upstream.is_some());
    let mut missing = Upstreams::new();
    for service in behind.filter(|service| !written.contains_key(&service.name)) {
        let rollouts = store.rollouts_of(&service.name, None, HINTS).await.unwrap_or_default();
        if let Some(member) = first_member(service, living, &rollouts) {
            missing.insert(service.name.clone(), Members::from([(member, Role::Serving)]));
        }
    }
    Ok(nginx.write(&missing).await?.warning)
}

/// Where nothing tells what nginx serves, it may serve what lives already.
fn first_member(
    service: &Service,
    living: &[&InstanceId],
    rollouts: &[RolloutRow],
) -> Option<Port> {
    let slots = service.slots.all();
    let lives =
        |slot: &&Slot| living.iter().any(|id| id.service == service.name && id.slot == **slot);
    let served = was_serving(rollouts);
    let found = served.iter().find(lives).or_else(|| slots.iter().find(lives));
    found.or(slots.first()).and_then(|slot| slot.port())
}

fn begin_nginx(
    settings: &crate::config::Nginx,
    nginx: &Nginx,
    muster: Muster<'_>,
) -> Result<Instance, DaemonError> {
    let name = ServiceName::managed_nginx();
    let service = Arc::new(managed_nginx::service(name.clone(), nginx, settings));
    muster.begin(managed_nginx::id(name), &service)
}
