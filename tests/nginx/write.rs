//! The file that is written before nginx runs: it must not be what nginx refuses (`T4`).

use std::fs;

use aibk::nginx::NginxError;

use super::site::{Site, upstreams};

const CLASH: &str = "upstream api { server 127.0.0.1:9; }";

#[tokio::test]
async fn a_first_file_that_nginx_refuses_is_taken_back() {
    for include in ["aibk*.conf", "aibk.conf"] {
        let site = Site::including(include);
        site.beside(CLASH);
        let error = site.nginx.write(&upstreams(&[("api", 8000)])).await.unwrap_err();
        assert!(matches!(error, NginxError::Clash { .. }), "{error}");
        let told = error.to_string();
        assert!(
            told.contains("duplicate upstream \"api\"") && told.contains("aibk.conf"),
            "{told}"
        );
        assert_eq!(site.file(), None);
        site.beside("");
        site.write(&[("api", 8000)]).await;
    }
}

#[tokio::test]
async fn a_later_file_that_nginx_refuses_is_put_back() {
    let site = Site::including("aibk.conf");
    site.write(&[("admin", 9)]).await;
    let text = site.file();
    site.beside(CLASH);
    let error = site.nginx.write(&upstreams(&[("api", 8000)])).await.unwrap_err();
    assert!(matches!(error, NginxError::Clash { .. }), "{error}");
    assert_eq!(site.file(), text);
}

/// Before the first file a site is refused for the upstreams that it lacks.
#[tokio::test]
async fn a_site_that_needs_several_services_gets_them_at_once() {
    let site = Site::including("aibk*.conf");
    site.serve("location /a { proxy_pass http://api; } location /b { proxy_pass http://admin; }");
    let half = site.nginx.write(&upstreams(&[("api", 8000)])).await.unwrap();
    let warning = half.warning.unwrap().to_string();
    assert!(warning.contains("host not found in upstream \"admin\""), "{warning}");
    assert_eq!(site.nginx.on_disk().unwrap().unwrap().edition, half.edition);

    fs::remove_file(&site.config.file).unwrap();
    site.write(&[("api", 8000), ("admin", 9)]).await;
}

#[tokio::test]
async fn a_configuration_that_is_refused_anyway_is_no_fault_of_the_file() {
    let site = Site::including("aibk*.conf");
    site.serve("ssl_certificate /nonexistent/cert.pem; ssl_certificate_key /nonexistent/key.pem;");
    let written = site.nginx.write(&upstreams(&[("api", 8000)])).await.unwrap();
    let Some(NginxError::Test { words, .. }) = written.warning else { panic!("{written:?}") };
    assert!(words.contains("/nonexistent/cert.pem"), "{words}");
    assert_eq!(site.nginx.on_disk().unwrap().unwrap().edition, written.edition);
}

#[tokio::test]
async fn an_nginx_that_is_not_installed_yet_finds_its_file() {
    let site = Site::including("aibk*.conf");
    let missing = site.another(|config| config.binary = "/nonexistent/nginx".into());
    let written = missing.write(&upstreams(&[("api", 8000)])).await.unwrap();
    assert!(matches!(written.warning, Some(NginxError::Binary { .. })), "{written:?}");
    site.write(&[("api", 8000)]).await;
}
