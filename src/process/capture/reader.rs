//! The task that reads one instance's two FIFOs.

use std::{
    future::Future,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Request, Shared, Stream,
    inlet::{Inlet, Taken},
};
use crate::{mailbox, process::line::Splitter};

/// Bytes taken at once.
const CHUNK: usize = 16 * 1024;
/// Lines that come faster than this after one another are taken this far apart, where the FIFO has room
/// for them: each time costs two threads a turn.
const GATHER: Duration = Duration::from_millis(5);
/// The most that settling reads: what two full FIFOs hold, with room to spare. A process that
/// still writes must not keep it for ever.
const SETTLE_AT_MOST: usize = 4 * 1024 * 1024;

struct Source {
    inlet: Inlet,
    stream: Stream,
    splitter: Splitter,
}

impl Source {
    fn new(inlet: Inlet, stream: Stream) -> Self {
        Self { inlet, stream, splitter: Splitter::default() }
    }

    /// Reads one chunk; zero when there is nothing to read now.
    fn take(&mut self, shared: &Shared) -> io::Result<usize> {
        // On the stack: a buffer that is kept would cost every idle instance its size.
        let mut buffer = [0; CHUNK];
        let taken = self.inlet.take(&mut buffer)?;
        let bytes = buffer.get(..taken.len()).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(0);
        }
        let mut hub = shared.hub_for_lines();
        let missing = self.inlet.missing();
        if missing > 0 {
            hub.push(self.stream, notice(missing));
            hub.hand_over(None);
        }
        let (stream, splitter) = (self.stream, &mut self.splitter);
        splitter.feed(bytes, |text| hub.push(stream, text));
        let behind = memchr::memrchr(b'\n', bytes).map(|end| bytes.len() - end - 1);
        let origin = behind.and_then(|behind| self.inlet.turn(taken, behind as u64));
        hub.hand_over(origin);
        drop(hub);
        self.inlet.bound();
        Ok(bytes.len())
    }

    /// Waits until there may be something to take.
    async fn readable(&self) -> io::Result<()> {
        if self.inlet.waits() { Ok(()) } else { self.inlet.readable().await }
    }

    fn finish(&mut self, shared: &Shared) {
        if let Some(text) = self.splitter.finish() {
            let mut hub = shared.hub_for_lines();
            hub.push(self.stream, text);
            hub.hand_over(self.inlet.turn(Taken::Loose(0), 0));
        }
    }
}

fn notice(missing: u64) -> String {
    format!(
        "[aibk: {missing} bytes of output are missing here: aibkd was killed while the disk was \
         too slow, or full]"
    )
}

/// Reads until every handle of the capture is gone. There are many of these, and most only wait: as an
/// `async fn` it would keep its arguments twice, and what it seldom does is boxed.
pub(super) fn run(
    shared: Arc<Shared>,
    [stdout, stderr]: [Inlet; 2],
    mut requests: mailbox::Receiver<Request>,
) -> impl Future<Output = ()> + Send {
    let mut out = Source::new(stdout, Stream::Stdout);
    let mut err = Source::new(stderr, Stream::Stderr);
    async move {
        let mut waits_since = Instant::now();
        loop {
            let (taken, sources) = tokio::select! {
                ready = out.readable() => {
                    (ready.and_then(|()| out.take(&shared)), [&mut out, &mut err])
                }
                ready = err.readable() => {
                    (ready.and_then(|()| err.take(&shared)), [&mut err, &mut out])
                }
                request = requests.recv() => {
                    let Some(request) = request else { return };
                    let sources = [&mut out, &mut err];
                    let answered = Box::pin(answer(&shared, sources, request)).await;
                    (answered, [&mut out, &mut err])
                }
            };
            let comes_fast = |n: usize| (1..CHUNK).contains(&n) && waits_since.elapsed() < GATHER;
            let taken = match taken {
                Ok(n) if comes_fast(n) && sources[0].inlet.is_roomy() => {
                    let gathered = Box::pin(gather(&shared, sources, &mut requests)).await;
                    let Some(taken) = gathered else { return };
                    taken
                }
                taken => taken,
            };
            waits_since = Instant::now();
            match taken {
                Ok(0) => {}
                // Others get their turn, however fast the child writes.
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => {
                    tracing::error!(%error, "cannot read an instance's output any more");
                    return;
                }
            }
        }
    }
}

/// Leaves what comes from the first of `sources` where it is, for a while; `None` when every handle
/// of the capture is gone.
async fn gather(
    shared: &Shared,
    [from, other]: [&mut Source; 2],
    requests: &mut mailbox::Receiver<Request>,
) -> Option<io::Result<usize>> {
    tokio::select! {
        () = tokio::time::sleep(GATHER) => Some(Ok(0)),
        // What waits was written before it, and is taken before it.
        ready = other.readable() => Some(ready.and_then(|()| from.take(shared))),
        request = requests.recv() => Some(answer(shared, [from, other], request?).await),
    }
}

async fn answer(shared: &Shared, sources: [&mut Source; 2], request: Request) -> io::Result<usize> {
    let (answered, done) = match request {
        Request::Settle(done) => (settle(shared, sources).await, done),
        Request::Rename(done) => (rename(shared, sources), done),
    };
    let _ = done.send(());
    answered
}

fn rename(shared: &Shared, sources: [&mut Source; 2]) -> io::Result<usize> {
    for source in sources {
        while source.inlet.waits() && source.take(shared)? > 0 {}
        source.inlet.renew();
    }
    Ok(0)
}

async fn settle(shared: &Shared, sources: [&mut Source; 2]) -> io::Result<usize> {
    for source in sources {
        let mut total = 0;
        loop {
            // The runtime knows only what epoll told; a writer's bytes may be newer than that.
            let pending = source.inlet.pending()?;
            let n = if pending == 0 { 0 } else { source.take(shared)? };
            total += n;
            if pending == 0 || total >= SETTLE_AT_MOST {
                break;
            }
            if n == 0 {
                source.inlet.readable().await?;
            } else {
                tokio::task::yield_now().await;
            }
        }
        source.finish(shared);
    }
    Ok(0)
}
