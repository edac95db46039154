//! A client for HTTP/1.1 that sees what happens to its connection (RFC 9112), and retries nothing.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{Class, Failure};

/// A close sooner than this after the request was written crossed it on its way; a later one cut
/// a request that the server had in hand.
const CROSSING: Duration = Duration::from_secs(1);

/// When an answer must be there.
pub type Deadline = Instant;

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The whole body.
    pub body: Vec<u8>,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
    answers: u64,
    reusable: bool,
}

struct Head {
    status: u16,
    length: Option<usize>,
    chunked: bool,
    close: bool,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`Class::Refused`], mostly.
    pub async fn open(to: SocketAddr, by: Deadline) -> Result<Self, Failure> {
        let stream = timeout_at(by, TcpStream::connect(to))
            .await
            .map_err(|_| Failure::new(Class::Timeout, "connecting"))?
            .map_err(|error| Failure::connecting(&error))?;
        stream.set_nodelay(true).map_err(|error| Failure::connecting(&error))?;
        Ok(Self { stream: BufReader::new(stream), host: to, answers: 0, reusable: true })
    }

    /// The server has closed it, or said that it will: another one is to be opened.
    pub fn is_spent(&self) -> bool {
        let open = |got: io::Result<usize>| {
            got.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        };
        !self.reusable || !open(self.stream.get_ref().try_read(&mut [0]))
    }

    /// Sends one request and reads the whole answer, of whatever status.
    ///
    /// # Errors
    /// When no whole answer comes by `by`; the connection is of no more use then.
    pub async fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: &str,
        by: Deadline,
    ) -> Result<Answer, Failure> {
        self.reusable = false;
        timeout_at(by, self.exchange(method, path, body))
            .await
            .unwrap_or_else(|_| Err(Failure::new(Class::Timeout, "no whole answer in time")))
    }

    async fn exchange(&mut self, method: &str, path: &str, body: &str) -> Result<Answer, Failure> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        let begun = Instant::now();
        let written = self.stream.write_all(request.as_bytes()).await;
        written.map_err(|error| self.before_answer(begun, &error.to_string()))?;
        match self.stream.fill_buf().await {
            Ok([]) => return Err(self.before_answer(begun, "closed before any answer")),
            Err(error) => return Err(self.before_answer(begun, &error.to_string())),
            Ok(_) => {}
        }
        let cut = |error: io::Error| match error.kind() {
            io::ErrorKind::InvalidData => Failure::new(Class::Garbage, error.to_string()),
            _ => Failure::new(Class::Short, error.to_string()),
        };
        let head = self.head().await.map_err(cut)?;
        let body = self.body(&head).await.map_err(cut)?;
        self.answers += 1;
        self.reusable = !head.close;
        Ok(Answer { status: head.status, body })
    }

    fn before_answer(&self, begun: Instant, detail: &str) -> Failure {
        let crossed = self.answers > 0 && begun.elapsed() < CROSSING;
        let class = if crossed { Class::Race } else { Class::Reset };
        let detail = format!("{detail}, after {} answers on this connection", self.answers);
        Failure::new(class, detail)
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await?;
        if line.pop() != Some(b'\n') {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "cut in the head"));
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    async fn head(&mut self) -> io::Result<Head> {
        let first = self.line().await?;
        let status = first
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or_else(|| garbage(&first))?;
        let mut head = Head { status, length: None, chunked: false, close: false };
        loop {
            let line = self.line().await?.to_ascii_lowercase();
            if line.is_empty() {
                return Ok(head);
            }
            match line.split_once(':').map(|(name, value)| (name, value.trim())) {
                Some(("content-length", value)) => head.length = value.parse().ok(),
                Some(("transfer-encoding", value)) => head.chunked = value == "chunked",
                Some(("connection", value)) => head.close = value == "close",
                _ => {}
            }
        }
    }

    async fn body(&mut self, head: &Head) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if let Some(length) = head.length {
            body.resize(length, 0);
            self.stream.read_exact(&mut body).await?;
        } else if head.chunked {
            while let Some(mut chunk) = self.chunk().await? {
                body.append(&mut chunk);
            }
        } else {
            self.stream.read_to_end(&mut body).await?;
        }
        Ok(body)
    }

    async fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line().await?;
        let length = usize::from_str_radix(&line, 16).map_err(|_| garbage(&line))?;
        let mut chunk = vec![0; length];
        self.stream.read_exact(&mut chunk).await?;
        self.line().await?;
        Ok((length > 0).then_some(chunk))
    }
}

fn garbage(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {line:?}"))
}
