//! From bytes to a request that is understood, or a problem.

use std::{error::Error, fmt::Display, str::FromStr};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{HeaderMap, Method, Uri, body::Body};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::{
    operations::Caller,
    route::Route,
    server::Limits,
    types::{Problem, ProblemCode},
};
use crate::ident::RolloutId;

/// A request that is understood as far as its route.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) caller: Caller,
    pub(super) route: &'static Route,
    /// What stands in the path in place of the name in braces, as it came.
    pub(super) name: Option<String>,
    pub(super) query: String,
    pub(super) body: Bytes,
    /// The last event a client of server-sent events has seen (`Last-Event-ID`).
    pub(super) last_event: Option<u64>,
}

/// The parts of a request's head that are looked at.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
}

impl Head {
    pub(super) fn ask(
        &self,
        caller: Caller,
        route: &'static Route,
        name: Option<&str>,
        body: Bytes,
    ) -> Ask {
        let last_event = self.headers.get("last-event-id");
        Ask {
            caller,
            route,
            name: name.map(str::to_owned),
            query: self.uri.query().unwrap_or_default().to_owned(),
            body,
            last_event: last_event.and_then(|id| id.to_str().ok()?.parse().ok()),
        }
    }
}

impl Ask {
    /// The name in the path, as what it must be: a validated type, never a path (`C2`).
    pub(super) fn name<T: FromStr<Err: Display>>(&self) -> Result<T, Problem> {
        let given = self.name.as_deref().unwrap_or_default();
        let decoded = percent_decode_str(given)
            .decode_utf8()
            .map_err(|_| Problem::bad_request("the name in the path is not UTF-8"))?;
        decoded.parse().map_err(|e| Problem::bad_request(format!("{e}")))
    }

    /// The rollout in the path.
    pub(super) fn rollout(&self) -> Result<RolloutId, Problem> {
        let given = self.name.as_deref().unwrap_or_default();
        given.parse().map(RolloutId).map_err(|_| {
            Problem::bad_request(format!("`{}` is not the id of a rollout", given.escape_debug()))
        })
    }

    /// The query.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_urlencoded::from_str(&self.query)
            .map_err(|e| Problem::bad_request(format!("the query is not understood: {e}")))
    }

    /// The body; an empty one, and `null`, is the default.
    pub(super) fn body<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        if self.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(T::default());
        }
        serde_json::from_slice::<Option<T>>(&self.body)
            .map(Option::unwrap_or_default)
            .map_err(|e| Problem::bad_request(format!("the body is not understood: {e}")))
    }
}

/// Reads a whole body within the limits of size and time.
pub(super) async fn read_body<B>(body: B, limits: &Limits) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    let most = limits.body_bytes;
    let too_large = || {
        let message = format!("the body has more than {most} bytes");
        Problem::new(ProblemCode::TooLarge, message, "send less".to_owned())
    };
    if body.size_hint().lower() > u64::try_from(most).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    match tokio::time::timeout(limits.body, Limited::new(body, most).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(e)) => Err(Problem::bad_request(format!("the body cannot be read: {e}"))),
        Err(_) => {
            let message = format!("the body was not there after {:?}", limits.body);
            Err(Problem::new(ProblemCode::TooSlow, message, "send it faster".to_owned()))
        }
    }
}
