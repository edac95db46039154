//! Draining: nothing that may still come to an instance is overlooked (`T2`).

use std::{net::TcpListener, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::site::{PATIENCE, Site, free_port, port, service, serving, until};

/// T2: neither an old worker nor a connection may be left.
#[tokio::test]
async fn a_drain_waits_for_an_open_request() {
    let upstream = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let old = upstream.local_addr().unwrap().port();
    let mut site = Site::including("aibk.conf");
    site.write(&[("api", old)]).await;
    site.proxy();
    site.start();
    site.answering().await;

    let mut client = tokio::net::TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let (mut open, _) = upstream.accept().await.unwrap();
    // What is left unread would make the close a reset.
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(open.read_u8().await.unwrap());
    }
    site.nginx.publish(&service("api"), &serving(free_port())).await.unwrap();

    let left = site.nginx.drain(port(old), Duration::ZERO, &|_| ()).await.unwrap();
    assert_eq!((left.old_workers.len(), left.connections), (1, 1), "{left:?}");

    let told = std::sync::Mutex::new(Vec::new());
    let tell = |left: &aibk::nginx::Draining| told.lock().unwrap().push(left.clone());
    let answer = async {
        until("it is told", async || (!told.lock().unwrap().is_empty()).then_some(())).await;
        open.write_all(b"HTTP/1.0 200 OK\r\n\r\ndone").await.unwrap();
        drop(open);
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    };
    let (left, text) = tokio::join!(site.nginx.drain(port(old), PATIENCE, &tell), answer);
    assert!(left.unwrap().is_done());
    assert!(text.contains("done"), "{text}");
    let told = told.into_inner().unwrap();
    assert!(!told.first().unwrap().is_done() && told.last().unwrap().is_done(), "{told:?}");
}

#[tokio::test]
async fn without_nginx_only_connections_count() {
    let site = Site::including("aibk.conf");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = std::net::TcpStream::connect(address).unwrap();
    let accepted = listener.accept().unwrap();
    let port = port(address.port());
    let left = site.nginx.drain(port, Duration::ZERO, &|_| ()).await.unwrap();
    assert_eq!((left.old_workers.len(), left.connections), (0, 1));
    drop((client, accepted));
    let nginx = site.nginx.clone();
    let drained =
        tokio::spawn(async move { nginx.drain(port, PATIENCE, &|_| ()).await.unwrap().is_done() });
    assert!(drained.await.unwrap());
}

/// T2: a worker that lost its master may still send to the instance.
#[tokio::test]
async fn a_drain_waits_for_an_old_worker_whose_master_was_killed() {
    let upstream = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let old = upstream.local_addr().unwrap().port();
    let mut site = Site::including("aibk.conf");
    site.write(&[("api", old)]).await;
    site.proxy();
    site.start();
    site.answering().await;

    // nginx chooses a member when it has the whole body; its 100 says that a worker has the rest.
    let mut client = tokio::net::TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n";
    let head = format!("{head}Expect: 100-continue\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    client.read_exact(&mut go_on).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&go_on));
    site.nginx.publish(&service("api"), &serving(free_port())).await.unwrap();
    site.kill_master();

    let left = site.nginx.drain(port(old), Duration::from_secs(1), &|_| ()).await.unwrap();
    assert!(!left.old_workers.is_empty() && left.connections == 0, "{left:?}");
    client.write_all(b"body").await.unwrap();
    let (late, _) = upstream.accept().await.unwrap();
    drop((late, client));
    assert!(site.nginx.drain(port(old), PATIENCE, &|_| ()).await.unwrap().is_done());
}
