//! What a process tree may use and do, as it was asked for: plain data, in the kernel's terms.

use std::{fmt, path::PathBuf, time::Duration};

use rustix::{process, thread::CapabilitySet};

/// The most paths of one kind: the child keeps a descriptor for each on its stack.
pub const MOST_PATHS: usize = 32;

/// Everything that is asked for one tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// Its file mode creation mask: umask(2).
    pub umask: u16,
    /// Its priority, -20 to 19; `None`: the daemon's.
    pub nice: Option<i8>,
    /// What it may use.
    pub limits: Limits,
    /// What it may do.
    pub sandbox: Sandbox,
    /// What follows when the kernel cannot give what is asked for.
    pub on_refusal: OnRefusal,
}

/// Nothing but a umask that lets nobody else write.
impl Default for Confinement {
    fn default() -> Self {
        Self {
            umask: 0o022,
            nice: None,
            limits: Limits::default(),
            sandbox: Sandbox::default(),
            on_refusal: OnRefusal::default(),
        }
    }
}

/// What follows when the kernel cannot give what is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnRefusal {
    /// It is not started.
    #[default]
    Fail,
    /// It is started without, and that is told.
    Warn,
}

/// What a tree may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of each process: setrlimit(2).
    pub rlimits: Vec<Rlimit>,
    /// Memory of the whole tree.
    pub memory: Option<MemoryLimit>,
    /// Bytes above which the tree is slowed down and its memory reclaimed (`memory.high`).
    pub memory_high: Option<u64>,
    /// Processor time, in thousandths of one processor (`cpu.max`).
    pub cpu_thousandths: Option<u32>,
    /// Its share when processors are short, 1 to 10,000; usual is 100 (`cpu.weight`).
    pub cpu_weight: Option<u16>,
    /// Processes and threads of the tree (`pids.max`).
    pub pids: Option<u32>,
}

impl Limits {
    /// Whether anything is asked for the tree as a whole.
    #[must_use]
    pub const fn any_of_tree(&self) -> bool {
        self.memory.is_some()
            || self.memory_high.is_some()
            || self.cpu_thousandths.is_some()
            || self.cpu_weight.is_some()
            || self.pids.is_some()
    }
}

/// The memory of a whole tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit {
    /// The most, in bytes.
    pub bytes: u64,
    /// How often it is looked at where no cgroup enforces it.
    pub sample: Duration,
}

/// One limit of a process; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// Of what.
    pub resource: Resource,
    /// What holds.
    pub soft: Option<u64>,
    /// How far the process may raise it itself.
    pub hard: Option<u64>,
}

/// What a [`Rlimit`] is about: setrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Bytes of address space.
    AddressSpace,
    /// Bytes of a core file.
    Core,
    /// Seconds of processor time.
    CpuTime,
    /// Bytes of data segment.
    Data,
    /// Bytes of a file it writes.
    FileSize,
    /// Bytes locked in memory.
    Memlock,
    /// Bytes in POSIX message queues, of its user.
    MessageQueue,
    /// Open files.
    OpenFiles,
    /// Processes and threads of its user.
    Processes,
    /// Real-time priority.
    RealtimePriority,
    /// Queued signals, of its user.
    PendingSignals,
    /// Bytes of stack.
    Stack,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::AddressSpace,
        Self::Core,
        Self::CpuTime,
        Self::Data,
        Self::FileSize,
        Self::Memlock,
        Self::MessageQueue,
        Self::OpenFiles,
        Self::Processes,
        Self::RealtimePriority,
        Self::PendingSignals,
        Self::Stack,
    ];

    /// What the configuration calls it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::AddressSpace => "as",
            Self::Core => "core",
            Self::CpuTime => "cpu_time",
            Self::Data => "data",
            Self::FileSize => "fsize",
            Self::Memlock => "memlock",
            Self::MessageQueue => "msgqueue",
            Self::OpenFiles => "nofile",
            Self::Processes => "nproc",
            Self::RealtimePriority => "rtprio",
            Self::PendingSignals => "sigpending",
            Self::Stack => "stack",
        }
    }

    /// What the kernel calls it.
    #[must_use]
    pub const fn kernel(self) -> process::Resource {
        match self {
            Self::AddressSpace => process::Resource::As,
            Self::Core => process::Resource::Core,
            Self::CpuTime => process::Resource::Cpu,
            Self::Data => process::Resource::Data,
            Self::FileSize => process::Resource::Fsize,
            Self::Memlock => process::Resource::Memlock,
            Self::MessageQueue => process::Resource::Msgqueue,
            Self::OpenFiles => process::Resource::Nofile,
            Self::Processes => process::Resource::Nproc,
            Self::RealtimePriority => process::Resource::Rtprio,
            Self::PendingSignals => process::Resource::Sigpending,
            Self::Stack => process::Resource::Stack,
        }
    }
}

/// `nofile 1024:65535`, as setrlimit(2) counts it.
impl fmt::Display for Rlimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |limit: Option<u64>| match limit {
            Some(number) => number.to_string(),
            None => "unlimited".to_owned(),
        };
        write!(f, "{} {}", self.resource.word(), number(self.soft))?;
        if self.soft == self.hard { Ok(()) } else { write!(f, ":{}", number(self.hard)) }
    }
}

/// What a tree may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// Whether a program it executes may have more rights than it.
    pub new_privileges: NewPrivileges,
    /// What it may do as if it were root; `None`: whatever its user may.
    pub capabilities: Option<Capabilities>,
    /// Which `/tmp` and `/var/tmp` it sees.
    pub tmp: Tmp,
    /// What it cannot change.
    pub read_only: ReadOnly,
    /// Paths below what is read-only that it may change.
    pub writable: Vec<PathBuf>,
}

/// Whether execve(2) may give more rights (set-user-ID, file capabilities): `PR_SET_NO_NEW_PRIVS`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NewPrivileges {
    /// As the files say.
    #[default]
    Allowed,
    /// Never again.
    Refused,
}

/// Which `/tmp` and `/var/tmp` a tree sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tmp {
    /// Everybody's.
    #[default]
    Shared,
    /// Empty ones of its own, in memory, gone with its last process.
    Private,
}

/// What a tree cannot change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ReadOnly {
    /// Nothing but what its user cannot.
    #[default]
    Nothing,
    /// These and all below.
    Paths(Vec<PathBuf>),
    /// Every file but those of `/dev`, `/proc` and `/sys`.
    All,
}

/// A set of capabilities: capabilities(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities(CapabilitySet);

impl Capabilities {
    /// None at all.
    pub const NONE: Self = Self(CapabilitySet::empty());

    /// The one of this name, without `CAP_`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        CapabilitySet::from_name(name).map(Self)
    }

    /// Every name there is.
    pub fn names() -> impl Iterator<Item = &'static str> {
        CapabilitySet::all().iter_names().map(|(name, _)| name)
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0.union(other.0))
    }

    /// As capset(2) takes them: bit N is capability N.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0.bits()
    }
}

/// `none`, or the names.
impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter_names().map(|(name, _)| name).collect();
        f.write_str(if names.is_empty() { "none" } else { "" })?;
        f.write_str(&names.join(" "))
    }
}

/// Whether this process may do what `name` (without `CAP_`) stands for.
#[must_use]
pub fn is_capable(name: &str) -> bool {
    let own = rustix::thread::capabilities(None);
    let named = CapabilitySet::from_name(name);
    own.ok().zip(named).is_some_and(|(own, named)| own.effective.contains(named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_has_words() {
        let open = |soft, hard| Rlimit { resource: Resource::OpenFiles, soft, hard };
        assert_eq!(open(Some(10), Some(10)).to_string(), "nofile 10");
        assert_eq!(open(Some(10), None).to_string(), "nofile 10:unlimited");
        let bind = Capabilities::named("NET_BIND_SERVICE").unwrap();
        assert_eq!((bind.bits(), bind.to_string().as_str()), (1 << 10, "NET_BIND_SERVICE"));
        assert_eq!(bind.with(Capabilities::NONE), bind);
        assert_eq!(Capabilities::NONE.to_string(), "none");
        assert_eq!(Capabilities::named("CAP_CHOWN"), None);
        assert!(Capabilities::names().count() > 40);
    }
}
