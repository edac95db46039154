//! `aibkctl doctor`: nothing is wrong, and then much is at once.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
};

use serde_json::{Value, json};

use crate::support::{LONG, Output, Settings, Stage, fetch, run};

/// The findings of one severity, each with its topic and its next step in one line. What the machine
/// of the tests lacks itself is left out.
fn findings(output: &Output, severity: &str) -> Vec<String> {
    let told: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}\n{output}"));
    let mine = |one: &&Value| {
        one["severity"] == severity && !matches!(one["topic"].as_str(), Some("host" | "units"))
    };
    let line = |one: &Value| {
        let part = |key: &str| one[key].as_str().unwrap_or("-").replace('\n', " ");
        format!("{}: {} -> {}", part("topic"), part("observed"), part("next"))
    };
    told["findings"].as_array().unwrap().iter().filter(mine).map(line).collect()
}

fn certificate(directory: &Path, days: &str) {
    let openssl = |line: &str| {
        run(Command::new("openssl").current_dir(directory).args(line.split(' ')), LONG).expect(0);
    };
    openssl("req -new -newkey ed25519 -nodes -subj /CN=localhost -keyout key.pem -out request");
    // Only here days may be negative.
    openssl(&format!("x509 -req -in request -signkey key.pem -days {days} -out cert.pem"));
}

/// A site of its own in front of nothing.
fn add_site(stage: &Stage, plain: u16, tls: u16, dead: u16) {
    let dir = stage.dir().display();
    let server = format!(
        "    server {{\n        listen 127.0.0.1:{plain};\n        listen 127.0.0.1:{tls} ssl;\n        \
         ssl_certificate {dir}/cert.pem;\n        ssl_certificate_key {dir}/key.pem;\n        \
         location / {{ proxy_pass http://127.0.0.1:{dead}; }}\n    }}\n"
    );
    let path = stage.path("nginx.conf");
    let text = fs::read_to_string(&path).unwrap();
    let end = text.rfind('}').unwrap();
    fs::write(&path, format!("{}{server}}}\n", &text[..end])).unwrap();
}

/// The configuration of the stage, and a service that cannot work.
fn broken(stage: &Stage, taken: u16, dead: u16) -> Settings {
    let home = stage.path("home");
    fs::create_dir_all(&home).unwrap();
    fs::write(
        home.join("env"),
        format!("DATABASE_URL=postgresql://app:hunter2@127.0.0.1:{dead}/d\n"),
    )
    .unwrap();
    fs::set_permissions(home.join("env"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    let mut settings = stage.settings.clone();
    let extra = json!({
        "command": ["sleep", "1"], "directory": stage.path(""), "slots": [taken], "user": "nobody",
        "env_file": home.join("env"), "ready": {"alive": "1s"},
    });
    settings.set("services.extra", extra);
    settings
}

#[test]
fn what_is_wrong_is_found_with_what_to_do_next() {
    let mut stage = Stage::new();
    let [plain, tls, dead, taken] = [(); 4].map(|()| stage.free_port());
    certificate(stage.dir(), "90");
    stage.write_files();
    add_site(&stage, plain, tls, dead);
    stage.restart_daemon();

    let well = stage.ctl(&["doctor", "--json"]);
    assert_eq!(findings(&well, "problem"), [""; 0], "{well}");
    let good = findings(&well, "ok").join("\n");
    let blue = format!("{} listens on {}", stage.blue_name(), stage.blue);
    for word in [&blue, "nginx listens on", "accepts its configuration", "is valid until"] {
        assert!(good.contains(word), "expected `{word}` in:\n{good}");
    }

    let _stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, taken)).unwrap();
    let settings = broken(&stage, taken, dead);
    let file = stage.path("broken.yaml");
    fs::write(&file, settings.to_yaml()).unwrap();
    certificate(stage.dir(), "-1");
    assert_eq!(fetch(plain, "/").unwrap().0, 502);
    let ill = stage.ctl(&["doctor", "--json", "--config", file.to_str().unwrap()]).expect(1);
    let problems = findings(&ill, "problem").join("\n");
    let home = stage.path("home").canonicalize().unwrap();
    for word in [
        &format!("ports: port {taken} of extra@{taken} is held by pid {}", std::process::id()),
        "and stop it, or give",
        &format!("permissions: nobody cannot enter {} (mode 0700)", home.display()),
        &format!("setfacl -m u:nobody:x {}", home.display()),
        &format!(
            "databases: PostgreSQL at 127.0.0.1:{dead} (extra, DATABASE_URL) cannot be reached"
        ),
        "systemctl status postgresql",
        "nginx: 502: nobody listened where nginx passed a request to (once within a day",
        "certificates: ",
        "has expired on",
        "certbot renew",
    ] {
        assert!(problems.contains(word), "expected `{word}` in:\n{problems}");
    }
    assert!(findings(&ill, "warning").join("\n").contains("can be read by every user"), "{ill}");
    assert!(!ill.words().contains("hunter2"), "{ill}");

    stage.stop_daemon();
    let text =
        stage.ctl(&["doctor", "--config", stage.path("aibk.yaml").to_str().unwrap()]).expect(1);
    let first = text.stdout.lines().nth(1).unwrap_or_default();
    assert!(first.starts_with("  problem  aibkd does not answer"), "{text}");
    text.says(&["systemctl start aibkd", "nginx does not run"]);
    let wide = text.stdout.lines().filter(|line| line.chars().count() > 80 && line.contains("  "));
    let wide: Vec<_> =
        wide.filter(|line| line.split_whitespace().all(|word| word.len() < 60)).collect();
    assert!(wide.is_empty(), "wider than 80 columns: {wide:#?}");
}
