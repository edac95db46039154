//! Where the bytes of one FIFO come in: through its [`Spool`], or where there can be none, past it.

use std::{future::poll_fn, io, sync::Arc};

use super::{
    fifo::Fifo,
    log_file::Health,
    spool::{Found, Spool, Stretch},
    writer::Origin,
};

/// The capacity of a pipe from which on it counts as large, in bytes.
const ROOMY: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct Inlet {
    fifo: Arc<Fifo>,
    /// The time of the last line that an earlier daemon put into the log.
    last: i64,
    /// Made when the first byte comes: most write to one of two streams only.
    spool: Option<Arc<Spool>>,
    /// The offset of the next byte to be given, and of the next to be taken.
    next: u64,
    size: u64,
    /// The offset at which the line begins that has no end yet.
    line: u64,
    missing: u64,
    health: Health,
}

/// Bytes that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// So many, which end before [`Inlet::next`].
    Kept(usize),
    /// So many, which are nowhere but here.
    Loose(usize),
}

impl Taken {
    pub(super) const fn len(self) -> usize {
        let (Self::Kept(n) | Self::Loose(n)) = self;
        n
    }
}

impl Inlet {
    /// Opens the reading end of `fifo`; what an earlier daemon took and had not written when the
    /// last line in the log was of the time `last` comes first.
    pub(super) fn open(fifo: &Arc<Fifo>, last: i64) -> Self {
        let (fifo, health) = (Arc::clone(fifo), Health::Good);
        let (next, size, line, missing) = (0, 0, 0, 0);
        let mut inlet = Self { fifo, last, spool: None, next, size, line, missing, health };
        let found = Spool::find(&inlet.fifo.spool())
            .and_then(|spool| spool.map(|spool| inlet.go_on(spool)).transpose());
        if let Err(e) = found {
            inlet.is_ill(&e);
        }
        inlet
    }

    fn go_on(&mut self, spool: Spool) -> io::Result<Arc<Spool>> {
        let Found { next, size, missing } = spool.found(self.last)?;
        (self.next, self.size, self.line, self.missing) = (next, size, next, missing);
        Ok(Arc::clone(self.spool.insert(Arc::new(spool))))
    }

    /// The next line begins so many bytes before the end of what was taken; where the lines came from
    /// that end there.
    pub(super) fn turn(&mut self, taken: Taken, behind: u64) -> Option<Origin> {
        let to = match taken {
            Taken::Kept(_) => self.next - behind,
            Taken::Loose(_) => self.next,
        };
        let stretch = Stretch { from: std::mem::replace(&mut self.line, to), to };
        let spool = self.spool.as_ref().filter(|_| stretch.from < stretch.to)?;
        Some(Origin { spool: Arc::clone(spool), stretch })
    }

    /// Where somebody has removed the name of the spool, the next bytes are taken into another one.
    /// What is on its way from the old one into the log gets there, unless we are killed meanwhile.
    pub(super) fn renew(&mut self) {
        let has_name = |spool: &Arc<Spool>| spool.is_at(&self.fifo.spool());
        if !self.waits() && !self.spool.as_ref().is_none_or(has_name) {
            self.spool = None;
            (self.next, self.size, self.line) = (0, 0, 0);
        }
    }

    /// Bytes that an earlier daemon lost; told once.
    pub(super) const fn missing(&mut self) -> u64 {
        std::mem::replace(&mut self.missing, 0)
    }

    /// Bytes that were taken, and are to be given.
    pub(super) const fn waits(&self) -> bool {
        self.next < self.size
    }

    /// Bytes that are in the pipe or wait here.
    pub(super) fn pending(&self) -> io::Result<u64> {
        Ok(self.fifo.pending()? + (self.size - self.next))
    }

    /// Whether the pipe could be enlarged: then a writer has room for far more than it writes within
    /// milliseconds.
    pub(super) fn is_roomy(&self) -> bool {
        self.fifo.capacity().is_ok_and(|bytes| bytes >= ROOMY)
    }

    /// Waits until there may be something in the pipe.
    pub(super) async fn readable(&self) -> io::Result<()> {
        poll_fn(|context| self.fifo.poll_readable(context)).await
    }

    /// The next bytes, at most as many as `buffer` has room for; none where there are none now.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> io::Result<Taken> {
        if !self.waits() {
            match self.fill(buffer.len()) {
                Ok(()) => self.is_well(),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Taken::Kept(0)),
                Err(e) => {
                    self.is_ill(&e);
                    return self.read_past(buffer);
                }
            }
        }
        let Some(spool) = &self.spool else { return Ok(Taken::Kept(0)) };
        let waiting = usize::try_from(self.size - self.next).unwrap_or(usize::MAX);
        let room = buffer.len().min(waiting);
        let n = spool.read(buffer.get_mut(..room).unwrap_or_default(), self.next)?;
        self.next += n as u64;
        Ok(Taken::Kept(n))
    }

    /// Gives up what the log was too slow for, if it is much.
    pub(super) fn bound(&mut self) {
        let bounded = self.spool.as_ref().map(|spool| spool.bound(self.next));
        if let Some(Err(e)) = bounded {
            self.is_ill(&e);
        }
    }

    fn fill(&mut self, n: usize) -> io::Result<()> {
        let spool = match &self.spool {
            Some(spool) => Arc::clone(spool),
            None => self.go_on(Spool::make(&self.fifo.spool())?)?,
        };
        let size = self.size;
        let moved = self.fifo.try_read(|pipe| spool.fill(pipe, size, n))?;
        self.size += moved as u64;
        Ok(())
    }

    fn read_past(&self, buffer: &mut [u8]) -> io::Result<Taken> {
        match self.fifo.try_read(|pipe| Ok(rustix::io::read(pipe, buffer)?)) {
            Ok(n) => Ok(Taken::Loose(n)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Taken::Loose(0)),
            Err(e) => Err(e),
        }
    }

    fn is_ill(&mut self, error: &io::Error) {
        if std::mem::replace(&mut self.health, Health::Bad) == Health::Good {
            tracing::warn!(
                path = %self.fifo.spool().display(), %error,
                "output goes to its log directly: lines may be lost if aibkd is killed now"
            );
        }
    }

    fn is_well(&mut self) {
        if std::mem::replace(&mut self.health, Health::Good) == Health::Bad {
            tracing::info!(path = %self.fifo.spool().display(), "output is safe from a kill of aibkd again");
        }
    }
}
