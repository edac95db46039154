use super::*;
use crate::config::{Config, Slots};

const API: &str = "[Service]\nType=exec\nUser=ai-bookkeeping\nGroup=ai-bookkeeping\n\
    WorkingDirectory=/home/ai-bookkeeping/app/server\n\
    EnvironmentFile=/home/ai-bookkeeping/app/server/.env\nEnvironment=SENTRY=hunter2\n\
    ExecStart=/home/ai-bookkeeping/venv/bin/uvicorn app.main:app --host 127.0.0.1 --port %i \
    --workers 2 --loop uvloop --http httptools --timeout-keep-alive 5\n\
    Restart=on-failure\nLimitNOFILE=65535\nMemoryMax=512M\nPrivateTmp=true\nProtectHome=read-only\n";
const ADMIN: &str = "[Service]\nUser=ai-bookkeeping\n\
    WorkingDirectory=/home/ai-bookkeeping/app/server\n\
    ExecStart=/home/ai-bookkeeping/venv/bin/uvicorn admin.main:app --port 8002\n";

fn found() -> Found {
    let unit = |name: &str, text: &str| Unit::parse(name, &[text.to_owned()]);
    Found {
        units: vec![
            unit("ai-bookkeeping-api@8000", API),
            unit("ai-bookkeeping-api@8001", API),
            unit("ai-bookkeeping-admin", ADMIN),
        ],
        databases: [PathBuf::from("/home/ai-bookkeeping/app/server/.env")].into(),
        upstreams: [(8002, "panel".to_owned())].into(),
        ..Found::default()
    }
}

#[test]
fn the_units_of_the_guide_become_a_valid_configuration() {
    let generated = generate(&found()).unwrap();
    let config = Config::parse(&generated.text, Path::new("/etc/aibk/aibk.yaml"));
    let config = config.unwrap_or_else(|error| panic!("{error}\n{}", generated.text));
    insta::assert_snapshot!(format!("{}\n{}", generated.text, generated.notes.join("\n")));
    let api = &config.services[&"api".parse().unwrap()];
    assert!(matches!(api.slots, Slots::Two { .. }));
    assert_eq!(generated.hidden, ["hunter2"]);
    let admin = &config.services[&"admin".parse().unwrap()];
    assert_eq!(admin.held(), Some(1));
    assert!(config.apps[&"ai-bookkeeping".parse().unwrap()].database.is_some());
}

#[test]
fn what_cannot_be_taken_over_is_told() {
    let of = |text: &str| {
        let units = vec![Unit::parse("x", &[format!("[Service]\n{text}")])];
        generate(&Found { units, ..Found::default() }).unwrap_err()
    };
    assert!(of("User=a").contains("x: has no ExecStart"));
    assert!(of("ExecStart=/usr/bin/node x.js\nWorkingDirectory=/a").contains("is not uvicorn"));
    assert!(of("ExecStart=/v/bin/uvicorn a:b").contains("no WorkingDirectory"));
    let mut three = found();
    three.units.push(Unit::parse("ai-bookkeeping-api@8003", &[API.to_owned()]));
    assert!(generate(&three).unwrap_err().contains("more than two"));
}

#[test]
fn names_are_what_units_do_not_share() {
    let named = |units: &[(&str, &str)]| {
        let unit =
            |(name, user): &(&str, &str)| Unit::parse(name, &[format!("[Service]\nUser={user}\n")]);
        let units: Vec<Unit> = units.iter().map(unit).collect();
        let (app, names) = names(&units);
        format!("{app}: {}", names.join(" "))
    };
    assert_eq!(named(&[("a-b-api@1", "a-b"), ("a-b-admin", "a-b")]), "a-b: api admin");
    assert_eq!(named(&[("shop-api", "www"), ("shop-worker", "www")]), "shop: api worker");
    assert_eq!(named(&[("shop-api", "www")]), "www: shop-api");
    assert_eq!(named(&[("App.Web@1", "")]), "app: app-web");
    assert_eq!(size("512M").as_deref(), Some("512MiB"));
    assert_eq!(size("50%"), None);
}
