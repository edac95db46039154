//! What flags are meant to say, known from what was published last: so somebody else's hand on one is
//! seen, and undone.

use std::{collections::BTreeMap, sync::PoisonError};

use super::{
    Edited, Mended, Nginx, NginxError, Site, Switch,
    blocking::blocking,
    flag,
    flip::{Colour, Flag, Seen, Turn, exchanged},
    flipping,
    proof::{self, Ask},
};
use crate::ident::ServiceName;

/// What each flag that nginx obeys is meant to say; `None` until something tells.
pub(super) type Meant = Option<BTreeMap<ServiceName, (Flag, Colour)>>;

impl Nginx {
    /// From now on the flags are meant to say `published`.
    pub(super) fn mean(&self, published: &Edited) {
        let meant = meant(published, &self.site());
        *self.meant.lock().unwrap_or_else(PoisonError::into_inner) = Some(meant);
    }

    /// What they are meant to say. A daemon that has published nothing yet takes what it finds for
    /// meant, as it does with members (`S3`).
    fn means(&self) -> Meant {
        let known = self.meant.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_none()
            && let Ok(Some(found)) = self.on_disk()
        {
            self.mean(&found);
            return Some(meant(&found, &self.site()));
        }
        known
    }
}

fn meant(edited: &Edited, site: &Site) -> BTreeMap<ServiceName, (Flag, Colour)> {
    let colour = |service: &ServiceName| match &site.get(service)?.switch {
        Switch::Flip(flip) => flip.colour(edited.upstreams.get(service)?),
        Switch::Reload => None,
    };
    let of = |(service, flag): (&ServiceName, &Flag)| {
        Some((service.clone(), (flag.clone(), colour(service)?)))
    };
    edited.flips.iter().filter_map(of).collect()
}

/// Makes each flag say what it is meant to, where somebody else removed, made or renamed one.
///
/// # Errors
/// When a flag cannot be turned, or nginx does not see it.
pub(super) async fn put_right(nginx: &Nginx) -> Result<Vec<Mended>, NginxError> {
    // Whoever holds it is about to turn one.
    let _last = nginx.last.lock().await;
    let meant = nginx.means().unwrap_or_default();
    if meant.is_empty() {
        return Ok(vec![]);
    }
    let look = move || Ok(astray(meant, flag::look));
    let astray = blocking(look).await?;
    let (seen, unseen): (Vec<_>, Vec<_>) =
        astray.iter().map(|(turn, _)| turn.clone()).partition(|turn| turn.from != turn.to);
    flipping::turn(&unseen).await?;
    turn_back(nginx, &seen).await?;
    Ok(astray.into_iter().map(|(_, told)| told).collect())
}

/// How each that says something else is to be turned, and what is told of it.
fn astray(
    meant: BTreeMap<ServiceName, (Flag, Colour)>,
    look: impl Fn(&Flag) -> Seen,
) -> Vec<(Turn, Mended)> {
    let wrong = |(service, (flag, to)): (ServiceName, (Flag, Colour))| {
        let seen = look(&flag);
        let told = match seen {
            Seen::Sound(says) if says == to => return None,
            Seen::Missing => Mended::FlagGone(service.clone()),
            Seen::Sound(_) | Seen::Doubled => Mended::FlagTurned(service.clone()),
        };
        Some((Turn { service, flag, from: seen.colour(), to }, told))
    };
    meant.into_iter().filter_map(wrong).collect()
}

/// Turns flags that nginx obeys, and proves it where nginx runs.
async fn turn_back(nginx: &Nginx, turns: &[Turn]) -> Result<(), NginxError> {
    if turns.is_empty() {
        return Ok(());
    }
    let master = match nginx.master().await {
        Ok(master) => master,
        Err(NginxError::NotRunning { .. }) => return flipping::turn(turns).await,
        Err(error) => return Err(error),
    };
    let served = proof::ask(&nginx.config.proof_socket, Ask::Patient).await?;
    let mut wanted = served.clone();
    for turn in turns.iter().filter(|turn| served.flips.get(&turn.service) == Some(&turn.flag)) {
        if let Some(members) = wanted.upstreams.get_mut(&turn.service) {
            *members = exchanged(members);
        }
    }
    flipping::flip(nginx, master, turns, (&served, &wanted)).await?;
    nginx.remember(&wanted);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Slots, ident::Port, nginx::Flip};

    #[test]
    fn only_what_says_something_else_is_turned() {
        let [blue, green] = [8000, 8001].map(|port| Port::new(port).unwrap());
        let api: ServiceName = "api".parse().unwrap();
        let flip = Flip::new(&api, Slots::Two { blue, green }, "/flags".as_ref()).unwrap();
        let (gone, turned) = (Mended::FlagGone(api.clone()), Mended::FlagTurned(api.clone()));
        for (to, seen, then) in [
            (Colour::Blue, Seen::Sound(Colour::Blue), None),
            (Colour::Green, Seen::Sound(Colour::Blue), Some((Colour::Blue, turned.clone()))),
            (Colour::Green, Seen::Missing, Some((Colour::Blue, gone.clone()))),
            (Colour::Blue, Seen::Missing, Some((Colour::Blue, gone))),
            (Colour::Blue, Seen::Doubled, Some((Colour::Green, turned))),
        ] {
            let meant = [(api.clone(), (flip.flag.clone(), to))].into();
            let found = astray(meant, |_| seen).pop();
            assert_eq!(found.map(|(turn, told)| (turn.from, told)), then, "{to:?} {seen:?}");
        }
    }
}
