//! `events`: what happened.

use clap::Args;
use jiff::Timestamp;

use super::{
    Ended,
    daemon::Daemon,
    layout::harmless,
    look::{self, Look},
    screen::{Format, Screen, put, put_json_line},
    stream::{Extent, each},
    time::Clock,
};
use crate::store::Event;

/// How many, and whether to go on.
#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    /// Go on with every new event, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// How many back
    #[arg(long = "number", short = 'n', default_value_t = 100, value_name = "N",
          value_parser = clap::value_parser!(u16).range(0..=10_000))]
    number: u16,
}

pub(super) async fn run(args: &EventsArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let lines = daemon.events(args.number.into(), args.follow).await?;
    let clock = Clock::SYSTEM;
    each(lines, Extent::of_follow(args.follow), |event: &Event| match screen.format {
        Format::Json => put_json_line(event),
        Format::Text => put(&event_line(event, clock, Timestamp::now(), screen.look)),
    })
    .await
}

/// `TIME kind subject message`.
fn event_line(event: &Event, clock: Clock, now: Timestamp, look: Look) -> String {
    let at = Timestamp::from_microsecond(event.at)
        .map_or_else(|_| event.at.to_string(), |at| clock.moment(at, now));
    let subject = event.instance.as_ref().or(event.service.as_ref());
    let subject = subject.map_or_else(|| "aibkd".to_owned(), |name| harmless(name));
    let message = harmless(&event.message).replace('\n', "\n    ");
    format!(
        "{} {} {} {}\n",
        look.paint(look::FAINT, &at),
        look.paint(look::STRONG, &format!("{:<17}", harmless(&event.kind))),
        format_args!("{subject:<10}"),
        message.trim_end(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_of_time_kind_subject_message() {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let events = [
            r#"{"id":1,"at":1772366399123456,"kind":"instance.ready","service":"api","instance":"api@8000","generation":7,"message":"3 probes answered"}"#,
            r#"{"id":2,"at":1772366400000000,"kind":"rollout.done","service":"api","rollout":12,"message":"rolling update done"}"#,
            r#"{"id":3,"at":0,"kind":"daemon.started","message":"version 0.1.0\nsecond line"}"#,
        ];
        let show = |look| {
            events
                .map(|event| {
                    event_line(&serde_json::from_str(event).unwrap(), Clock::UTC, now, look)
                })
                .concat()
        };
        insta::assert_snapshot!(show(Look::PAGE));
        insta::assert_snapshot!("coloured", look::visible(&show(Look::COLOURED)));
    }
}
