//! One GET on a fresh connection, and whether its answer is the expected one.

use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Verdict;
use crate::config::{Header, Http};

/// How much of a body is read, in bytes.
const READ: usize = 64 * 1024;

/// Asks `question` on `stream`.
pub(super) async fn ask<S>(stream: S, question: &Http) -> Verdict
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let request = Request::get(&question.path)
        .header(header::HOST, "localhost")
        .header(header::USER_AGENT, concat!("aibkd/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let judged = async {
        let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
        judge(answer, question).await
    };
    tokio::pin!(connection, judged);
    // The connection is driven here and dropped with the answer: no task outlives a probe.
    tokio::select! {
        biased;
        judged = &mut judged => judged,
        _ended = &mut connection => judged.await,
    }
}

async fn judge(answer: Response<Incoming>, question: &Http) -> Verdict {
    let status = answer.status();
    if !question.status.has(status.as_u16()) {
        return Err(format!("answered {status}"));
    }
    if let Some(wanted) = &question.header {
        has_header(&answer, wanted)?;
    }
    if let Some(text) = &question.body {
        let body = beginning(answer.into_body()).await?;
        if !holds(&body, text.as_bytes()) {
            return Err(format!("answered {status}, without \"{text}\" in its body"));
        }
    }
    Ok(format!("answered {status}"))
}

fn has_header(answer: &Response<Incoming>, wanted: &Header) -> Result<(), String> {
    let Header { name, value } = wanted;
    let mut found = answer.headers().get_all(name.as_str()).iter();
    let fits = |found: &header::HeaderValue| {
        value.as_ref().is_none_or(|value| found.as_bytes().trim_ascii() == value.as_bytes())
    };
    if found.any(fits) {
        return Ok(());
    }
    Err(match value {
        Some(value) => format!("answered {}, without {name}: {value}", answer.status()),
        None => format!("answered {}, without a header {name}", answer.status()),
    })
}

/// The part of a body that is read.
async fn beginning(mut body: Incoming) -> Result<Vec<u8>, String> {
    let mut read = Vec::new();
    while read.len() < READ
        && let Some(frame) = body.frame().await
    {
        if let Some(data) = frame.map_err(|e| e.to_string())?.data_ref() {
            read.extend(data.iter().take(READ - read.len()));
        }
    }
    Ok(read)
}

fn holds(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len()).any(|part| part == text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::config::{Config, How, Sign};

    fn question(ready: &str) -> Http {
        let text = format!(
            "services: {{w: {{command: [w], directory: /, slots: [1], ready: {{{ready}}}}}}}"
        );
        let config = Config::parse(&text, std::path::Path::new("/a.yaml")).unwrap();
        let Sign::Asked(check) = &config.services.values().next().unwrap().ready.sign else {
            panic!("is not asked")
        };
        let How::Http(http) = &check.how else { panic!("not by HTTP") };
        (**http).clone()
    }

    /// Asks somebody who answers with `answer` to any request, and keeps the connection open.
    async fn asked(ready: &str, answer: &str) -> Verdict {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        peer.write_all(answer.as_bytes()).await.unwrap();
        let question = question(ready);
        let asking = ask(stream, &question);
        let verdict = tokio::time::timeout(Duration::from_secs(30), asking).await.unwrap();
        let mut request = [0; 64];
        assert!(peer.read(&mut request).await.unwrap() > 0);
        verdict
    }

    #[tokio::test]
    async fn status_header_and_body_must_be_as_expected() {
        let ok = "HTTP/1.1 200 OK\r\nX-Ready: yes\r\nContent-Length: 9\r\n\r\n{\"up\": 1}";
        let down = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
        for (ready, answer, expected) in [
            ("path: /", ok, Ok("answered 200 OK")),
            ("path: /", down, Err("answered 503 Service Unavailable")),
            ("path: /, expect: any", down, Ok("answered 503 Service Unavailable")),
            ("path: /, expect: [200, 503]", down, Ok("answered 503 Service Unavailable")),
            ("path: /, expect: 201-299", ok, Err("answered 200 OK")),
            ("path: /, header: 'x-ready: yes'", ok, Ok("answered 200 OK")),
            ("path: /, header: X-Ready", ok, Ok("answered 200 OK")),
            ("path: /, header: 'X-Ready: no'", ok, Err("answered 200 OK, without x-ready: no")),
            ("path: /, body: '\"up\": 1'", ok, Ok("answered 200 OK")),
            (
                "path: /, body: '\"up\": 2'",
                ok,
                Err("answered 200 OK, without \"\"up\": 2\" in its body"),
            ),
        ] {
            let verdict = asked(ready, answer).await;
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(verdict, expected, "{ready}");
        }
    }

    #[tokio::test]
    async fn an_endless_body_is_read_in_part() {
        let water = "water ".repeat(READ / 3);
        let endless = format!("HTTP/1.1 200 OK\r\n\r\n{water}");
        let verdict = asked("path: /, body: wine", &endless).await;
        assert_eq!(verdict.unwrap_err(), "answered 200 OK, without \"wine\" in its body");
    }
}
