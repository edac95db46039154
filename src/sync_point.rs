//! Named points between an intent, its effect and its result, where a test strikes.
//!
//! A debug build reads the file that `AIBK_SYNC_POINT_FILE` names at each point. `rollout.effect:3`
//! in it makes the daemon kill itself (SIGKILL, so that nothing of it is left to tidy up) when it
//! comes to the point `rollout.effect` for the third time since that was written. At the point of
//! an effect, `rollout.perform:3:fails` makes the third one fail before it begins, and
//! `rollout.perform:*:twice` runs each one twice. Release builds do not have them.

/// Passes the named point.
#[macro_export]
macro_rules! sync_point {
    ($name:literal) => {
        #[cfg(debug_assertions)]
        $crate::sync_point::passed($name);
    };
}

/// The value of `$effect`, which a test may have fail, or run twice.
#[macro_export]
macro_rules! effect_point {
    ($name:literal, $effect:expr) => {{
        #[cfg(debug_assertions)]
        match $crate::sync_point::passed($name) {
            $crate::sync_point::Strike::None => $effect,
            $crate::sync_point::Strike::Fails => Err(format!("{} was made to fail", $name).into()),
            $crate::sync_point::Strike::Twice => match $effect {
                Ok(_) => $effect,
                failed => failed,
            },
        }
        #[cfg(not(debug_assertions))]
        $effect
    }};
}

/// What a test does to an effect.
#[cfg(debug_assertions)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// Nothing.
    None,
    /// It fails, and nothing was done.
    Fails,
    /// It is run twice.
    Twice,
}

/// Kills this process when the environment says so, or says what else is to happen.
#[cfg(debug_assertions)]
pub fn passed(name: &str) -> Strike {
    use std::sync::{Mutex, PoisonError};
    /// What was written last, and how often that point was passed since.
    static PASSED: Mutex<(String, u32)> = Mutex::new((String::new(), 0));

    let Some(file) = std::env::var_os("AIBK_SYNC_POINT_FILE") else { return Strike::None };
    let Ok(chosen) = std::fs::read_to_string(file) else { return Strike::None };
    let mut words = chosen.trim().split(':');
    let (Some(point), Some(nth)) = (words.next(), words.next()) else { return Strike::None };
    if point != name {
        return Strike::None;
    }
    let passage = {
        let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
        if passed.0 != chosen {
            *passed = (chosen.clone(), 0);
        }
        passed.1 += 1;
        passed.1
    };
    if nth != "*" && nth.parse() != Ok(passage) {
        return Strike::None;
    }
    match words.next() {
        Some("fails") => Strike::Fails,
        Some("twice") => Strike::Twice,
        _ => {
            let myself = rustix::process::getpid();
            let _ = rustix::process::kill_process(myself, rustix::process::Signal::KILL);
            Strike::None
        }
    }
}
