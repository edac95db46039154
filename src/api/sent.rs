//! A body of any length, heard piece by piece: it is never whole in memory.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::body::Body;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    operations::Answer,
    types::{Problem, ProblemCode},
};

type Cause = Box<dyn Error + Send + Sync>;

/// How long a client that is told no may go on sending, so that it hears that instead of a broken
/// connection.
const DEAF: Duration = Duration::from_secs(2);

/// What a client sends. Whoever has it hears of its end, also of a bad one.
pub struct Sent {
    body: Option<UnsyncBoxBody<Bytes, Cause>>,
    /// The longest that no piece may come.
    pause: Duration,
    over: CancellationToken,
    _over: DropGuard,
}

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sent").field("length", &self.length()).finish_non_exhaustive()
    }
}

impl Sent {
    /// What `body` brings, as long as no piece takes longer than `pause`.
    pub(super) fn new<B>(body: B, pause: Duration) -> Self
    where
        B: Body<Data = Bytes, Error: Into<Cause>> + Send + 'static,
    {
        let over = CancellationToken::new();
        let body = Some(body.map_err(Into::into).boxed_unsync());
        Self { body, pause, _over: over.clone().drop_guard(), over }
    }

    /// Is cancelled once nothing more is waited for.
    pub(super) fn over(&self) -> CancellationToken {
        self.over.clone()
    }

    /// How long it is, where the client said so before.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.body.as_ref()?.size_hint().exact()
    }

    /// The next piece; `None` once it is whole.
    ///
    /// # Errors
    /// When the client goes away, or is silent for too long: it is not whole, and never will be.
    pub async fn next(&mut self) -> Answer<Option<Bytes>> {
        loop {
            let Some(body) = &mut self.body else { return Ok(None) };
            let broken = match timeout(self.pause, body.frame()).await {
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) if !piece.is_empty() => return Ok(Some(piece)),
                    // Trailers say nothing to us.
                    _ => continue,
                },
                Ok(None) => {
                    self.body = None;
                    self.over.cancel();
                    return Ok(None);
                }
                Ok(Some(Err(e))) => Problem::bad_request(format!(
                    "it was not sent whole, and nothing is begun: {e}"
                )),
                Err(_) => {
                    let message =
                        format!("nothing came for {:?}, and nothing is begun", self.pause);
                    Problem::new(ProblemCode::TooSlow, message, "send it again".to_owned())
                }
            };
            self.body = None;
            return Err(broken);
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let (Some(mut body), Ok(runtime)) =
            (self.body.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let rest = async move { while let Some(Ok(_)) = body.frame().await {} };
        runtime.spawn(timeout(DEAF, rest));
    }
}
