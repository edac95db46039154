//! What nginx serves is told apart from what its file says, and the two are brought together.

use aibk::nginx::{NginxError, Serving};
use rustix::process::{Pid, Signal, kill_process};

use super::site::{Site, service, serving, undone};

fn signal(workers: &[i32], signal: Signal) {
    for pid in workers {
        kill_process(Pid::from_raw(*pid).unwrap(), signal).unwrap();
    }
}

#[tokio::test]
async fn an_answer_counts_whatever_the_file_says() {
    let site = Site::running(8000).await;
    let before = site.answering().await;
    site.write(&[("api", 8001)]).await;
    let Serving::Answered(seen) = site.nginx.serving().await.unwrap() else { panic!() };
    assert_eq!(seen, before);
    assert_eq!(seen.served.upstreams[&service("api")], serving(8000));
}

#[tokio::test]
async fn without_nginx_the_file_is_what_it_will_start_with() {
    let mut site = Site::including("aibk*.conf");
    assert!(matches!(site.nginx.serving().await.unwrap(), Serving::NotRunning(None)));
    site.write(&[("api", 8000)]).await;
    site.start();
    site.answering().await;
    site.kill();
    assert!(site.config.proof_socket.exists() && site.config.pid_file.exists());
    let Serving::NotRunning(Some(file)) = site.nginx.serving().await.unwrap() else { panic!() };
    assert_eq!(file.upstreams[&service("api")], serving(8000));
}

#[tokio::test]
async fn one_slow_answer_is_no_silence() {
    let site = Site::running(8000).await;
    let workers = site.answering().await.workers;
    signal(&workers, Signal::STOP);
    let slow = async {
        let error = site.nginx.observe().await.unwrap_err();
        assert!(error.to_string().contains("no answer within 1s"), "{error}");
        signal(&workers, Signal::CONT);
    };
    let (seen, ()) = tokio::join!(site.nginx.serving(), slow);
    assert!(matches!(seen, Ok(Serving::Answered(_))), "{seen:?}");
}

#[tokio::test]
async fn an_nginx_that_hangs_is_silent() {
    let site = Site::running(8000).await;
    signal(&site.answering().await.workers, Signal::STOP);
    let seen = site.nginx.serving().await.unwrap();
    assert!(matches!(seen, Serving::Silent(NginxError::NoAnswer { .. })), "{seen:?}");
}

#[tokio::test]
async fn workers_without_a_master_are_not_taken_for_no_nginx() {
    let mut site = Site::running(8000).await;
    site.kill_master();
    let seen = site.nginx.serving().await.unwrap();
    assert!(matches!(seen, Serving::Silent(NginxError::Orphans { .. })), "{seen:?}");
}

/// A daemon was killed between the rename and the reload, and its successor turns back.
#[tokio::test]
async fn a_publish_of_what_is_served_mends_a_file_that_says_otherwise() {
    let site = Site::running(8000).await;
    site.write(&[("api", 8001)]).await;
    let served = site.nginx.observe().await.unwrap().served;
    assert_eq!(served.upstreams[&service("api")], serving(8000));
    assert!(!site.nginx.disk_agrees(&served));
    let edition = site.nginx.publish(&service("api"), &serving(8000)).await.unwrap();
    let seen = site.nginx.observe().await.unwrap();
    assert_eq!(seen.served.edition, edition);
    assert_eq!(seen.served.upstreams[&service("api")], serving(8000));
    assert!(site.nginx.disk_agrees(&seen.served));
}

/// nginx runs and includes our file, but was not reloaded since it was written.
#[tokio::test]
async fn a_publish_of_what_the_file_says_reaches_an_nginx_that_never_read_it() {
    let mut site = Site::including("aibk*.conf");
    site.start();
    site.up().await;
    let written = site.write(&[("api", 8000)]).await;
    let seen = site.nginx.serving().await.unwrap();
    assert!(matches!(seen, Serving::Silent(NginxError::NoAnswer { .. })), "{seen:?}");
    let edition = site.nginx.publish(&service("api"), &serving(8000)).await.unwrap();
    assert_eq!(edition, written);
    let served = site.nginx.observe().await.unwrap().served;
    assert_eq!(served.upstreams[&service("api")], serving(8000));
}

/// Nothing of ours was served before, so nothing of ours can be proved to be served again.
#[tokio::test]
async fn a_file_that_was_never_served_is_put_back_without_a_proof() {
    let mut site = Site::including("other*.conf");
    site.write(&[("api", 8000)]).await;
    let text = site.file();
    site.start();
    site.up().await;
    let error = undone(site.nginx.publish(&service("api"), &serving(8001)).await);
    assert!(matches!(error, NginxError::NotProved { .. }), "{error}");
    assert_eq!(site.file(), text);
}
