//! Learns how main processes end, and reaps them. One watcher for all: a task and a registration with
//! the runtime of its own for each would cost a thousand of them a megabyte.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::SetOnce,
    time::{Instant, sleep},
};

use super::{Exit, Identity, reaper};
use crate::sys::{
    pidfd::{self, Ended},
    watch::watch,
};

/// Ends that are taken at once.
const AT_ONCE: usize = 64;
/// How long a want of descriptors is waited out, and the time between two tries.
const SHORTAGE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(10);

/// A main process, and how it ended.
#[derive(Debug)]
pub(super) struct Main {
    pub(super) identity: Identity,
    pub(super) pidfd: OwnedFd,
    pub(super) exit: SetOnce<Exit>,
}

/// Who watches.
#[derive(Debug, Default)]
pub(super) struct Watcher(Mutex<Option<Arc<Watched>>>);

#[derive(Debug)]
struct Watched {
    /// Readable when one of `living` has ended: epoll(7), `pidfd_open(2)`.
    epoll: AsyncFd<OwnedFd>,
    living: Mutex<Living>,
}

#[derive(Debug, Default)]
struct Living {
    last: u64,
    by_number: BTreeMap<u64, Arc<Main>>,
}

impl Watcher {
    /// Takes down how `main` ends, and reaps it, whether anybody asks or not. Needs a runtime.
    pub(super) fn add(&self, main: &Arc<Main>) -> io::Result<()> {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*watched {
            Some(watched) => watched.add(main),
            None => watched.insert(Watched::start()?).add(main),
        }
    }
}

impl Watched {
    fn start() -> io::Result<Arc<Self>> {
        let epoll = watch(epoll::create(CreateFlags::CLOEXEC)?, Interest::READABLE)?;
        let watched = Arc::new(Self { epoll, living: Mutex::default() });
        tokio::spawn(Arc::clone(&watched).run());
        Ok(watched)
    }

    fn add(&self, main: &Arc<Main>) -> io::Result<()> {
        let mut living = self.living();
        living.last += 1;
        let number = living.last;
        epoll::add(&self.epoll, &main.pidfd, EventData::new_u64(number), EventFlags::IN)?;
        living.by_number.insert(number, Arc::clone(main));
        Ok(())
    }

    fn living(&self) -> MutexGuard<'_, Living> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>) {
        // An error: the runtime is ending.
        while let Ok(mut ready) = self.epoll.readable().await {
            let ended = self.ended().unwrap_or_else(|error| {
                tracing::error!(%error, "cannot learn which processes have ended");
                vec![]
            });
            if ended.len() < AT_ONCE {
                ready.clear_ready();
            }
            ended.into_iter().for_each(take_down);
        }
    }

    /// Those that have ended, who are watched no more.
    fn ended(&self) -> io::Result<Vec<Arc<Main>>> {
        let mut events: Vec<Event> = Vec::with_capacity(AT_ONCE);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::io::retry_on_intr(|| {
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&now))
        })?;
        let mut living = self.living();
        let ended = events.iter().filter_map(|event| living.by_number.remove(&event.data.u64()));
        let ended: Vec<Arc<Main>> = ended.collect();
        for main in &ended {
            // One that is told of again is known to nobody.
            let _ = epoll::delete(&self.epoll, &main.pidfd);
        }
        Ok(ended)
    }
}

fn take_down(main: Arc<Main>) {
    match pidfd::try_ended(main.pidfd.as_fd()) {
        Ok(Some(ended)) => main.has_ended(ended),
        // Another's child: it may take a while until somebody can tell.
        Ok(None) => drop(tokio::spawn(async move {
            let ended = main.ended().await;
            main.has_ended(main.known(ended));
        })),
        Err(e) => main.has_ended(main.known(Err(e))),
    }
}

impl Main {
    async fn ended(&self) -> io::Result<Ended> {
        let late = Instant::now() + SHORTAGE;
        loop {
            match self.pidfd.try_clone().and_then(pidfd::watch) {
                Ok(pidfd) => {
                    let Identity { pid, start_ticks, .. } = self.identity;
                    return pidfd::ended(pidfd::Watched { pidfd: &pidfd, pid, start_ticks }).await;
                }
                Err(e) if Instant::now() >= late => return Err(e),
                // There may be a descriptor in a moment, or the answer without one.
                Err(_) => sleep(PAUSE).await,
            }
            if let Some(ended) = pidfd::try_ended(self.pidfd.as_fd())? {
                return Ok(ended);
            }
        }
    }

    fn known(&self, ended: io::Result<Ended>) -> Ended {
        ended.unwrap_or_else(|error| {
            tracing::error!(pid = self.identity.pid, %error, "cannot learn how a process ended");
            Ended::Unknown
        })
    }

    fn has_ended(&self, ended: Ended) {
        reaper::forget(self.identity.pid);
        // Nobody else tells.
        let _ = self.exit.set(ended.into());
    }
}
