//! Whether the main thread of a process waits for events, as an event loop does between any two of
//! them: proc(5).

use std::{fs, io};

/// What a process is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// Waiting for events: `epoll_wait(2)`.
    Events,
    /// Stopped, by a signal or a debugger.
    Stop,
    /// Something else: the function of the kernel in which it sleeps, or none where it runs, or
    /// where the kernel does not tell.
    Other(String),
}

/// What `pid` is at now. /proc/PID/wchan takes what ptrace(2) takes for reading.
///
/// # Errors
/// When there is no such process.
pub fn look(pid: i32) -> io::Result<At> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Its name stands in parentheses, and may hold any.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    if matches!(state, Some('T' | 't')) {
        return Ok(At::Stop);
    }
    let place = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    // `ep_poll` until Linux 6, `do_epoll_wait` where that is inlined.
    if place == "ep_poll" || place.contains("epoll") {
        return Ok(At::Events);
    }
    Ok(At::Other(place))
}

#[cfg(test)]
mod tests {
    use std::{
        os::fd::OwnedFd,
        sync::mpsc,
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn who_waits_for_events_is_seen() {
        let (tell, told) = mpsc::channel();
        let (wake, waker) = rustix::pipe::pipe().unwrap();
        let waits = std::thread::spawn(move || {
            let flags = rustix::event::epoll::CreateFlags::CLOEXEC;
            let epoll: OwnedFd = rustix::event::epoll::create(flags).unwrap();
            let data = rustix::event::epoll::EventData::new_u64(0);
            let readable = rustix::event::epoll::EventFlags::IN;
            rustix::event::epoll::add(&epoll, &wake, data, readable).unwrap();
            tell.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
            let mut events = Vec::with_capacity(1);
            let room = rustix::buffer::spare_capacity(&mut events);
            rustix::event::epoll::wait(&epoll, room, None).unwrap();
        });
        let thread: i32 = told.recv().unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while look(thread).unwrap() != At::Events {
            assert!(Instant::now() < end, "{:?}", look(thread));
            std::thread::yield_now();
        }
        assert!(matches!(look(std::process::id().cast_signed()).unwrap(), At::Other(_)));
        drop(waker);
        waits.join().unwrap();
    }
}
