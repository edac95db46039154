//! `aibkctl` as a shell sees it, without a daemon.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

use std::{fs, path::Path};

use assert_cmd::Command;

fn aibkctl(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aibkctl"));
    command.env_remove("AIBK_SOCKET").args(args).timeout(std::time::Duration::from_secs(20));
    command
}

struct Told {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn told(command: &mut Command) -> Told {
    let output = command.output().unwrap();
    Told {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn usage_errors_exit_with_2_and_say_what_is_meant() {
    for args in [&["statsu"][..], &[], &["start"], &["start", "API@8000"], &["wait", "x"]] {
        let told = told(&mut aibkctl(args));
        assert_eq!(told.code, Some(2), "{args:?}: {}", told.stderr);
        assert_eq!(told.stdout, "", "{args:?}");
    }
    let told = told(&mut aibkctl(&["statsu"]));
    assert!(told.stderr.contains("'status'"), "{}", told.stderr);
    for verb in ["swap", "rolling"] {
        let told = self::told(&mut aibkctl(&[verb, "api@8000"]));
        assert_eq!(told.code, Some(2), "{}", told.stderr);
        assert!(told.stderr.contains("name its service: `api`"), "{}", told.stderr);
    }
}

#[test]
fn help_names_every_exit_code() {
    for args in [&["--help"][..], &["swap", "--help"], &["nginx", "show", "--help"]] {
        let told = told(&mut aibkctl(args));
        assert_eq!(told.code, Some(0), "{args:?}");
        for line in ["Exit codes:", "0  done", "3  the daemon is not", "6  stopped waiting"] {
            assert!(told.stdout.contains(line), "{args:?}: {}", told.stdout);
        }
    }
}

#[test]
fn a_missing_daemon_is_3_with_the_socket_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock");
    let name = socket.to_str().unwrap();
    for args in [
        &["status"][..],
        &["status", "--watch"],
        &["version"],
        &["start", "api@8000"],
        &["rolling", "api", "--release", "."],
        &["wait", "7"],
        &["cancel", "7"],
        &["rollouts"],
        &["logs", "worker"],
        &["events", "-f"],
        &["nginx", "show"],
        &["nginx", "test"],
    ] {
        let told = told(aibkctl(args).env("AIBK_SOCKET", name));
        assert_eq!(told.code, Some(3), "{args:?}: {}", told.stderr);
        assert!(told.stderr.contains(name), "{args:?}: {}", told.stderr);
        assert!(told.stderr.contains("systemctl start aibkd"), "{args:?}: {}", told.stderr);
    }
}

#[test]
fn a_left_over_socket_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let told = told(&mut aibkctl(&["--socket", socket.to_str().unwrap(), "status"]));
    assert_eq!(told.code, Some(3));
    assert!(told.stderr.contains("nobody listens"), "{}", told.stderr);
}

#[test]
fn json_errors_are_documents_on_standard_output() {
    let told = told(&mut aibkctl(&["--json", "--socket", "/nonexistent/x.sock", "status"]));
    assert_eq!(told.code, Some(3));
    let value: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(value["code"], "not_reachable");
    assert!(value["message"].as_str().unwrap().contains("/nonexistent/x.sock"));
    assert!(value["message"].as_str().unwrap().contains("systemctl start aibkd"));
}

fn check(file: &Path, more: &[&str]) -> Told {
    let mut args = vec!["config", "check", "--no-host", file.to_str().unwrap()];
    args.extend(more);
    told(&mut aibkctl(&args))
}

#[test]
fn config_check_needs_no_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("good.yaml");
    fs::write(&good, GOOD).unwrap();
    let verdict = check(&good, &[]);
    assert_eq!(verdict.code, Some(0), "{}{}", verdict.stdout, verdict.stderr);
    assert!(verdict.stdout.contains("good.yaml: valid"), "{}", verdict.stdout);

    let bad = dir.path().join("bad.yaml");
    fs::write(&bad, "servces:\n  api: {}\n").unwrap();
    let verdict = check(&bad, &[]);
    assert_eq!(verdict.code, Some(1), "{}", verdict.stdout);
    assert!(verdict.stdout.contains("bad.yaml"), "{}", verdict.stdout);

    let verdict = check(&bad, &["--json"]);
    let value: serde_json::Value = serde_json::from_str(&verdict.stdout).unwrap();
    assert_eq!((verdict.code, &value["ok"]), (Some(1), &false.into()));
    let verdict = check(&dir.path().join("none.yaml"), &[]);
    assert_eq!(verdict.code, Some(1));
    assert!(verdict.stdout.contains("none.yaml"), "{}", verdict.stdout);
}

/// A configuration as short as it can be.
const GOOD: &str = "\
nginx: {}
services:
  api:
    app: app.main:app
    directory: /srv/api/current
    slots: [8000, 8001]
";

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let told = told(&mut aibkctl(&["completions", shell]));
        assert_eq!(told.code, Some(0), "{shell}");
        assert!(told.stdout.contains("rollouts"), "{shell}");
    }
    let told = told(&mut aibkctl(&["completions", "--json", "bash"]));
    let value: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(value["shell"], "bash");
}

#[test]
fn every_command_has_a_manual_page_with_the_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    let told = told(&mut aibkctl(&["man", pages.to_str().unwrap()]));
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    for name in ["aibkctl", "aibkctl-status", "aibkctl-nginx-show", "aibkctl-config-check"] {
        let page = fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".SH \"EXIT STATUS\""), "{name}: {page}");
        assert!(page.contains("could not be undone"), "{name}");
        assert!(page.contains("\\-\\-json"), "{name}");
    }
}

#[test]
fn a_manual_directory_that_cannot_be_made_is_told() {
    let told = told(&mut aibkctl(&["man", "/dev/null/man1"]));
    assert_eq!(told.code, Some(1));
    assert!(told.stderr.contains("/dev/null/man1"), "{}", told.stderr);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_aibkctl"));
    let status = command.args(["completions", "bash"]).stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
}
