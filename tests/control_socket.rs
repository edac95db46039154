//! Whatever comes in on the control socket, the daemon goes on answering others.

use std::{
    fs::Permissions,
    io::{self, Read, Write},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    time::Duration,
};

use crate::support::{LONG, Stage, wait_for};

fn connect(stage: &Stage) -> UnixStream {
    let stream = UnixStream::connect(stage.socket()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

/// Everything that is answered to `request`, until the daemon closes.
fn answer_to(stage: &Stage, request: &[u8]) -> String {
    let mut stream = connect(stage);
    // The daemon may answer and close before it has read everything.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn resident_kib(pid: i32) -> u64 {
    let status = procfs::process::Process::new(pid).unwrap().status().unwrap();
    status.vmrss.unwrap()
}

#[test]
fn garbage_is_refused() {
    let stage = Stage::started();
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = answer_to(&stage, garbage);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        stage.ctl(&["status"]).expect(0);
    }
}

#[test]
fn requests_that_make_no_sense_are_told_so() {
    let stage = Stage::started();
    let ask = |line: &str, body: &str| {
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: aibk\r\nConnection: close\r\nContent-Length: {length}\r\n\
             Content-Type: application/json\r\n\r\n{body}"
        );
        answer_to(&stage, request.as_bytes())
    };
    let status = |answer: &str| answer.split(' ').nth(1).map(str::to_owned).unwrap_or_default();
    assert_eq!(status(&ask("GET /v1/version", "")), "200");
    assert_eq!(status(&ask("GET /v1/nothing", "")), "404");
    assert_eq!(status(&ask("DELETE /v1/status", "")), "405");
    assert_eq!(status(&ask("POST /v1/services/api/swap", "{\"release\": 7}")), "400");
    assert_eq!(status(&ask("POST /v1/services/api/swap", "{\"relase\": \"x\"}")), "400");
    assert_eq!(status(&ask("POST /v1/services/..%2F..%2Fetc/swap", "{}")), "400");
    assert_eq!(status(&ask("POST /v1/services/nobody/swap", "{}")), "404");
    let answer = ask("GET /v1/logs?of=api@1", "");
    assert!(status(&answer) == "404" && answer.contains("api@1"), "{answer}");
}

#[test]
fn a_gigabyte_is_not_read() {
    let stage = Stage::started();
    let before = resident_kib(stage.daemon_pid());
    let mut stream = connect(&stage);
    let head =
        "POST /v1/services/api/swap HTTP/1.1\r\nHost: aibk\r\nContent-Length: 1073741824\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let megabyte = vec![b' '; 1 << 20];
    let sent = (0..1024).take_while(|_| stream.write_all(&megabyte).is_ok()).count();
    assert!(sent < 64, "{sent} megabytes were read");
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    assert!(read.is_err() || answer.is_empty() || answer.contains("413"), "{answer}");
    let grown = resident_kib(stage.daemon_pid()).saturating_sub(before);
    assert!(grown < 8 * 1024, "the daemon has grown by {grown} KiB");
    stage.ctl(&["status"]).expect(0);
}

#[test]
fn an_endless_head_is_not_read() {
    let stage = Stage::started();
    let mut stream = connect(&stage);
    stream.write_all(b"GET /v1/status HTTP/1.1\r\n").unwrap();
    let line = format!("X-Padding: {}\r\n", "x".repeat(1000));
    let sent = (0..100_000).take_while(|_| stream.write_all(line.as_bytes()).is_ok()).count();
    assert!(sent < 4000, "{sent} KiB of head were read");
    stage.ctl(&["status"]).expect(0);
}

#[test]
fn slow_clients_keep_nobody_waiting() {
    let stage = Stage::started();
    let mut slow: Vec<_> = (0..50).map(|_| connect(&stage)).collect();
    for (stream, byte) in slow.iter_mut().zip(b"GET /v1/status HTTP/1.1\r\n".iter().cycle()) {
        stream.write_all(&[*byte]).unwrap();
    }
    stage.ctl(&["status"]).expect(0);
    stage.ctl(&["swap", "api"]).expect(0);
    // One byte now and then does not keep a connection for ever.
    let mut one = slow.remove(0);
    one.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    wait_for("the end of a slow client's connection", LONG, || {
        let closed = one.write_all(b"x").is_err();
        let mut byte = [0];
        let ended = match one.read(&mut byte) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => {
                !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
            }
        };
        (closed || ended).then_some(())
    });
    stage.ctl(&["status"]).expect(0);
}

#[test]
fn the_socket_is_not_for_everybody() {
    let stage = Stage::started();
    let mode = std::fs::metadata(stage.socket()).unwrap().mode();
    // No group is configured, so it is its owner's alone.
    assert_eq!(mode & 0o777, 0o600);
    let directory = std::fs::metadata(stage.path("run")).unwrap().mode();
    assert_eq!(directory & 0o007, 0, "others cannot reach it: {directory:o}");
}

#[test]
fn nothing_changes_before_what_was_left_is_resumed() {
    let mut stage = Stage::new();
    stage.write_files();
    let nginx = std::fs::read(stage.path("nginx.conf")).unwrap();
    // nginx is started first, and cannot be.
    std::fs::write(stage.path("nginx.conf"), "nonsense;").unwrap();
    stage.launch();
    wait_for("the control socket", LONG, || UnixStream::connect(stage.socket()).ok());
    stage.ctl(&["status"]).expect(0);
    for change in [&["swap", "api"][..], &["stop", "--force", &stage.blue_name()], &["cancel", "1"]]
    {
        stage.ctl(change).expect(4).says(&["still coming up", "try again"]);
    }
    std::fs::write(stage.path("nginx.conf"), nginx).unwrap();
    stage.wait_ready();
    stage.ctl(&["swap", "api"]).expect(0);
}

#[test]
fn a_release_that_others_may_change_is_refused() {
    let stage = Stage::started();
    let release = stage.releases.write("v2", "ok");
    let name = release.to_str().unwrap();
    let allow = |mode| std::fs::set_permissions(&release, Permissions::from_mode(mode)).unwrap();
    allow(0o777);
    let args = ["swap", "api", "--release", name];
    stage.ctl(&args).expect(4).says(&["everybody may write to", name, "chmod o-w"]);
    assert_eq!(stage.answering(), "v1");
    allow(0o755);
    stage.ctl(&args).expect(0);
    assert_eq!(stage.answering(), "v2");
}

#[test]
fn a_name_that_is_nearly_right_is_put_right() {
    let stage = Stage::started();
    stage.ctl(&["stop", "api"]).expect(4).says(&[&stage.blue_name(), &stage.green_name()]);
    stage.ctl(&["stop", "nobody"]).expect(4).says(&["aibkctl status"]);
}

#[test]
fn the_past_is_not_told_by_the_present() {
    let stage = Stage::started();
    let green = format!("green@{}", stage.green);
    stage.ctl(&["swap", "api"]).expect(0).says(&["serves from", &green]);
    let id = stage.rollouts()[0].id.to_string();
    stage.ctl(&["swap", "api"]).expect(0);
    let joined = stage.ctl(&["wait", &id]).expect(0);
    assert!(!joined.stdout.contains("serves from"), "it served from {green}: {joined}");
}
