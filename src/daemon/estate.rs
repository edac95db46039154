//! What a daemon inherits, as descriptors: from the program whose place it took, or from systemd.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use crate::sys::exec;

/// The option that hands the control socket over.
const CONTROL: &str = "--control-fd";
/// The option that hands a listening socket over.
const LISTENER: &str = "--listener";

/// What a daemon inherits.
#[derive(Debug, Default)]
pub struct Estate {
    /// The control socket, from the program whose place it took.
    pub(super) control: Option<OwnedFd>,
    /// What was kept for it, by name.
    pub(super) kept: BTreeMap<String, OwnedFd>,
}

impl Estate {
    /// What a predecessor left open by [`words`], or else what systemd kept (`sd_listen_fds(3)`).
    /// To be called once, before anything else is opened, for the numbers say nothing of who owns
    /// them.
    ///
    /// # Errors
    /// When systemd's variables make no sense.
    pub fn claim(control: Option<i32>, listeners: &[(String, i32)]) -> io::Result<Self> {
        let control = control.and_then(|number| exec::inherited(number).ok());
        let kept: Vec<_> = if control.is_some() {
            // The variables were meant for the predecessor, which had the same pid.
            listeners.to_vec()
        } else {
            sd_notify::listen_fds_with_names()?.map(|(number, name)| (name, number)).collect()
        };
        let open = |(name, number)| Some((name, exec::inherited(number).ok()?));
        Ok(Self { control, kept: kept.into_iter().filter_map(open).collect() })
    }
}

/// The arguments by which a successor finds `control` and `listeners`.
pub(super) fn words(control: &OwnedFd, listeners: &[(String, OwnedFd)]) -> Vec<String> {
    let mut words = vec![CONTROL.to_owned(), control.as_raw_fd().to_string()];
    for (name, fd) in listeners {
        words.extend([LISTENER.to_owned(), format!("{name}={}", fd.as_raw_fd())]);
    }
    words
}
