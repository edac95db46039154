use std::{fs, path::Path, time::Duration};

use super::super::*;
use crate::ident::ServiceName;

fn apps(text: &str) -> Vec<App> {
    const SERVICES: &str = "services:\n  api: {app: 'a:b', directory: /opt/code, slots: [8000]}\n  \
                            worker: {command: [./work], directory: /opt/code}\n";
    let config = Config::parse(&format!("{SERVICES}{text}"), Path::new("/etc/aibk/aibk.yaml"));
    config.unwrap().apps.values().map(|app| App::clone(app)).collect()
}

#[test]
fn an_application_lives_below_its_home() {
    let all = apps("apps: {shop: {services: [worker, api], database: {name: shop}}}");
    let [shop] = all.as_slice() else { panic!("{all:?}") };
    let order: Vec<&str> = shop.services.iter().map(ServiceName::as_str).collect();
    assert_eq!((shop.home.as_path(), order), (Path::new("/srv/shop"), vec!["worker", "api"]));
    let backup = shop.backup.as_ref().unwrap();
    assert_eq!(backup.directory, Path::new("/srv/shop/backups"));
    assert_eq!((&backup.schedule, &backup.upload), (&None, &None));
    assert_eq!(backup.keep, Keep { daily: 7, weekly: 4, monthly: 3, migrations: 1 });
    assert_eq!(apps("apps: {shop: {services: [api]}}")[0].backup, None, "there is nothing to save");
    assert_eq!(apps(""), []);
}

#[test]
fn everything_can_be_said() {
    let all = apps(
        "apps:\n  shop:\n    home: /home/shop\n    user: shop\n    env_file: shared/.env\n    \
         services: [api]\n    database: {host: db, port: 5433, name: shop, user: shop, \
         password_from: DB_PASSWORD, programs: /usr/lib/postgresql/15/bin}\n    backup: \
         {directory: /var/backups/shop, keep: {daily: 1, migrations: 3}, schedule: daily, \
         deadline: 2h, copy: [mc, cp, '{file}', 's3/b'], copy_check: [mc, stat, 's3/b/{name}']}",
    );
    let [shop] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(shop.env_file.as_deref().unwrap(), Path::new("/home/shop/shared/.env"));
    let backup = shop.backup.as_ref().unwrap();
    assert_eq!(backup.directory, Path::new("/var/backups/shop"));
    assert_eq!((backup.keep.migrations, backup.deadline), (3, Duration::from_secs(7200)));
    assert_eq!(backup.schedule.as_ref().unwrap().text(), "daily");
    assert_eq!(backup.upload.as_ref().unwrap().check, ["mc", "stat", "s3/b/{name}"]);
    let database = shop.database.as_ref().unwrap();
    assert_eq!(database.programs.as_deref().unwrap(), Path::new("/usr/lib/postgresql/15/bin"));
}

#[test]
fn a_database_is_found_by_the_env_file_and_its_password_is_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    let app = |database: &str, env: &str| {
        let home = directory.path().display();
        fs::write(directory.path().join(".env"), env).unwrap();
        let text = format!(
            "apps: {{shop: {{home: {home}, env_file: .env, services: [api], database: {database}}}}}"
        );
        apps(&text).remove(0)
    };
    let url = "DATABASE_URL=postgresql+asyncpg://shop:hunter2@db:5433/shop\n";
    let endpoint = app("{url_from: DATABASE_URL}", url).endpoint().unwrap();
    assert_eq!(endpoint.password.as_ref().unwrap().expose(), "hunter2");
    assert_eq!((endpoint.host.as_deref(), endpoint.name.as_str()), (Some("db"), "shop"));
    assert!(!format!("{endpoint:?}").contains("hunter2"));
    let written = "{name: shop, host: /run/pg, password_from: PW}";
    let endpoint = app(written, "PW=hunter2").endpoint().unwrap();
    assert_eq!(endpoint.password.unwrap().expose(), "hunter2");
    assert_eq!(endpoint.port.unwrap().get(), 5432);

    let told = |database: &str, env: &str| {
        let error = app(database, env).endpoint().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        error.to_string().replace(&format!("{}/", directory.path().display()), "")
    };
    assert_eq!(
        told("{url_from: DATABASE_URL}", "OTHER=hunter2"),
        "env file .env has no DATABASE_URL; add it, or correct `database`"
    );
    assert_eq!(
        told("{url_from: URL}", "URL=postgresql://u:hunter2@h"),
        "URL in env file .env has no usable name of a database; write it behind the last `/`"
    );
}

#[test]
fn the_host_is_asked_for_what_a_dump_needs() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().display();
    fs::write(directory.path().join("file"), "").unwrap();
    let told = |keys: &str| {
        let text = format!("apps: {{shop: {{home: {home}, services: [api], {keys}}}}}");
        let findings = check_app(&apps(&text)[0]);
        let about = |f: Finding| format!("{:?} {}", f.severity, f.about);
        findings.into_iter().map(about).collect::<Vec<_>>()
    };
    assert_eq!(
        told("user: no-such, group: no-such, env_file: gone"),
        ["Error apps.shop.user", "Error apps.shop.group", "Error apps.shop.env_file"]
    );
    let none = "Error apps.shop.database.programs";
    assert_eq!(told("database: {name: d, programs: /none}"), [none; 3]);
    let backup = |directory: &str| {
        let mut told = told(&format!(
            "database: {{name: d, programs: /none}}, backup: {{directory: {directory}}}"
        ));
        told.retain(|about| about != none);
        told
    };
    assert_eq!(backup("file/in"), ["Error apps.shop.backup.directory"]);
    assert_eq!(backup("not/there"), ["Warning apps.shop.backup.directory"]);
    assert_eq!(backup("new"), [""; 0]);
}
