//! nginx's log of requests: done without where nginx does not take it.

use aibk::nginx::Uncounted;

use super::site::{Site, service, serving, upstreams};

#[tokio::test]
async fn a_log_that_nginx_cannot_open_stands_in_nobodys_way() {
    let mut site = Site::including("aibk.conf");
    let without = site.another(|config| config.request_log = Some("/nowhere/requests.log".into()));
    let written = without.write(&upstreams(&[("api", 8000), ("admin", 9)])).await.unwrap();
    assert!(written.warning.is_none(), "{written:?}");
    site.start();
    site.answering().await;
    assert!(matches!(without.mark_requests().await, Err(Uncounted::Refused(_))));

    // One that comes later refuses it in a publish, and again goes on without.
    let later = site.another(|config| config.request_log = Some("/nowhere/requests.log".into()));
    let edition = later.publish(&service("api"), &serving(8001)).await.unwrap();
    assert_eq!(site.answering().await.served.edition, edition);
    let why = later.mark_requests().await.unwrap_err().to_string();
    assert!(why.contains("/nowhere/requests.log") && why.contains("No such file"), "{why}");

    // What it does take is in use from the next publish on.
    assert!(matches!(site.nginx.mark_requests().await, Err(Uncounted::NotYet)));
    site.nginx.publish(&service("api"), &serving(8000)).await.unwrap();
    site.nginx.mark_requests().await.unwrap();
    let off = site.another(|config| config.request_log = None);
    assert!(matches!(off.mark_requests().await, Err(Uncounted::Off)));
}
