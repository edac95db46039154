//! A launcher with a directory of its own, which leaves no process behind.

use std::{fs, future::Future, path::Path, sync::Arc, time::Duration};

use tempfile::TempDir;

use crate::{
    ident::InstanceId,
    process::{
        Capture, Keeping, Launcher, Line, ProcessError, Shelf, SpawnSpec, Tree, Wanted,
        launcher::base_name,
    },
    sys::{cgroup::Base, confine::Confinement, kernel::Kernel},
};

/// No wait of a test is longer.
pub(super) const LONG: Duration = Duration::from_secs(20);

pub(super) async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, wait).await.expect("in time")
}

/// Waits until `condition` holds.
pub(super) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + LONG;
    while !condition() {
        assert!(tokio::time::Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(super) fn is_alive(pid: i32) -> bool {
    crate::sys::proc::stat(pid).unwrap().is_some_and(|stat| !stat.zombie)
}

pub(super) fn spec(argv: &[&str]) -> SpawnSpec {
    SpawnSpec {
        argv: argv.iter().map(Into::into).collect(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        directory: "/".into(),
        user: None,
        group: None,
        confinement: Confinement::default(),
        listener: None,
    }
}

pub(super) fn sh(script: &str) -> SpawnSpec {
    spec(&["sh", "-c", script])
}

/// What survives the daemon.
pub(super) struct Home {
    pub(super) dir: TempDir,
    pub(super) name: InstanceId,
}

impl Home {
    pub(super) fn new() -> Self {
        Self { dir: TempDir::new().unwrap(), name: "api@8000".parse().unwrap() }
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn base(&self) -> Option<Base> {
        Base::find(&base_name(self.path()))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let Some(base) = self.base() else { return };
        let _ = fs::write(base.path().join("cgroup.kill"), "1");
        let end = std::time::Instant::now() + LONG;
        while base.path().exists() && std::time::Instant::now() < end {
            base.tidy();
            std::thread::yield_now();
        }
    }
}

/// One life of the daemon.
pub(super) struct Daemon {
    pub(super) launcher: Arc<Launcher>,
    pub(super) capture: Capture,
    pub(super) name: InstanceId,
}

impl Daemon {
    pub(super) fn new(home: &Home) -> Self {
        Self::with(home, Launcher::new(home.path()).unwrap())
    }

    pub(super) fn on(home: &Home, base: Option<Base>, kernel: Arc<dyn Kernel>) -> Self {
        Self::with(home, Launcher::with(home.path(), base, kernel).unwrap())
    }

    fn with(home: &Home, launcher: Arc<Launcher>) -> Self {
        Self::finding(home, launcher, &Shelf::default())
    }

    /// One that finds something on `shelf`.
    pub(super) fn finding(home: &Home, launcher: Arc<Launcher>, shelf: &Shelf) -> Self {
        let (logs, keeping) = (home.path().join("log"), Keeping::default());
        let capture = Capture::open(&home.name, home.path(), &logs, keeping, shelf).unwrap();
        Self { launcher, capture, name: home.name.clone() }
    }

    pub(super) async fn try_spawn(&self, spec: &SpawnSpec) -> Result<Tree, ProcessError> {
        within(self.launcher.spawn(&self.name, spec, &self.capture)).await
    }

    pub(super) async fn spawn(&self, spec: &SpawnSpec) -> Tree {
        self.try_spawn(spec).await.unwrap()
    }

    /// Starts it and waits for its first line.
    pub(super) async fn spawn_up(&self, spec: &SpawnSpec) -> (Tree, String) {
        let (_, mut lines) = self.capture.follow(0, &Wanted::default()).await;
        let tree = self.spawn(spec).await;
        let line = within(lines.recv()).await.unwrap();
        (tree, line.text)
    }

    /// Runs it to its end and returns what it wrote.
    pub(super) async fn output(&self, spec: &SpawnSpec) -> Vec<String> {
        let (_, mut lines) = self.capture.follow(0, &Wanted::default()).await;
        let tree = self.spawn(spec).await;
        within(tree.exited()).await;
        within(self.capture.settle()).await;
        std::iter::from_fn(|| lines.try_recv().ok()).map(|line: Line| line.text).collect()
    }

    pub(super) async fn refused(&self, spec: &SpawnSpec) -> String {
        self.try_spawn(spec).await.expect_err("a refusal").to_string()
    }
}
