//! The client against the server, and against what is not one.

use std::time::Duration;

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
};

use super::{
    Running,
    fake::{self, MISSING, NEVER_ENDS},
    soon,
};
use crate::{
    api::{
        Limits,
        client::{Client, ClientError, Patience, target},
        types::{Act, LogLine, Logs, ProblemCode, Roll, Rollout, Status, Version, Wait},
    },
    store::Event,
};

#[tokio::test]
async fn it_gets_posts_and_is_told_of_problems() {
    let running = Running::start(Limits::default());
    let client = running.client();
    let status: Status = soon(client.get("/v1/status")).await.unwrap();
    assert_eq!(status.daemon.config, "aibk.yaml");
    let begun: Rollout =
        soon(client.post("/v1/instances/api@8000/stop", &Act { force: true })).await.unwrap();
    assert_eq!(begun, fake::rollout(7));
    let begun: Rollout =
        soon(client.post("/v1/services/api/rolling", &Roll::default())).await.unwrap();
    assert_eq!(begun.id, 8);
    let refused = soon(client.get::<Rollout>(&format!("/v1/rollouts/{MISSING}"))).await;
    let Err(ClientError::Problem { status, problem }) = refused else { panic!("{refused:?}") };
    assert_eq!((status.as_u16(), problem.code), (404, ProblemCode::NotFound));
    running.end().await;
}

#[tokio::test]
async fn it_reads_lines_and_events() {
    let running = Running::start(Limits::default());
    let of = Some("api@8000".to_owned());
    let logs = Logs { of, n: Some(150), follow: true, ..Logs::default() };
    let path = target("/v1/logs", &logs).unwrap();
    let mut lines = soon(running.client().lines(&path)).await.unwrap();
    for n in 0..150 {
        let line: LogLine = soon(lines.next()).await.unwrap().unwrap();
        assert_eq!(line.text, format!("line {n}\nof api@8000"));
    }
    let follower = running.ops.followers.lock().unwrap().pop().unwrap();
    let long = "y".repeat(500_000);
    follower.send(fake::line(&long)).await.unwrap();
    assert_eq!(soon(lines.next::<LogLine>()).await.unwrap().unwrap().text, long);
    drop(follower);
    assert!(soon(lines.next::<LogLine>()).await.unwrap().is_none());

    let mut events = soon(running.client().lines("/v1/events?after=3")).await.unwrap();
    for id in [4, 5, 0] {
        assert_eq!(soon(events.next::<Event>()).await.unwrap().unwrap().id, id);
    }
    assert!(soon(events.next::<Event>()).await.unwrap().is_none());

    let refused = soon(running.client().lines("/v1/logs?of=NO")).await;
    assert!(matches!(refused, Err(ClientError::Problem { .. })), "{refused:?}");
    running.end().await;
}

#[tokio::test]
async fn one_that_waits_holds_up_nobody() {
    let running = Running::start(Limits::default());
    let wait = Wait { revision: 1, timeout_s: Some(50.0) };
    let path = target(&format!("/v1/rollouts/{NEVER_ENDS}/wait"), &wait).unwrap();
    let client = running.client();
    let waiting = tokio::spawn(async move { client.get::<Rollout>(&path).await });
    soon(running.ops.news.notified()).await;
    let client = running.client();
    let (one, two) = soon(async {
        tokio::join!(client.get::<Version>("/v1/version"), client.get::<Status>("/v1/status"))
    })
    .await;
    assert!(one.is_ok() && two.is_ok());
    waiting.abort();
    running.end().await;
}

#[tokio::test]
async fn where_no_daemon_is_it_says_what_to_do() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("control.sock");
    let client = Client::new(&socket);
    let error = client.get::<Version>("/v1/version").await.unwrap_err();
    assert!(matches!(error, ClientError::NotThere(_)) && error.is_unreachable(), "{error}");
    assert!(error.to_string().contains("systemctl start aibkd"), "{error}");

    drop(UnixListener::bind(&socket).unwrap());
    let error = client.get::<Version>("/v1/version").await.unwrap_err();
    assert!(matches!(error, ClientError::NobodyListens(_)) && error.is_unreachable(), "{error}");
}

#[tokio::test]
async fn a_daemon_that_hangs_or_breaks_off_is_noticed() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("control.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let short = Duration::from_millis(100);
    let patience = Patience { first_byte: short, rest: short, ..Patience::default() };
    let client = Client::new(&socket).with_patience(patience);
    // Nobody accepts: the kernel does.
    let error = soon(client.get::<Version>("/v1/version")).await.unwrap_err();
    assert!(matches!(error, ClientError::TooSlow { .. }) && !error.is_unreachable(), "{error}");
    drop(listener.accept().await.unwrap());

    let answers = [
        (Expected::Broken, ""),
        (Expected::Broken, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"),
        (Expected::NotUnderstood, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"),
        (Expected::NotUnderstood, "HTTP/1.1 502 No\r\ncontent-length: 2\r\n\r\nno"),
    ];
    let client = Client::new(&socket);
    for (expected, answer) in answers {
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let (error, ()) =
            soon(async { tokio::join!(client.get::<Version>("/v1/version"), serve) }).await;
        let error = error.unwrap_err();
        let got = match error {
            ClientError::Broken(_) => Expected::Broken,
            ClientError::NotUnderstood { .. } => Expected::NotUnderstood,
            other => panic!("{answer:?}: {other:?}"),
        };
        assert_eq!(got, expected, "{answer:?}");
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Broken,
    NotUnderstood,
}
