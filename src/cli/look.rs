//! How output looks: everything the pure rendering functions need to know about the terminal.

use std::io::IsTerminal as _;

use anstyle::{AnsiColor, Style};

use crate::api::types::{Colour, InstanceState, RolloutState, Traffic};

/// Width taken where there is no terminal to ask.
const PLAIN_WIDTH: usize = 80;

/// Whether colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    /// Escape sequences of ECMA-48 (SGR).
    Colour,
    /// None.
    Plain,
}

/// Who reads along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// Somebody at a terminal: signs, lines drawn again.
    Person,
    /// A file or another program: words, each line written once.
    Log,
}

/// How output is to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// Columns.
    pub(super) width: usize,
    /// Colours or none.
    pub(super) ink: Ink,
    /// Who reads along.
    pub(super) reader: Reader,
}

impl Look {
    /// The look for standard output: colours only on a terminal, and never with `NO_COLOR`.
    pub(super) fn of_stdout() -> Self {
        let stdout = std::io::stdout();
        let ink = match anstream::AutoStream::choice(&stdout) {
            anstream::ColorChoice::Never => Ink::Plain,
            _ => Ink::Colour,
        };
        if !stdout.is_terminal() {
            return Self { width: PLAIN_WIDTH, ink, reader: Reader::Log };
        }
        let columns = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| size.ws_col);
        let width = if columns == 0 { PLAIN_WIDTH } else { usize::from(columns) };
        Self { width, ink, reader: Reader::Person }
    }

    /// `text` in `style`, where colours are used.
    pub(super) fn paint(self, style: Style, text: &str) -> String {
        if self.ink == Ink::Colour && style != Style::new() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

/// Something went wrong.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// All is well.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// It is on its way.
pub(super) const PENDING: Style = AnsiColor::Yellow.on_default();
/// Less important than the rest.
pub(super) const FAINT: Style = Style::new().dimmed();
/// More important than the rest.
pub(super) const STRONG: Style = Style::new().bold();

/// A slot in its own colour.
pub(super) const fn of_slot(colour: Colour) -> Style {
    match colour {
        Colour::Blue => AnsiColor::Blue.on_default().bold(),
        Colour::Green => AnsiColor::Green.on_default().bold(),
    }
}

/// How good a state is.
pub(super) const fn of_state(state: InstanceState) -> Style {
    match state {
        InstanceState::Ready => GOOD,
        InstanceState::Starting | InstanceState::Stopping => PENDING,
        InstanceState::Unready
        | InstanceState::Hung
        | InstanceState::Backoff
        | InstanceState::Failed => BAD,
        InstanceState::Stopped | InstanceState::Finished => FAINT,
    }
}

/// How much traffic there is.
pub(super) const fn of_traffic(traffic: Traffic) -> Style {
    match traffic {
        Traffic::Serving | Traffic::Canary => STRONG,
        Traffic::Backup | Traffic::Preview => Style::new(),
        Traffic::Down => FAINT,
    }
}

/// How a rollout stands.
pub(super) const fn of_rollout(state: RolloutState) -> Style {
    match state {
        RolloutState::Done => GOOD,
        RolloutState::Waiting | RolloutState::Running | RolloutState::Undoing => PENDING,
        RolloutState::Undone | RolloutState::Stuck => BAD,
        RolloutState::Skipped => FAINT,
    }
}

#[cfg(test)]
impl Look {
    /// What tests draw on: a terminal of 80 columns without colours.
    pub(super) const PAGE: Self = Self { width: 80, ink: Ink::Plain, reader: Reader::Person };
    /// A log file.
    pub(super) const FILE: Self = Self { width: 80, ink: Ink::Plain, reader: Reader::Log };
    /// A terminal with colours.
    pub(super) const COLOURED: Self = Self { width: 80, ink: Ink::Colour, reader: Reader::Person };
}

/// Escape sequences made visible, for snapshots.
#[cfg(test)]
pub(super) fn visible(text: &str) -> String {
    text.replace('\u{1b}', "␛")
}
