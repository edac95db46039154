//! Releases with real parts: git, Python, pip.

mod building;
mod fetching;
mod kit;
mod sending;

use std::path::Path;

use super::*;

#[test]
fn a_link_leads_to_the_release_it_points_to_now() {
    let home = tempfile::tempdir().unwrap();
    let (current, one) = (home.path().join("current"), home.path().join("r1"));
    std::fs::create_dir(&one).unwrap();
    std::os::unix::fs::symlink("r1", &current).unwrap();
    let release = Release::at(&current).unwrap();
    assert_eq!(release.id, ReleaseId("r1".to_owned()));
    assert_eq!(release.directory, one.canonicalize().unwrap());
}

#[test]
fn what_is_no_directory_is_no_release() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(Release::at(file.path()), Err(ReleaseError::NotADirectory(_))));
    assert!(matches!(Release::at(Path::new("/")), Err(ReleaseError::Nameless(_))));
    let gone = Release::at(Path::new("/nonexistent/r1")).unwrap_err().to_string();
    assert!(gone.starts_with("release /nonexistent/r1: "), "{gone}");
}
