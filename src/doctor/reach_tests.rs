use super::*;
use crate::doctor::{Severity, talk::No};

fn told(url: &str) -> String {
    match target(url) {
        None => "-".to_owned(),
        Some(Target::Postgres(e)) => format!("postgres {} {}", e.host.unwrap_or_default(), e.name),
        Some(Target::Redis(redis)) => format!(
            "redis {} {} {} {:?}",
            redis.place,
            redis.user.unwrap_or_default(),
            redis.password.map(|secret| secret.expose().to_owned()).unwrap_or_default(),
            redis.tls
        ),
        Some(Target::Other(scheme, place)) => format!("{scheme} {place}"),
        Some(Target::Unclear(wrong)) => format!("unclear: {wrong}"),
    }
}

#[test]
fn urls_are_known_by_their_scheme() {
    for (url, expected) in [
        ("postgresql+asyncpg://u:p@db/app", "postgres db app"),
        ("redis://localhost:6379/0", "redis localhost:6379   None"),
        ("redis://:a%40b@[::1]", "redis ::1:6379  a@b None"),
        ("rediss://u:p@cache:1/0?x=1", "redis cache:1 u p Wanted"),
        ("unix:///run/redis/r.sock?db=1", "redis /run/redis/r.sock   None"),
        ("unix:///run/other.sock", "-"),
        ("amqp://guest:guest@mq//", "amqp mq:5672"),
        ("mongodb://a:1,b:2/x", "mongodb a:1"),
        ("mysql+aiomysql://u:p@h:33/x", "mysql h:33"),
        ("https://example.org", "-"),
        ("hunter2", "-"),
        ("redis://h:hunter2/0", "unclear: is a URL of Redis without a usable port"),
    ] {
        assert_eq!(told(url), expected, "{url}");
    }
    assert!(told("postgresql://u:hunter2@h").starts_with("unclear: has no usable name"));
}

#[test]
fn each_answer_has_its_next_step_and_no_secret() {
    let link = Link {
        whose: "api, DATABASE_URL".into(),
        target: target("postgresql://app:hunter2@db/books").unwrap(),
    };
    let no = |code: &str| Answer::No(No { code: code.into(), words: "no".into() });
    for (answer, severity, word) in [
        (Answer::Yes("answers".into()), Severity::Ok, ""),
        (Answer::Refused("Connection refused".into()), Severity::Problem, "systemctl status"),
        (Answer::Late, Severity::Problem, "firewall"),
        (Answer::NoName("no".into()), Severity::Problem, "getent hosts"),
        (no("3D000"), Severity::Problem, "createdb -O app books"),
        (no("28000"), Severity::Problem, "pg_hba.conf"),
        (no("28P01"), Severity::Problem, "\\password app"),
        (no("53300"), Severity::Problem, "max_connections"),
        (no("57P03"), Severity::Problem, "wait"),
        (no("XX000"), Severity::Problem, "its own log"),
        (Answer::Strange("HTTP".into()), Severity::Problem, "something else"),
    ] {
        let found = finding(&link, "db:5432", &answer);
        assert_eq!(found.severity, severity, "{answer:?}");
        assert!(found.next.clone().unwrap_or_default().contains(word), "{found:?}");
        assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
    }
}

#[test]
fn two_services_with_one_database_ask_it_once() {
    let text = "services:\n  a: {command: [x], directory: /, env: {DB: 'postgresql://h/d'}}\n  \
                b: {command: [x], directory: /, env: {DB: 'postgresql://h/d', R: 'redis://r'}}\n";
    let config = Config::parse(text, std::path::Path::new("/etc/aibk/aibk.yaml")).unwrap();
    let links: Vec<_> = links(&config).into_iter().map(|link| link.whose).collect();
    assert_eq!(links, ["a, DB", "b, R"]);
}
