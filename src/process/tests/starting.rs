use std::{os::fd::AsFd, os::unix::fs::PermissionsExt, sync::Arc};

use rustix::io::Errno;

use super::kit::{Daemon, Home, sh, spec, until};
use crate::{
    process::{birth::Unproven, confine::Request},
    sys::fake::{Call, Faulty},
};

#[tokio::test]
async fn the_environment_is_exactly_what_was_given() {
    let home = Home::new();
    let mut env = spec(&["env"]);
    env.env.push(("SECRET".into(), "a b=c".into()));
    assert_eq!(Daemon::new(&home).output(&env).await, ["PATH=/usr/bin:/bin", "SECRET=a b=c"]);
    assert!(!format!("{env:?}").contains("a b=c"));
}

#[tokio::test]
async fn nothing_of_the_daemon_is_inherited() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    // A descriptor that is not close-on-exec, and a signal that is ignored (Rust ignores SIGPIPE).
    let null = std::fs::File::open("/dev/null").unwrap();
    let leaked = rustix::io::dup(null.as_fd()).unwrap();
    let status = daemon.output(&spec(&["cat", "/proc/self/status"])).await;
    for field in ["SigBlk", "SigIgn", "SigCgt"] {
        let line = status.iter().find(|line| line.starts_with(field)).unwrap();
        assert!(line.ends_with("\t0000000000000000"), "{line}");
    }
    assert!(status.contains(&"Umask:\t0022".to_owned()));
    // Descriptor 3 is the directory that ls itself reads.
    let fds = daemon.output(&spec(&["ls", "/proc/self/fd"])).await;
    assert_eq!(fds, ["0", "1", "2", "3"]);
    let input = daemon.output(&spec(&["readlink", "/proc/self/fd/0"])).await;
    assert_eq!(input, ["/dev/null"]);
    let session = daemon
        .output(&sh("read -r p c s pp pg sid rest < /proc/self/stat; echo $(($p - $sid))"))
        .await;
    assert_eq!(session, ["0"]);
    drop(leaked);
}

#[tokio::test]
async fn a_start_that_fails_says_which_stage_and_why() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let missing = daemon.refused(&spec(&["/x/y"])).await;
    assert!(missing.starts_with("cannot execute /x/y: No such file or directory;"), "{missing}");

    let script = home.path().join("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    let script = script.to_str().unwrap();
    let plain = daemon.refused(&spec(&[script])).await;
    assert!(plain.contains("Permission denied; it must be an executable file"), "{plain}");
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let orphan = daemon.refused(&spec(&[script])).await;
    assert!(orphan.contains("interpreter (its first line) is missing"), "{orphan}");

    let mut nowhere = spec(&["true"]);
    nowhere.directory = "/no/such/place".into();
    let nowhere = daemon.refused(&nowhere).await;
    assert!(nowhere.starts_with("cannot enter the directory /no/such/place: No such"), "{nowhere}");

    let mut nobody = spec(&["true"]);
    nobody.user = Some("nobody-here".into());
    assert!(daemon.refused(&nobody).await.starts_with("there is no user `nobody-here`"));
    // None of them is in the way of the next.
    assert_eq!(daemon.output(&spec(&["echo", "fine"])).await, ["fine"]);
}

#[tokio::test]
async fn limits_of_the_host_are_named() {
    let home = Home::new();
    let kernel = Arc::new(Faulty::default());
    let daemon = Daemon::on(&home, home.base(), kernel.clone());
    kernel.fail(Call::Start, Errno::AGAIN);
    let processes = daemon.refused(&spec(&["true"])).await;
    assert!(
        processes.contains("api@8000: Resource temporarily unavailable; the limit of processes")
    );
    kernel.fail(Call::Start, Errno::MFILE);
    let files = daemon.refused(&spec(&["true"])).await;
    assert!(files.contains("raise LimitNOFILE="), "{files}");
    kernel.fail(Call::Start, Errno::NOENT);
    assert!(daemon.refused(&spec(&["true"])).await.contains("No such file or directory"));
    assert_eq!(daemon.output(&spec(&["echo", "fine"])).await, ["fine"]);
}

#[tokio::test]
async fn another_user_gets_its_own_groups_and_nothing_of_ours() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let mut id = sh("id -u; id -g; id -G; cat /proc/self/status");
    id.user = Some("daemon".into());
    let output = daemon.output(&id).await;
    assert_eq!(&output[..3], ["1", "1", "1"]);
    assert!(output.contains(&"CapEff:\t0000000000000000".to_owned()));
    id.group = Some("mail".into());
    assert_eq!(&daemon.output(&id).await[1..2], ["8"]);
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    id.directory = home.path().into();
    let refused = daemon.refused(&id).await;
    assert!(
        refused.contains("Permission denied; it must exist and the service's user"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_start_that_nobody_waits_for_any_more_is_undone() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let spec = spec(&["sleep", "1000"]);
    let tree = daemon.spawn(&spec).await;
    let program = "/usr/bin/sleep".into();
    let request = Request::default();
    drop(Unproven { name: &daemon.name, spec: &spec, program, tree: Some(tree), request });
    let leaf = home.base().unwrap().leaf("api@8000").unwrap();
    until("the leaf is empty", || !leaf.populated().unwrap()).await;
}
