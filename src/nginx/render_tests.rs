use proptest::prelude::*;

use super::*;
use crate::{config::Share, nginx::Edition};

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn options(name_: &str) -> UpstreamOptions {
    UpstreamOptions {
        name: name(name_),
        least_conn: false,
        keepalive: 32,
        keepalive_timeout: Duration::from_secs(2),
        zone_kib: None,
        max_fails: 0,
        fail_timeout: Duration::from_secs(10),
        preview: None,
        switch: crate::config::Switch::Reload,
    }
}

fn reloads(name: &str) -> Proxied {
    Proxied { options: options(name), host: [127, 0, 0, 1].into(), switch: Switch::Reload }
}

fn site() -> Site {
    let api = Proxied {
        options: UpstreamOptions { least_conn: true, zone_kib: Some(64), ..options("app") },
        host: "0.0.0.0".parse().unwrap(),
        switch: Switch::Reload,
    };
    let admin = Proxied {
        options: UpstreamOptions {
            keepalive: 0,
            max_fails: 3,
            fail_timeout: Duration::from_millis(1500),
            ..options("admin")
        },
        host: "::1".parse().unwrap(),
        switch: Switch::Reload,
    };
    [(name("api"), api), (name("admin"), admin)].into()
}

fn edited(upstreams: &[(&str, &[(u16, Role)])]) -> Edited {
    let members = |list: &[(u16, Role)]| list.iter().map(|(p, role)| (port(*p), *role)).collect();
    Edited {
        edition: Edition(12),
        upstreams: upstreams.iter().map(|(s, list)| (name(s), members(list))).collect(),
        ..Edited::default()
    }
}

fn places() -> Places<'static> {
    let requests = Some(Path::new("/var/log/nginx/aibk-requests.log"));
    Places { proof: SocketPath("/run/aibk/nginx.sock"), requests, spare_idle: None }
}

/// `UPDATE_GOLDEN=1` writes the file instead.
fn golden(file: &str, text: &str) {
    let path = format!("{}/tests/golden/nginx/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{path}");
}

#[test]
fn golden_files() {
    use Role::{Backup, Canary, Down, Serving};
    let part = |percent| Canary(Share::new(percent).unwrap());
    for (file, upstreams) in [
        ("empty.conf", &[][..]),
        ("one.conf", &[("api", &[(8000, Serving)][..])]),
        (
            "all.conf",
            &[("admin", &[(8002, Down)][..]), ("api", &[(8000, Serving), (8001, Backup)])],
        ),
        (
            "canary.conf",
            &[
                ("admin", &[(8002, part(99)), (8003, Serving), (8004, Serving)][..]),
                ("api", &[(8000, Serving), (8001, part(5))]),
            ],
        ),
    ] {
        golden(file, &render(&edited(upstreams), &site(), places()).unwrap());
    }
}

#[test]
fn without_a_log_only_its_format_is_there() {
    let quiet = Places { requests: None, ..places() };
    let text = render(&edited(&[]), &site(), quiet).unwrap();
    assert!(text.contains("log_format aibk_requests '") && !text.contains("requests.log"));
    assert_eq!(text.matches("access_log").count(), 1, "that of the proof alone:\n{text}");
}

#[test]
fn idle_connections_are_spared_where_nginx_can() {
    let newer = Places { spare_idle: Some(Duration::from_millis(2500)), ..places() };
    let text = render(&edited(&[]), &site(), newer).unwrap();
    assert!(text.contains("\nkeepalive_min_timeout 2500ms;\n"), "{text}");
}

#[test]
fn what_is_shown_before_is_no_member() {
    let mut site = site();
    let shows = |preview| {
        let options = UpstreamOptions { preview, ..options("app") };
        Proxied { options, host: [127, 0, 0, 1].into(), switch: Switch::Reload }
    };
    let upstreams = edited(&[("api", &[(8000, Role::Serving), (8001, Role::Preview)])]);
    site.insert(name("api"), shows(Some(port(8009))));
    let text = render(&upstreams, &site, places()).unwrap();
    assert_eq!(text.matches("127.0.0.1:8001").count(), 1, "{text}");
    assert!(text.contains("listen 127.0.0.1:8009;"), "{text}");
    assert!(text.contains("proxy_pass http://127.0.0.1:8001;"), "{text}");
    assert!(text.contains("\"8001\":\"preview\""), "nginx proves it: {text}");
    site.insert(name("api"), shows(None));
    let text = render(&upstreams, &site, places()).unwrap();
    assert!(!text.contains("127.0.0.1:8001"), "{text}");
}

#[test]
fn upstreams_that_nginx_would_refuse_are_refused() {
    for members in [&[][..], &[(8000, Role::Backup)], &[(8000, Role::Preview)]] {
        let refused = render(&edited(&[("api", members)]), &site(), places());
        assert!(matches!(refused, Err(NginxError::NoMember { .. })), "{members:?}");
    }
    let unknown = render(&edited(&[("other", &[(8000, Role::Serving)])]), &site(), places());
    assert!(matches!(unknown, Err(NginxError::UnknownService(_))));
}

#[test]
fn socket_paths_that_could_escape_are_refused() {
    for bad in ["/run/a b", "/run/a;", "/run/a{", "/run/$a", "/run/a'", "/run/a\n", "run/a", ""] {
        assert!(SocketPath::new(Path::new(bad)).is_err(), "{bad:?}");
    }
    assert!(SocketPath::new(Path::new(&format!("/{}", "a".repeat(107)))).is_err());
    assert!(SocketPath::new(Path::new(&format!("/{}", "a".repeat(106)))).is_ok());
}

#[test]
fn other_files_have_no_header() {
    assert!(read_back("upstream api { server 127.0.0.1:1; }\n").is_none());
    assert!(read_back("# aibk: {\"edition\":1,\n").unwrap().is_err());
}

#[test]
fn no_line_is_too_long_for_nginx() {
    let services: Vec<ServiceName> = (0..200).map(|n| name(&format!("service-{n}"))).collect();
    let members: Members = [(port(65535), Role::Serving), (port(65534), Role::Backup)].into();
    let site: Site = services.iter().map(|s| (s.clone(), reloads(s.as_str()))).collect();
    let upstreams = services.into_iter().map(|s| (s, members.clone())).collect();
    let text = render(
        &Edited { edition: Edition(u64::MAX), upstreams, ..Edited::default() },
        &site,
        places(),
    )
    .unwrap();
    assert!(text.lines().all(|line| line.len() < 4096));
}

fn any_edited() -> impl Strategy<Value = Edited> {
    let canary = (1..=99_u8).prop_map(|percent| Role::Canary(Share::new(percent).unwrap()));
    let role = prop_oneof![Just(Role::Serving), Just(Role::Backup), Just(Role::Down), canary];
    let members = prop::collection::btree_map((1..=u16::MAX).prop_map(port), role, 0..4);
    let service = "[a-z][a-z0-9_-]{0,31}".prop_map(|text| name(&text));
    (any::<u64>(), prop::collection::btree_map(service, members, 0..5)).prop_map(
        |(edition, mut upstreams)| {
            upstreams.retain(|service, members| check(service, members).is_ok());
            Edited { edition: Edition(edition), upstreams, ..Edited::default() }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_reads_back(edited in any_edited()) {
        let site: Site = edited
            .upstreams
            .keys()
            .map(|s| (s.clone(), reloads(s.as_str())))
            .collect();
        let text = render(&edited, &site, places()).unwrap();
        prop_assert_eq!(read_back(&text).unwrap().unwrap(), edited.clone());
        prop_assert_eq!(text.matches("    server ").count(), edited.upstreams.values().map(Members::len).sum::<usize>());
        prop_assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
