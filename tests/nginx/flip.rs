//! Switching by a flag: nginx itself tells that it has seen it, and nothing is reloaded.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use aibk::nginx::{Mended, Nginx, NginxError, Role};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::site::{PATIENCE, Site, pair, port, service, serving};

/// A server that answers every request with `word`.
async fn answering(word: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{word}").as_bytes()).await;
            });
        }
    });
    port
}

async fn asked(site: &Site) -> String {
    let mut client = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    text.rsplit_once("\r\n").map(|(_, body)| body.to_owned()).unwrap()
}

#[tokio::test]
async fn a_flip_is_proved_and_reloads_nothing() {
    let [blue, green] = [answering("blue").await, answering("green").await];
    let site = Site::flipping([blue, green], "").await;
    let before = site.answering().await;
    assert_eq!(asked(&site).await, "blue");
    for _ in 0..3 {
        for (members, word) in [(pair(green, blue), "green"), (pair(blue, green), "blue")] {
            let edition = site.nginx.publish(&service("api"), &members).await.unwrap();
            let seen = site.nginx.observe().await.unwrap();
            assert_eq!((edition, &seen.workers), (before.served.edition, &before.workers));
            assert_eq!(seen.served.upstreams[&service("api")], members);
            assert!(site.nginx.disk_agrees(&seen.served));
            assert_eq!(site.nginx.problem_of(&seen), None);
            assert_eq!(asked(&site).await, word);
        }
    }
    // The other members need a reload, and keep the colour.
    site.nginx.publish(&service("api"), &pair(green, blue)).await.unwrap();
    site.nginx.publish(&service("api"), &serving(green)).await.unwrap();
    assert_eq!(asked(&site).await, "green");
    site.nginx.publish(&service("api"), &pair(green, blue)).await.unwrap();
    assert_eq!(asked(&site).await, "green");
    assert_ne!(site.answering().await.workers, before.workers);
}

#[tokio::test]
async fn a_flag_that_somebody_touched_is_seen_and_put_right() {
    let [blue, green] = [answering("blue").await, answering("green").await];
    let site = Site::flipping([blue, green], "").await;
    let flag = |colour: &str| site.config.flags.join(format!("aibk-api.{colour}"));
    let problem = async || site.nginx.problem_of(&site.nginx.observe().await.unwrap());
    site.nginx.publish(&service("api"), &pair(green, blue)).await.unwrap();

    fs::remove_file(flag("green")).unwrap();
    let seen = site.nginx.observe().await.unwrap();
    assert_eq!(seen.served.upstreams[&service("api")], pair(blue, green), "it is told as it is");
    assert!(problem().await.unwrap().contains("somebody removed the flag"));
    assert_eq!(asked(&site).await, "blue");
    site.nginx.publish(&service("api"), &pair(blue, green)).await.unwrap();
    assert_eq!(problem().await, None);

    fs::write(flag("green"), "").unwrap();
    assert!(problem().await.unwrap().contains("are both there"));
    site.nginx.publish(&service("api"), &pair(blue, green)).await.unwrap();
    assert_eq!((problem().await, asked(&site).await), (None, "blue".to_owned()));
    assert!(flag("blue").exists() && !flag("green").exists());

    // What was published last is what it is meant to say.
    assert_eq!(site.nginx.mend(None).await.unwrap(), []);
    fs::rename(flag("blue"), flag("green")).unwrap();
    assert_eq!(asked(&site).await, "green");
    let api = service("api");
    assert_eq!(site.nginx.mend(None).await.unwrap(), [Mended::FlagTurned(api.clone())]);
    assert_eq!((problem().await, asked(&site).await), (None, "blue".to_owned()));
    site.nginx.publish(&api, &pair(green, blue)).await.unwrap();
    fs::remove_file(flag("green")).unwrap();
    assert_eq!(site.nginx.mend(None).await.unwrap(), [Mended::FlagGone(api.clone())]);
    assert_eq!((problem().await, asked(&site).await), (None, "green".to_owned()));

    // Who has just begun takes what nginx serves for meant, and makes the flag say so.
    fs::remove_file(flag("green")).unwrap();
    let successor = Nginx::new(site.config.clone(), site.services.clone());
    assert_eq!(successor.mend(None).await.unwrap(), [Mended::FlagGone(api)]);
    assert!(flag("blue").exists());
    assert_eq!((problem().await, asked(&site).await), (None, "blue".to_owned()));
}

#[tokio::test]
async fn workers_that_may_not_enter_the_directory_are_named_and_nothing_changes() {
    let [blue, green] = [answering("blue").await, answering("green").await];
    let mut site = Site::flipping([blue, green], "flags").await;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    site.kill();
    let main = fs::read_to_string(&site.config.config).unwrap();
    fs::write(&site.config.config, main.replace("user root;", "user daemon;")).unwrap();
    let open = |mode| fs::Permissions::from_mode(mode);
    fs::set_permissions(site.config.flags.parent().unwrap(), open(0o755)).unwrap();
    fs::set_permissions(&site.config.flags, open(0o700)).unwrap();
    let _ = fs::remove_file(&site.config.proof_socket);
    site.start();
    site.answering().await;
    let error = site.nginx.publish(&service("api"), &pair(green, blue)).await.unwrap_err();
    let told = error.to_string();
    assert!(matches!(error, NginxError::TurnedBack { .. }), "{told}");
    assert!(told.contains("may not enter") && told.contains("flags"), "{told}");
    assert_eq!(asked(&site).await, "blue");
    assert!(site.config.flags.join("aibk-api.blue").exists());

    fs::set_permissions(&site.config.flags, open(0o711)).unwrap();
    site.nginx.publish(&service("api"), &pair(green, blue)).await.unwrap();
    assert_eq!(asked(&site).await, "green");
}

#[tokio::test]
async fn a_site_without_the_lines_is_not_published_to() {
    let [blue, green] = [answering("blue").await, answering("green").await];
    let site = Site::flipping([blue, green], "").await;
    assert_eq!(site.nginx.lacks().await.unwrap().len(), 1, "nothing passes to admin");
    site.serve(&format!("listen 127.0.0.1:{}; set $aibk_api blue;", site.port));
    let before = site.file();
    let members = [(port(blue), Role::Serving), (port(green), Role::Serving)];
    let error = site.nginx.publish(&service("api"), &members.into()).await.unwrap_err();
    assert!(error.to_string().contains("aibkctl nginx snippet api"), "{error}");
    assert_eq!((site.file(), asked(&site).await), (before, "blue".to_owned()));
}

/// A request that is held open on the other slot keeps an old worker alive, which sends nothing here.
#[tokio::test]
async fn a_drain_after_a_flip_waits_for_its_own_connections_alone() {
    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let [blue, green] = [answering("blue").await, held.local_addr().unwrap().port()];
    let site = Site::flipping([blue, green], "").await;
    site.nginx.publish(&service("api"), &pair(green, blue)).await.unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let (mut open, _) = held.accept().await.unwrap();
    // What is left unread would make the close a reset.
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(open.read_u8().await.unwrap());
    }

    site.nginx.publish(&service("api"), &serving(green)).await.unwrap();
    assert!(!site.nginx.observe().await.unwrap().leaving.is_empty());
    let begun = Instant::now();
    let left = site.nginx.drain(port(blue), PATIENCE, &|_| ()).await.unwrap();
    assert!(left.is_done(), "{left:?}");
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_secs(1),
        "what chose before the flip may be on its way: {took:?}"
    );
    let left = site.nginx.drain(port(green), Duration::ZERO, &|_| ()).await.unwrap();
    assert_eq!((left.old_workers.len(), left.connections), (1, 1), "{left:?}");

    open.write_all(b"HTTP/1.0 200 OK\r\n\r\nlate").await.unwrap();
    drop(open);
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with("late"), "{text}");
}
