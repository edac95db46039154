//! The engine: knows the deploys under way, one per application, and lets them rest and go on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::{
    DeployError,
    drive::Drive,
    hands::Hands,
    history,
    record::{Aim, Course, DOCUMENT, Deploy, Loss, Scope, Step},
    words,
};
use crate::{
    config::App,
    ident::{AppName, RolloutId, ServiceName},
    instance::Ground,
    process::Launcher,
    release::Workshop,
    rollout,
    store::{self, DeployRow, Store, StoreError},
};

/// How long a migration may take to end when the daemon does; all else rests at once.
const REST: Duration = Duration::from_secs(45);

/// Every application, by name.
pub type Apps = BTreeMap<AppName, Arc<App>>;

/// Runs deploys, one per application. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    launcher: Arc<Launcher>,
    rollouts: rollout::Engine,
    /// Replaced as a whole when the configuration changes.
    apps: Mutex<Arc<Apps>>,
    going: Mutex<BTreeMap<AppName, Going>>,
    /// The daemon is ending: nothing begins, and what is under way comes to rest.
    frozen: watch::Sender<bool>,
    /// One begins at a time.
    beginning: tokio::sync::Mutex<()>,
}

/// A deploy under way.
#[derive(Debug, Clone)]
struct Going {
    deploy: watch::Receiver<Deploy>,
    cancel: watch::Sender<Option<String>>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What it is to bring into service.
    pub aim: Aim,
    /// How far it goes.
    pub scope: Scope,
    /// Whether requests may fail over it.
    pub loss: Loss,
    /// Services that are not to run.
    pub disabled: BTreeSet<ServiceName>,
}

impl Engine {
    /// An engine for `apps`.
    #[must_use]
    pub fn new(ground: &Ground, rollouts: rollout::Engine, apps: Apps) -> Self {
        let shared = Shared {
            store: ground.store.clone(),
            launcher: Arc::clone(&ground.launcher),
            rollouts,
            apps: Mutex::new(Arc::new(apps)),
            going: Mutex::default(),
            frozen: watch::Sender::new(false),
            beginning: tokio::sync::Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Every application as it is configured now.
    #[must_use]
    pub fn apps(&self) -> Arc<Apps> {
        Arc::clone(&self.shared.apps.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on these are the applications; a deploy under way goes on by what it began with.
    pub fn replace(&self, apps: Apps) {
        *self.shared.apps.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(apps);
    }

    /// The application as it is configured now.
    ///
    /// # Errors
    /// When there is no such application.
    pub fn app(&self, name: &AppName) -> Result<Arc<App>, DeployError> {
        self.apps().get(name).cloned().ok_or_else(|| DeployError::NoApp(name.clone()))
    }

    /// The application, as long as a deploy of it could begin now.
    ///
    /// # Errors
    /// Why it could not.
    pub fn is_free(&self, name: &AppName) -> Result<Arc<App>, DeployError> {
        if *self.shared.frozen.borrow() {
            return Err(DeployError::Ending);
        }
        let app = self.app(name)?;
        match self.under_way(name) {
            Some(holder) => Err(DeployError::Busy(words::holder(&holder, now()))),
            None => Ok(app),
        }
    }

    /// Begins what is asked of `name`; its intent is durable when this returns.
    ///
    /// # Errors
    /// Refused, busy, or not to be written down; nothing has changed then.
    pub async fn begin(
        &self,
        name: &AppName,
        asked: Asked,
        by: String,
    ) -> Result<Deploy, DeployError> {
        let _alone = self.alone().await;
        let app = self.is_free(name)?;
        let hands = self.hands(&app);
        hands.can_aim_at(&asked.aim)?;
        let blank = self.blank(&app, &hands, asked, by).await?;
        let with_id = blank.clone();
        let write = move |id| Deploy { id, ..with_id }.written();
        let row = match self.shared.store.begin_deploy(name.clone(), Box::new(write)).await {
            Err(StoreError::Busy(orphan)) => return Err(self.take_up(orphan).await),
            row => row?,
        };
        let deploy = Deploy { id: row.id, ..blank };
        let message = format!("{} begun by {}", words::name(&deploy), deploy.by);
        self.record(&deploy, "deploy.begun", message);
        self.drive(deploy.clone(), hands);
        Ok(deploy)
    }

    async fn blank(
        &self,
        app: &App,
        hands: &Hands,
        asked: Asked,
        by: String,
    ) -> Result<Deploy, DeployError> {
        let Asked { aim, scope, loss, disabled } = asked;
        let seen = hands.observe(app.services.iter(), None).await?;
        let services: Vec<ServiceName> = app
            .services
            .iter()
            .filter(|service| !disabled.contains(*service) || seen.serves(service))
            .cloned()
            .collect();
        let origin = services
            .iter()
            .filter_map(|service| Some((service.clone(), seen.release_of(service)?.clone())));
        Ok(Deploy {
            document: DOCUMENT,
            id: RolloutId(0),
            app: app.name.clone(),
            release: match &aim {
                Aim::New(_) => None,
                Aim::Kept(release) => Some(release.clone()),
            },
            aim,
            scope,
            loss,
            by,
            begun: now(),
            ended: None,
            source: None,
            origin: origin.collect(),
            services,
            before: seen.current,
            schema: None,
            report: vec![],
            dump: None,
            passed: BTreeSet::new(),
            rollouts: vec![],
            course: Course::Forward,
            steps: vec![],
            failure: None,
            revision: 0,
        })
    }

    pub(super) fn hands(&self, app: &Arc<App>) -> Hands {
        let Shared { launcher, rollouts, store, .. } = &*self.shared;
        let (app, launcher) = (Arc::clone(app), Arc::clone(launcher));
        Hands { app, launcher, rollouts: rollouts.clone(), store: store.clone() }
    }

    /// The place of `app`.
    #[must_use]
    pub fn workshop(&self, app: &Arc<App>) -> Workshop {
        Workshop::new(app, &self.shared.launcher)
    }

    /// While it is kept, no deploy begins.
    pub(super) async fn alone(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.shared.beginning.lock().await
    }

    /// Goes on with every deploy that has not ended. Returns what was said of those that this version
    /// does not understand, or whose application is not configured; they stay as they are (`S4`).
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn resume(&self) -> Result<Vec<DeployError>, DeployError> {
        let mut left = vec![];
        let unfinished = self.shared.store.deploys(0).await?;
        self.sweep_uploads(&unfinished).await;
        for row in unfinished {
            if let Err(e) = read(&row).and_then(|deploy| self.go_on(deploy)) {
                left.push(e);
            }
        }
        Ok(left)
    }

    fn go_on(&self, deploy: Deploy) -> Result<(), DeployError> {
        let app = self.app(&deploy.app)?;
        self.record(&deploy, "deploy.resumed", format!("{} goes on", words::name(&deploy)));
        let hands = self.hands(&app);
        self.drive(deploy, hands);
        Ok(())
    }

    /// One that the store knows and nobody drives is driven on; whoever met it is told that the
    /// application is held.
    async fn take_up(&self, orphan: RolloutId) -> DeployError {
        match self.find(orphan).await {
            Ok(deploy) => {
                let held = words::holder(&deploy, now());
                match self.go_on(deploy) {
                    Ok(()) => DeployError::Busy(held),
                    Err(e) => e,
                }
            }
            Err(e) => e,
        }
    }

    /// Lets every deploy come to rest where it is, for the next daemon to go on with. Nothing begins
    /// any more.
    pub async fn freeze(&self) {
        self.shared.frozen.send_replace(true);
        let resting = async {
            loop {
                let next = self.going().values().next().map(|going| going.deploy.clone());
                let Some(mut going) = next else { return };
                // Its sender is dropped when it rests.
                while going.changed().await.is_ok() {}
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(REST, resting).await.is_err() {
            tracing::warn!("a deploy did not come to rest within {REST:?}");
        }
    }

    /// The deploy of `app` that is under way.
    #[must_use]
    pub fn under_way(&self, app: &AppName) -> Option<Deploy> {
        self.going().get(app).map(|going| going.deploy.borrow().clone())
    }

    /// Every deploy that is under way.
    #[must_use]
    pub fn all_under_way(&self) -> Vec<Deploy> {
        self.going().values().map(|going| going.deploy.borrow().clone()).collect()
    }

    /// A deploy under way, and its every change; `None` when it has ended.
    #[must_use]
    pub fn watch(&self, id: RolloutId) -> Option<watch::Receiver<Deploy>> {
        let going = self.going();
        let all = going.values().map(|going| &going.deploy);
        all.clone().find(|deploy| deploy.borrow().id == id).cloned()
    }

    /// A deploy, ended or not; `None` when there is none of this id.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn look_up(&self, id: RolloutId) -> Result<Option<Deploy>, DeployError> {
        if let Some(deploy) = self.watch(id) {
            return Ok(Some(deploy.borrow().clone()));
        }
        self.shared.store.deploy(id).await?.as_ref().map(read).transpose()
    }

    async fn find(&self, id: RolloutId) -> Result<Deploy, DeployError> {
        self.look_up(id).await?.ok_or_else(|| DeployError::Unreadable(id, "it is gone".to_owned()))
    }

    /// The last `n` deploys of `app`, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn last_of(&self, app: &AppName, n: usize) -> Result<Vec<Deploy>, DeployError> {
        history::of(&self.shared.store, app, n).await
    }

    /// The last `n` deploys, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn last(&self, n: usize) -> Result<Vec<Deploy>, DeployError> {
        let rows = self.shared.store.deploys(n).await?;
        // One that cannot be read was told of when the daemon came up.
        Ok(rows.iter().filter_map(|row| read(row).ok()).collect())
    }

    /// Turns a deploy back: what it does is left, or undone.
    ///
    /// # Errors
    /// When it is past its point of no return, on its way back, or over.
    pub async fn cancel(&self, id: RolloutId, by: &str) -> Result<Deploy, DeployError> {
        let late = |why| Err(DeployError::TooLate(id, why));
        let deploy = self.find(id).await?;
        match deploy.course {
            Course::Ended(_) => return late("it has ended"),
            Course::Back => return late("it is on its way back already"),
            Course::Forward if !deploy.can_turn_back() => {
                return late(match deploy.under_way().map(|taken| taken.step) {
                    Some(Step::Migrate) => "its migration is under way, and runs to its end",
                    _ => "its release serves already; `aibkctl rollback` goes back",
                });
            }
            Course::Forward => {}
        }
        let Some(mut seen) = self.watch(id) else {
            return late("its application is not configured");
        };
        if let Some(going) = self.going().get(&deploy.app) {
            going.cancel.send_replace(Some(by.to_owned()));
        }
        let turned = |deploy: &Deploy| deploy.course != Course::Forward || !deploy.can_turn_back();
        // Where it takes longer, it is heeded after the effect that goes on.
        let _ = tokio::time::timeout(REST, seen.wait_for(turned)).await;
        self.find(id).await
    }

    fn drive(&self, deploy: Deploy, hands: Hands) {
        let (told, seen) = watch::channel(deploy.clone());
        let (cancel, cancelled) = watch::channel(None);
        let app = deploy.app.clone();
        self.going().insert(app.clone(), Going { deploy: seen, cancel });
        let engine = self.clone();
        let frozen = self.shared.frozen.subscribe();
        tokio::spawn(async move {
            let announce = told.clone();
            let drive = Drive { engine: engine.clone(), hands, deploy, told, cancelled, frozen };
            let deploy = drive.run().await;
            engine.going().remove(&app);
            // Whoever sees its end finds the application free.
            announce.send_replace(deploy);
        });
    }

    fn going(&self) -> MutexGuard<'_, BTreeMap<AppName, Going>> {
        self.shared.going.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `deploy` durable.
    pub(super) async fn keep(&self, deploy: &Deploy) -> Result<(), StoreError> {
        self.shared.store.put_deploy(deploy.row()).await
    }

    pub(super) fn record(&self, deploy: &Deploy, kind: &str, message: String) {
        self.shared.store.record(store::Event {
            kind: kind.to_owned(),
            rollout: Some(deploy.id.0),
            message,
            ..store::Event::default()
        });
    }
}

pub(super) fn read(row: &DeployRow) -> Result<Deploy, DeployError> {
    Deploy::read(row).map_err(|why| DeployError::Unreadable(row.id, why))
}

/// Now, in microseconds since the epoch.
pub(super) fn now() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}
