//! A real chain of Alembic's on a real database: what is pending, what it would do, and what becomes
//! of it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use aibk::{
    config::{App, Config},
    migration::{self, At, Hazard, MigrationError, Pending},
    process::{Launcher, Stream},
};

use crate::support::{ALEMBIC_ENV, Postgres, venv};

/// An application, a database, and a release with a chain of revisions.
struct Set {
    app: Arc<App>,
    release: PathBuf,
    launcher: Arc<Launcher>,
    _home: tempfile::TempDir,
}

impl Set {
    fn new(home: tempfile::TempDir, database: &Postgres) -> Self {
        let release = home.path().join("release");
        fs::create_dir_all(release.join("server/migrations/versions")).unwrap();
        let ini = "[alembic]\nscript_location = migrations\n";
        fs::write(release.join("server/alembic.ini"), ini).unwrap();
        fs::write(release.join("server/migrations/env.py"), ALEMBIC_ENV).unwrap();
        fs::write(home.path().join(".env"), format!("DATABASE_URL='{}'\n", database.url()))
            .unwrap();
        let text = format!(
            "services: {{api: {{app: 'a:b', directory: /opt/x, slots: [8000]}}}}\n\
             apps: {{shop: {{home: {home}, env_file: .env, services: [api], database: {{url_from: \
             DATABASE_URL, programs: {programs}}}, migrate: {{alembic: {{config: \
             server/alembic.ini}}, lock_timeout: 500ms, deadline: 50s}}}}}}\n",
            home = home.path().display(),
            programs = database.programs().display()
        );
        let config = Config::parse(&text, Path::new("/etc/aibk/aibk.yaml")).unwrap();
        let app = Arc::clone(config.apps.values().next().unwrap());
        let launcher = Launcher::new(home.path()).unwrap();
        Self { app, release, launcher, _home: home }
    }

    fn revision(&self, id: &str, after: &str, upgrade: &str, downgrade: &str) {
        let after = if after == "None" { after.to_owned() } else { format!("'{after}'") };
        let text = format!(
            "\"\"\"revision {id}\"\"\"\nfrom alembic import op\nimport sqlalchemy as sa\n\
             revision = '{id}'\ndown_revision = {after}\ndef upgrade():\n    {upgrade}\n\
             def downgrade():\n    {downgrade}\n"
        );
        fs::write(self.path(id), text).unwrap();
    }

    fn path(&self, id: &str) -> PathBuf {
        self.release.join(format!("server/migrations/versions/{id}.py"))
    }

    async fn check(&self) -> Result<Pending, MigrationError> {
        let python = venv().join("bin/python");
        let at = At { directory: &self.release, python: &python };
        migration::check(&self.launcher, &self.app, at, &mut |_: Stream, _: &[u8]| {}).await
    }

    async fn upgrade(&self) -> Result<Vec<String>, MigrationError> {
        let python = venv().join("bin/python");
        let at = At { directory: &self.release, python: &python };
        migration::upgrade(&self.launcher, &self.app, at, &mut |_: Stream, _: &[u8]| {}).await
    }

    async fn downgrade(&self, to: &str) -> Result<Vec<String>, MigrationError> {
        let python = venv().join("bin/python");
        let at = At { directory: &self.release, python: &python };
        migration::downgrade(&self.launcher, &self.app, at, to, &mut |_: Stream, _: &[u8]| {}).await
    }
}

fn told(error: &MigrationError) -> String {
    let told = error.to_string();
    assert!(!format!("{told} {error:?}").contains("hunter2"), "the password is told: {told}");
    told
}

#[test]
fn a_chain_is_checked_and_followed_and_a_failure_tells_where_it_stopped() {
    let database = Postgres::started();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let home = tempfile::Builder::new().prefix("aibk-").tempdir_in("/tmp").unwrap();
    runtime.block_on(async {
        let set = Set::new(home, &database);
        let table = "op.create_table('users', sa.Column('id', sa.Integer), sa.Column('n', sa.Text))";
        set.revision("a1", "None", table, "op.drop_table('users')");
        set.revision("b2", "a1", "op.drop_column('users', 'n')", "op.add_column('users', sa.Column('n', sa.Text))");
        let pending = set.check().await.unwrap();
        let ids: Vec<&str> = pending.revisions.iter().map(|revision| revision.id.as_str()).collect();
        assert_eq!((pending.current.len(), ids, pending.heads.as_slice()), (0, vec!["a1", "b2"], &["b2".to_owned()][..]));
        assert_eq!(pending.warnings, [], "the table is new");
        assert_eq!(set.upgrade().await.unwrap(), ["b2"]);
        assert!(!set.check().await.unwrap().needs_migration());
        assert_eq!(set.upgrade().await.unwrap(), ["b2"], "twice");
        assert_eq!(set.downgrade("a1").await.unwrap(), ["a1"]);
        let warnings = set.check().await.unwrap().warnings;
        assert_eq!((warnings.len(), warnings[0].hazard), (1, Hazard::DropColumn));
        assert_eq!(warnings[0].revision.as_deref(), Some("b2"));

        // The first of two is done, the second fails.
        set.revision("c3", "b2", "op.execute('SELECT no_such_thing()')", "pass");
        let error = set.upgrade().await.unwrap_err();
        let said = told(&error);
        assert!(matches!(&error, MigrationError::Stopped { at, .. } if *at == ["b2"]), "{said}");
        assert!(said.contains("no_such_thing") && said.contains("restore the dump"), "{said}");

        // Somebody holds a lock: it fails soon, and others need not queue behind it.
        set.revision("c3", "b2", "op.add_column('users', sa.Column('x', sa.Integer))", "pass");
        let holding = database.begun("shop", "BEGIN; LOCK TABLE users; SELECT pg_sleep(100)");
        let waits = "SELECT count(*) FROM pg_locks WHERE relation = 'users'::regclass AND granted \
                     AND mode = 'AccessExclusiveLock'";
        crate::support::wait_for("the lock", crate::support::LONG, || {
            (database.sql("shop", waits) == "1").then_some(())
        });
        let said = told(&set.upgrade().await.unwrap_err());
        assert!(said.contains("lock timeout"), "{said}");
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%sleep%' \
                   AND pid <> pg_backend_pid()";
        database.sql("postgres", end);
        drop(holding);

        // Another migration goes on.
        let lock = "SELECT pg_advisory_lock(hashtext('aibk migration'), hashtext('shop')); SELECT pg_sleep(100)";
        let other = database.begun("shop", lock);
        let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";
        crate::support::wait_for("the other migration", crate::support::LONG, || {
            (database.sql("shop", held) == "1").then_some(())
        });
        assert!(told(&set.upgrade().await.unwrap_err()).contains("another migration"));
        database.sql("postgres", end);
        drop(other);
        assert_eq!(set.upgrade().await.unwrap(), ["c3"]);
        assert_eq!(database.sql("shop", held), "0", "the lock is given back");

        // Chains that cannot be followed.
        set.revision("d4", "c3", "pass", "pass");
        set.revision("e5", "c3", "pass", "pass");
        assert!(told(&set.check().await.unwrap_err()).contains("more than one head: "));
        fs::remove_file(set.path("e5")).unwrap();
        set.revision("d4", "zz", "pass", "pass");
        assert!(told(&set.check().await.unwrap_err()).contains("zz"));
        for id in ["d4", "c3"] {
            fs::remove_file(set.path(id)).unwrap();
        }
        let said = told(&set.check().await.unwrap_err());
        assert!(said.contains("c3"), "{said}");
    });
}
