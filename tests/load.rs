//! The load generator itself: on plain nginx and uvicorn, it counts what is lost, and only that.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::Command,
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{
    LONG, Nginx, Ports, Running, Site, ends, fetch, kill, listener_on,
    load::{Class, Kind, Load, Plan, Report},
    root, venv, wait_for,
};

/// nginx and one uvicorn, with nobody who looks after them.
struct Plain {
    uvicorn: Running,
    _nginx: Nginx,
    public: u16,
    directory: TempDir,
    _ports: Ports,
}

fn uvicorn(port: u16, executed: &Path) -> Running {
    let mut command = Command::new(venv().join("bin/uvicorn"));
    command.args(["main:app", "--loop", "uvloop", "--http", "httptools"]);
    command.args(["--timeout-keep-alive", "75", "--no-access-log", "--port", &port.to_string()]);
    command.current_dir(root().join("tests/support/app")).env("EXECUTED_LOG", executed);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let running = Running::start_logged(&mut command, &executed.with_extension("log"));
    wait_for("uvicorn to serve", LONG, || fetch(port, "/health").ok());
    running
}

fn plain() -> Plain {
    let mut ports = Ports::default();
    let (public, port) = (ports.take(), ports.take());
    let directory = tempfile::Builder::new().prefix("aibk-").tempdir_in("/tmp").unwrap();
    let uvicorn = uvicorn(port, &directory.path().join("executed"));
    let include = directory.path().join("upstream.conf");
    let upstream = format!(
        "upstream api_backend {{ server 127.0.0.1:{port} max_fails=0; keepalive 8; keepalive_timeout 2s; }}\n"
    );
    fs::write(&include, upstream).unwrap();
    Site { directory: directory.path(), port: public, admin: None, include: &include, choice: "" }
        .write();
    let nginx = Nginx::start(directory.path(), public);
    Plain { uvicorn, _nginx: nginx, public, directory, _ports: ports }
}

impl Plain {
    fn load(&self) -> Load {
        Load::start(Plan::mixed((Ipv4Addr::LOCALHOST, self.public).into())).unwrap()
    }

    fn report(&self, load: Load) -> Report {
        let report = load.finish(Some(&self.directory.path().join("executed"))).unwrap();
        println!("{report}");
        report
    }
}

fn wait_answered(load: &Load, many: u64) {
    wait_for("answers", LONG, || (load.progress().answered >= many).then_some(()));
}

#[test]
fn a_quiet_run_loses_nothing() {
    let plain = plain();
    let load = plain.load();
    wait_answered(&load, 1000);
    let report = plain.report(load);
    assert_eq!((report.lost, report.reuse_races), (0, 0), "{report}");
    assert_eq!(report.sent, report.answered);
    assert!(report.orders.counted && report.orders.once == report.orders.acknowledged);
    for kind in [Kind::Get, Kind::Post, Kind::Slow, Kind::Stream, Kind::WebSocket] {
        assert!(report.sent_of(kind) > 0, "no {kind}: {report}");
    }
    assert!(report.to_string().lines().all(|line| line.chars().count() <= 80), "{report}");
}

#[test]
fn a_killed_application_is_counted() {
    let plain = plain();
    let load = plain.load();
    wait_answered(&load, 300);
    kill(plain.uvicorn.pid(), Signal::KILL);
    ends(plain.uvicorn.pid(), LONG);
    let lost = load.progress().lost;
    // So many that whoever was in the middle of something has noticed, too.
    wait_for("losses", LONG, || (load.progress().lost > lost + 300).then_some(()));
    let report = plain.report(load);
    assert!(report.count(Class::Status(502)) > 0, "{report}");
    assert!(report.count(Class::WebSocketCut) > 0, "{report}");
    assert!(report.count(Class::Short) > 0, "no stream was cut: {report}");
    assert_eq!((report.orders.twice, report.orders.never), (0, 0), "{report}");
    assert!(report.to_string().lines().all(|line| line.chars().count() <= 80), "{report}");
}

#[test]
fn websockets_closed_by_the_application_are_no_loss() {
    let plain = plain();
    let mixed = Plan::mixed((Ipv4Addr::LOCALHOST, plain.public).into());
    let load = Load::start(Plan { gets: 0, posts: 0, slow: 0, streams: 0, ..mixed }).unwrap();
    wait_answered(&load, 10);
    kill(plain.uvicorn.pid(), Signal::TERM);
    ends(plain.uvicorn.pid(), LONG);
    wait_for("refusals", LONG, || (load.progress().lost > 3).then_some(()));
    let report = plain.report(load);
    assert_eq!(report.websocket_closes.get(&1012), Some(&2), "{report}");
    assert_eq!(report.count(Class::WebSocketCut), 0, "{report}");
}

/// A server that answers one request, and hangs up as soon as it has read the second.
fn hangs_up_on_the_second(listener: &TcpListener) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = [0; 1024];
    assert!(stream.read(&mut request).unwrap() > 0);
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    assert!(stream.read(&mut request).unwrap() > 0);
}

#[test]
fn the_reuse_race_is_a_class_of_its_own() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let load = Load::start(Plan::gets(listener.local_addr().unwrap(), 1)).unwrap();
    for _ in 0..3 {
        hangs_up_on_the_second(&listener);
    }
    drop(listener);
    wait_for("a refusal", LONG, || (load.progress().lost > 0).then_some(()));
    let report = load.finish(None).unwrap();
    assert_eq!(report.reuse_races, 3, "{report}");
    assert_eq!(report.count(Class::Refused) + report.count(Class::Reset), report.lost, "{report}");
}

#[test]
fn an_order_that_is_executed_twice_is_seen() {
    let plain = plain();
    let load = plain.load();
    wait_answered(&load, 100);
    let executed = plain.directory.path().join("executed");
    let first = wait_for("an order", LONG, || {
        let text = fs::read_to_string(&executed).ok()?;
        text.split_once('\n').map(|(first, _)| first.to_owned())
    });
    writeln!(fs::File::options().append(true).open(&executed).unwrap(), "{first}").unwrap();
    let report = plain.report(load);
    assert_eq!((report.orders.twice, report.lost), (1, 1), "{report}");
}

#[test]
fn a_pause_is_measured() {
    let plain = plain();
    let load = plain.load();
    wait_answered(&load, 100);
    kill(plain.uvicorn.pid(), Signal::STOP);
    let before = load.progress().sent;
    let begun = std::time::Instant::now();
    wait_for("half a second of silence", LONG, || {
        (begun.elapsed() > Duration::from_millis(500)).then_some(())
    });
    assert!(load.progress().sent < before + 20, "requests wait for their answers");
    kill(plain.uvicorn.pid(), Signal::CONT);
    wait_answered(&load, 300);
    let report = plain.report(load);
    assert!(report.longest_pause_ms >= 450.0, "{report}");
    assert_eq!(report.lost, 0, "{report}");
    assert!(listener_on(plain.public).is_some());
}
