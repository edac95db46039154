//! From what was asked for to what the kernel is told, and from its refusals to words.

use std::{
    ffi::CString,
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{ProcessError, error::reason, program::c_path};
use crate::sys::{
    cgroup::{
        Base, Leaf,
        limits::{Controller, MEMORY_MAX, knobs},
    },
    confine::{
        Capabilities, Confinement, Limits, NewPrivileges, OnRefusal, ReadOnly, Tmp, is_capable,
    },
    landlock,
    spawn::{Bounds, Mounts, Stage, Trouble},
};

/// What a private tmp hides.
const TMP: [&str; 2] = ["/tmp", "/var/tmp"];

/// Files of the kernel rather than of a disk: what is read-only leaves them out.
const KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Something that was asked for and that the kernel does not give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What, as the configuration has it: `limits.nofile 65535`.
    pub asked: String,
    /// The system's reason, and what to do about it.
    pub reason: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.asked, self.reason)
    }
}

/// Which of the things that were asked for hold for a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confined {
    /// Those that do, and by what means where there are several.
    pub enforced: Vec<String>,
    /// Those that do not.
    pub refused: Vec<Refusal>,
}

/// What one start asks the kernel for, and how it is told.
#[derive(Debug, Default)]
pub(super) struct Request {
    asked: Vec<Asked>,
    refused: Vec<Refusal>,
}

/// One thing that is asked for, and the steps of the child that do it.
#[derive(Debug)]
struct Asked {
    what: String,
    steps: Vec<(Stage, usize)>,
    refused: bool,
}

impl Request {
    pub(super) fn ask(&mut self, what: String, steps: impl IntoIterator<Item = (Stage, usize)>) {
        self.asked.push(Asked { what, steps: steps.into_iter().collect(), refused: false });
    }

    /// Notes what cannot even be tried.
    pub(super) fn refuse(&mut self, asked: String, reason: String) {
        self.refused.push(Refusal { asked, reason });
    }

    /// Notes what the child could not do.
    pub(super) fn note(&mut self, trouble: &Trouble) {
        let step = (trouble.stage, trouble.item);
        for asked in self.asked.iter_mut().filter(|a| !a.refused && a.steps.contains(&step)) {
            asked.refused = true;
            let reason = format!("{}; {}", reason(&trouble.source), hint(trouble));
            self.refused.push(Refusal { asked: asked.what.clone(), reason });
        }
    }

    pub(super) fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    pub(super) fn into_confined(self) -> Confined {
        let enforced = self.asked.into_iter().filter(|asked| !asked.refused);
        Confined { enforced: enforced.map(|asked| asked.what).collect(), refused: self.refused }
    }
}

/// The bounds of a child whose standard descriptors are `stdio`.
pub(super) fn bounds(
    asked: &Confinement,
    stdio: &[OwnedFd],
    request: &mut Request,
) -> Result<Bounds, ProcessError> {
    let sandbox = &asked.sandbox;
    let mut bounds = Bounds {
        umask: asked.umask,
        nice: asked.nice,
        rlimits: asked.limits.rlimits.clone(),
        capabilities: sandbox.capabilities.map(Capabilities::bits),
        new_privileges: sandbox.new_privileges,
        on_refusal: asked.on_refusal,
        ..Bounds::default()
    };
    if let Some(nice) = asked.nice {
        request.ask(format!("nice {nice}"), [(Stage::Nice, 0)]);
    }
    for (i, limit) in bounds.rlimits.iter().enumerate() {
        request.ask(format!("limits.{limit}"), [(Stage::Limit, i)]);
    }
    if sandbox.new_privileges == NewPrivileges::Refused {
        request.ask("sandbox.no_new_privs".to_owned(), [(Stage::NewPrivileges, 0)]);
    }
    if let Some(kept) = sandbox.capabilities {
        // Without a right to drop it, the bounding set is of no consequence where no program can
        // give more rights.
        let moot = sandbox.new_privileges == NewPrivileges::Refused && !is_capable("SETPCAP");
        bounds.bounding = (!moot).then(|| kept.bits());
        let steps = [(Stage::Bounding, 0), (Stage::Capabilities, 0)];
        request.ask(format!("sandbox.capabilities {kept}"), steps);
    }
    files(asked, stdio, &mut bounds, request)?;
    Ok(bounds)
}

/// Private tmp and read-only paths.
fn files(
    asked: &Confinement,
    stdio: &[OwnedFd],
    bounds: &mut Bounds,
    request: &mut Request,
) -> Result<(), ProcessError> {
    let sandbox = &asked.sandbox;
    let mut mounts = Mounts::default();
    let namespace = [(Stage::Namespace, 0)];
    let mut writable = sandbox.writable.clone();
    match &sandbox.read_only {
        ReadOnly::Nothing => {}
        ReadOnly::All => {
            writable.extend(KERNEL.iter().map(PathBuf::from).filter(|path| path.is_dir()));
            let what = "sandbox.read_only all".to_owned();
            if is_capable("SYS_ADMIN") {
                mounts.read_only = vec![c"/".to_owned()];
                mounts.writable = sorted(&writable)?;
                let steps = (0..writable.len()).map(|i| (Stage::Writable, i));
                request.ask(what, namespace.into_iter().chain([(Stage::ReadOnly, 0)]).chain(steps));
            } else {
                // Landlock is asked about what is there; mounts find out themselves.
                for path in sandbox.writable.iter().filter(|path| !path.exists()) {
                    let asked = format!("sandbox.writable {}", path.display());
                    request.refuse(asked, "it must exist".to_owned());
                }
                match landlock::only_writable(&writable, stdio) {
                    Ok(ruleset) => {
                        bounds.landlock = Some(ruleset);
                        request.ask(format!("{what} (by Landlock)"), [(Stage::Landlock, 0)]);
                    }
                    Err(e) => request.refuse(what, no_landlock(&e)),
                }
            }
        }
        ReadOnly::Paths(paths) => {
            mounts.read_only = sorted(paths)?;
            mounts.writable = sorted(&writable)?;
            let kept = (0..writable.len()).map(|i| (Stage::Writable, i));
            for (i, path) in mounts.read_only.iter().enumerate() {
                let steps = namespace.into_iter().chain([(Stage::ReadOnly, i)]).chain(kept.clone());
                request.ask(format!("sandbox.read_only {}", path.to_string_lossy()), steps);
            }
        }
    }
    if sandbox.tmp == Tmp::Private {
        let present = TMP.iter().map(Path::new).filter(|path| path.is_dir());
        mounts.empty = present.map(c_path).collect::<Result<_, _>>()?;
        let steps = (0..mounts.empty.len()).map(|i| (Stage::PrivateTmp, i));
        request.ask("sandbox.private_tmp".to_owned(), namespace.into_iter().chain(steps));
    }
    let some = !mounts.read_only.is_empty() || !mounts.empty.is_empty();
    bounds.mounts = some.then_some(mounts);
    Ok(())
}

/// Parents come before what is below them.
fn sorted(paths: &[PathBuf]) -> Result<Vec<CString>, ProcessError> {
    let mut paths: Vec<&PathBuf> = paths.iter().collect();
    paths.sort();
    paths.into_iter().map(|path| c_path(path)).collect()
}

fn no_landlock(error: &io::Error) -> String {
    format!(
        "{}; it needs a daemon that runs as root, or Linux 5.13 with `landlock` among its security \
         modules (/sys/kernel/security/lsm)",
        reason(error)
    )
}

/// What to do about a refusal.
fn hint(trouble: &Trouble) -> &'static str {
    let missing = trouble.source.raw_os_error() == Some(libc::ENOENT);
    match trouble.stage {
        Stage::Nice => "only root may ask for more than it has",
        Stage::Limit => "it is above what aibkd itself may have: raise Limit...= of its unit",
        Stage::Namespace => "it needs a daemon that runs as root with CAP_SYS_ADMIN",
        Stage::ReadOnly | Stage::Writable if missing => "it must exist",
        Stage::ReadOnly | Stage::Writable => "it needs Linux 5.12",
        Stage::PrivateTmp => "a security module may forbid it",
        Stage::Bounding => "it needs a daemon that runs as root, or `no_new_privs`",
        Stage::Capabilities => "aibkd cannot give what it does not have",
        Stage::Landlock => "it needs `no_new_privs`",
        _ => "see the kernel's log",
    }
}

/// Limits the leaf that a tree is about to be born in; whether anything limits it then.
pub(super) fn limit(
    limits: &Limits,
    base: Option<&Base>,
    leaf: Option<&Leaf>,
    request: &mut Request,
) -> bool {
    let mut limited = false;
    for knob in knobs(limits) {
        let turned = match base.zip(leaf) {
            Some((base, leaf)) => base.enable(knob.controller).and_then(|()| leaf.turn(&knob)),
            None => Err(ErrorKind::Unsupported.into()),
        };
        limited |= turned.is_ok();
        match (turned, limits.memory) {
            (Ok(()), _) => request.ask(knob.asked, []),
            (Err(_), Some(memory)) if knob.file == MEMORY_MAX => {
                request.ask(format!("{} (seen every {:?})", knob.asked, memory.sample), []);
            }
            (Err(e), _) => request.refuse(knob.asked, no_controller(knob.controller, &e)),
        }
    }
    limited
}

fn no_controller(controller: Controller, error: &io::Error) -> String {
    let word = controller.word();
    match error.raw_os_error() {
        None if error.kind() == ErrorKind::Unsupported => {
            let instead = match controller {
                Controller::Pids => ", or use `nproc`",
                Controller::Cpu | Controller::Memory => "",
            };
            format!(
                "there is no {word} controller of cgroup v2 here; run aibkd as a unit with \
                 Delegate=yes{instead}"
            )
        }
        Some(libc::EBUSY) => format!(
            "other processes are in the cgroup whose {word} controller it needs; run aibkd as a \
             unit with Delegate=yes"
        ),
        _ => format!("{}; run aibkd as a unit with Delegate=yes", reason(error)),
    }
}

/// Whether a stage is one that may be refused, rather than one that must not fail.
pub(super) const fn is_asked_for(stage: Stage) -> bool {
    !matches!(stage, Stage::Session | Stage::Stdio | Stage::User | Stage::Directory | Stage::Exec)
}

/// Whether a start with these refusals must be given up.
pub(super) fn forbids(asked: &Confinement, request: &Request) -> bool {
    asked.on_refusal == OnRefusal::Fail && !request.refused().is_empty()
}
