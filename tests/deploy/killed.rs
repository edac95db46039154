//! The daemon is killed while it saves a database, migrates it, and brings it back; its successor ends
//! what runs on, and goes on.

use std::fs;

use aibk::api::types::{InstanceState, Rollout, RolloutState};

use crate::support::{LONG, Postgres, Running, Shop, is_alive, load::Plan, run, wait_for};

/// Waits for a lock, or somebody is waited for.
const WAITING: &str = "SELECT count(*) FROM pg_locks WHERE NOT granted";
const ADVISORY: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";

/// A deploy, or a rollback, of which the daemon dies again and again.
struct Ordeal {
    shop: Shop,
    database: Postgres,
    /// It is in the way of whoever touches the table.
    holder: Option<Running>,
    id: String,
}

/// What became of the daemon.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Died,
    /// A program waits for the lock that is held.
    Waits,
    /// The deploy is over.
    Ended,
}

impl Ordeal {
    /// From now on somebody holds the table in `mode`.
    fn hold(&mut self, mode: &str) {
        let sql = format!("BEGIN; LOCK TABLE users IN {mode} MODE; SELECT pg_sleep(100)");
        self.holder = Some(self.database.begun("shop", &sql));
        let granted = format!(
            "SELECT count(*) FROM pg_locks WHERE granted AND relation = 'users'::regclass AND mode = \
             '{}Lock'",
            if mode == "ACCESS SHARE" { "AccessShare" } else { "AccessExclusive" }
        );
        wait_for("the lock", LONG, || (self.database.sql("shop", &granted) == "1").then_some(()));
    }

    fn let_go(&mut self) {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE \
                   '%pg_sleep(100)%' AND pid <> pg_backend_pid()";
        self.database.sql("postgres", end);
        self.holder = None;
    }

    /// Begins what `words` ask for, with a daemon that dies at `strike`.
    fn begin(&mut self, words: &[&str], strike: &str) {
        self.shop.stage.die_at(strike);
        let begun = self.shop.stage.ctl(&[words, &["--no-wait"]].concat()).expect(0);
        begun.stdout.trim().clone_into(&mut self.id);
        self.dies();
    }

    fn seen(&mut self) -> Seen {
        wait_for("a death, an end, or a wait", LONG, || {
            if !self.shop.stage.daemon_goes_on() {
                return Some(Seen::Died);
            }
            if self.holder.is_some() && self.database.sql("shop", WAITING) != "0" {
                return Some(Seen::Waits);
            }
            let shown = self.shop.stage.ctl(&["rollouts", &self.id, "--json"]);
            let ended = serde_json::from_str(&shown.stdout)
                .is_ok_and(|rollout: Rollout| rollout.state.ended());
            ended.then_some(Seen::Ended)
        })
    }

    fn dies(&mut self) {
        assert_eq!(self.seen(), Seen::Died);
        self.shop.stage.bury_daemon();
    }

    /// The next daemon, which dies at `strike`.
    fn next(&mut self, strike: &str) {
        self.shop.stage.launch();
        self.shop.stage.die_at(strike);
    }

    /// Kills it while `program` waits for the table, and has what it leaves ended by the next one, which
    /// goes on, and dies at `strike`.
    fn killed_while(&mut self, program: &str, strike: &str) {
        assert_eq!(self.seen(), Seen::Waits);
        let orphans = self.shop.stage.processes(program);
        assert!(!orphans.is_empty(), "{program} waits");
        self.shop.stage.kill_daemon();
        wait_for("the lock of migrations to be free", LONG, || {
            (self.database.sql("shop", ADVISORY) == "0").then_some(())
        });
        self.shop.stage.restart_daemon();
        wait_for("what was left to be ended", LONG, || {
            (!orphans.iter().any(|pid| is_alive(*pid))).then_some(())
        });
        self.shop.stage.die_at(strike);
        self.let_go();
        self.dies();
    }

    /// It is over, as it should be, and nothing is left of it.
    fn converged(&self, release: &str, revision: &str) {
        let shown = self.shop.stage.ctl(&["rollouts", &self.id, "--json"]).expect(0);
        let told: Rollout = serde_json::from_str(&shown.stdout).unwrap();
        assert_eq!((told.state, told.failure.as_deref()), (RolloutState::Done, None), "{told:#?}");
        let cut = |name: &str| told.steps.iter().filter(|step| step.name == name).count();
        assert!(cut("backup") > 1 && cut("migrate") > 1, "each try is told: {told:#?}");
        assert_eq!(Shop::at(&self.database), revision);
        assert_eq!(self.shop.release_that_answers(), release);
        assert_eq!(self.database.sql("shop", ADVISORY), "0");
        for program in ["pg_dump", "alembic", "psql"] {
            assert_eq!(self.shop.stage.processes(program), [0; 0], "{program}");
        }
        let mut files: Vec<String> = fs::read_dir(self.shop.stage.path("backups"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != ".shop.lock")
            .collect();
        files.sort();
        let whole = |name: &String| {
            let (stem, _) = name.rsplit_once('.').unwrap();
            [".dump", ".json"].iter().all(|end| files.contains(&format!("{stem}{end}")))
        };
        assert!(files.iter().all(whole), "half a dump is left: {files:?}");
    }
}

#[test]
fn a_migration_and_the_way_back_outlive_the_daemon() {
    let database = Postgres::started();
    let mut shop = Shop::with(&database);
    shop.stage.settings.set("apps.shop.migrate.lock_timeout", "40s");
    let table = "op.create_table('users', sa.Column('id', sa.Integer), sa.Column('n', sa.Text))";
    shop.revision("a1", "None", table, "op.drop_table('users')");
    shop.push("one", "ok");
    shop.stage.start();
    let load = shop.stage.load_of(Plan::gets(shop.stage.address(), 1));
    let first = shop.deploy(&[], 0).release.unwrap();
    let back = "op.add_column('users', sa.Column('n', sa.Text))";
    shop.revision("b2", "'a1'", "op.drop_column('users', 'n')", back);
    shop.push("two", "ok");
    let mut ordeal = Ordeal { shop, database, holder: None, id: String::new() };

    // Before the dump, in the middle of it, and at each of its ends.
    ordeal.hold("ACCESS EXCLUSIVE");
    ordeal.begin(&["deploy"], "deploy.intent:4");
    ordeal.next("none");
    ordeal.killed_while("pg_dump", "backup.dumped:1");
    for strike in ["backup.placed:1", "deploy.effect:1"] {
        ordeal.next(strike);
        ordeal.dies();
    }
    // In the middle of the migration, and after it.
    ordeal.hold("ACCESS SHARE");
    ordeal.next("none");
    ordeal.killed_while("alembic", "deploy.effect:1");
    ordeal.shop.stage.restart_daemon();
    assert_eq!(ordeal.seen(), Seen::Ended);
    let second = ordeal.shop.releases().remove(0).id;
    assert_ne!(second, first);
    ordeal.converged(&second, "b2");

    // The way back, in the same way; after it, between two steps and after the next effect.
    ordeal.hold("ACCESS SHARE");
    ordeal.begin(&["rollback", "--db"], "deploy.intent:2");
    ordeal.next("deploy.effect:1");
    ordeal.dies();
    ordeal.next("none");
    ordeal.killed_while("alembic", "deploy.effect:1");
    for strike in ["deploy.intent:2", "deploy.effect:1"] {
        ordeal.next(strike);
        ordeal.dies();
    }
    ordeal.shop.stage.restart_daemon();
    assert_eq!(ordeal.seen(), Seen::Ended);
    ordeal.converged(&first, "a1");
    let report = load.finish(None).unwrap();
    assert!(report.lost == 0 && report.answered > 0, "{report}");
}

/// One service has the new release, and another one cannot take it: the first gets back what it had.
#[test]
fn a_deploy_that_turns_back_outlives_the_daemon() {
    let mut shop = Shop::new();
    let serves = "test ! -e broken && exec sleep 1000";
    shop.stage.add_command("worker", &["sh", "-c", serves]);
    let current = shop.stage.path("current").to_str().unwrap().to_owned();
    shop.stage.settings.set("services.worker.directory", current);
    shop.stage.settings.set("apps.shop.services", serde_json::json!(["api", "worker"]));
    shop.push("one", "ok");
    shop.stage.start();
    let first = shop.deploy(&[], 0).release.unwrap();
    let load = shop.stage.load_of(Plan::gets(shop.stage.address(), 1));
    fs::write(shop.work.join("broken"), "").unwrap();
    shop.push("two", "ok");
    shop.stage.die_at("deploy.intent:5");
    let id = shop.stage.ctl(&["deploy", "--no-wait"]).expect(0).stdout.trim().to_owned();
    for strike in ["deploy.effect:1", "none"] {
        wait_for("the daemon's death", LONG, || (!shop.stage.daemon_goes_on()).then_some(()));
        shop.stage.bury_daemon();
        shop.stage.launch();
        shop.stage.die_at(strike);
    }
    shop.stage.wait_ready();
    let told = run(&mut shop.stage.aibkctl(&["wait", &id, "--json"]), LONG).expect(1);
    let told: Rollout = serde_json::from_str(&told.stdout).unwrap();
    assert!(told.steps.iter().any(|step| step.name == "roll-back"), "{told:#?}");
    assert_eq!(told.state, RolloutState::Undone);
    assert!(told.failure.unwrap().contains("worker"));
    assert_eq!(shop.release_that_answers(), first);
    let worker = shop.stage.instances("worker").remove(0);
    assert_eq!((worker.state, worker.release), (InstanceState::Ready, Some(first)));
    let report = load.finish(None).unwrap();
    assert!(report.lost == 0 && report.answered > 0, "{report}");
}
