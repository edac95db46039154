//! `logs`: what an instance wrote.

use clap::Args;
use jiff::Timestamp;

use super::{
    Ended,
    daemon::Daemon,
    layout::harmless,
    look::{self, Ink, Look},
    screen::{Format, Screen, put, put_json_line},
    stream::{Extent, each},
    time::Clock,
};
use crate::{api::types::LogLine, ident::InstanceId};

/// Whose, how many, and whether to go on.
#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// The instance, as `aibkctl status` shows it
    instance: InstanceId,
    /// Go on with every new line, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// How many lines back
    #[arg(long, short = 'n', default_value_t = 100, value_name = "N",
          value_parser = clap::value_parser!(u16).range(0..=10_000))]
    lines: u16,
}

pub(super) async fn run(args: &LogsArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let lines = daemon.logs(&args.instance, args.lines.into(), args.follow).await?;
    let clock = Clock::system();
    each(lines, Extent::of_follow(args.follow), |line: &LogLine| match screen.format {
        Format::Json => put_json_line(line),
        Format::Text => put(&log_line(line, &clock, Timestamp::now(), screen.look)),
    })
    .await
}

/// `TIME text` in colour, where stderr is dimmed; `TIME STREAM text` without.
fn log_line(line: &LogLine, clock: &Clock, now: Timestamp, look: Look) -> String {
    let at = line.at.parse().map_or_else(|_| line.at.clone(), |at| clock.moment(at, now));
    let text = harmless(&line.text).replace('\n', " ");
    if look.ink == Ink::Plain {
        let line = format!("{at} {} {text}", harmless(&line.stream));
        return format!("{}\n", line.trim_end());
    }
    let style = if line.stream == "stderr" { look::FAINT } else { anstyle::Style::new() };
    format!("{} {}\n", look.paint(look::FAINT, &at), look.paint(style, &text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_time_and_a_stream() {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let lines = [
            r#"{"at":"2026-02-28T23:59:59.000001Z","generation":7,"stream":"stderr","text":"late"}"#,
            r#"{"at":"2026-03-01T11:59:59.123456Z","generation":7,"stream":"stdout","text":"\u001b[31mred\u001b[0m"}"#,
            r#"{"at":"?","generation":7,"stream":"stderr","text":""}"#,
        ];
        let show = |look| {
            lines
                .map(|line| log_line(&serde_json::from_str(line).unwrap(), &Clock::UTC, now, look))
                .concat()
        };
        insta::assert_snapshot!(show(Look::PAGE));
        insta::assert_snapshot!("coloured", look::visible(&show(Look::COLOURED)));
    }
}
