//! Clients that send too much, too slowly, nonsense, or go away.

use std::{io::Read as _, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    Running,
    fake::{self, FULL, NEVER_ENDS, PANICS, WAITS},
    read_all, soon, talk,
};
use crate::api::{
    Limits,
    client::Outgoing,
    types::{Rollout, Version},
};

const SHORT: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_secs(3600);

/// The server lives and answers.
async fn is_well(running: &Running) {
    soon(running.client().get::<Version>("/v1/version")).await.unwrap();
}

#[tokio::test]
async fn a_gigabyte_is_refused_before_it_is_read() {
    let running = Running::start(Limits { body: LONG, ..Limits::default() });
    let head = "POST /v1/services/api/swap HTTP/1.1\r\nhost: x\r\n";
    let mut stream = running.connect().await;
    let request = format!("{head}content-length: 1073741824\r\n\r\n");
    let said = talk(&mut stream, request.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 413 "), "{said}");
    assert!(said.contains("connection: close") && said.contains("too_large"), "{said}");

    // The same without saying so before: it is cut soon after the limit.
    let (mut reader, mut writer) = running.connect().await.into_split();
    writer.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let mut sent = 0_u64;
    while sent < 1 << 30 && soon(writer.write_all(chunk.as_bytes())).await.is_ok() {
        sent += 0x10000;
    }
    assert!(sent < 1 << 24, "{sent} bytes were taken");
    let mut said = vec![0; 12];
    soon(reader.read_exact(&mut said)).await.unwrap();
    assert_eq!(said, b"HTTP/1.1 413");
    assert!(running.ops.heard().is_empty());
    is_well(&running).await;
    running.end().await;
}

#[tokio::test]
async fn a_slow_body_is_cut() {
    let running = Running::start(Limits { body: SHORT, head: LONG, ..Limits::default() });
    let mut stream = running.connect().await;
    let request = b"POST /v1/services/api/swap HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{";
    let said = talk(&mut stream, request).await;
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    assert!(said.contains("connection: close") && said.contains("too_slow"), "{said}");
    assert!(running.ops.heard().is_empty());
    is_well(&running).await;
    running.end().await;
}

#[tokio::test]
async fn a_slow_head_and_a_silent_connection_are_cut() {
    let running = Running::start(Limits { head: SHORT, body: LONG, ..Limits::default() });
    for beginning in [&b""[..], b"GET /v1/version HT", b"GET /v1/version HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = running.connect().await;
        let said = talk(&mut stream, beginning).await;
        assert!(!said.contains("200"), "{said}");
    }
    // So is one that stays silent after its first request.
    let mut stream = running.connect().await;
    let said = talk(&mut stream, b"GET /v1/version HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    running.end().await;
}

#[tokio::test]
async fn garbage_is_answered_with_400_and_closed() {
    let running = Running::start(Limits { head: LONG, body: LONG, ..Limits::default() });
    let too_long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000));
    let garbage: [&[u8]; 4] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"{\"jsonrpc\":\"2.0\"}\n\n",
        b"GET /v1/version HTTP/1.1\r\ncontent-length: x\r\n\r\n",
    ];
    for bytes in garbage {
        let mut stream = running.connect().await;
        let said = talk(&mut stream, bytes).await;
        assert!(said.starts_with("HTTP/1.1 400 "), "{bytes:?}: {said}");
    }
    // HTTP/2 is closed without a word.
    let said = talk(&mut running.connect().await, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(said.is_empty(), "{said}");
    let mut stream = running.connect().await;
    // It may close before it has read all of it.
    drop(stream.write_all(too_long.as_bytes()).await);
    let said = read_all(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 4"), "{said}");
    is_well(&running).await;
    running.end().await;
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let running = Running::start(Limits {
        connections: 2,
        admin_connections: 2,
        head: LONG,
        ..Limits::default()
    });
    let mut first = running.connect().await;
    let second = running.connect().await;
    let said = read_all(&mut running.connect().await).await;
    assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("\"hint\""), "{said}");
    // Those that are there are served, and a seat that is left is taken again.
    first.write_all(b"GET /v1/version HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    soon(first.read_u8()).await.unwrap();
    drop((first, second));
    soon(async { while running.client().get::<Version>("/v1/version").await.is_err() {} }).await;
    running.end().await;
}

#[tokio::test]
async fn a_panic_harms_nobody_not_even_its_own_connection() {
    let running = Running::start(Limits::default());
    let mut stream = running.connect().await;
    let request = format!(
        "GET /v1/rollouts/{PANICS} HTTP/1.1\r\nhost: x\r\n\r\n\
         GET /v1/version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    );
    let said = talk(&mut stream, request.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 500 ") && said.contains("HTTP/1.1 200 "), "{said}");
    running.end().await;
}

#[tokio::test]
async fn a_change_goes_on_when_its_client_goes_away() {
    let running = Running::start(Limits::default());
    let mut stream = running.connect().await;
    let request = format!("POST /v1/instances/{WAITS}/start HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    soon(running.ops.news.notified()).await;
    drop(stream);
    is_well(&running).await;
    running.ops.go.notify_one();
    soon(running.ops.news.notified()).await;
    assert_eq!(running.ops.heard(), ["waiting", "Start slow@1 force=false by 0"]);
    running.end().await;
}

#[tokio::test]
async fn a_stream_ends_when_its_client_goes_away() {
    let running = Running::start(Limits::default());
    let mut lines = running.client().lines("/v1/logs?of=api&n=1&follow=true").await.unwrap();
    let first: Option<crate::api::types::LogLine> = soon(lines.next()).await.unwrap();
    assert!(first.is_some());
    let follower = running.ops.followers.lock().unwrap().pop().unwrap();
    drop(lines);
    soon(follower.closed()).await;
    running.end().await;
}

#[tokio::test]
async fn an_answer_that_never_comes_is_not_waited_for() {
    let running = Running::start(Limits { answer: SHORT, ..Limits::default() });
    let mut stream = running.connect().await;
    let request = format!(
        "GET /v1/rollouts/{NEVER_ENDS}/wait HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    );
    let said = talk(&mut stream, request.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 504 ") && said.contains("\"hint\""), "{said}");
    running.end().await;
}

#[tokio::test]
async fn one_that_never_reads_loses_its_seat() {
    let limits = Limits { write: SHORT, ..Limits::default() };
    let running = Running::start(limits);
    let mut stream = running.connect().await;
    let request = "GET /v1/logs?of=api&n=1&follow=true HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    soon(running.ops.news.notified()).await;
    soon(running.ops.news.notified()).await;
    let follower = running.ops.followers.lock().unwrap().pop().unwrap();
    let long = "y".repeat(10_000);
    soon(async { while follower.send(fake::line(&long)).await.is_ok() {} }).await;
    // Nor does an answer in one piece keep it.
    let mut stream = running.connect().await;
    let request = b"GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n";
    let lost = async { while stream.write_all(request).await.is_ok() {} };
    soon(lost).await;
    is_well(&running).await;
    running.end().await;
}

#[tokio::test]
async fn one_that_has_nothing_to_read_yet_keeps_its_seat() {
    let running = Running::start(Limits { write: Duration::ZERO, ..Limits::default() });
    let mut lines = running.client().lines("/v1/logs?of=api&n=1&follow=true").await.unwrap();
    let first: Option<crate::api::types::LogLine> = soon(lines.next()).await.unwrap();
    assert!(first.is_some());
    let follower = running.ops.followers.lock().unwrap().pop().unwrap();
    is_well(&running).await;
    follower.send(fake::line("late")).await.unwrap();
    let late: Option<crate::api::types::LogLine> = soon(lines.next()).await.unwrap();
    assert_eq!(late.unwrap().text, "late");
    running.end().await;
}

const UPLOAD: &str = "POST /v1/apps/shop/deploy/archive HTTP/1.1\r\nhost: x\r\n";

#[tokio::test]
async fn a_body_of_any_length_is_taken_and_one_that_is_cut_begins_nothing() {
    let running = Running::start(Limits { pause: SHORT, ..Limits::default() });
    let target = "/v1/apps/shop/deploy/archive?scope=code-only";
    let mebibytes = 8_u64 << 20;
    let sent = || Outgoing::new(std::io::repeat(7).take(mebibytes), Some(mebibytes)).unwrap();
    let begun = soon(running.client().post_bytes::<Rollout>(target, sent(), &mut |_| {})).await;
    assert_eq!(begun.unwrap().id, 7);
    assert_eq!(
        running.ops.heard(),
        ["uid 0 sends Some(8388608) bytes", "8388608 bytes of shop, CodeOnly"]
    );
    running.ops.asked.lock().unwrap().clear();

    // Silent, gone, and shorter than it said.
    let request = format!("{UPLOAD}content-length: 9\r\n\r\n123");
    let said = talk(&mut running.connect().await, request.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("nothing is begun"), "{said}");
    let mut stream = running.connect().await;
    stream
        .write_all(format!("{UPLOAD}transfer-encoding: chunked\r\n\r\n3\r\n123\r\n").as_bytes())
        .await
        .unwrap();
    drop(stream);
    let told = |wanted: &str| running.ops.heard().iter().any(|told| told.contains(wanted));
    soon(async {
        while !told("was not sent whole") {
            running.ops.news.notified().await;
        }
    })
    .await;
    let short = Outgoing::new(std::io::repeat(7).take(5), Some(9)).unwrap();
    let why = soon(running.client().post_bytes::<Rollout>(target, short, &mut |_| {})).await;
    let why = why.unwrap_err().to_string();
    assert!(why.contains("it changed while it was sent"), "{why}");
    assert!(!told("bytes of shop"), "{:?}", running.ops.heard());
    is_well(&running).await;
    running.end().await;
}

/// However much it still wants to send.
#[tokio::test]
async fn who_sends_what_is_not_wanted_hears_why() {
    let running = Running::start(Limits::default());
    let gigabyte = 1_u64 << 30;
    let sent = || Outgoing::new(std::io::repeat(7).take(gigabyte), Some(gigabyte)).unwrap();
    let full = format!("/v1/apps/{FULL}/deploy/archive");
    for (target, why) in [
        (full.as_str(), "no room"),
        ("/v1/apps/..%2fx/deploy/archive", "is not a valid application name"),
        ("/v1/apps/shop/deploy/archive?scope=half", "the query is not understood"),
    ] {
        let told = soon(running.client().post_bytes::<Rollout>(target, sent(), &mut |_| {})).await;
        let told = told.unwrap_err().to_string();
        assert!(told.contains(why), "{target}: {told}");
    }
    is_well(&running).await;
    running.end().await;
}
