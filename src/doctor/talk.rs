//! A few bytes to a server, and what it answers. PostgreSQL: "Frontend/Backend Protocol" of its
//! manual; Redis: RESP. Nothing is logged in to that asks for more than a password.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::reach::{Place, Redis, Target, Tls};
use crate::config::Endpoint;

/// How long one server may take.
const DEADLINE: Duration = Duration::from_secs(3);

/// The largest message of a server that is read.
const LARGEST: usize = 16 * 1024;

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It answers, like this.
    Yes(String),
    /// Nobody is there.
    Refused(String),
    /// Its name is not known.
    NoName(String),
    /// Nothing in time.
    Late,
    /// It is there, and says no.
    No(No),
    /// It is something else.
    Strange(String),
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct No {
    pub(super) code: String,
    pub(super) words: String,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Asks `target`; also tells where that was.
pub(super) async fn ask(target: &Target) -> (String, Answer) {
    let place = match target {
        Target::Postgres(endpoint) => place_of(endpoint),
        Target::Redis(redis) => redis.place.clone(),
        Target::Other(_, place) => place.clone(),
        Target::Unclear(_) => return (String::new(), Answer::Late),
    };
    let answer = timeout(DEADLINE, talk(target, &place)).await.unwrap_or(Answer::Late);
    (place.to_string(), answer)
}

async fn talk(target: &Target, place: &Place) -> Answer {
    let mut stream = match connect(place).await {
        Ok(stream) => stream,
        Err(answer) => return answer,
    };
    let stream = stream.as_mut();
    let answer = match target {
        Target::Postgres(endpoint) => postgres(stream, endpoint).await,
        Target::Redis(redis) => ask_redis(stream, redis).await,
        Target::Other(..) | Target::Unclear(_) => Ok(Answer::Yes("can be connected to".into())),
    };
    answer.unwrap_or_else(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Answer::Strange("it closed the connection".into()),
        _ => Answer::Strange(error.to_string()),
    })
}

async fn connect(place: &Place) -> Result<Box<dyn Stream>, Answer> {
    let refused = |error: io::Error| Answer::Refused(error.to_string());
    match place {
        Place::Tcp(host, port) => {
            let named = tokio::net::lookup_host((host.as_str(), *port)).await;
            let named: Vec<_> = named.map_err(|e| Answer::NoName(e.to_string()))?.collect();
            let stream = TcpStream::connect(named.as_slice()).await.map_err(refused)?;
            Ok(Box::new(stream))
        }
        Place::Unix(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(refused)?)),
    }
}

/// Without a host, the socket where Debian has it.
fn place_of(endpoint: &Endpoint) -> Place {
    let port = endpoint.port.map_or(5432, crate::ident::Port::get);
    match endpoint.host.as_deref() {
        Some(host) if !host.starts_with('/') => Place::Tcp(host.to_owned(), port),
        directory => {
            let directory = directory.unwrap_or("/var/run/postgresql");
            Place::Unix(format!("{directory}/.s.PGSQL.{port}"))
        }
    }
}

async fn postgres(stream: &mut dyn Stream, endpoint: &Endpoint) -> io::Result<Answer> {
    let wants_tls = endpoint.tls.iter().any(|(name, word)| {
        *name == "PGSSLMODE" && matches!(word.as_str(), "require" | "verify-ca" | "verify-full")
    });
    if wants_tls {
        // SSLRequest: its length, and 80877103.
        stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await?;
        return Ok(match stream.read_u8().await? {
            b'S' => Answer::Yes("answers, by TLS (no login was tried)".into()),
            b'N' => Answer::No(No { code: String::new(), words: "it offers no TLS".into() }),
            other => Answer::Strange(format!("it answered with byte {other}")),
        });
    }
    stream.write_all(&startup(endpoint)).await?;
    loop {
        let kind = stream.read_u8().await?;
        let length = stream.read_u32().await?;
        let length = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(4);
        if !matches!(kind, b'R' | b'E' | b'S' | b'K' | b'Z' | b'N' | b'v') || length > LARGEST {
            return Ok(Answer::Strange(format!("it answered with byte {kind}")));
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        match kind {
            b'E' => return Ok(Answer::No(error(&body))),
            // Authentication: 0 is that nothing more is asked for.
            b'R' if body != [0; 4] => return Ok(Answer::Yes("answers, and asks who it is".into())),
            b'Z' => {
                // Terminate.
                stream.write_all(&[b'X', 0, 0, 0, 4]).await?;
                return Ok(Answer::Yes("answers, and lets its role in".into()));
            }
            _ => {}
        }
    }
}

/// `StartupMessage`, protocol 3.0.
fn startup(endpoint: &Endpoint) -> Vec<u8> {
    let user = endpoint.user.as_deref().unwrap_or("postgres");
    let pairs = [("user", user), ("database", &endpoint.name), ("application_name", "aibkctl")];
    let mut body = vec![0, 3, 0, 0];
    for (key, value) in pairs {
        for text in [key, value] {
            body.extend(text.bytes().filter(|byte| *byte != 0));
            body.push(0);
        }
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [length.to_be_bytes().as_slice(), &body].concat()
}

/// The fields of an `ErrorResponse`: `C` is the SQLSTATE, `M` the message.
fn error(body: &[u8]) -> No {
    let field = |kind: u8| {
        let mut fields = body.split(|byte| *byte == 0);
        let found = fields.find(|field| field.first() == Some(&kind));
        let text = found.and_then(|field| field.get(1..)).unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    };
    No { code: field(b'C'), words: field(b'M') }
}

async fn ask_redis(stream: &mut dyn Stream, redis: &Redis) -> io::Result<Answer> {
    if redis.tls == Tls::Wanted {
        return Ok(Answer::Yes("can be connected to (TLS is not tried)".into()));
    }
    if let Some(password) = &redis.password {
        let user = redis.user.as_deref();
        let words: Vec<&str> =
            ["AUTH"].into_iter().chain(user).chain([password.expose()]).collect();
        stream.write_all(&command(&words)).await?;
        if let Some(no) = refusal(&line(stream).await?) {
            return Ok(no);
        }
    }
    stream.write_all(&command(&["PING"])).await?;
    let said = line(stream).await?;
    Ok(refusal(&said).unwrap_or_else(|| match said.as_str() {
        "+PONG" => Answer::Yes("answers".into()),
        _ => Answer::Strange("it did not answer PING".into()),
    }))
}

fn command(words: &[&str]) -> Vec<u8> {
    let words_of = |word: &&str| format!("${}\r\n{word}\r\n", word.len());
    let text: String = words.iter().map(words_of).collect();
    format!("*{}\r\n{text}", words.len()).into_bytes()
}

fn refusal(line: &str) -> Option<Answer> {
    let words = line.strip_prefix('-')?;
    let code = words.split(' ').next().unwrap_or_default().to_owned();
    Some(Answer::No(No { code, words: words.chars().take(200).collect() }))
}

/// Up to the end of a line, without it.
async fn line(stream: &mut dyn Stream) -> io::Result<String> {
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n") && said.len() < LARGEST {
        said.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&said).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secret, parse_database_url};

    /// What is heard from a server that says `says`, and what it was told.
    async fn told(target: Target, says: &'static [u8]) -> (Answer, Vec<u8>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let place = Place::Tcp(address.ip().to_string(), address.port());
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(says).await.unwrap();
            let mut heard = vec![];
            // Who closes with something unread resets the connection.
            let _ = stream.read_to_end(&mut heard).await;
            heard
        };
        tokio::join!(async { talk(&target, &place).await }, server)
    }

    fn database() -> Target {
        Target::Postgres(parse_database_url("postgresql://app:hunter2@h/books").unwrap())
    }

    #[tokio::test]
    async fn postgresql_is_understood() {
        let asks = b"R\0\0\0\x0c\0\0\0\x0aSCRA";
        let (answer, heard) = told(database(), asks).await;
        assert_eq!(answer, Answer::Yes("answers, and asks who it is".into()));
        let heard = String::from_utf8_lossy(&heard).into_owned();
        assert!(heard.contains("user\0app\0database\0books\0"), "{heard:?}");
        assert!(!heard.contains("hunter2"));
        let lets_in = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x08a\0b\0Z\0\0\0\x05I";
        let (answer, _) = told(database(), lets_in).await;
        assert_eq!(answer, Answer::Yes("answers, and lets its role in".into()));
        let (answer, _) = told(database(), b"E\0\0\0\x17SFATAL\0C3D000\0Mno\0\0").await;
        assert_eq!(answer, Answer::No(No { code: "3D000".into(), words: "no".into() }));
        let (answer, _) = told(database(), b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        assert!(matches!(answer, Answer::Strange(_)), "{answer:?}");
    }

    #[tokio::test]
    async fn redis_is_understood() {
        let redis = |password: Option<&str>| {
            Target::Redis(Redis {
                place: Place::Unix(String::new()),
                user: None,
                password: password.map(Secret::new),
                tls: Tls::None,
            })
        };
        let (answer, heard) = told(redis(None), b"+PONG\r\n").await;
        assert_eq!(answer, Answer::Yes("answers".into()));
        assert_eq!(heard, b"*1\r\n$4\r\nPING\r\n");
        let (answer, heard) = told(redis(Some("p w")), b"+OK\r\n+PONG\r\n").await;
        assert_eq!(answer, Answer::Yes("answers".into()));
        assert!(heard.starts_with(b"*2\r\n$4\r\nAUTH\r\n$3\r\np w\r\n"));
        let (answer, _) = told(redis(None), b"-NOAUTH Authentication required.\r\n").await;
        assert!(matches!(answer, Answer::No(No { code, .. }) if code == "NOAUTH"));
    }

    #[tokio::test]
    async fn nobody_is_there() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let place = Place::Tcp("127.0.0.1".into(), port);
        assert!(matches!(talk(&database(), &place).await, Answer::Refused(_)));
        let place = Place::Unix("/no/such".into());
        assert!(matches!(talk(&database(), &place).await, Answer::Refused(_)));
    }
}
