//! A body that is sent as it is read: it is never whole in memory.

use std::{
    io::{self, Read},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// So much is read at a time.
const PIECE: usize = 256 << 10;
/// Pieces that may wait to be sent.
const WAITING: usize = 4;

/// The bytes of a file or of a pipe. They are read on a thread of its own, which nobody waits for: a
/// pipe may be silent for ever.
#[derive(Debug)]
pub struct Outgoing {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    length: Option<u64>,
    sent: Arc<AtomicU64>,
}

impl Outgoing {
    /// What `from` holds, which is `length` bytes where that is known.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn new(from: impl Read + Send + 'static, length: Option<u64>) -> io::Result<Self> {
        let (to, pieces) = mpsc::channel(WAITING);
        std::thread::Builder::new()
            .name("read".to_owned())
            .spawn(move || read(from, length, &to))?;
        Ok(Self { pieces, length, sent: Arc::default() })
    }

    /// Counts the bytes that were sent.
    pub(super) fn sent(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sent)
    }
}

fn read(mut from: impl Read, length: Option<u64>, to: &mpsc::Sender<io::Result<Bytes>>) {
    let mut left = length;
    loop {
        let mut piece = vec![0; PIECE];
        let came = loop {
            match from.read(&mut piece) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                came => break came,
            }
        };
        let came = came.and_then(|n| {
            piece.truncate(n);
            left = still_expected(left, n)?;
            Ok(Bytes::from(piece))
        });
        let is_last = !came.as_ref().is_ok_and(|piece| !piece.is_empty());
        let is_news = !came.as_ref().is_ok_and(Bytes::is_empty);
        if (is_news && to.blocking_send(came).is_err()) || is_last {
            return;
        }
    }
}

/// What is expected once `n` bytes of those that `left` says have come; none are the end.
fn still_expected(left: Option<u64>, n: usize) -> io::Result<Option<u64>> {
    let Some(left) = left else { return Ok(None) };
    let rest = u64::try_from(n).ok().and_then(|n| left.checked_sub(n));
    match rest {
        Some(rest) if n > 0 || rest == 0 => Ok(Some(rest)),
        _ => Err(io::Error::other("it changed while it was sent")),
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.pieces.poll_recv(cx).map(|piece| {
            let piece = piece?;
            if let Ok(piece) = &piece {
                let count = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                self.sent.fetch_add(count, Ordering::Relaxed);
            }
            Some(piece.map(Frame::data))
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, |length| {
            SizeHint::with_exact(length.saturating_sub(self.sent.load(Ordering::Relaxed)))
        })
    }
}
