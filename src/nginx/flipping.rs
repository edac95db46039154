//! Turning flags, and the proof that nginx has seen it.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Edited, Edition, Nginx, NginxError,
    blocking::blocking,
    flag,
    flip::{Colour, Turn},
    master::Master,
    proof::{self, Ask},
};
use crate::sync_point;

/// nginx looks for the flag at each request, so its first answer tells; a busy one may be late.
const DEADLINE: Duration = Duration::from_secs(3);

/// How long it may answer as before: a worker may be in the middle of an answer.
const BELATED: Duration = Duration::from_millis(200);

const PAUSE: Duration = Duration::from_millis(5);

/// Turns `turns`, which nginx obeys, until it answers `wanted`; on any failure back to what it
/// answered before, `before`.
///
/// # Errors
/// [`NginxError::NotFlipped`] in [`NginxError::TurnedBack`], or what keeps a flag from being turned.
pub(super) async fn flip(
    nginx: &Nginx,
    master: Master,
    turns: &[Turn],
    (before, wanted): (&Edited, &Edited),
) -> Result<Edition, NginxError> {
    let done = match turn(turns).await {
        Ok(()) => {
            sync_point!("nginx.flipped");
            proved(nginx, master, turns, wanted).await
        }
        Err(error) => Err(error),
    };
    let Err(cause) = done else { return Ok(wanted.edition) };
    let cause = Box::new(cause);
    let undone = match turn_back(turns).await {
        Ok(()) => proved(nginx, master, &[], before).await,
        Err(error) => Err(error),
    };
    Err(match undone {
        Ok(()) => NginxError::TurnedBack { cause, edition: before.edition },
        Err(undo) => NginxError::NotUndone { cause, undo: Box::new(undo) },
    })
}

/// Makes each flag say what it is to say.
///
/// # Errors
/// At the first that cannot be turned; those before it are turned.
pub(super) async fn turn(turns: &[Turn]) -> Result<(), NginxError> {
    let turns = turns.to_vec();
    blocking(move || turns.iter().try_for_each(|turn| flag::turn(&turn.flag, turn.to))).await
}

/// Makes each flag say what nginx made of it before.
pub(super) async fn turn_back(turns: &[Turn]) -> Result<(), NginxError> {
    turn(&turns.iter().map(Turn::back).collect::<Vec<_>>()).await
}

async fn proved(
    nginx: &Nginx,
    master: Master,
    turns: &[Turn],
    wanted: &Edited,
) -> Result<(), NginxError> {
    let begun = Instant::now();
    loop {
        let (error, patience) = match proof::ask(&nginx.config.proof_socket, Ask::Quick).await {
            Ok(served) if served == *wanted => return Ok(()),
            Ok(served) => (unseen(master, turns, wanted, &served), BELATED),
            Err(error) => (error, DEADLINE),
        };
        if begun.elapsed() >= patience {
            return Err(error);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Why nginx does not answer as the flags say.
fn unseen(master: Master, turns: &[Turn], wanted: &Edited, served: &Edited) -> NginxError {
    let of = |edited: &Edited, turn: &Turn| edited.upstreams.get(&turn.service).cloned();
    let stayed = turns.iter().find(|turn| of(served, turn) != of(wanted, turn));
    let Some(turn) = stayed else {
        return NginxError::Astray { expected: wanted.edition, served: served.edition };
    };
    let worker = master.workers().ok().and_then(|workers| workers.accepting.first().copied());
    let closed = worker.and_then(|pid| flag::closed_to(pid, &turn.flag));
    let why = match closed {
        Some(directory) => format!(
            "its workers' user may not enter {}; let it (chmod o+x), or set `nginx.flags` to \
             another directory",
            directory.display()
        ),
        None => "is `open_file_cache` on in nginx's configuration? `aibkctl nginx snippet` shows \
                 the lines that the site needs"
            .to_owned(),
    };
    NginxError::NotFlipped {
        service: turn.service.clone(),
        flag: turn.flag.path(Colour::Green),
        why,
    }
}
