//! What a process takes of the memory: `/proc/PID/smaps_rollup` (proc(5)).

use std::fs;

/// A process in memory, in MiB.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Its proportional share.
    pub pss: f64,
    /// What no other process has.
    pub private: f64,
    /// Its threads.
    pub threads: usize,
}

impl Memory {
    /// Of the process `pid`.
    pub fn of(pid: i32) -> Self {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("a process");
        let mib = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
            kib.and_then(|kib| kib.trim().parse::<f64>().ok()).expect(name) / 1024.0
        };
        let private = mib("Private_Dirty:") + mib("Private_Clean:");
        let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a process").count();
        Self { pss: mib("Pss:"), private, threads }
    }
}
