//! A slot with nobody left behind its doors, while another one stands in for it: connections are
//! refused then, so that whoever connects asks the other one at once, and does not wait here.

use std::{
    collections::BTreeMap,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use super::{Door, Doors, Gate};
use crate::{ident::Side, sys::listener};

/// So soon no interpreter that has just been started listens: it may be passed over. One that does
/// listen must not have its socket shut, for it would not know.
const NEWBORN: Duration = Duration::from_millis(30);

/// Since when a process is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    /// It was started by this daemon.
    Birth(Instant),
    /// It was there before.
    Ever,
}

/// Whether another slot takes the connections to this one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StandIn {
    /// They have nowhere else to go.
    #[default]
    Nobody,
    /// It is ready, and whoever sends connections knows of it.
    Ready,
}

/// Who is behind the doors, and what that means for them.
#[derive(Debug, Default)]
pub(super) struct Cover {
    /// The processes of each side, by number: from before they are born until they are gone.
    behind: BTreeMap<(Side, u16), Since>,
    stand_in: StandIn,
    /// The side that refuses connections until a process of it listens.
    hushed: Option<Side>,
}

impl Cover {
    /// Nobody accepts behind `side`, and nobody has to.
    fn is_idle(&self, side: Side, now: Instant) -> bool {
        let accepts = |since: &Since| match since {
            Since::Birth(at) => now.saturating_duration_since(*at) >= NEWBORN,
            Since::Ever => true,
        };
        let mut of_side = self.behind.iter().filter(|((of, _), _)| *of == side);
        self.stand_in == StandIn::Ready && !of_side.any(|(_, since)| accepts(since))
    }

    pub(super) fn closed(&mut self, side: Side) {
        self.hushed.take_if(|hushed| *hushed == side);
    }
}

impl Gate {
    /// From now on another slot takes the connections to this one, or none does.
    pub fn cover(&self, stand_in: StandIn) {
        let mut doors = self.doors();
        doors.cover.stand_in = stand_in;
        match stand_in {
            StandIn::Ready => self.refuse_if_idle(&mut doors),
            StandIn::Nobody => self.take_again(&mut doors),
        }
    }

    /// Two open doors have their order from when they began to listen, so none is hushed then.
    fn refuse_if_idle(&self, doors: &mut Doors) {
        let side = doors.facing;
        let alone = doors.of(side.other()).is_none();
        if let Some(open) =
            doors.of(side).filter(|_| alone && doors.cover.is_idle(side, Instant::now()))
        {
            self.quiet(open);
            doors.cover.hushed = Some(side);
        }
    }

    /// Connections wait again.
    pub(super) fn take_again(&self, doors: &mut Doors) {
        let Some(side) = doors.cover.hushed.take() else { return };
        if let Some(open) = doors.of(side)
            && let Err(error) = listener::listen(open.socket.as_fd())
        {
            tracing::warn!(instance = %self.id, %error, "cannot listen again");
        }
    }
}

impl Door {
    /// A process with this number is about to be born behind it.
    pub fn enter(&self, number: u16) {
        self.note(number, Since::Birth(Instant::now()));
    }

    /// A process with this number is there from an earlier daemon.
    pub fn find(&self, number: u16) {
        self.note(number, Since::Ever);
    }

    fn note(&self, number: u16, since: Since) {
        self.gate.doors().cover.behind.insert((self.side, number), since);
    }

    /// It is gone, with all that it started.
    pub fn leave(&self, number: u16) {
        let mut doors = self.gate.doors();
        if doors.cover.behind.remove(&(self.side, number)).is_some() {
            self.gate.refuse_if_idle(&mut doors);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpStream, sync::Arc};

    use super::{super::tests::gate, *};

    #[test]
    fn it_refuses_only_while_nobody_is_there_and_another_one_is() {
        let gate = gate();
        let takes = || TcpStream::connect(gate.address()).is_ok();
        let door = Door { gate: Arc::clone(&gate), side: Side::A };
        door.find(1);
        let open = door.open().unwrap();
        door.find(2);
        gate.cover(StandIn::Ready);
        door.leave(1);
        assert!(takes(), "one is left");
        door.leave(2);
        assert!(!takes());
        gate.cover(StandIn::Nobody);
        assert!(takes());
        gate.cover(StandIn::Ready);
        assert!(!takes());
        door.enter(1);
        assert!(!takes(), "it does not listen yet");
        listener::listen(open.socket.as_fd()).unwrap();
        assert!(takes());
        door.leave(1);
        assert!(!takes());
        // Whoever takes over beside it finds the order that it counts on.
        let other = Door { gate: Arc::clone(&gate), side: Side::B };
        other.find(1);
        other.open().unwrap();
        assert!(takes());
        assert_eq!(gate.waiting(Side::B).unwrap(), 0);
    }

    #[test]
    fn one_that_was_just_born_does_not_listen_yet() {
        let now = Instant::now();
        let mut cover = Cover { stand_in: StandIn::Ready, ..Cover::default() };
        cover.behind.insert((Side::A, 1), Since::Birth(now));
        assert!(cover.is_idle(Side::A, now) && cover.is_idle(Side::B, now + NEWBORN));
        assert!(!cover.is_idle(Side::A, now + NEWBORN));
        cover.stand_in = StandIn::Nobody;
        assert!(!cover.is_idle(Side::A, now));
    }
}
