//! `aibkctl setup`, in a directory that stands for the host.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use aibk::config::Config;

use crate::support::{LONG, Output, run};

const UNIT: &str = "[Service]\nUser=books\nWorkingDirectory=/home/books/app/server\n\
    EnvironmentFile=/home/books/app/server/.env\nEnvironment=SENTRY_DSN=hunter2\n\
    ExecStart=/home/books/venv/bin/uvicorn app.main:app --host 127.0.0.1 --port %i --workers 2\n\
    LimitNOFILE=65535\nRestart=always\nExecStartPre=/bin/true\n";

/// A host with two units and an nginx; a user only where this one cannot make any.
fn host() -> tempfile::TempDir {
    let root = tempfile::Builder::new().prefix("aibk-").tempdir_in("/tmp").unwrap();
    let put = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let (mut users, mut groups) =
        ("root:x:0:0::/root:/bin/sh\n".to_owned(), "root:x:0:\n".to_owned());
    if !rustix::process::geteuid().is_root() {
        let uid = rustix::process::geteuid().as_raw();
        users = format!("{users}books:x:{uid}:{uid}::/home/books:/bin/sh\n");
        groups.push_str("aibk:x:1:\nbooks:x:2:\n");
    }
    put("etc/passwd", &users);
    put("etc/group", &groups);
    put("etc/systemd/system/books-api@.service", UNIT);
    let admin = UNIT.replace("app.main:app", "admin.main:app").replace("%i", "8002");
    put("etc/systemd/system/books-admin.service", &admin);
    put("home/books/app/server/.env", "DATABASE_URL=postgresql+asyncpg://b:hunter2@/books\n");
    put("etc/nginx/nginx.conf", "");
    for directory in ["etc/nginx/sites-available", "etc/nginx/sites-enabled", "etc/logrotate.d"] {
        fs::create_dir_all(root.path().join(directory)).unwrap();
    }
    root
}

fn setup(root: &Path, more: &[&str]) -> Output {
    let mut aibkctl = Command::new(env!("CARGO_BIN_EXE_aibkctl"));
    aibkctl.args(["setup", "--server-name", "books.example.org", "--root"]).arg(root);
    for unit in ["books-api@8000", "books-api@8001", "books-admin"] {
        aibkctl.args(["--from-systemd", unit]);
    }
    run(aibkctl.args(more).env("NO_COLOR", "1"), LONG)
}

/// Every file, with what is in it.
fn everything(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                // A link leads out of the directory.
                found.insert(entry.path(), fs::read(entry.path()).unwrap_or_default());
            }
        }
    }
    found
}

/// nginx accepts the site, with upstreams as aibkd publishes them.
fn accepts(root: &Path) {
    let site = fs::read_to_string(root.join("etc/nginx/sites-available/books.conf")).unwrap();
    let site = site.replace("/etc/ssl/aibk", &root.join("etc/ssl/aibk").display().to_string());
    let text = format!(
        "pid {dir}/pid; error_log {dir}/log; events {{}}\nhttp {{ access_log off;\n\
         upstream api_backend {{ server 127.0.0.1:8000; }}\n\
         upstream admin_backend {{ server 127.0.0.1:8002; }}\n{site}}}\n",
        dir = root.display()
    );
    // It tries to bind, which not everybody may below 1024.
    let socket = |name: &str| format!("listen unix:{}/{name}.sock", root.display());
    let text = text.replace("listen 80", &socket("80")).replace("listen 443", &socket("443"));
    let file = root.join("try.conf");
    fs::write(&file, text).unwrap();
    run(Command::new("nginx").arg("-t").arg("-c").arg(&file).arg("-p").arg(root), LONG).expect(0);
    fs::remove_file(file).unwrap();
}

#[test]
fn a_host_is_set_up_once_and_what_others_made_is_left_alone() {
    let directory = host();
    let root = directory.path();
    let before = everything(root);
    let planned = setup(root, &[]).expect(0);
    planned.says(&["make file /etc/aibk/aibk.yaml", "+ app: app.main:app", "do it with --apply"]);
    planned.says(&[
        "books-admin: not taken over: ExecStartPre",
        "systemctl disable --now books-api@8000",
    ]);
    assert!(!planned.words().contains("hunter2"), "{planned}");
    assert_eq!(everything(root), before, "a plan changes nothing");

    let applied = setup(root, &["--apply"]).expect(0);
    assert!(!applied.words().contains("hunter2"), "{applied}");
    let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("etc/aibk/aibk.yaml"), 0o600, "it has a secret of the units");
    assert_eq!(mode("etc/ssl/aibk/books.key"), 0o600);
    assert_eq!(mode("home/books/logs"), 0o750);
    assert!(fs::read_to_string(root.join("etc/passwd")).unwrap().contains("books:"));
    let file = root.join("etc/aibk/aibk.yaml");
    let config = Config::load(&file).unwrap();
    assert_eq!(config.services.len(), 2);
    let mut check = Command::new(env!("CARGO_BIN_EXE_aibkctl"));
    run(check.args(["config", "check", "--no-host"]).arg(&file), LONG).expect(0);
    accepts(root);

    let all = everything(root);
    setup(root, &["--apply"]).expect(0).says(&["nothing to do"]);
    assert_eq!(everything(root), all, "the second time nothing is done");

    let edited = fs::read_to_string(&file).unwrap() + "# mine\n";
    let edited = edited.replace("hunter2", "hunter3");
    fs::write(&file, &edited).unwrap();
    let site = root.join("etc/nginx/sites-enabled/mine.conf");
    fs::write(&site, "upstream api_backend {\n  server 127.0.0.1:8000;\n}\n").unwrap();
    let kept = setup(root, &["--apply"]).expect(1);
    kept.says(&["kept file /etc/aibk/aibk.yaml", "- # mine", "move the file away"]);
    kept.says(&["which has an `upstream api_backend` of its own", "nginx snippet SERVICE"]);
    assert!(!kept.words().contains("hunter"), "{kept}");
    assert_eq!(fs::read_to_string(&file).unwrap(), edited);
    let gone = setup(root, &["--from-systemd", "nosuch"]).expect(1);
    gone.says(&["there is no unit nosuch"]);
}
