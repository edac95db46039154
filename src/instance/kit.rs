//! A driver's surroundings for tests: a real store whose disk can fail, a real launcher, real
//! children.

use std::{future::Future, sync::Arc, time::Duration};

use tempfile::TempDir;

use super::{Ground, Instance, Outlet, View};
use crate::{
    config::{
        Drain, Kind, OnDeadline, Ready, Restart, RestartPolicy, RolloutPolicy, Service, Sign,
        Slots, Standby, Stop, StopSignal, Websocket,
    },
    ident::{InstanceId, ReleaseId, ServiceName, Slot},
    process::{Identity, Keeping, Launcher, Shelf},
    release::Release,
    store::{SlotRow, Store},
    sys::{cgroup::Base, confine::Confinement, fake::Faulty, proc},
};

/// No wait of a test is longer.
pub(super) const LONG: Duration = Duration::from_secs(30);

pub(super) async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, wait).await.expect("in time")
}

/// A store that can be made to fail.
pub(super) struct Disk {
    pub(super) store: Store,
    side: rusqlite::Connection,
    pub(super) dir: TempDir,
}

impl Disk {
    pub(super) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let side = rusqlite::Connection::open(dir.path().join("aibk.db")).unwrap();
        side.busy_timeout(LONG).unwrap();
        Self { store, side, dir }
    }

    /// From now on no slot can be written.
    pub(super) fn refuse(&self) {
        let refuse = "CREATE TRIGGER refused BEFORE INSERT ON slots \
                      BEGIN SELECT RAISE(ABORT, 'no space is left'); END";
        self.side.execute_batch(refuse).unwrap();
    }

    /// Writes what a store that stalled writes late: an order that was refused.
    pub(super) fn write_late(&self, release: &str) {
        let late = "UPDATE slots SET release = ?1, identity = NULL";
        assert_eq!(self.side.execute(late, [release]).unwrap(), 1);
    }

    pub(super) fn take_again(&self) {
        self.side.execute_batch("DROP TRIGGER refused").unwrap();
    }

    /// Keeps every row that is written from now on.
    pub(super) fn witness(&self) {
        let keep = "INSERT INTO written VALUES (new.release, new.identity)";
        let witness = format!(
            "CREATE TABLE written (release TEXT, identity TEXT);
             CREATE TRIGGER first AFTER INSERT ON slots BEGIN {keep}; END;
             CREATE TRIGGER later AFTER UPDATE ON slots BEGIN {keep}; END;"
        );
        self.side.execute_batch(&witness).unwrap();
    }

    /// Release and identity of the rows that were written, oldest first.
    pub(super) fn written(&self) -> Vec<(String, Option<Identity>)> {
        let mut rows = self.side.prepare("SELECT release, identity FROM written").unwrap();
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, Option<String>>(1)?));
        let rows = rows.query_map([], read).unwrap().map(Result::unwrap);
        rows.map(|(release, who)| (release, who.map(|who| serde_json::from_str(&who).unwrap())))
            .collect()
    }
}

/// One slot, of a service that sleeps.
pub(super) struct Bed {
    pub(super) disk: Disk,
    pub(super) kernel: Arc<Faulty>,
    launcher: Arc<Launcher>,
}

impl Bed {
    pub(super) fn new() -> Self {
        let disk = Disk::new();
        let kernel = Arc::new(Faulty::default());
        let base = Base::find(&base_name(&disk));
        let launcher = Launcher::with(disk.dir.path(), base, Arc::<Faulty>::clone(&kernel));
        Self { disk, kernel, launcher: launcher.unwrap() }
    }

    /// A daemon begins.
    pub(super) fn begin(&self, row: Option<SlotRow>) -> Instance {
        let ground = Ground {
            launcher: Arc::clone(&self.launcher),
            store: self.disk.store.clone(),
            shelf: Shelf::default(),
            runtime_dir: self.disk.dir.path().into(),
        };
        let outlet = Outlet { log_dir: self.disk.dir.path(), keeping: Keeping::default() };
        Instance::begin(id(), Arc::new(service()), row, ground, outlet).unwrap()
    }

    pub(super) async fn row(&self) -> SlotRow {
        self.disk.store.slots().await.unwrap().pop().unwrap()
    }
}

impl Drop for Bed {
    /// Leaves no process behind when a test fails.
    fn drop(&mut self) {
        if let Some(base) = Base::find(&base_name(&self.disk)) {
            let _ = std::fs::write(base.path().join("cgroup.kill"), "1");
            base.tidy();
        }
    }
}

fn base_name(disk: &Disk) -> String {
    format!("aibk-{}", disk.dir.path().file_name().unwrap().display())
}

fn id() -> InstanceId {
    InstanceId::new(ServiceName::new("worker").unwrap(), Slot::Sole)
}

pub(super) fn release(id: &str) -> Release {
    Release { id: ReleaseId(id.to_owned()), directory: "/".into() }
}

pub(super) async fn reaches(instance: &Instance, is: impl Fn(&View) -> bool) -> View {
    instance.until(LONG, is).await.unwrap()
}

pub(super) fn is_alive(who: &Identity) -> bool {
    let stat = proc::stat(who.pid).unwrap();
    stat.is_some_and(|stat| !stat.zombie && stat.start_ticks == who.start_ticks)
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) fn service() -> Service {
    Service {
        name: ServiceName::new("worker").unwrap(),
        kind: Kind::Command(vec!["sleep".to_owned(), "1000".to_owned()]),
        slots: Slots::Sole,
        directory: "/".into(),
        user: None,
        group: None,
        confinement: Confinement::default(),
        env: Box::default(),
        env_file: None,
        job: None,
        depends: crate::config::Depends::default(),
        startup: None,
        ready: Ready { sign: Sign::Alive { after: Duration::ZERO }, deadline: LONG },
        live: None,
        stop: Stop { signal: StopSignal::Term, deadline: millis(5000) },
        restart: Restart {
            policy: RestartPolicy::Always,
            delay: millis(10),
            factor: 1.0,
            cap: millis(10),
            stable: LONG,
            limit: 3,
            window: None,
        },
        reload: None,
        drain: Drain {
            deadline: millis(10),
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
        clears: vec![],
        upstream: None,
    }
}
