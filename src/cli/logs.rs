//! `logs`: what instances wrote.

use std::{borrow::Cow, fmt::Write as _};

use anstyle::{AnsiColor, Style};
use clap::Args;
use jiff::{Timestamp, Zoned};
use serde_json::Value;

use super::{
    Ended,
    daemon::Daemon,
    layout::harmless,
    look::{self, Ink, Look},
    moments::parse_moment,
    screen::{Format, Screen, put, put_json_line},
    stream::{Extent, each},
    time::Clock,
};
use crate::{
    api::types::{LogLine, Logs},
    ident::InstanceId,
};

/// Whose, which, and whether to go on.
#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// Instances, and services for all of their instances; none for everybody
    #[arg(value_name = "NAME")]
    names: Vec<InstanceId>,
    /// Go on with every new line, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// How many lines back, of all together [default: 100, or with --since all]
    #[arg(long, short = 'n', value_name = "N",
          value_parser = clap::value_parser!(u16).range(0..=10_000))]
    lines: Option<u16>,
    /// Only lines of this moment and later: `today`, `yesterday`, `10m`, `2h ago`, `12:00`,
    /// `2026-03-01 12:00`, or RFC 3339
    #[arg(long, short = 'S', value_name = "WHEN", value_parser = moment, allow_hyphen_values = true)]
    since: Option<Timestamp>,
    /// Only lines before this moment
    #[arg(long, short = 'U', value_name = "WHEN", value_parser = moment, allow_hyphen_values = true,
          conflicts_with = "follow")]
    until: Option<Timestamp>,
    /// Only lines in which this regular expression is found
    #[arg(long, short, value_name = "REGEX")]
    grep: Option<String>,
}

fn moment(text: &str) -> Result<Timestamp, String> {
    parse_moment(text, &Zoned::now())
}

impl LogsArgs {
    fn asked(&self) -> Logs {
        let names: Vec<_> = self.names.iter().map(ToString::to_string).collect();
        Logs {
            of: (!names.is_empty()).then(|| names.join(",")),
            n: self.lines.map(usize::from),
            since: self.since,
            until: self.until,
            grep: self.grep.clone(),
            follow: self.follow,
        }
    }
}

pub(super) async fn run(args: &LogsArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let lines = daemon.logs(&args.asked()).await?;
    let clock = Clock::SYSTEM;
    let mut names = Names::of(&args.names);
    each(lines, Extent::of_follow(args.follow), |line: &LogLine| match screen.format {
        Format::Json => put_json_line(line),
        Format::Text => {
            let name = names.column(&line.instance, screen.look);
            put(&log_line(line, &name, clock, Timestamp::now(), screen.look))
        }
    })
    .await
}

/// Colours of instances, in the order in which they first say something.
const COLOURS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Magenta,
    AnsiColor::Green,
    AnsiColor::Blue,
    AnsiColor::BrightCyan,
    AnsiColor::BrightMagenta,
];

/// The column that says who wrote a line.
struct Names {
    /// The one instance that was asked for: it need not be named in each line.
    only: Option<String>,
    seen: Vec<String>,
    width: usize,
}

impl Names {
    fn of(asked: &[InstanceId]) -> Self {
        let only = match asked {
            [only] => Some(only.to_string()),
            _ => None,
        };
        Self { only, seen: Vec::new(), width: 0 }
    }

    /// With a blank behind it; empty for the only instance there is.
    fn column(&mut self, instance: &str, look: Look) -> String {
        if self.only.as_deref() == Some(instance) {
            return String::new();
        }
        let place = self.seen.iter().position(|seen| seen == instance).unwrap_or_else(|| {
            self.seen.push(instance.to_owned());
            self.width = self.width.max(instance.chars().count());
            self.seen.len() - 1
        });
        let colour = COLOURS.get(place % COLOURS.len()).copied();
        let style = colour.map_or(Style::new(), AnsiColor::on_default);
        format!("{} ", look.paint(style, &format!("{:1$}", harmless(instance), self.width)))
    }
}

/// `TIME NAME text` in colour, by priority; `TIME NAME STREAM text` without. Of a line of JSON the
/// message, and then the fields.
fn log_line(line: &LogLine, name: &str, clock: Clock, now: Timestamp, look: Look) -> String {
    let at = line.at.parse().map_or_else(|_| line.at.clone(), |at| clock.moment(at, now));
    let text = harmless(&message(line)).replace('\n', " ");
    if look.ink == Ink::Plain {
        let line = format!("{at} {name}{} {text}", harmless(&line.stream));
        return format!("{}\n", line.trim_end());
    }
    let style = match line.priority.as_str() {
        "emerg" | "alert" | "crit" | "err" => look::BAD,
        "warning" => look::PENDING,
        "notice" | "debug" => look::FAINT,
        _ => Style::new(),
    };
    format!("{} {name}{}\n", look.paint(look::FAINT, &at), look.paint(style, &text))
}

/// `paid logger=shop order={"id":7}`.
fn message(line: &LogLine) -> Cow<'_, str> {
    let Some(message) = &line.message else { return line.text.as_str().into() };
    let mut text = message.clone();
    for (key, value) in &line.fields {
        let _ = match value {
            Value::String(value) => write!(text, " {key}={value}"),
            value => write!(text, " {key}={value}"),
        };
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 4] = [
        r#"{"instance":"api@8000","at":"2026-02-28T23:59:59.000001Z","generation":7,"stream":"stderr","priority":"err","text":"ERROR: late"}"#,
        r#"{"instance":"worker","at":"2026-03-01T11:59:59.123456Z","generation":7,"stream":"stdout","priority":"info","text":"\u001b[31mred\u001b[0m"}"#,
        r#"{"instance":"api@8000","at":"?","generation":7,"stream":"stderr","priority":"notice","text":""}"#,
        r#"{"instance":"api@8001","at":"2026-03-01T12:00:00Z","generation":8,"stream":"stdout","priority":"warning","text":"{}","message":"ok","fields":{"n":[1],"logger":"shop"}}"#,
    ];

    fn show(asked: &[&str], look: Look) -> String {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let asked: Vec<InstanceId> = asked.iter().map(|name| name.parse().unwrap()).collect();
        let mut names = Names::of(&asked);
        let show = |text: &&str| {
            let line: LogLine = serde_json::from_str(text).unwrap();
            log_line(&line, &names.column(&line.instance, look), Clock::UTC, now, look)
        };
        LINES.iter().map(show).collect()
    }

    #[test]
    fn lines_have_a_time_a_name_and_a_stream() {
        insta::assert_snapshot!(show(&["api@8000", "worker"], Look::PAGE));
        insta::assert_snapshot!("coloured", look::visible(&show(&[], Look::COLOURED)));
    }

    #[test]
    fn the_only_instance_is_not_named() {
        assert!(show(&["worker"], Look::PAGE).contains("11:59:59.123 stdout "));
        assert!(show(&["api"], Look::PAGE).contains("12:00:00.000 api@8001 stdout ok"));
    }
}
