//! Publishing: replace the file, test it, reload, prove; on any failure, back.

mod detour;

use super::{
    Edited, Edition, Nginx, NginxError, Upstreams, binary,
    blocking::blocking,
    master::Master,
    owned_file::{self, OnDisk},
    plan::{Cut, Next, Now, Plan, again, plan},
    proof::{self, Ask},
    reload::{Reload, Verdict},
    render::SocketPath,
    upgrade,
};
use crate::{config, sync_point};

/// Publishes the file with `change` in it; see [`Nginx::publish`].
pub(super) async fn publish(nginx: &Nginx, change: &Upstreams) -> Result<Edition, NginxError> {
    let mut last = nginx.last.lock().await;
    let master = upgrade::settled(nginx).await?;
    let (now, version) = tokio::join!(look(nginx), nginx.check());
    let (now, _) = (now?, version?);
    let socket = SocketPath::new(&nginx.config.proof_socket)?;
    let next = match plan(&now, *last, &nginx.site(), socket, change)? {
        Plan::Keep(next) if now.served.as_ref().ok() == Some(&next.edited) => {
            return Ok(next.edited.edition);
        }
        Plan::Keep(next) | Plan::Replace(next) => next,
    };
    *last = next.edited.edition;
    Change { nginx, master, now, next }.carry_out().await
}

/// See [`Nginx::renew`].
pub(super) async fn renew(nginx: &Nginx) -> Result<Edition, NginxError> {
    let mut last = nginx.last.lock().await;
    let master = upgrade::settled(nginx).await?;
    let (now, version) = tokio::join!(look(nginx), nginx.check());
    let (now, _) = (now?, version?);
    let socket = SocketPath::new(&nginx.config.proof_socket)?;
    let next = match plan(&now, *last, &nginx.site(), socket, &Upstreams::new())? {
        Plan::Keep(same) => again(same, *last, &nginx.site(), socket)?,
        Plan::Replace(next) => next,
    };
    *last = next.edited.edition;
    Change { nginx, master, now, next }.carry_out().await
}

/// Publishes what nginx serves again, whatever somebody else has made of the file.
pub(super) async fn restore(nginx: &Nginx) -> Result<Edition, NginxError> {
    let mut last = nginx.last.lock().await;
    let master = upgrade::settled(nginx).await?;
    let (now, version) = tokio::join!(look(nginx), nginx.check());
    let (now, _) = (now?, version?);
    let (site, socket) = (nginx.site(), SocketPath::new(&nginx.config.proof_socket)?);
    let served = now.served.as_ref().ok().or(now.recalled.as_ref());
    let mut members = served.map(|served| served.upstreams.clone()).unwrap_or_default();
    members.retain(|service, _| site.contains_key(service));
    let next = match plan(&now, *last, &site, socket, &members)? {
        Plan::Keep(next) if now.served.as_ref().ok() == Some(&next.edited) => {
            return Ok(next.edited.edition);
        }
        Plan::Keep(next) | Plan::Replace(next) => next,
    };
    *last = next.edited.edition;
    Change { nginx, master, now, next }.carry_out().await
}

/// The file and nginx as they are.
pub(super) async fn look(nginx: &Nginx) -> Result<Now, NginxError> {
    let file = nginx.config.file.clone();
    let (disk, served) = tokio::join!(
        blocking(move || owned_file::read(&file)),
        // Taken for silent, a busy nginx would lose members of other services if the file is gone.
        proof::ask(&nginx.config.proof_socket, Ask::Patient),
    );
    if let Ok(served) = &served {
        nginx.remember(served);
    }
    let is_cut_off = served.is_err() && detour::is_needed(&nginx.config.proof_socket);
    let cut = if is_cut_off { Cut::Off } else { Cut::No };
    // It serves on what it served when it could be asked.
    let recalled = nginx.recall().filter(|_| is_cut_off);
    Ok(Now { disk: disk?, served, cut, recalled })
}

/// One change of the owned file, on its way to be served.
struct Change<'a> {
    nginx: &'a Nginx,
    master: Master,
    now: Now,
    next: Next,
}

/// How far nginx got with a change that failed.
#[derive(Debug, Clone, Copy)]
enum Reached {
    /// It was never told, or is gone.
    FileOnly,
    /// It said that it keeps what it had.
    Refused,
    /// It may have taken it, or parts of it.
    Unclear,
}

type Failure = (Reached, NginxError);

impl Change<'_> {
    async fn carry_out(self) -> Result<Edition, NginxError> {
        replace(self.nginx, self.next.text.clone()).await?;
        sync_point!("nginx.replaced");
        match self.make_served().await {
            Ok(()) => {
                self.nginx.remember(&self.next.edited);
                Ok(self.next.edited.edition)
            }
            Err((reached, cause)) => Err(self.undo(reached, cause).await),
        }
    }

    async fn make_served(&self) -> Result<(), Failure> {
        let (synced, tested) = tokio::join!(sync(self.nginx), binary::test(&self.nginx.config));
        synced.and(tested).map_err(|error| (Reached::FileOnly, error))?;
        if self.now.served.is_err() {
            // Left by a killed nginx, it would make the reload fail.
            let cleared = proof::clear_stale(&self.nginx.config.proof_socket).await;
            cleared.map_err(|error| (Reached::FileOnly, error))?;
        }
        if self.now.cut == Cut::Off {
            self.go_round().await?;
        }
        self.reload(Some(&self.next.edited)).await
    }

    async fn reload(&self, wanted: Option<&Edited>) -> Result<(), Failure> {
        self.reload_by(&self.nginx.config, wanted).await
    }

    async fn reload_by(
        &self,
        config: &config::Nginx,
        wanted: Option<&Edited>,
    ) -> Result<(), Failure> {
        let reload =
            Reload::send(config, self.master).map_err(|error| (Reached::FileOnly, error))?;
        sync_point!("nginx.reloaded");
        match reload.verdict(wanted).await {
            Verdict::Served => Ok(()),
            Verdict::Refused(error) => Err((Reached::Refused, error)),
            Verdict::Gone(error) => Err((Reached::FileOnly, error)),
            Verdict::Unclear(error) => Err((Reached::Unclear, error)),
        }
    }

    async fn undo(&self, reached: Reached, cause: NginxError) -> NginxError {
        let cause = Box::new(cause);
        match self.go_back(reached).await {
            Ok(edition) => NginxError::Undone { cause, edition },
            Err(undo) => NginxError::NotUndone { cause, undo: Box::new(undo) },
        }
    }

    /// The file first, then nginx as far as it was told; the edition it was seen to serve.
    async fn go_back(&self, reached: Reached) -> Result<Option<Edition>, NginxError> {
        let before = self.now.disk.as_ref();
        put_back(self.nginx, before).await?;
        match reached {
            Reached::FileOnly => Ok(None),
            Reached::Refused => self.still_served().await,
            Reached::Unclear => {
                // Where nginx did not answer before, it need not answer with the same file now.
                let before = before.map(|disk| &disk.edited).filter(|_| self.now.served.is_ok());
                match self.reload(before).await {
                    Ok(()) => Ok(before.map(|edited| edited.edition)),
                    Err((Reached::Refused, _)) => self.still_served().await,
                    Err((_, error)) => Err(error),
                }
            }
        }
    }

    /// Proves that nginx still serves what it served before the change.
    async fn still_served(&self) -> Result<Option<Edition>, NginxError> {
        let Ok(before) = &self.now.served else { return Ok(None) };
        let served = proof::ask(&self.nginx.config.proof_socket, Ask::Patient).await?;
        if served == *before {
            return Ok(Some(served.edition));
        }
        Err(NginxError::Astray { expected: before.edition, served: served.edition })
    }
}

/// Makes the file what it was: `before`, or nothing.
pub(super) async fn put_back(nginx: &Nginx, before: Option<&OnDisk>) -> Result<(), NginxError> {
    if let Some(disk) = before {
        replace(nginx, disk.text.clone()).await?;
    } else {
        let file = nginx.config.file.clone();
        blocking(move || owned_file::remove(&file)).await?;
    }
    sync(nginx).await
}

pub(super) async fn replace(nginx: &Nginx, text: String) -> Result<(), NginxError> {
    let file = nginx.config.file.clone();
    blocking(move || owned_file::replace(&file, &text)).await
}

pub(super) async fn sync(nginx: &Nginx) -> Result<(), NginxError> {
    let file = nginx.config.file.clone();
    blocking(move || owned_file::sync_directory(&file)).await
}
