//! When an instance is asked what, and what is kept of its answers.

use super::{
    chart::{Answer, Board},
    life::{self, Event, Question, State},
    probe::Whom,
    schedule::Schedule,
};
use crate::{
    config::{How, Service, Sign},
    ident::Slot,
    process::{self, Door},
};

/// The probes of one instance.
pub(super) struct Probing {
    slot: Slot,
    door: Option<Door>,
    schedules: Vec<Schedule>,
    complaint: Option<String>,
    /// What the last live probe said, if it failed.
    silence: Option<String>,
    board: Board,
}

impl Probing {
    pub(super) fn new(service: &Service, slot: Slot, door: Option<Door>) -> Self {
        let (complaint, silence, board) = (None, None, Board::default());
        Self { slot, door, schedules: schedules(service), complaint, silence, board }
    }

    /// From now on it is asked by `service`; what it has answered stays.
    pub(super) fn adapt(&mut self, service: &Service) {
        self.schedules = schedules(service);
    }

    /// What the last probe said against the instance's being up or ready.
    pub(super) fn complaint(&self) -> Option<String> {
        self.complaint.clone()
    }

    /// What the last probe said against its being alive.
    pub(super) fn silence(&self) -> Option<String> {
        self.silence.clone()
    }

    /// Where its answers are seen.
    pub(super) fn board(&self) -> Board {
        self.board.clone()
    }

    /// From now on its answers are seen on `board`.
    pub(super) fn tell_on(&mut self, board: Board) {
        self.board = board;
    }

    /// Answers that were under way are about another state, and are forgotten.
    pub(super) fn state_changed(&mut self, before: State, state: State) {
        for schedule in &mut self.schedules {
            schedule.state_changed(before, state);
        }
        if !matches!(state, State::Starting(_) | State::Unready(_)) {
            self.complaint = None;
        }
        if life::probed(state).is_none() {
            self.silence = None;
        }
    }

    /// Whether something is asked, or will be, in `state`.
    pub(super) fn is_due(&self, state: State) -> bool {
        life::probed(state).is_some() && self.schedules.iter().any(Schedule::is_due)
    }

    /// Waits for the next answer. Cancel safe: what was asked is asked on.
    pub(super) async fn next(
        &mut self,
        state: State,
        whom: Option<Whom<'_>>,
        tree: impl Fn() -> Vec<i32>,
    ) -> Event {
        let (Some(generation), Some(whom)) = (life::probed(state), whom) else {
            return std::future::pending().await;
        };
        let due = self.schedules.iter_mut().filter(|schedule| schedule.is_due());
        let asked: Vec<_> = due.map(|schedule| Box::pin(schedule.next(whom))).collect();
        if asked.is_empty() {
            return std::future::pending().await;
        }
        let ((question, mut given), ..) = futures_util::future::select_all(asked).await;
        let starts = matches!(state, State::Starting(_) | State::Unready(_));
        if given.verdict.is_ok() && starts && self.is_about_the_port(question) {
            given.verdict = given.verdict.and_then(|seen| self.is_ours(tree).map(|()| seen));
        }
        let passed = given.verdict.is_ok();
        let against = given.verdict.as_ref().err().cloned();
        match question {
            Question::Startup | Question::Ready => self.complaint = against,
            Question::Live => self.silence = against,
        }
        for schedule in self.schedules.iter_mut().filter(|other| other.question() == question) {
            schedule.answered(passed);
        }
        let answer = Answer { generation, at: given.at, took: given.took, verdict: given.verdict };
        self.board.note(question, answer);
        if passed {
            Event::Passed(question, generation)
        } else {
            Event::Failed(question, generation)
        }
    }

    /// The port's answer says who is there, and so does whoever lives; a program may ask anybody.
    fn is_about_the_port(&self, question: Question) -> bool {
        let schedule = self.schedules.iter().find(|schedule| schedule.question() == question);
        let answers = |sign: &Sign| match sign {
            Sign::Alive { .. } => true,
            Sign::Asked(check) => match &check.how {
                How::Command(_) => false,
                How::Http(http) => http.socket.is_none(),
                How::Tcp => true,
            },
        };
        question != Question::Live && schedule.map(Schedule::sign).is_some_and(answers)
    }

    /// An old process on the port can never vouch for a new generation.
    fn is_ours(&self, tree: impl Fn() -> Vec<i32>) -> Result<(), String> {
        if let Some(door) = &self.door {
            let serves = door.is_served_by(&tree()).then_some(());
            return serves.ok_or_else(|| "it does not accept connections yet".to_owned());
        }
        let Some(port) = self.slot.port() else { return Ok(()) };
        match process::listens(&tree(), port) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("port {port} is answered by a process that is not ours")),
            Err(e) => Err(format!("cannot see who listens on port {port}: {e}")),
        }
    }
}

fn schedules(service: &Service) -> Vec<Schedule> {
    let (startup, live) = (service.startup.clone(), service.live.clone());
    let opens = if startup.is_some() { Question::Startup } else { Question::Ready };
    let all = [
        startup.map(|check| Schedule::new(Question::Startup, Sign::Asked(check), opens)),
        Some(Schedule::new(Question::Ready, service.ready.sign.clone(), opens)),
        live.map(|check| Schedule::new(Question::Live, Sign::Asked(check), opens)),
    ];
    let mut schedules: Vec<Schedule> = all.into_iter().flatten().collect();
    // Collecting makes room for four.
    schedules.shrink_to_fit();
    schedules
}
