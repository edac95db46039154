//! Publishing: replace the file, test it, reload, prove; on any failure, back. Where the file stays
//! as it is, a flag is turned instead.

use std::{collections::BTreeMap, time::Duration};

mod detour;

use super::{
    Edited, Edition, Nginx, NginxError, Site, Upstreams, binary,
    blocking::blocking,
    flag,
    flip::{Flag, Seen, flags},
    flipping,
    master::Master,
    owned_file::{self, OnDisk},
    plan::{Cut, Next, Now, Plan, again, plan},
    proof::{self, Ask},
    reload::{self, Reload, Verdict},
    upgrade,
};
use crate::{config, sync_point};

/// The longest that a publish takes: the end of an upgrade is waited for, nginx is asked for its version
/// and for a test, and reloaded.
pub const PUBLISH_WITHIN: Duration = upgrade::PATIENCE
    .saturating_add(binary::DEADLINE.saturating_mul(2))
    .saturating_add(reload::DEADLINE);

/// Publishes the file with `change` in it; see [`Nginx::publish`].
pub(super) async fn publish(nginx: &Nginx, change: &Upstreams) -> Result<Edition, NginxError> {
    let mut last = nginx.last.lock().await;
    let master = upgrade::settled(nginx).await?;
    let (now, version) = tokio::join!(look(nginx), nginx.check());
    let (now, _) = (now?, version?);
    let places = nginx.places()?;
    let plan = plan(&now, *last, &nginx.site(), places, change)?;
    bring_about(nginx, master, now, plan, &mut last).await
}

/// The file first, where nginx has not read it as it is to be; then the flags.
async fn bring_about(
    nginx: &Nginx,
    master: Master,
    now: Now,
    plan: Plan,
    last: &mut Edition,
) -> Result<Edition, NginxError> {
    let (next, is_kept) = match plan {
        Plan::Keep(next) => {
            let is_served = now.served.as_ref().ok() == Some(&next.between());
            (next, is_served)
        }
        Plan::Replace(next) => (next, false),
    };
    *last = next.edited.edition;
    let (between, wanted, after) = (next.between(), next.edited.clone(), next.after.clone());
    if is_kept {
        flipping::turn(&next.before).await?;
    } else {
        Change { nginx, master, now, next }.carry_out().await?;
    }
    if !after.is_empty() {
        flipping::flip(nginx, master, &after, (&between, &wanted)).await?;
        nginx.remember(&wanted);
    }
    nginx.mean(&wanted);
    Ok(wanted.edition)
}

/// See [`Nginx::renew`].
pub(super) async fn renew(nginx: &Nginx) -> Result<Edition, NginxError> {
    let mut last = nginx.last.lock().await;
    let master = upgrade::settled(nginx).await?;
    let (now, version) = tokio::join!(look(nginx), nginx.check());
    let (now, _) = (now?, version?);
    let places = nginx.places()?;
    let next = match plan(&now, *last, &nginx.site(), places, &Upstreams::new())? {
        Plan::Keep(same) => again(same, *last, &nginx.site(), places)?,
        Plan::Replace(next) => next,
    };
    *last = next.edited.edition;
    let wanted = next.edited.clone();
    let done = Change { nginx, master, now, next }.carry_out().await?;
    nginx.mean(&wanted);
    Ok(done)
}

/// Publishes what nginx serves again, whatever somebody else has made of the file.
pub(super) async fn restore(nginx: &Nginx) -> Result<Edition, NginxError> {
    let mut last = nginx.last.lock().await;
    let master = upgrade::settled(nginx).await?;
    let (now, version) = tokio::join!(look(nginx), nginx.check());
    let (now, _) = (now?, version?);
    let (site, places) = (nginx.site(), nginx.places()?);
    let served = now.served.as_ref().ok().or(now.recalled.as_ref());
    let mut members = served.map(|served| served.upstreams.clone()).unwrap_or_default();
    members.retain(|service, _| site.contains_key(service));
    let plan = plan(&now, *last, &site, places, &members)?;
    bring_about(nginx, master, now, plan, &mut last).await
}

/// The file, its flags, and nginx as they are.
pub(super) async fn look(nginx: &Nginx) -> Result<Now, NginxError> {
    let (file, site) = (nginx.config.file.clone(), nginx.site());
    let looked = blocking(move || Ok((owned_file::read(&file)?, look_at_flags(&site))));
    let (looked, served) = tokio::join!(
        looked,
        // Taken for silent, a busy nginx would lose members of other services if the file is gone.
        proof::ask(&nginx.config.proof_socket, Ask::Patient),
    );
    let (disk, flags) = looked?;
    if let Ok(served) = &served {
        nginx.remember(served);
    }
    let is_cut_off = served.is_err() && detour::is_needed(&nginx.config.proof_socket);
    let cut = if is_cut_off { Cut::Off } else { Cut::No };
    // It serves on what it served when it could be asked.
    let recalled = nginx.recall().filter(|_| is_cut_off);
    Ok(Now { disk, flags, served, cut, recalled })
}

fn look_at_flags(site: &Site) -> BTreeMap<Flag, Seen> {
    flags(site.values()).into_iter().map(|flag| (flag.clone(), flag::look(&flag))).collect()
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
        flipping::turn(&self.next.before).await?;
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
        let (synced, tested) = tokio::join!(sync(self.nginx), self.nginx.accepts());
        synced.and(tested).map_err(|error| (Reached::FileOnly, error))?;
        if self.now.served.is_err() {
            // Left by a killed nginx, it would make the reload fail.
            let cleared = proof::clear_stale(&self.nginx.config.proof_socket).await;
            cleared.map_err(|error| (Reached::FileOnly, error))?;
        }
        if self.now.cut == Cut::Off {
            self.go_round().await?;
        }
        self.reload(Some(&self.next.between())).await
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
        if let Ok(served) = &self.now.served {
            self.nginx.note_followers(served, reload.before());
        }
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
        let edition = match reached {
            Reached::FileOnly => None,
            Reached::Refused => self.still_served().await?,
            Reached::Unclear => {
                // Where nginx did not answer before, it need not answer with the same file now.
                let before = before.map(|disk| &disk.edited).filter(|_| self.now.served.is_ok());
                match self.reload(before).await {
                    Ok(()) => before.map(|edited| edited.edition),
                    Err((Reached::Refused, _)) => self.still_served().await?,
                    Err((_, error)) => return Err(error),
                }
            }
        };
        // Not before nginx obeys none of them.
        flipping::turn_back(&self.next.before).await?;
        Ok(edition)
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
