//! Named points between an intent, its effect and its result, at which a test kills the daemon.
//!
//! A debug build reads the file that `AIBK_SYNC_POINT_FILE` names at each point: `rollout.effect:3`
//! in it makes the daemon kill itself (SIGKILL, so that nothing of it is left to tidy up) when it
//! comes to the point `rollout.effect` for the third time since that was written. Release builds do
//! not have them.

/// Passes the named point.
#[macro_export]
macro_rules! sync_point {
    ($name:literal) => {
        #[cfg(debug_assertions)]
        $crate::sync_point::passed($name);
    };
}

/// Kills this process when the environment says so.
#[cfg(debug_assertions)]
pub fn passed(name: &str) {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static PASSED: AtomicU32 = AtomicU32::new(0);

    let Some(file) = std::env::var_os("AIBK_SYNC_POINT_FILE") else { return };
    let Ok(chosen) = std::fs::read_to_string(file) else { return };
    let Some((point, nth)) = chosen.trim().split_once(':') else { return };
    if point == name && nth.parse() == Ok(PASSED.fetch_add(1, Relaxed) + 1) {
        let myself = rustix::process::getpid();
        let _ = rustix::process::kill_process(myself, rustix::process::Signal::KILL);
    }
}
