//! Whether something keeps the wall clock right: adjtimex(2).
#![allow(unsafe_code)]

use std::io;

/// Who keeps the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discipline {
    /// Something keeps it right.
    Synchronised,
    /// Nothing does (`STA_UNSYNC`).
    Alone,
}

/// Asks the kernel, and changes nothing.
///
/// # Errors
/// adjtimex(2)'s.
pub fn discipline() -> io::Result<Discipline> {
    // SAFETY: it is plain numbers, for which zero is a value.
    let mut clock: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `clock` is valid; with no modes, it is only written.
    let state = unsafe { libc::adjtimex(&raw mut clock) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    let alone = state == libc::TIME_ERROR || clock.status & libc::STA_UNSYNC != 0;
    Ok(if alone { Discipline::Alone } else { Discipline::Synchronised })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_one_or_the_other() {
        discipline().unwrap();
    }
}
