//! What a leaf may use, where the kernel's controllers are ours to enable.

use std::{
    fmt, fs,
    io::{self, ErrorKind},
    path::Path,
};

use super::{Base, Leaf, make_dir};
use crate::sys::confine::Limits;

/// Where the daemon moves itself: a cgroup that holds processes may not have controllers in its
/// children, unless it is the root.
pub(super) const DAEMON: &str = "aibkd";

/// Time over which `cpu.max` counts, in microseconds.
const CPU_PERIOD: u64 = 100_000;

/// A part of the kernel that limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Processor time.
    Cpu,
    /// Memory.
    Memory,
    /// Number of processes.
    Pids,
}

impl Controller {
    /// Its name in `cgroup.controllers`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }
}

/// One file of a leaf that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knob {
    /// Whose file it is.
    pub controller: Controller,
    /// Its name.
    pub file: &'static str,
    /// What is written.
    pub value: String,
    /// What it is for, as the configuration has it.
    pub asked: String,
}

/// `memory.max`, for which there is another way.
pub const MEMORY_MAX: &str = "memory.max";

/// What must be written for `limits`. Pure.
#[must_use]
pub fn knobs(limits: &Limits) -> Vec<Knob> {
    use Controller::{Cpu, Memory, Pids};
    let knob = |controller, file, value: String, asked: String| Knob {
        controller,
        file,
        value,
        asked: format!("limits.{asked}"),
    };
    let cpu = limits.cpu_thousandths.map(|thousandths| {
        let quota = u64::from(thousandths) * CPU_PERIOD / 1000;
        let cpus = f64::from(thousandths) / 1000.0;
        knob(Cpu, "cpu.max", format!("{quota} {CPU_PERIOD}"), format!("cpus {cpus}"))
    });
    let weight = limits
        .cpu_weight
        .map(|weight| knob(Cpu, "cpu.weight", weight.to_string(), format!("cpu_weight {weight}")));
    let high = limits.memory_high.map(|bytes| {
        knob(Memory, "memory.high", bytes.to_string(), format!("memory_high {}", Size(bytes)))
    });
    let memory = limits.memory.map(|memory| {
        let asked = format!("memory {}", Size(memory.bytes));
        knob(Memory, MEMORY_MAX, memory.bytes.to_string(), asked)
    });
    let pids =
        limits.pids.map(|pids| knob(Pids, "pids.max", pids.to_string(), format!("pids {pids}")));
    [cpu, weight, high, memory, pids].into_iter().flatten().collect()
}

/// Bytes, in the largest unit that leaves a whole number.
#[derive(Debug, Clone, Copy)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units
            .into_iter()
            .find(|(shift, _)| self.0 != 0 && self.0.is_multiple_of(1_u64 << shift))
        {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl Base {
    /// Makes `controller` usable in the leaves. Where the delegated part of the tree holds this
    /// process, it moves itself into a leaf of its own first.
    ///
    /// # Errors
    /// `Unsupported` when the controller is not available here; else the kernel's reason.
    pub fn enable(&self, controller: Controller) -> io::Result<()> {
        let root = self.path.parent().ok_or(ErrorKind::NotFound)?;
        enable(root, &self.path, controller, &mut |file, text| fs::write(file, text))
    }
}

impl Base {
    /// Whether controllers were ever made usable in the leaves.
    #[must_use]
    pub fn has_controllers(&self) -> bool {
        let enabled = fs::read_to_string(self.path.join("cgroup.subtree_control"));
        enabled.is_ok_and(|text| !text.trim_end().is_empty())
    }
}

type Write<'w> = &'w mut dyn FnMut(&Path, &str) -> io::Result<()>;

fn enable(root: &Path, base: &Path, controller: Controller, write: Write<'_>) -> io::Result<()> {
    if !lists(&root.join("cgroup.controllers"), controller)? {
        return Err(ErrorKind::Unsupported.into());
    }
    let request = format!("+{}", controller.word());
    for directory in [root, base] {
        let file = directory.join("cgroup.subtree_control");
        if lists(&file, controller)? {
            continue;
        }
        match write(&file, &request) {
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) && directory == root => {
                let own = root.join(DAEMON);
                make_dir(&own)?;
                write(&own.join("cgroup.procs"), &std::process::id().to_string())?;
                write(&file, &request)?;
            }
            result => result?,
        }
    }
    Ok(())
}

fn lists(file: &Path, controller: Controller) -> io::Result<bool> {
    let text = fs::read_to_string(file)?;
    Ok(text.split_ascii_whitespace().any(|word| word == controller.word()))
}

/// What stands in a file where nothing is asked for.
const fn usual(file: &str) -> &str {
    if matches!(file.as_bytes(), b"cpu.weight") { "100" } else { "max" }
}

impl Leaf {
    /// Takes back what was written for `knob`. A file that is not there was not written.
    pub fn lift(&self, knob: &Knob) {
        let file = self.path.join(knob.file);
        if file.exists() {
            // The kernel refuses no larger limit.
            let _ = fs::write(file, usual(knob.file));
        }
    }

    /// Writes one of its files.
    ///
    /// # Errors
    /// The kernel's reason.
    pub fn turn(&self, knob: &Knob) -> io::Result<()> {
        fs::write(self.path.join(knob.file), &knob.value)?;
        if knob.file == MEMORY_MAX {
            // Linux 4.19: a tree that has lost a process is no whole one.
            let _ = fs::write(self.path.join("memory.oom.group"), "1");
        }
        Ok(())
    }

    /// Whether the kernel holds it to an amount of memory.
    #[must_use]
    pub fn has_memory_limit(&self) -> bool {
        fs::read_to_string(self.path.join(MEMORY_MAX)).is_ok_and(|text| text.trim_end() != "max")
    }

    /// Whether the kernel has killed a process of it for want of memory, since it was made.
    #[must_use]
    pub fn ran_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.path.join("memory.events"));
        events.is_ok_and(|text| kills(&text) > 0)
    }
}

fn kills(events: &str) -> u64 {
    let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, path::PathBuf, time::Duration};

    use tempfile::TempDir;

    use super::{super::Since, *};
    use crate::sys::confine::MemoryLimit;

    /// A directory that looks like a delegated cgroup.
    struct Tree(TempDir);

    impl Tree {
        fn new(available: &str) -> Self {
            let tree = Self(TempDir::new().unwrap());
            fs::create_dir(tree.base()).unwrap();
            for directory in [tree.root(), tree.base()] {
                fs::write(directory.join("cgroup.controllers"), available).unwrap();
                fs::write(directory.join("cgroup.subtree_control"), "").unwrap();
            }
            tree
        }

        fn root(&self) -> PathBuf {
            self.0.path().to_owned()
        }

        fn base(&self) -> PathBuf {
            self.root().join("aibk-1")
        }

        /// Enables `controller`; the writes, each with its answer.
        fn enable(&self, controller: Controller, answers: &[i32]) -> (io::Result<()>, Vec<String>) {
            let mut answers: VecDeque<_> = answers.iter().copied().collect();
            let mut written = Vec::new();
            let root = self.root();
            let result = enable(&root, &self.base(), controller, &mut |file, text| {
                let file = file.strip_prefix(&root).unwrap().display();
                written.push(format!("{file} {text}"));
                match answers.pop_front() {
                    None | Some(0) => Ok(()),
                    Some(errno) => Err(io::Error::from_raw_os_error(errno)),
                }
            });
            (result, written)
        }
    }

    #[test]
    fn a_controller_is_enabled_from_the_top() {
        let tree = Tree::new("cpuset cpu io memory pids\n");
        let (result, written) = tree.enable(Controller::Memory, &[]);
        assert!(result.is_ok());
        let on = ["cgroup.subtree_control +memory", "aibk-1/cgroup.subtree_control +memory"];
        assert_eq!(written, on);
        for directory in [tree.root(), tree.base()] {
            fs::write(directory.join("cgroup.subtree_control"), "memory\n").unwrap();
        }
        assert!(tree.enable(Controller::Memory, &[]).1.is_empty(), "it is on");
    }

    #[test]
    fn the_daemon_leaves_the_way_only_when_it_stands_in_it() {
        let tree = Tree::new("pids");
        let (result, written) = tree.enable(Controller::Pids, &[libc::EBUSY]);
        assert!(result.is_ok());
        assert_eq!(written.len(), 4);
        assert_eq!(written[1], format!("aibkd/cgroup.procs {}", std::process::id()));
        assert_eq!(written[2], "cgroup.subtree_control +pids");
        let (result, written) = tree.enable(Controller::Pids, &[libc::EBUSY, 0, libc::EBUSY]);
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EBUSY), "others are there");
        assert_eq!(written.len(), 3);
        let (result, written) = tree.enable(Controller::Pids, &[libc::EACCES]);
        assert_eq!((result.unwrap_err().kind(), written.len()), (ErrorKind::PermissionDenied, 1));
    }

    #[test]
    fn what_is_not_available_is_said() {
        let (result, written) = Tree::new("cpuset\n").enable(Controller::Cpu, &[]);
        assert_eq!((result.unwrap_err().kind(), written.len()), (ErrorKind::Unsupported, 0));
    }

    #[test]
    fn limits_are_written_as_the_kernel_reads_them() {
        let limits = Limits {
            memory: Some(MemoryLimit { bytes: 512 << 20, sample: Duration::from_secs(5) }),
            memory_high: Some((512 << 20) - 4096),
            cpu_thousandths: Some(1500),
            cpu_weight: Some(50),
            pids: Some(64),
            ..Limits::default()
        };
        let told: Vec<_> = knobs(&limits)
            .into_iter()
            .map(|knob| {
                format!("{} {} {} {}", knob.controller.word(), knob.file, knob.value, knob.asked)
            })
            .collect();
        assert_eq!(
            told,
            [
                "cpu cpu.max 150000 100000 limits.cpus 1.5",
                "cpu cpu.weight 50 limits.cpu_weight 50",
                "memory memory.high 536866816 limits.memory_high 524284KiB",
                "memory memory.max 536870912 limits.memory 512MiB",
                "pids pids.max 64 limits.pids 64",
            ]
        );
        assert!(knobs(&Limits::default()).is_empty());
    }

    #[test]
    fn a_leaf_tells_what_became_of_it() {
        let directory = TempDir::new().unwrap();
        let leaf = Leaf { path: directory.path().to_owned(), since: Since::Before };
        assert!(!leaf.has_memory_limit() && !leaf.ran_out_of_memory());
        let limits = Limits {
            memory: Some(MemoryLimit { bytes: 1 << 20, sample: Duration::from_secs(5) }),
            ..Limits::default()
        };
        leaf.turn(&knobs(&limits)[0]).unwrap();
        assert!(leaf.has_memory_limit());
        leaf.lift(&knobs(&limits)[0]);
        assert!(!leaf.has_memory_limit());
        leaf.lift(&knobs(&Limits { cpu_weight: Some(7), ..Limits::default() })[0]);
        assert!(!directory.path().join("cpu.weight").exists());
        let group = fs::read_to_string(directory.path().join("memory.oom.group"));
        assert_eq!(group.unwrap(), "1");
        let events = directory.path().join("memory.events");
        fs::write(&events, "low 0\nhigh 3\nmax 9\noom 1\noom_kill 0\noom_group_kill 0\n").unwrap();
        assert!(!leaf.ran_out_of_memory());
        fs::write(&events, "oom 1\noom_kill 2\n").unwrap();
        assert!(leaf.ran_out_of_memory());
    }
}
