use procfs::process::LimitValue;

use super::kit::{Daemon, Home, LONG, sh, spec, until, within};
use crate::{
    process::{Confined, SpawnSpec, Wanted},
    sys::confine::{
        Capabilities, MemoryLimit, NewPrivileges, OnRefusal, ReadOnly, Resource, Rlimit, Sandbox,
        Tmp, is_capable,
    },
    sys::limits,
};

fn may(capability: &str) -> bool {
    let may = is_capable(capability);
    if !may {
        eprintln!("skipped: it needs CAP_{capability}");
    }
    may
}

fn rlimit(resource: Resource, soft: u64, hard: u64) -> Rlimit {
    Rlimit { resource, soft: Some(soft), hard: Some(hard) }
}

fn field<'o>(output: &'o [String], name: &str) -> &'o str {
    let line = output.iter().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or("?")
}

const BIND: u64 = 1 << 10;

fn sandboxed(script: &str, user: Option<&str>, sandbox: Sandbox) -> SpawnSpec {
    let mut spec = sh(script);
    spec.user = user.map(str::to_owned);
    spec.confinement.sandbox = sandbox;
    spec
}

#[tokio::test]
async fn umask_priority_and_limits_are_as_asked() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let mut asks = sh("umask; nice; cat /proc/self/limits");
    asks.confinement.umask = 0o027;
    asks.confinement.nice = Some(7);
    asks.confinement.limits.rlimits = vec![
        rlimit(Resource::OpenFiles, 100, 200),
        rlimit(Resource::Core, 0, 0),
        rlimit(Resource::Processes, 3000, 3000),
        rlimit(Resource::CpuTime, 60, 90),
    ];
    let output = daemon.output(&asks).await;
    assert_eq!(&output[..2], ["0027", "7"]);
    let limit = |name: &str| {
        let line = output.iter().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(limit("Max open files"), ["100", "200"]);
    assert_eq!(limit("Max core file size"), ["0", "0"]);
    assert_eq!(limit("Max processes"), ["3000", "3000"]);
    assert_eq!(limit("Max cpu time"), ["60", "90"]);
    let tree = daemon.spawn(&asks).await;
    let enforced = &tree.confined().enforced;
    assert_eq!(enforced[..2], ["nice 7", "limits.nofile 100:200"]);
    assert!(tree.confined().refused.is_empty());
    within(tree.exited()).await;
}

#[tokio::test]
async fn other_limits_reach_what_runs_and_what_it_starts() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let mut asks = sh("sleep 1000 & echo up; while :; do sleep 0.01; done");
    asks.confinement.nice = Some(3);
    asks.confinement.limits.rlimits =
        vec![rlimit(Resource::OpenFiles, 100, 200), rlimit(Resource::Core, 0, 0)];
    let (mut tree, _) = daemon.spawn_up(&asks).await;
    let mut other = asks.confinement.clone();
    other.nice = Some(9);
    other.limits.rlimits = vec![rlimit(Resource::OpenFiles, 90, 150)];
    let known = tree.confined().clone();
    daemon.launcher.relimit(&mut tree, (&asks.confinement, &other), known);
    assert_eq!(tree.confined().enforced, ["limits.nofile 90:150", "nice 9"]);
    let own = limits::own_limit(Resource::Core);
    let may_lift = is_capable("SYS_RESOURCE") || own.hard == Some(0);
    assert_eq!(tree.confined().refused.is_empty(), may_lift, "{:?}", tree.confined());
    let pids = tree.pids();
    assert!(pids.len() >= 2);
    for pid in pids {
        // Some of the sleeps are short.
        let Ok(process) = procfs::process::Process::new(pid) else { continue };
        let (Ok(stat), Ok(seen)) = (process.stat(), process.limits()) else { continue };
        let open = seen.max_open_files;
        let is_new = matches!(
            (stat.nice, open.soft_limit, open.hard_limit),
            (9, LimitValue::Value(90), LimitValue::Value(150))
        );
        assert!(is_new, "{pid}: {stat:?} {open:?}");
    }
    within(tree.end(LONG)).await.unwrap();
}

#[tokio::test]
async fn what_the_kernel_does_not_give_to_what_runs_is_said() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let asks = sh("echo up; exec sleep 1000");
    let (mut tree, _) = daemon.spawn_up(&asks).await;
    let mut other = asks.confinement.clone();
    // Nobody may have more than fs.nr_open.
    other.limits.rlimits =
        vec![rlimit(Resource::OpenFiles, 1 << 40, 1 << 40), rlimit(Resource::Core, 0, 0)];
    daemon.launcher.relimit(&mut tree, (&asks.confinement, &other), Confined::default());
    let Confined { enforced, refused } = tree.confined();
    assert_eq!(*enforced, ["limits.core 0"]);
    assert_eq!((refused.len(), refused[0].asked.as_str()), (1, "limits.nofile 1099511627776"));
    assert!(refused[0].reason.contains("what it starts"), "{refused:?}");
    within(tree.end(LONG)).await.unwrap();
}

#[tokio::test]
async fn capabilities_are_what_is_kept() {
    if !may("SETPCAP") {
        return;
    }
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let bind = Capabilities::named("NET_BIND_SERVICE");
    for (user, kept, expected) in [
        (None, Some(Capabilities::NONE), [0, 0, 0, 0]),
        (None, bind, [BIND; 4]),
        (Some("daemon"), Some(Capabilities::NONE), [0, 0, 0, 0]),
        (Some("daemon"), bind, [BIND; 4]),
    ] {
        for new_privileges in [NewPrivileges::Allowed, NewPrivileges::Refused] {
            let sandbox = Sandbox { capabilities: kept, new_privileges, ..Sandbox::default() };
            let output = daemon.output(&sandboxed("cat /proc/self/status", user, sandbox)).await;
            let seen = ["CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"]
                .map(|name| u64::from_str_radix(field(&output, name), 16).unwrap());
            assert_eq!(seen, expected, "{user:?} {kept:?}");
            let fixed = u8::from(new_privileges == NewPrivileges::Refused).to_string();
            assert_eq!(field(&output, "NoNewPrivs:"), fixed);
        }
    }
    let plain = daemon.output(&spec(&["cat", "/proc/self/status"])).await;
    assert_eq!(field(&plain, "NoNewPrivs:"), "0");
    assert_ne!(field(&plain, "CapEff:"), "0000000000000000", "the daemon kept its own");
}

#[tokio::test]
async fn a_private_tmp_is_empty_and_nobody_else_sees_it() {
    if !may("SYS_ADMIN") {
        return;
    }
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let script = "ls -A /tmp /var/tmp; stat -c %a /tmp; echo x > /tmp/only-here; ls /tmp; \
                  exec sleep 1000";
    let sandbox = Sandbox { tmp: Tmp::Private, ..Sandbox::default() };
    let (_, mut lines) = daemon.capture.follow(0, &Wanted::default()).await;
    let tree = daemon.spawn(&sandboxed(script, Some("daemon"), sandbox)).await;
    let mut seen = vec![];
    while seen.last().is_none_or(|line| line != "only-here") {
        seen.push(within(lines.recv()).await.unwrap().text);
    }
    assert_eq!(seen, ["/tmp:", "", "/var/tmp:", "1777", "only-here"]);
    assert!(!std::path::Path::new("/tmp/only-here").exists());
    assert!(home.path().exists());
    assert_eq!(tree.confined().enforced, ["sandbox.private_tmp"]);
    within(tree.end(LONG)).await.unwrap();
}

const WRITES: &str = "for f in $0/locked/a $0/locked/open/b $0/c /dev/null /dev/stdout; do \
    { echo x > $f; } 2> /dev/null && echo ${f##*/}; done; exec true";

#[tokio::test]
async fn read_only_paths_are_read_only() {
    if !may("SYS_ADMIN") {
        return;
    }
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let locked = home.path().join("locked");
    std::fs::create_dir_all(locked.join("open")).unwrap();
    let listed = ReadOnly::Paths(vec![locked.clone()]);
    for (read_only, writable, expected) in [
        (ReadOnly::Nothing, vec![], "a b c null x stdout"),
        (listed.clone(), vec![], "c null x stdout"),
        (listed, vec![locked.join("open")], "b c null x stdout"),
        (ReadOnly::All, vec![locked.join("open")], "b null x stdout"),
    ] {
        let sandbox = Sandbox { read_only, writable, ..Sandbox::default() };
        let mut spec = sandboxed(WRITES, None, sandbox);
        spec.argv.push(home.path().into());
        assert_eq!(daemon.output(&spec).await.join(" "), expected, "{spec:?}");
    }
    std::fs::write(locked.join("a"), "still ours").unwrap();
}

#[tokio::test]
async fn what_is_refused_is_an_error_or_a_warning() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let mut asks = sh("ulimit -n");
    asks.confinement.limits.rlimits = vec![
        rlimit(Resource::OpenFiles, 100, 100),
        // Above fs.nr_open, which nobody gets.
        rlimit(Resource::OpenFiles, 1 << 40, 1 << 40),
    ];
    let refused = daemon.refused(&asks).await;
    let expected = "the kernel refuses what api@8000 asks for: limits.nofile 1099511627776 \
                    (Operation not permitted; it is above what aibkd itself may have";
    assert!(refused.starts_with(expected), "{refused}");

    asks.confinement.sandbox.read_only = ReadOnly::Paths(vec!["/no/such/path".into()]);
    asks.confinement.on_refusal = OnRefusal::Warn;
    let (tree, files) = daemon.spawn_up(&asks).await;
    assert_eq!(files, "100");
    let refused: Vec<_> = tree.confined().refused.iter().map(|r| r.asked.as_str()).collect();
    assert_eq!(refused, ["limits.nofile 1099511627776", "sandbox.read_only /no/such/path"]);
    assert_eq!(tree.confined().enforced, ["limits.nofile 100"]);
    within(tree.exited()).await;
}

/// As another user, in a process of its own: the test's binary again.
#[test]
fn a_daemon_without_rights_tells_what_it_cannot_give() {
    if !may("SETUID") {
        return;
    }
    let directory = tempfile::TempDir::new().unwrap();
    std::os::unix::fs::chown(directory.path(), Some(1), Some(1)).unwrap();
    // The binary may lie where only root can go. Copied by another process: a child that another test
    // starts meanwhile would hold what this one writes to, and execve(2) would find it busy.
    let binary = directory.path().join("again");
    let copied = std::process::Command::new("cp")
        .args([std::env::current_exe().unwrap().as_path(), &binary])
        .status();
    assert!(copied.unwrap().success());
    let run = std::process::Command::new("setpriv")
        .args(["--reuid=1", "--regid=1", "--clear-groups", "--bounding-set=-all", "--"])
        .arg(&binary)
        .args(["--exact", "process::tests::confining::without_rights", "--ignored"])
        .env("TMPDIR", directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "a_daemon_without_rights_tells_what_it_cannot_give runs it as another user"]
async fn without_rights() {
    let home = Home::new();
    let daemon = Daemon::on(&home, None, std::sync::Arc::new(crate::sys::kernel::Linux));
    let open = home.path().join("open");
    std::fs::create_dir(&open).unwrap();
    let refused = async |confine: &dyn Fn(&mut SpawnSpec)| {
        let mut asks = sh("exec sleep 1000");
        asks.confinement.sandbox.new_privileges = NewPrivileges::Refused;
        confine(&mut asks);
        daemon.refused(&asks).await
    };
    let tmp = refused(&|asks| asks.confinement.sandbox.tmp = Tmp::Private).await;
    assert!(tmp.contains("sandbox.private_tmp (Operation not permitted; it needs"), "{tmp}");
    let locked = ReadOnly::Paths(vec![open.clone()]);
    let paths = refused(&|asks| asks.confinement.sandbox.read_only = locked.clone()).await;
    assert!(paths.contains("sandbox.read_only") && paths.contains("runs as root"), "{paths}");
    let nice = refused(&|asks| asks.confinement.nice = Some(-5)).await;
    assert!(nice.contains("nice -5 (Permission denied; only root"), "{nice}");
    let bind = Capabilities::named("NET_BIND_SERVICE");
    let capable = refused(&|asks| asks.confinement.sandbox.capabilities = bind).await;
    assert!(
        capable.contains("NET_BIND_SERVICE (Operation not permitted; aibkd cannot"),
        "{capable}"
    );

    // What needs no rights holds.
    let sandbox = Sandbox {
        new_privileges: NewPrivileges::Refused,
        capabilities: Some(Capabilities::NONE),
        read_only: ReadOnly::All,
        writable: vec![open.clone()],
        ..Sandbox::default()
    };
    let script = "for f in $0/open/a $0/b /dev/null /dev/stdout; do \
                  { echo x > $f; } 2> /dev/null && echo ${f##*/}; done; exec sleep 1000";
    let mut asks = sandboxed(script, None, sandbox);
    asks.argv.push(home.path().into());
    asks.confinement.on_refusal = OnRefusal::Warn;
    let (_, mut lines) = daemon.capture.follow(0, &Wanted::default()).await;
    let tree = daemon.spawn(&asks).await;
    let by_landlock = "sandbox.read_only all (by Landlock)".to_owned();
    let expected: &[&str] = if tree.confined().enforced.contains(&by_landlock) {
        &["a", "null", "x", "stdout"]
    } else {
        assert!(tree.confined().refused[0].reason.contains("landlock"), "{:?}", tree.confined());
        &["a", "b", "null", "x", "stdout"]
    };
    for line in expected {
        assert_eq!(within(lines.recv()).await.unwrap().text, *line);
    }
    assert!(tree.confined().enforced.contains(&"sandbox.capabilities none".to_owned()));
    within(tree.end(LONG)).await.unwrap();
}

/// Every process of it has as many children as it can.
const BOMB: &str = "import os, time
print('up', flush=True)
while True:
    try: os.fork()
    except OSError: time.sleep(0.02)";

#[tokio::test]
async fn a_fork_bomb_is_held_by_its_limit_and_ended() {
    if !may("SETUID") {
        return;
    }
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let mut bomb = spec(&["python3", "-c", BOMB]);
    bomb.user = Some("games".to_owned());
    bomb.confinement.limits.rlimits = vec![rlimit(Resource::Processes, 40, 40)];
    let (tree, _) = daemon.spawn_up(&bomb).await;
    until("it has exploded", || tree.pids().len() > 15).await;
    for _ in 0..20 {
        assert!(tree.pids().len() <= 40);
        tokio::task::yield_now().await;
    }
    within(tree.end(LONG)).await.unwrap();
    assert!(tree.pids().is_empty());
}

#[tokio::test]
async fn limits_of_a_tree_need_a_controller() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let mut asks = sh("exec sleep 1000");
    asks.confinement.limits.pids = Some(500);
    asks.confinement.limits.memory =
        Some(MemoryLimit { bytes: 64 << 20, sample: std::time::Duration::from_secs(9) });
    asks.confinement.on_refusal = OnRefusal::Warn;
    let tree = daemon.spawn(&asks).await;
    let confined = tree.confined();
    let by_kernel = confined.enforced.contains(&"limits.memory 64MiB".to_owned());
    assert_eq!(by_kernel, tree.has_memory_limit());
    if by_kernel {
        return within(tree.end(LONG)).await.unwrap();
    }
    assert_eq!(confined.enforced, ["limits.memory 64MiB (seen every 9s)"]);
    assert_eq!(confined.refused[0].asked, "limits.pids 500");
    let reason = &confined.refused[0].reason;
    assert!(reason.contains("there is no pids controller of cgroup v2 here"), "{reason}");
    within(tree.end(LONG)).await.unwrap();
    asks.confinement.on_refusal = OnRefusal::Fail;
    assert!(daemon.refused(&asks).await.contains("limits.pids 500 (there is no pids"));
}

const GROWN: &str = "import os, time
block = bytearray(40 << 20)
for _ in range(3):
    if os.fork() == 0: break
print('up', flush=True)
time.sleep(1000)";

#[tokio::test]
async fn memory_that_a_tree_shares_counts_once() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let (tree, _) = daemon.spawn_up(&spec(&["python3", "-c", GROWN])).await;
    until("all four", || tree.pids().len() == 4).await;
    let used = tree.memory_above(20 << 20).unwrap();
    assert!((40 << 20..120 << 20).contains(&used), "{used}");
    assert_eq!(tree.memory_above(120 << 20), None, "although each has the whole block resident");
    within(tree.end(LONG)).await.unwrap();
    assert_eq!(tree.memory_above(0), None);
}

#[tokio::test]
async fn what_a_child_does_to_its_output_hurts_only_that() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let binary = daemon.output(&sh("printf '\\000\\377\\033[2J\\200'; echo; echo after")).await;
    assert_eq!(binary.last().map(String::as_str), Some("after"));
    let closed = sh("echo up; exec >&- 2>&-; exec sleep 1000");
    let (tree, up) = daemon.spawn_up(&closed).await;
    assert_eq!(up, "up");
    within(daemon.capture.settle()).await;
    assert!(!tree.pids().is_empty(), "it lives on");
    within(tree.end(LONG)).await.unwrap();
    assert_eq!(daemon.output(&spec(&["echo", "next"])).await, ["next"]);
}
