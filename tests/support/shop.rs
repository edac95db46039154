//! An application that is deployed from a repository of its own.

use std::{fs, path::PathBuf, process::Command};

use aibk::api::types::{Backup, Release, Rollout};
use serde_json::json;

use super::{ALEMBIC_ENV, LONG, Postgres, Stage, fetch, root, run, venv};

/// The repository that is deployed from, and a stage for it.
#[derive(Debug)]
pub struct Shop {
    /// Its stage; `api` is what is deployed.
    pub stage: Stage,
    /// A clone of what is deployed from.
    pub work: PathBuf,
}

impl Shop {
    /// A stage with the application `shop`, and a bare repository without a commit.
    pub fn new() -> Self {
        let mut stage = Stage::new();
        let home = stage.path("").to_str().unwrap().to_owned();
        stage.settings.set("services.api.rollout.watch", "100ms");
        stage.settings.set("apps.shop.home", home);
        stage.settings.set("apps.shop.services", json!(["api"]));
        stage.settings.set("apps.shop.source.git", stage.path("origin.git").to_str().unwrap());
        stage.settings.set("apps.shop.source.ref", "main");
        let work = stage.path("work");
        let shop = Self { stage, work };
        fs::create_dir(&shop.work).unwrap();
        let origin = shop.stage.path("origin.git");
        shop.git(&["init", "-q", "-b", "main", "."]);
        shop.git(&["clone", "-q", "--bare", ".", origin.to_str().unwrap()]);
        shop.git(&["remote", "add", "origin", origin.to_str().unwrap()]);
        shop
    }

    /// git in the clone.
    pub fn git(&self, args: &[&str]) -> String {
        let who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
        let mut git = Command::new("git");
        run(git.args(who).args(args).current_dir(&self.work), LONG).expect(0).stdout
    }

    /// Code that behaves as `mode` says, on the branch that is deployed.
    pub fn push(&self, version: &str, mode: &str) {
        fs::copy(root().join("tests/support/app/main.py"), self.work.join("main.py")).unwrap();
        fs::write(self.work.join("VERSION"), version).unwrap();
        fs::write(self.work.join("mode"), mode).unwrap();
        self.git(&["add", "."]);
        self.git(&["commit", "-q", "-m", &format!("Version {version}")]);
        self.git(&["push", "-q", "origin", "main"]);
    }

    /// Deploys, which is to end with the exit status `code`.
    #[track_caller]
    pub fn deploy(&self, args: &[&str], code: i32) -> Rollout {
        let args: Vec<&str> =
            ["deploy", "--json"].into_iter().chain(args.iter().copied()).collect();
        let output = run(&mut self.stage.aibkctl(&args), LONG).expect(code);
        serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", output.stdout))
    }

    /// Rolls back, which is to end with the exit status `code`.
    #[track_caller]
    pub fn rollback(&self, args: &[&str], code: i32) -> Rollout {
        let args: Vec<&str> =
            ["rollback", "--json"].into_iter().chain(args.iter().copied()).collect();
        let output = run(&mut self.stage.aibkctl(&args), LONG).expect(code);
        serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", output.stdout))
    }

    /// Where a release of it lies.
    pub fn release(&self, id: &str) -> PathBuf {
        self.stage.path("releases").join(id)
    }

    /// What the application that serves says that it is, by its own environment.
    #[track_caller]
    pub fn release_that_answers(&self) -> String {
        let (_, body) = fetch(self.stage.address().port(), "/health").unwrap();
        let health: serde_json::Value = serde_json::from_str(&body).unwrap();
        health["release"].as_str().unwrap().to_owned()
    }

    /// Newest first.
    #[track_caller]
    pub fn releases(&self) -> Vec<Release> {
        let output = self.stage.ctl(&["releases", "list", "--json"]).expect(0);
        serde_json::from_str(&output.stdout).unwrap()
    }

    /// With a database, which Alembic migrates.
    pub fn with(database: &Postgres) -> Self {
        let mut shop = Self::new();
        let url = format!("DATABASE_URL='{}'\n", database.url());
        fs::write(shop.stage.path(".env"), url).unwrap();
        let settings = [
            ("env_file", json!(".env")),
            ("database", json!({"url_from": "DATABASE_URL", "programs": database.programs()})),
            ("migrate", json!({"alembic": {"config": "alembic.ini"}, "deadline": "50s"})),
            ("hooks", json!({"build": [["ln", "-s", venv(), ".venv"]]})),
        ];
        for (key, value) in settings {
            shop.stage.settings.set(&format!("apps.shop.{key}"), value);
        }
        fs::create_dir_all(shop.work.join("migrations/versions")).unwrap();
        let ini = "[alembic]\nscript_location = migrations\n";
        fs::write(shop.work.join("alembic.ini"), ini).unwrap();
        fs::write(shop.work.join("migrations/env.py"), ALEMBIC_ENV).unwrap();
        shop
    }

    /// The revision that the database is at.
    pub fn at(database: &Postgres) -> String {
        database.sql("shop", "SELECT version_num FROM alembic_version")
    }

    /// Writes a revision; `after` is Python: `None`, or a text in quotes.
    pub fn revision(&self, id: &str, after: &str, upgrade: &str, downgrade: &str) {
        let text = format!(
            "from alembic import op\nimport sqlalchemy as sa\nrevision = '{id}'\n\
             down_revision = {after}\ndef upgrade():\n    {upgrade}\n\
             def downgrade():\n    {downgrade}\n"
        );
        fs::write(self.work.join(format!("migrations/versions/{id}.py")), text).unwrap();
    }

    /// Oldest first.
    #[track_caller]
    pub fn dumps(&self) -> Vec<Backup> {
        let listed = self.stage.ctl(&["backup", "list", "--json"]).expect(0);
        serde_json::from_str(&listed.stdout).unwrap()
    }
}
