//! `status --watch`: the page again each second.

use std::{fmt::Write as _, future::Future, pin::pin, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use super::page;
use crate::{
    api::{client::ClientError, types::Status},
    cli::{
        Ended,
        daemon::Daemon,
        exit::Exit,
        failure::Failure,
        look::{self, Look, Reader},
        screen::{Format, Screen, complain, put, put_json_line},
    },
};

const PERIOD: Duration = Duration::from_secs(1);

/// Shows the page until Ctrl-C. A daemon that cannot be reached at first is an error; one that
/// goes away later is waited for.
pub(super) async fn run(daemon: &Daemon, screen: Screen) -> Ended {
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut frame = Frame::default();
    let mut last: Option<Status> = None;
    loop {
        let next = async {
            ticks.tick().await;
            daemon.status().await
        };
        let Some(answer) = unless(&mut interrupt, next).await else {
            return Ok(Exit::Done);
        };
        let gone = match answer {
            Ok(status) => {
                last = Some(status);
                None
            }
            Err(error @ ClientError::Problem { .. }) => return Err(error.into()),
            Err(error) => Some(error),
        };
        match (&last, gone) {
            (None, Some(error)) => return Err(error.into()),
            (Some(status), gone) => show(status, gone, &mut frame, daemon, screen)?,
            (None, None) => {}
        }
    }
}

async fn unless<T>(stop: &mut (impl Future + Unpin), work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        _ = stop => None,
        value = work => Some(value),
    }
}

fn show(
    status: &Status,
    gone: Option<ClientError>,
    frame: &mut Frame,
    daemon: &Daemon,
    screen: Screen,
) -> Result<(), Failure> {
    // The terminal may have been resized since.
    let look = Look::of_stdout();
    let screen = Screen { look, ..screen };
    let gone = gone.map(|error| Failure::from(error).report(daemon.socket()).text());
    match (screen.format, look.reader) {
        (Format::Json, _) => match gone {
            Some(gone) => {
                complain(&gone);
                Ok(())
            }
            None => put_json_line(status),
        },
        (Format::Text, reader) => {
            let mut text = match gone {
                Some(gone) => gone,
                None => page::page(status, look),
            };
            if reader == Reader::Log {
                text.push('\n');
                return put(&text);
            }
            let hint = look.paint(look::FAINT, "each second; Ctrl-C ends");
            let _ = writeln!(text, "\n{hint}");
            put(&frame.redraw(&text, look.width, rows()))
        }
    }
}

/// Rows of the terminal.
fn rows() -> usize {
    let rows = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| size.ws_row);
    if rows == 0 { 24 } else { usize::from(rows) }
}

/// What was drawn last.
#[derive(Debug, Default)]
struct Frame {
    rows: usize,
}

impl Frame {
    /// The bytes that put `text` where the last frame is: up (ECMA-48 CUU), erase below (ED), draw.
    fn redraw(&mut self, text: &str, width: usize, height: usize) -> String {
        let mut out = String::new();
        if self.rows > 0 {
            let _ = write!(out, "\x1b[{}A\r\x1b[J", self.rows);
        }
        self.rows = 0;
        for line in text.lines() {
            let columns = anstream::adapter::strip_str(line).to_string().chars().count();
            let rows = columns.div_ceil(width.max(1)).max(1);
            // What has left the screen at its top could not be erased any more.
            if self.rows + rows >= height {
                break;
            }
            self.rows += rows;
            out.push_str(line);
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::look::visible;

    #[test]
    fn each_frame_erases_the_one_before() {
        let mut frame = Frame::default();
        assert_eq!(frame.redraw("a\nb\n", 80, 24), "a\nb\n");
        assert_eq!(visible(&frame.redraw("c\n", 80, 24)), "␛[2A\r␛[Jc\n");
        assert_eq!(visible(&frame.redraw("d\n", 80, 24)), "␛[1A\r␛[Jd\n");
    }

    #[test]
    fn wrapped_lines_count_and_tall_pages_are_cut() {
        let mut frame = Frame::default();
        frame.redraw("\x1b[1m12345678\x1b[0m\n", 4, 24);
        assert_eq!(frame.rows, 2);
        let mut frame = Frame::default();
        assert_eq!(frame.redraw("1\n2\n3\n4\n", 80, 3), "1\n2\n");
    }
}
