//! The socket in the file system, and the end of the server.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    sync::Arc,
};

use nix::unistd::{Group, getegid};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{Running, control, fake, fake::Fake, soon};
use crate::api::{Limits, ListenError, Server, Socket, client::ClientError, types::LogLine};
use crate::config::Control;

fn bind(control: &Control) -> Result<Server, ListenError> {
    Server::bind(control, None, Arc::new(Fake::default()), Limits::default())
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn its_mode_is_its_owners_alone_or_also_its_groups() {
    let dir = TempDir::new().unwrap();
    let mut control = control(&dir);
    let server = bind(&control).unwrap();
    assert_eq!(mode(&control.socket), 0o600);
    assert_eq!(mode(control.socket.parent().unwrap()), 0o750);
    drop(server);
    assert!(!control.socket.exists());

    control.group = Some(Group::from_gid(getegid()).unwrap().unwrap().name);
    let server = bind(&control).unwrap();
    assert_eq!(mode(&control.socket), 0o660);
    drop(server);

    control.group = Some("no-such-group".into());
    let error = bind(&control).unwrap_err();
    assert!(matches!(&error, ListenError::NoGroup(name) if name == "no-such-group"), "{error}");
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
    let dir = TempDir::new().unwrap();
    let control = control(&dir);
    fs::create_dir(control.socket.parent().unwrap()).unwrap();
    // Closing a listener leaves its file.
    drop(UnixListener::bind(&control.socket).unwrap());
    let mut new = control.socket.clone().into_os_string();
    new.push(".new");
    drop(UnixListener::bind(new).unwrap());
    let first = bind(&control).unwrap();

    let error = bind(&control).unwrap_err();
    assert!(matches!(&error, ListenError::Live(path) if *path == control.socket), "{error}");
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(first.run(shutdown.clone()));
    let client = crate::api::client::Client::new(&control.socket);
    soon(client.get::<crate::api::types::Version>("/v1/version")).await.unwrap();
    shutdown.cancel();
    soon(task).await.unwrap();
}

#[tokio::test]
async fn a_socket_that_somebody_removed_is_made_again() {
    let dir = TempDir::new().unwrap();
    let control = control(&dir);
    let server = bind(&control).unwrap();
    let (caretaker, heir) = (server.caretaker(), server.heir().unwrap());
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(server.run(shutdown.clone()));
    assert_eq!(soon(caretaker.see_to_socket()).await.unwrap(), Socket::There);
    // Who has connected is served, whatever becomes of the name.
    let mut early = tokio::net::UnixStream::connect(&control.socket).await.unwrap();
    fs::remove_dir_all(control.socket.parent().unwrap()).unwrap();
    assert_eq!(soon(caretaker.see_to_socket()).await.unwrap(), Socket::MadeAgain);
    assert_eq!(mode(&control.socket), 0o600);
    let get = b"GET /v1/version HTTP/1.1\r\nhost: aibk\r\nconnection: close\r\n\r\n";
    assert!(super::talk(&mut early, get).await.starts_with("HTTP/1.1 200"));
    let client = crate::api::client::Client::new(&control.socket);
    soon(client.get::<crate::api::types::Version>("/v1/version")).await.unwrap();
    let kept = heir.keep();
    shutdown.cancel();
    soon(task).await.unwrap();
    assert!(control.socket.exists(), "it is its heir's");
    drop(UnixListener::from(kept));
    assert!(std::os::unix::net::UnixStream::connect(&control.socket).is_err(), "it was that one");
}

#[tokio::test]
async fn what_is_not_a_socket_is_kept() {
    let dir = TempDir::new().unwrap();
    let control = control(&dir);
    fs::create_dir(control.socket.parent().unwrap()).unwrap();
    fs::write(&control.socket, b"precious").unwrap();
    let error = bind(&control).unwrap_err();
    assert!(matches!(error, ListenError::NotASocket(_)), "{error}");
    assert_eq!(fs::read(&control.socket).unwrap(), b"precious");
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_is_named() {
    let dir = TempDir::new().unwrap();
    let mut control = control(&dir);
    control.socket = dir.path().join("x".repeat(120));
    let error = bind(&control).unwrap_err();
    assert!(error.to_string().contains(&"x".repeat(120)), "{error}");
}

#[tokio::test]
async fn the_socket_of_a_successor_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let control = control(&dir);
    let first = bind(&control).unwrap();
    fs::remove_file(&control.socket).unwrap();
    let second = bind(&control).unwrap();
    drop(first);
    assert!(control.socket.exists());
    drop(second);
    assert!(!control.socket.exists());
}

#[tokio::test]
async fn the_end_ends_streams_and_answers_what_is_under_way() {
    let running = Running::start(Limits::default());
    let client = running.client();
    let mut lines = client.lines("/v1/logs?of=api&n=0&follow=true").await.unwrap();
    let slow = format!("/v1/instances/{}/start", fake::WAITS);
    let change = tokio::spawn({
        let client = client.clone();
        async move { client.post::<_, crate::api::types::Rollout>(&slow, &()).await }
    });
    soon(async {
        while !running.ops.heard().contains(&"waiting".to_owned()) {
            running.ops.news.notified().await;
        }
    })
    .await;
    running.shutdown.cancel();
    assert!(soon(lines.next::<LogLine>()).await.unwrap().is_none());
    running.ops.go.notify_one();
    assert_eq!(soon(change).await.unwrap().unwrap().id, 7);
    assert!(matches!(
        client.get::<crate::api::types::Version>("/v1/version").await,
        Err(ClientError::NotThere(_))
    ));
    running.end().await;
}
