//! nginx: publishing is proved, and every way in which it can fail leaves the old in force.

#[path = "nginx/drain.rs"]
mod drain;
#[path = "nginx/flip.rs"]
mod flip;
#[path = "nginx/requests.rs"]
mod requests;
#[path = "nginx/serving.rs"]
mod serving_of;
#[path = "nginx/site.rs"]
mod site;
#[path = "nginx/write.rs"]
mod write;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use aibk::nginx::{Edition, Members, NginxError, Role};

use site::{Site, kill_pid, port, service, serving, undone, until};

#[tokio::test]
async fn a_publish_is_proved() {
    let site = Site::running(8000).await;
    let before = site.answering().await;
    let edition = site.nginx.publish(&service("api"), &serving(8001)).await.unwrap();

    let after = site.nginx.observe().await.unwrap();
    assert_eq!(after.served.edition, edition);
    assert_eq!(after.served.upstreams[&service("api")], serving(8001));
    assert_eq!(after.served.upstreams[&service("admin")], serving(9));
    assert_eq!(site.nginx.on_disk().unwrap().unwrap(), after.served);
    assert_eq!(after.master, before.master);
    assert!(before.workers.iter().all(|old| !after.workers.contains(old)), "{before:?} {after:?}");
    assert_eq!(site.nginx.problem_of(&after), None);
}

#[tokio::test]
async fn publishing_the_same_again_does_nothing() {
    let site = Site::running(8000).await;
    let edition = site.nginx.publish(&service("api"), &serving(8001)).await.unwrap();
    let before = site.nginx.observe().await.unwrap();
    let inode = fs::metadata(&site.config.file).unwrap().ino();
    assert_eq!(site.nginx.publish(&service("api"), &serving(8001)).await.unwrap(), edition);
    assert_eq!(site.write(&[("api", 8001)]).await, edition);
    assert_eq!(fs::metadata(&site.config.file).unwrap().ino(), inode);
    assert_eq!(site.nginx.observe().await.unwrap().workers, before.workers);
}

#[tokio::test]
async fn publishes_at_the_same_time_are_both_served() {
    let site = Site::running(8000).await;
    let (on_api, on_admin) = (serving(8001), serving(8003));
    let publish = |name: &str, members: &Members| {
        let (nginx, name, members) = (site.nginx.clone(), service(name), members.clone());
        tokio::spawn(async move { nginx.publish(&name, &members).await.unwrap() })
    };
    let both = tokio::join!(publish("api", &on_api), publish("admin", &on_admin));
    let newest = both.0.unwrap().max(both.1.unwrap());
    let served = site.nginx.observe().await.unwrap().served;
    assert_eq!(served.edition, newest);
    assert_eq!(served.upstreams[&service("api")], on_api);
    assert_eq!(served.upstreams[&service("admin")], on_admin);
}

#[tokio::test]
async fn the_first_publish_to_an_nginx_that_knew_nothing_of_us() {
    let mut site = Site::including("aibk*.conf");
    site.start();
    site.up().await;
    assert!(matches!(site.nginx.observe().await, Err(NginxError::NoAnswer { .. })));
    let edition = site.nginx.publish(&service("api"), &serving(8000)).await.unwrap();
    assert_eq!(edition, Edition(1));
    assert_eq!(site.nginx.observe().await.unwrap().served.edition, edition);
}

#[tokio::test]
async fn a_syntax_error_is_told_in_nginxs_words() {
    let site = Site::running(8000).await;
    let (before, text) = (site.answering().await, site.file());
    site.serve("lisen 127.0.0.1:1;");
    let error = site.nginx.publish(&service("api"), &serving(8001)).await;
    let NginxError::Test { words, .. } = undone(error) else { panic!() };
    assert!(words.contains("unknown directive \"lisen\""), "{words}");
    site.assert_unchanged(&before, text.as_deref()).await;
    assert!(site.nginx.test().await.is_err());
}

#[tokio::test]
async fn a_refused_bind_is_noticed() {
    let site = Site::running(8000).await;
    let (before, text) = (site.answering().await, site.file());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = (taken.local_addr().unwrap(), taken);
    site.serve(&format!("listen {};", taken.0));
    let error = site.nginx.publish(&service("api"), &serving(8001)).await;
    let NginxError::Refused { words } = undone(error) else { panic!() };
    assert!(words.contains(&format!("bind() to {} failed", taken.0)), "{words}");
    assert!(words.contains("Address already in use"), "{words}");
    assert_eq!(words.lines().count(), 2, "{words}");
    site.assert_unchanged(&before, text.as_deref()).await;

    // Its number came to nothing, and is not used again.
    site.serve(&format!("listen 127.0.0.1:{};", site.port));
    let edition = site.nginx.publish(&service("api"), &serving(8001)).await.unwrap();
    assert_eq!(edition.0, before.served.edition.0 + 2);
}

#[tokio::test]
async fn a_bind_that_succeeds_in_the_end_is_a_success() {
    let site = Site::running(8000).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    site.serve(&format!("listen {};", taken.local_addr().unwrap()));
    let (api, members) = (service("api"), serving(8001));
    let freed = async {
        until("nginx tries", async || {
            fs::read_to_string(&site.config.error_log).ok().filter(|log| log.contains("[emerg]"))
        })
        .await;
        drop(taken);
    };
    let (published, ()) = tokio::join!(site.nginx.publish(&api, &members), freed);
    assert_eq!(site.nginx.observe().await.unwrap().served.edition, published.unwrap());
}

#[tokio::test]
async fn an_nginx_that_does_not_include_the_file_is_not_believed() {
    let mut site = Site::including("other*.conf");
    site.start();
    site.up().await;
    let error = undone(site.nginx.publish(&service("api"), &serving(8000)).await);
    assert!(matches!(error, NginxError::NotProved { .. }), "{error}");
    assert!(error.to_string().contains("is it included"), "{error}");
    assert_eq!(site.file(), None);
}

#[tokio::test]
async fn a_dead_nginx_is_published_to_in_vain_but_may_be_written_for() {
    let mut site = Site::running(8000).await;
    let text = site.file();
    site.kill();
    until("the workers are gone", async || {
        let error = site.nginx.observe().await.unwrap_err();
        matches!(error, NginxError::NotRunning { .. }).then_some(())
    })
    .await;
    let error = site.nginx.publish(&service("api"), &serving(8001)).await.unwrap_err();
    assert!(matches!(error, NginxError::NotRunning { .. }), "{error}");
    assert_eq!(site.file(), text);

    let edition = site.write(&[("api", 8001)]).await;
    fs::remove_file(&site.config.proof_socket).unwrap();
    site.start();
    assert_eq!(site.answering().await.served.edition, edition);
}

#[tokio::test]
async fn a_stale_socket_does_not_stop_a_publish() {
    let mut site = Site::including("aibk*.conf");
    drop(std::os::unix::net::UnixListener::bind(&site.config.proof_socket).unwrap());
    site.start();
    site.up().await;
    site.nginx.publish(&service("api"), &serving(8000)).await.unwrap();
}

#[tokio::test]
async fn workers_without_a_master_are_told_of() {
    let mut site = Site::running(8000).await;
    let workers = site.answering().await.workers;
    site.kill_master();
    let error = site.nginx.publish(&service("api"), &serving(8001)).await.unwrap_err();
    assert!(error.to_string().contains("lost their master"), "{error}");
    workers.into_iter().for_each(kill_pid);
    until("they are gone", async || {
        let error = site.nginx.observe().await.unwrap_err();
        matches!(error, NginxError::NotRunning { .. }).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_pid_file_that_names_somebody_else_is_not_signalled() {
    let site = Site::running(8000).await;
    let (before, text) = (site.answering().await, site.file());
    let pid = fs::read(&site.config.pid_file).unwrap();
    fs::write(&site.config.pid_file, format!("{}\n", std::process::id())).unwrap();
    let error = site.nginx.publish(&service("api"), &serving(8001)).await.unwrap_err();
    assert!(matches!(error, NginxError::NotMaster { .. }), "{error}");
    fs::write(&site.config.pid_file, pid).unwrap();
    site.assert_unchanged(&before, text.as_deref()).await;
}

#[tokio::test]
async fn a_missing_binary_and_an_old_one_are_named() {
    let site = Site::running(8000).await;
    let (before, text) = (site.answering().await, site.file());
    let missing = site.another(|config| config.binary = "/nonexistent/nginx".into());
    let error = missing.publish(&service("api"), &serving(8001)).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/nginx"), "{error}");

    let script = site.config.file.with_file_name("old-nginx");
    fs::write(&script, "#!/bin/sh\necho nginx version: nginx/1.14.2 >&2\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let old = site.another(|config| config.binary = script);
    let error = old.publish(&service("api"), &serving(8001)).await.unwrap_err().to_string();
    assert!(error.contains("1.14.2") && error.contains("1.15.3"), "{error}");
    site.assert_unchanged(&before, text.as_deref()).await;
}

async fn problem(site: &Site) -> Option<String> {
    site.nginx.problem_of(&site.nginx.observe().await.unwrap())
}

#[tokio::test]
async fn an_edit_by_hand_is_noticed_and_mended() {
    let site = Site::running(8000).await;
    let text = site.file().unwrap();
    fs::write(&site.config.file, text.replace("max_fails=0", "max_fails=1")).unwrap();
    let edited = problem(&site).await.unwrap();
    assert!(edited.contains("edited by hand"), "{edited}");
    site.nginx.publish(&service("api"), &serving(8000)).await.unwrap();
    assert_eq!(problem(&site).await, None);

    site.write(&[("api", 8001)]).await;
    let written = problem(&site).await.unwrap();
    assert!(written.contains("but nginx serves"), "{written}");
    site.nginx.publish(&service("api"), &serving(8001)).await.unwrap();
    assert_eq!(problem(&site).await, None);

    fs::remove_file(&site.config.file).unwrap();
    assert!(problem(&site).await.unwrap().contains("is gone"));
    site.nginx.publish(&service("api"), &serving(8001)).await.unwrap();
    assert_eq!(site.nginx.on_disk().unwrap().unwrap().upstreams.len(), 2);
}

#[tokio::test]
async fn a_file_of_somebody_else_is_left_alone() {
    let site = Site::running(8000).await;
    fs::write(&site.config.file, "# mine\n").unwrap();
    let error = site.nginx.publish(&service("api"), &serving(8001)).await.unwrap_err();
    assert!(matches!(error, NginxError::NotOurs { .. }), "{error}");
    assert_eq!(site.file().unwrap(), "# mine\n");
}

#[tokio::test]
async fn every_role_is_accepted_by_nginx() {
    let site = Site::running(8000).await;
    let members =
        [(port(8000), Role::Serving), (port(8001), Role::Backup), (port(8002), Role::Down)];
    site.nginx.publish(&service("api"), &members.into()).await.unwrap();
    site.nginx.publish(&service("api"), &[(port(8000), Role::Down)].into()).await.unwrap();
    let refused = site.nginx.publish(&service("api"), &[(port(8000), Role::Backup)].into()).await;
    assert!(matches!(refused, Err(NginxError::NoMember { .. })));
}
