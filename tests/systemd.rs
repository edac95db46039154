//! Under a real systemd: the unit starts, swaps, survives the death of the daemon, and stops.
//!
//! It runs on this machine's own release of Debian, or on the one that `AIBK_SYSTEMD_SUITE` names
//! (`bookworm`, `trixie`), in a throw-away system that is booted by the program named in `AIBK_SYSTEMD_BOX` (or
//! `../shared/e2e/systemd-box` beside the checkout), and is skipped where there is none.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use aibk::api::types::{InstanceState, Status};
use rustix::process::Signal;

use crate::support::{LONG, Output, Releases, root, run, target, venv, wait_for};

/// Building the system takes minutes, once.
const BUILD: Duration = Duration::from_secs(900);

const CONFIG: &str = "\
logs: {to: journal}
services:
  api:
    app: main:app
    directory: /srv/app/current
    venv: /srv/app/venv
    user: app
    slots: [8000, 8001]
    ready: {interval: 500ms}
    drain: {deadline: 3s}
    rollout: {watch: 500ms}
    upstream: {name: api_backend}
nginx: {mode: system}
";

/// The unit's watchdog, in less time.
const IMPATIENT: &str = "[Service]\nWatchdogSec=3\n";

const SITE: &str = "\
server {
    listen 80 default_server;
    location / {
        proxy_pass http://api_backend;
        proxy_http_version 1.1;
        proxy_set_header Connection '';
        proxy_next_upstream error timeout;
    }
}
";

/// A booted system; gone when dropped.
struct Booted {
    program: PathBuf,
    directory: PathBuf,
}

/// What ran before there was aibkd.
const OLD_UNIT: &str = "[Service]\nUser=books\nWorkingDirectory=/home/books/app/server\n\
    ExecStart=/srv/app/venv/bin/uvicorn main:app --host 127.0.0.1 --port %i\nRestart=always\n";

impl Booted {
    /// Boots one, or says why there is none.
    fn up() -> Result<Self, String> {
        let program = env::var_os("AIBK_SYSTEMD_BOX")
            .map_or_else(|| root().join("../shared/e2e/systemd-box"), PathBuf::from);
        if !program.exists() {
            return Err(format!("there is no {}; name it in AIBK_SYSTEMD_BOX", program.display()));
        }
        if !rustix::process::geteuid().is_root() {
            return Err("it needs root".to_owned());
        }
        let directory = match env::var("AIBK_SYSTEMD_SUITE") {
            Ok(suite) => target().join(format!("systemd-box-{suite}")),
            Err(_) => target().join("systemd-box"),
        };
        let booted = Self { program, directory };
        let output = run(booted.command(&["up"])?.arg(&booted.directory), BUILD);
        if output.status == Some(0) { Ok(booted) } else { Err(output.words()) }
    }

    fn command(&self, args: &[&str]) -> Result<Command, String> {
        let mut command = Command::new(&self.program);
        command.args(args).env("SYSTEMD_BOX_SUITE", suite()?);
        command.env("SYSTEMD_BOX_PACKAGES", "nginx-light python3-venv curl");
        // No port of it can clash with anybody's.
        command.env("SYSTEMD_BOX_NET", "private");
        Ok(command)
    }

    #[track_caller]
    fn sh(&self, script: &str) -> Output {
        let mut command = self.command(&["exec"]).unwrap();
        command.arg(&self.directory).args(["--", "sh", "-ec", script]);
        run(&mut command, LONG * 3)
    }

    #[track_caller]
    fn push(&self, from: &Path, to: &str) {
        let mut command = self.command(&["push"]).unwrap();
        run(command.arg(&self.directory).arg(from).arg(to), LONG).expect(0);
    }

    #[track_caller]
    fn write(&self, scratch: &Path, text: &str, to: &str) {
        let file = scratch.join("pushed");
        fs::write(&file, text).unwrap();
        self.push(&file, to);
    }

    #[track_caller]
    fn status(&self) -> Status {
        serde_json::from_str(&self.sh("aibkctl status --json").expect(0).stdout).unwrap()
    }

    fn main_pid(&self) -> u32 {
        let shown = self.sh("systemctl show -P MainPID aibkd").expect(0);
        shown.stdout.trim().parse().unwrap()
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let told = "journalctl -u aibkd -u nginx --no-pager -n 80; systemctl status aibkd || :";
            let mut command = self.command(&["exec"]).unwrap();
            command.arg(&self.directory).args(["--", "sh", "-c", told]);
            eprintln!("{}", run(&mut command, LONG));
        }
        let mut down = self.command(&["down"]).unwrap();
        run(down.arg(&self.directory), LONG * 2);
    }
}

/// Programs that were built here run there only when its C library is not older.
fn suite() -> Result<&'static str, String> {
    let release = env::var("AIBK_SYSTEMD_SUITE")
        .unwrap_or_else(|_| fs::read_to_string("/etc/os-release").unwrap_or_default());
    ["bookworm", "trixie"]
        .into_iter()
        .find(|suite| release.contains(suite))
        .ok_or_else(|| "it needs Debian bookworm or trixie".to_owned())
}

/// Installs what an administrator would: programs, unit, configuration, site, application.
fn install(booted: &Booted, scratch: &Path) {
    booted.push(&package(scratch), "/opt/aibk.deb");
    booted.sh("dpkg --install /opt/aibk.deb").expect(0);
    booted.write(scratch, IMPATIENT, "/etc/systemd/system/aibkd.service.d/test.conf");
    booted.write(scratch, CONFIG, "/etc/aibk/aibk.yaml");
    booted.write(scratch, SITE, "/etc/nginx/sites-enabled/default");
    let releases = Releases::new(scratch);
    for name in ["v1", "v2"] {
        booted.push(&releases.write(name, "ok"), &format!("/srv/app/releases/{name}"));
    }
    booted.push(&wheels(booted, scratch), "/opt/wheels");
    booted
        .sh("useradd --system app
            ln -s releases/v1 /srv/app/current
            python3 -m venv /srv/app/venv
            /srv/app/venv/bin/pip install -q --no-index --find-links /opt/wheels \
                uvicorn uvloop httptools websockets
            systemctl daemon-reload")
        .expect(0);
}

/// The package, of the programs under test.
fn package(scratch: &Path) -> PathBuf {
    let programs = Path::new(env!("CARGO_BIN_EXE_aibkd")).parent().unwrap();
    let mut make = Command::new(root().join("packaging/deb"));
    make.arg(scratch).arg(programs);
    // They are large, and nobody keeps it.
    make.env("DPKG_DEB_COMPRESSOR_TYPE", "gzip").env("DPKG_DEB_COMPRESSOR_LEVEL", "1");
    PathBuf::from(run(&mut make, LONG * 4).expect(0).stdout.trim())
}

/// What pip needs there: it has no network.
fn wheels(booted: &Booted, scratch: &Path) -> PathBuf {
    let python = "python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'";
    let version = booted.sh(python).expect(0).stdout;
    let wheels = scratch.join("wheels");
    let mut pip = Command::new(venv().join("bin/pip"));
    pip.args(["download", "-q", "--only-binary=:all:", "--python-version", version.trim()]);
    pip.arg("-r").arg(root().join("tests/support/app/requirements.txt")).arg("-d").arg(&wheels);
    run(&mut pip, LONG * 2).expect(0);
    wheels
}

#[test]
fn the_unit_serves_swaps_and_survives() {
    let booted = match Booted::up() {
        Ok(booted) => booted,
        Err(why) => {
            // Not `eprintln!`, which nobody sees when the test succeeds.
            let _ = writeln!(std::io::stderr(), "SKIPPED systemd::the_unit_...: {}", why.trim());
            return;
        }
    };
    let scratch = tempfile::tempdir_in("/tmp").unwrap();
    install(&booted, scratch.path());

    booted.sh("systemctl enable --now aibkd").expect(0);
    booted.sh("systemctl is-active aibkd").expect(0).says(&["active"]);
    // READY was said only then.
    assert_eq!(
        pids(&booted.status()).iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        ["api@8000"]
    );
    booted.sh("systemctl show -P StatusText aibkd").expect(0).says(&["1"]);
    // It has written what nginx needs to start with.
    booted.sh("systemctl start nginx").expect(0);
    wait_for("an answer through nginx", LONG, || {
        (booted.sh("curl -sf http://127.0.0.1/health").status == Some(0)).then_some(())
    });

    booted.sh("aibkctl swap api").expect(0);
    assert_eq!(serving(&booted.status()), ["api@8001"]);
    booted.sh("ln -sfn releases/v2 /srv/app/current; aibkctl rolling api").expect(0);
    booted.sh("curl -sf http://127.0.0.1/version").expect(0).says(&["v2"]);

    the_daemon_ends(&booted, Signal::KILL);
    // The watchdog replaces one that hangs.
    the_daemon_ends(&booted, Signal::STOP);

    an_end_that_nobody_saw_is_known(&booted);

    output_is_in_the_journal(&booted);
    // Only a stop of the unit takes the applications with it.
    let before = booted.status();
    let same = || assert_eq!(pids(&booted.status()), pids(&before), "the same processes serve on");
    for _ in 0..2 {
        booted.sh("systemctl restart aibkd").expect(0);
        same();
    }
    the_daemon_ends(&booted, Signal::TERM);
    same();
    the_daemon_is_replaced(&booted);
    same();
    booted.sh("systemctl reload aibkd").expect(0);
    same();
    let told = booted.sh("aibkctl events -n 1000").expect(0);
    told.says(&["daemon.leaving", "the applications run on", "daemon.reexec"]);

    booted.sh("journalctl -u aibkd --no-pager").expect(0).says(&["api@8001"]);
    booted.sh("systemctl stop aibkd").expect(0);
    let left = booted.sh("pgrep -fa '[u]vicorn' || :").expect(0);
    assert_eq!(left.stdout, "", "left behind:\n{left}");
    a_host_is_set_up(&booted, scratch.path());
}

/// From units as they were before aibkd: nothing is done but what was shown, once, and it is enough to
/// serve.
fn a_host_is_set_up(booted: &Booted, scratch: &Path) {
    booted.write(scratch, OLD_UNIT, "/etc/systemd/system/books-api@.service");
    booted
        .sh("rm /etc/aibk/aibk.yaml /etc/nginx/sites-enabled/default /etc/nginx/conf.d/aibk.conf
            mkdir -p /home/books/app; cp -r /srv/app/releases/v1 /home/books/app/server
            systemctl daemon-reload")
        .expect(0);
    let everything = || {
        let looked =
            "find /etc /home /srv /usr /opt -xdev -printf '%p %y %m %u %s %T@ %l\\n' | sort";
        booted.sh(looked).expect(0).stdout
    };
    let setup = "aibkctl setup --server-name books.example.org --from-systemd books-api@8000 \
                 --from-systemd books-api@8001";
    let before = everything();
    booted.sh(setup).expect(0).says(&["/etc/aibk/aibk.yaml", "do it with --apply"]);
    assert!(everything() == before, "a plan changes nothing");
    booted.sh(&format!("{setup} --apply")).expect(0);
    booted.sh("id books; aibkctl config check /etc/aibk/aibk.yaml").expect(0);
    let after = everything();
    booted.sh(&format!("{setup} --apply")).expect(0).says(&["nothing to do"]);
    assert!(everything() == after, "the second time nothing is done");
    booted.sh("systemctl start aibkd; systemctl restart nginx").expect(0);
    wait_for("an answer through nginx", LONG, || {
        let asked =
            "curl -sfk --resolve books.example.org:443:127.0.0.1 https://books.example.org/health";
        (booted.sh(asked).status == Some(0)).then_some(())
    });
    booted.sh("systemctl stop aibkd").expect(0);
}

/// systemd keeps what tells of it. The daemon is killed first, so that it cannot be the one who saw.
fn an_end_that_nobody_saw_is_known(booted: &Booted) {
    let (name, pid) = {
        let status = booted.status();
        let (name, pid) = pids(&status)[0];
        (name.to_owned(), pid)
    };
    booted.sh(&format!("kill -KILL {} {pid}", booted.main_pid())).expect(0);
    wait_for("another instance", LONG * 2, || {
        let told = booted.sh("aibkctl status --json").stdout;
        let status: Status = serde_json::from_str(&told).ok()?;
        let (is, now) = pids(&status).into_iter().next()?;
        (is == name && now != pid).then_some(())
    });
    let told = booted.sh("aibkctl events -n 1000").expect(0);
    told.says(&[&format!("{name} has ended while no aibkd ran")]);
    told.says(&[&format!("{name} was killed by signal 9")]);
}

/// With fields and priorities.
fn output_is_in_the_journal(booted: &Booted) {
    let read = |matches: &str| {
        let output = booted.sh(&format!("journalctl -o json --no-pager {matches}"));
        output.expect(0).stdout
    };
    let entries = read("AIBK_SERVICE=api AIBK_RELEASE=v2");
    for field in [
        r#""MESSAGE":"importing v2"#,
        r#""AIBK_INSTANCE":"api@800"#,
        r#""AIBK_GENERATION":"#,
        r#""AIBK_ROLLOUT":"#,
        r#""SYSLOG_IDENTIFIER":"api@800"#,
        r#""PRIORITY":"6""#,
    ] {
        assert!(entries.contains(field), "{field} is not in\n{entries}");
    }
    assert_eq!(read("AIBK_SERVICE=api AIBK_RELEASE=v2 -p err"), "");
    booted.sh("aibkctl logs api").expect(0).says(&["importing v2"]);
}

/// By an upgrade of the package; for longer than the watchdog waits, so that it is seen to be fed.
fn the_daemon_is_replaced(booted: &Booted) {
    let pid = booted.main_pid();
    let restarts = || booted.sh("systemctl show -P NRestarts aibkd").expect(0).stdout;
    let before = restarts();
    for _ in 0..3 {
        booted.sh("dpkg --install /opt/aibk.deb").expect(0).says(&["took the place of"]);
        wait_for("systemd to know", LONG, || {
            let state = booted.sh("systemctl is-active aibkd").stdout;
            (state.trim() == "active").then_some(())
        });
    }
    assert_eq!((booted.main_pid(), restarts()), (pid, before), "it is the same to systemd");
}

fn serving(status: &Status) -> Vec<&str> {
    let instances = status.services.iter().flat_map(|service| &service.instances);
    let serving = instances.filter(|seen| seen.traffic == Some(aibk::api::types::Traffic::Serving));
    serving.map(|seen| seen.name.as_str()).collect()
}

fn pids(status: &Status) -> Vec<(&str, i32)> {
    let instances = status.services.iter().flat_map(|service| &service.instances);
    let ready = instances.filter(|seen| seen.state == InstanceState::Ready);
    ready.filter_map(|seen| Some((seen.name.as_str(), seen.pid?))).collect()
}

fn the_daemon_ends(booted: &Booted, by: Signal) {
    let before = booted.status();
    let pid = booted.main_pid();
    booted.sh(&format!("kill -{} {pid}", by.as_raw())).expect(0);
    // In one question: between two, the daemon that was up may have ended and have no pid at all.
    wait_for("another daemon", LONG, || {
        let unit = booted.sh("systemctl show -p ActiveState -p MainPID aibkd").expect(0).stdout;
        let another = !unit.contains(&format!("MainPID={pid}\n"));
        (another && unit.contains("ActiveState=active\n")).then_some(())
    });
    let after = booted.status();
    assert!(!pids(&before).is_empty());
    assert_eq!(pids(&after), pids(&before), "the same processes serve on");
    booted.sh("curl -sf http://127.0.0.1/version").expect(0).says(&["v2"]);
}
