//! From a result to an HTTP response.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Response, StatusCode,
    body::Frame,
    header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION},
};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::types::{LogLine, Problem, Rollout};
use crate::store::Event;

/// A response of this server.
pub(super) type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Items sent in one piece at most.
const PIECE: usize = 64;

/// 200 and a JSON document.
pub(super) fn json<T: Serialize>(value: &T) -> Reply {
    with_status(StatusCode::OK, value)
}

/// 202, the rollout, and where it is found.
pub(super) fn accepted(rollout: &Rollout) -> Reply {
    let mut reply = with_status(StatusCode::ACCEPTED, rollout);
    if let Ok(place) = HeaderValue::try_from(format!("/v1/rollouts/{}", rollout.id)) {
        reply.headers_mut().insert(LOCATION, place);
    }
    reply
}

/// A problem with the status of its code.
pub(super) fn problem(problem: &Problem) -> Reply {
    with_status(problem.code.status(), problem)
}

/// A problem with a status of its own.
pub(super) fn problem_as(status: StatusCode, problem: &Problem) -> Reply {
    with_status(status, problem)
}

/// 405.
pub(super) fn other_methods(allow: &str, said: &Problem) -> Reply {
    let mut reply = with_status(StatusCode::METHOD_NOT_ALLOWED, said);
    if let Ok(allow) = HeaderValue::try_from(allow) {
        reply.headers_mut().insert(ALLOW, allow);
    }
    reply
}

/// The same, and the connection ends with it.
pub(super) fn last(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// One JSON document per line, until the channel or the server ends.
pub(super) fn lines(items: mpsc::Receiver<LogLine>, closing: CancellationToken) -> Reply {
    streamed("application/x-ndjson", items, closing, |line, text| {
        write_json(line, text);
        text.push(b'\n');
    })
}

/// Server-sent events, until the channel or the server ends.
pub(super) fn events(items: mpsc::Receiver<Event>, closing: CancellationToken) -> Reply {
    streamed("text/event-stream", items, closing, |event, text| {
        // An event that could not be stored has no id to come back to.
        if event.id != 0 {
            text.extend_from_slice(format!("id: {}\n", event.id).as_bytes());
        }
        text.extend_from_slice(b"data: ");
        write_json(event, text);
        text.extend_from_slice(b"\n\n");
    })
}

fn with_status<T: Serialize>(status: StatusCode, value: &T) -> Reply {
    let mut text = Vec::new();
    let written = write_json(value, &mut text);
    text.push(b'\n');
    let mut reply = Response::new(Full::new(Bytes::from(text)).boxed_unsync());
    *reply.status_mut() = if written { status } else { StatusCode::INTERNAL_SERVER_ERROR };
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// Whether it could be written; our own types always can.
fn write_json<T: Serialize>(value: &T, text: &mut Vec<u8>) -> bool {
    let before = text.len();
    match serde_json::to_writer(&mut *text, value) {
        Ok(()) => true,
        Err(e) => {
            tracing::error!("an answer cannot be written as JSON: {e}");
            text.truncate(before);
            text.extend_from_slice(b"null");
            false
        }
    }
}

fn streamed<T: Send + 'static>(
    kind: &'static str,
    items: mpsc::Receiver<T>,
    closing: CancellationToken,
    write: impl Fn(&T, &mut Vec<u8>) + Send + Copy + 'static,
) -> Reply {
    let pieces = stream::unfold((items, closing), move |(mut items, closing)| async move {
        let mut piece = Vec::new();
        tokio::select! {
            biased;
            count = items.recv_many(&mut piece, PIECE) => if count == 0 { return None },
            () = closing.cancelled() => return None,
        }
        let mut text = Vec::new();
        for item in &piece {
            write(item, &mut text);
        }
        Some((Ok(Frame::data(Bytes::from(text))), (items, closing)))
    });
    let mut reply = Response::new(StreamBody::new(pieces).boxed_unsync());
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
