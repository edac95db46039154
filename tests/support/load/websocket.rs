//! Websockets that echo, and notice how they end (RFC 6455, 7.4).

use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::TcpStream,
    time::{Duration, Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, protocol::CloseFrame},
};

use super::{
    Class, Failure, Kind, Plan, Shared,
    clients::{Stopped, pause},
};

type Socket = WebSocketStream<TcpStream>;

/// Between two messages.
const BETWEEN: Duration = Duration::from_millis(50);

/// How a socket that did not fail ended.
enum Ended {
    /// The server said good-bye, with this code.
    Closed(u16),
    /// The load is over.
    Stopped,
}

/// Opens a socket again and again until the load is over.
pub(super) async fn run(plan: Plan, tally: Shared, mut stopped: Stopped) {
    while !*stopped.borrow() {
        match one(&plan, &tally, &mut stopped).await {
            Ok(Ended::Closed(code)) => tally.lock().closed(code),
            Ok(Ended::Stopped) => return,
            Err(failure) => tally.lock().failed(Kind::WebSocket, "/ws", &failure),
        }
        pause(plan.pause, &mut stopped).await;
    }
}

async fn one(plan: &Plan, tally: &Shared, stopped: &mut Stopped) -> Result<Ended, Failure> {
    let mut socket = timeout(plan.timeout, open(plan))
        .await
        .map_err(|_| Failure::new(Class::Timeout, "opening a websocket"))??;
    let mut n = 0_u64;
    while !*stopped.borrow() {
        tally.lock().sent(Kind::WebSocket);
        let begun = Instant::now();
        if let Some(code) = echo(&mut socket, n, begun + plan.timeout).await? {
            tally.lock().unsent(Kind::WebSocket);
            return Ok(Ended::Closed(code));
        }
        tally.lock().answered(Kind::WebSocket, begun.elapsed());
        n += 1;
        pause(BETWEEN, stopped).await;
    }
    let _ = timeout(Duration::from_secs(1), good_bye(socket)).await;
    Ok(Ended::Stopped)
}

async fn open(plan: &Plan) -> Result<Socket, Failure> {
    let stream = TcpStream::connect(plan.to).await.map_err(|error| Failure::connecting(&error))?;
    let opened = client_async(format!("ws://{}/ws", plan.to), stream).await;
    opened.map(|(socket, _)| socket).map_err(|error| match error {
        Error::Http(answer) => {
            Failure::new(Class::Status(answer.status().as_u16()), "opening a websocket")
        }
        other => Failure::new(Class::Reset, format!("opening a websocket: {other}")),
    })
}

/// Sends one message and waits for its echo; a code when the server closed instead.
async fn echo(socket: &mut Socket, n: u64, by: Instant) -> Result<Option<u16>, Failure> {
    let text = n.to_string();
    // A close frame may already be there although nothing can be written any more.
    let sent = socket.send(Message::text(text.clone())).await;
    loop {
        let next = timeout_at(by, socket.next())
            .await
            .map_err(|_| Failure::new(Class::Timeout, "no echo in time"))?;
        match next {
            Some(Ok(Message::Text(got))) if got.as_str() == text => return Ok(None),
            Some(Ok(Message::Close(frame))) => {
                let _ = socket.close(None).await;
                return Ok(Some(frame.map_or(1005, |CloseFrame { code, .. }| code.into())));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(other)) => {
                return Err(Failure::new(Class::Garbage, format!("not an echo: {other:?}")));
            }
            Some(Err(error)) => return Err(cut(&sent, &error.to_string())),
            None => return Err(cut(&sent, "ended")),
        }
    }
}

fn cut(sent: &Result<(), Error>, detail: &str) -> Failure {
    let sending = sent.as_ref().err().map(|error| format!(" (sending: {error})"));
    Failure::new(Class::WebSocketCut, format!("{detail}{}", sending.unwrap_or_default()))
}

async fn good_bye(mut socket: Socket) {
    if socket.close(None).await.is_ok() {
        while let Some(Ok(_)) = socket.next().await {}
    }
}
