//! The task that reads one instance's two FIFOs.

use std::{io, sync::Arc};

use tokio::{
    net::unix::pipe::Receiver,
    sync::{mpsc, oneshot},
};

use super::{Shared, Stream};
use crate::process::line::Splitter;

/// Bytes taken at once.
const CHUNK: usize = 16 * 1024;
/// The most that settling reads: what two full FIFOs hold, with room to spare. A process that
/// still writes must not keep it for ever.
const SETTLE_AT_MOST: usize = 4 * 1024 * 1024;

struct Source {
    pipe: Receiver,
    stream: Stream,
    splitter: Splitter,
}

impl Source {
    fn new(pipe: Receiver, stream: Stream) -> Self {
        Self { pipe, stream, splitter: Splitter::default() }
    }

    /// Reads one chunk; zero when there is nothing to read now.
    fn take(&mut self, shared: &Shared) -> io::Result<usize> {
        // On the stack: a buffer that is kept would cost every idle instance its size.
        let mut buffer = [0; CHUNK];
        let n = match self.pipe.try_read(&mut buffer) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(e) => return Err(e),
        };
        let mut hub = shared.hub_for_lines();
        let (stream, splitter) = (self.stream, &mut self.splitter);
        splitter.feed(buffer.get(..n).unwrap_or_default(), |text| hub.push(stream, text));
        hub.hand_over();
        Ok(n)
    }

    fn finish(&mut self, shared: &Shared) {
        if let Some(text) = self.splitter.finish() {
            let mut hub = shared.hub_for_lines();
            hub.push(self.stream, text);
            hub.hand_over();
        }
    }
}

/// Reads until every handle of the capture is gone.
pub(super) async fn run(
    shared: Arc<Shared>,
    [stdout, stderr]: [Receiver; 2],
    mut requests: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
) {
    let mut out = Source::new(stdout, Stream::Stdout);
    let mut err = Source::new(stderr, Stream::Stderr);
    loop {
        let taken = tokio::select! {
            ready = out.pipe.readable() => ready.and_then(|()| out.take(&shared)),
            ready = err.pipe.readable() => ready.and_then(|()| err.take(&shared)),
            request = requests.recv() => {
                let Some(done) = request else { return };
                let settled = settle(&shared, [&mut out, &mut err]).await;
                let _ = done.send(());
                settled
            }
        };
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

async fn settle(shared: &Shared, sources: [&mut Source; 2]) -> io::Result<usize> {
    for source in sources {
        let mut total = 0;
        loop {
            // try_read knows only what epoll told; a writer's bytes may be newer than that.
            let pending = rustix::io::ioctl_fionread(&source.pipe)?;
            let n = if pending == 0 { 0 } else { source.take(shared)? };
            total += n;
            if pending == 0 || total >= SETTLE_AT_MOST {
                break;
            }
            if n == 0 {
                source.pipe.readable().await?;
            } else {
                tokio::task::yield_now().await;
            }
        }
        source.finish(shared);
    }
    Ok(0)
}
