//! The clients: each a loop on one connection.

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Duration, Instant, sleep},
};

use super::{Class, Connection, Failure, Kind, Plan, Shared, tally::Fate, websocket};

/// Lines of a streamed answer, as `path` asks for them, and the bytes of each.
const CHUNKS: usize = 20;
const CHUNK: usize = 64;

/// Whether the load is over.
pub(super) type Stopped = watch::Receiver<bool>;

/// Runs every client of `plan` until told to stop and the last request has ended.
pub(super) async fn run(plan: Plan, tally: Shared, stopped: Stopped) {
    let mut clients = JoinSet::new();
    let kinds = [
        (Kind::Get, plan.gets),
        (Kind::Post, plan.posts),
        (Kind::Slow, plan.slow),
        (Kind::Stream, plan.streams),
    ];
    for (kind, many) in kinds {
        for _ in 0..many {
            clients.spawn(keep_alive(kind, plan, tally.clone(), stopped.clone()));
        }
    }
    for _ in 0..plan.silent {
        clients.spawn(silent(plan, tally.clone(), stopped.clone()));
    }
    for _ in 0..plan.websockets {
        clients.spawn(websocket::run(plan, tally.clone(), stopped.clone()));
    }
    while clients.join_next().await.is_some() {}
    tally.lock().end();
}

/// Waits for `time`, or less when the load is over.
pub(super) async fn pause(time: Duration, stopped: &mut Stopped) {
    tokio::select! {
        () = sleep(time) => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}

async fn keep_alive(kind: Kind, plan: Plan, tally: Shared, mut stopped: Stopped) {
    let mut kept = None;
    while !*stopped.borrow() {
        let order = (kind == Kind::Post).then(|| tally.lock().new_order());
        let outcome = one(kind, &plan, &mut kept, &tally, order.as_deref()).await;
        if let Err(failure) = &outcome {
            kept = None;
            tally.lock().failed(kind, path(kind), failure);
        }
        if let Some(order) = order {
            tally.lock().order(order, Fate::of(outcome.as_ref().err()));
        }
        pause(plan.pause, &mut stopped).await;
    }
}

async fn one(
    kind: Kind,
    plan: &Plan,
    kept: &mut Option<Connection>,
    tally: &Shared,
    order: Option<&str>,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let by = begun + plan.timeout;
    tally.lock().sent(kind);
    let mut connection = match kept.take() {
        Some(connection) if !connection.is_spent() => connection,
        _ => Connection::open(plan.to, by).await?,
    };
    let body = order.map(|id| format!("{{\"id\":\"{id}\"}}")).unwrap_or_default();
    let answer = connection.ask(method(kind), path(kind), &body, by).await?;
    *kept = Some(connection);
    if !(200..300).contains(&answer.status) {
        let said = String::from_utf8_lossy(&answer.body).chars().take(120).collect::<String>();
        return Err(Failure::new(Class::Status(answer.status), said.replace(['\r', '\n'], " ")));
    }
    if kind == Kind::Stream && answer.body.len() != CHUNKS * CHUNK {
        let detail = format!("{} of {} bytes", answer.body.len(), CHUNKS * CHUNK);
        return Err(Failure::new(Class::Short, detail));
    }
    tally.lock().answered(kind, begun.elapsed());
    Ok(())
}

async fn silent(plan: Plan, tally: Shared, mut stopped: Stopped) {
    while !*stopped.borrow() {
        let opened = Connection::open(plan.to, Instant::now() + plan.timeout).await;
        let mut kept = match opened {
            Ok(connection) => Some(connection),
            Err(failure) => {
                tally.lock().failed(Kind::Silent, path(Kind::Silent), &failure);
                None
            }
        };
        pause(plan.silence, &mut stopped).await;
        if kept.is_some() {
            let outcome = one(Kind::Silent, &plan, &mut kept, &tally, None).await;
            if let Err(failure) = outcome {
                tally.lock().failed(Kind::Silent, path(Kind::Silent), &failure);
            }
        }
    }
}

fn method(kind: Kind) -> &'static str {
    if kind == Kind::Post { "POST" } else { "GET" }
}

fn path(kind: Kind) -> &'static str {
    match kind {
        Kind::Get | Kind::Silent => "/",
        Kind::Post => "/orders",
        Kind::Slow => "/slow?seconds=2",
        Kind::Stream => "/stream?chunks=20&every=0.1",
        Kind::WebSocket => "/ws",
    }
}
