//! `plan`: what a rollout would do.

use std::{fmt::Write as _, path::PathBuf};

use clap::{Args, ValueEnum};

use super::{
    Ended,
    daemon::Daemon,
    exit::Exit,
    layout::{Cell, Column, Fit, hanging, harmless, table},
    look::{self, Look},
    roll,
    screen::{Screen, complain},
    time, verdict,
};
use crate::{
    api::types::{Plan, PlanTogether, PlanWay, Planned, PlannedStep, TogetherWay, Undo},
    ident::{InstanceId, Port},
};

/// Of what, and how it would be asked for.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// The service, or several for one rollout of them, or the instance to be started, stopped or
    /// restarted; then what would be asked for: rolling (if none is named), swap, rollback, start,
    /// stop or restart
    #[arg(required = true, value_parser = name_or_way, value_name = "NAME|WAY")]
    of: Vec<String>,
    /// Directory of the release that would be brought in
    #[arg(long, value_name = "DIR")]
    release: Option<PathBuf>,
    /// As if it were asked for with `--force`
    #[arg(long)]
    force: bool,
    /// As if a swap were asked for with `--hold`
    #[arg(long)]
    hold: bool,
}

impl PlanArgs {
    /// Of what, and in which way: the last word is one if something stands before it.
    fn split(&self) -> Result<(Vec<InstanceId>, Way), String> {
        let way = |word: &String| Way::from_str(word, false).ok();
        let (names, way) = match self.of.split_last().map(|(last, rest)| (way(last), rest)) {
            Some((Some(way), rest)) if !rest.is_empty() => (rest, way),
            _ => (self.of.as_slice(), Way::Rolling),
        };
        let names: Result<Vec<InstanceId>, _> = names.iter().map(|name| name.parse()).collect();
        Ok((names.map_err(|e: crate::ident::InvalidName| e.to_string())?, way))
    }
}

/// As its command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    Rolling,
    Swap,
    Rollback,
    Start,
    Stop,
    Restart,
}

fn name_or_way(word: &str) -> Result<String, String> {
    let name = word.parse::<InstanceId>().map(drop);
    match (Way::from_str(word, false), name) {
        (Err(_), Err(e)) => Err(e.to_string()),
        _ => Ok(word.to_owned()),
    }
}

pub(super) async fn run(args: &PlanArgs, daemon: &Daemon, screen: Screen) -> Ended {
    let (names, way) = match args.split() {
        Ok(split) => split,
        Err(why) => return Ok(misused(&why)),
    };
    if args.hold && way != Way::Swap {
        return Ok(misused("only a swap can be held: say `swap --hold`"));
    }
    match names.as_slice() {
        [one] => one_service(one, way, args, daemon, screen).await,
        several => together(several, way, args, daemon, screen).await,
    }
}

fn misused(why: &str) -> Exit {
    complain(&format!("aibkctl: {why}\n"));
    Exit::Usage
}

async fn together(
    several: &[InstanceId],
    way: Way,
    args: &PlanArgs,
    daemon: &Daemon,
    screen: Screen,
) -> Ended {
    let way = match way {
        Way::Rolling => TogetherWay::Rolling,
        Way::Swap => TogetherWay::Swap,
        _ => return Ok(misused("of several services there is a rolling update, or a swap")),
    };
    if args.release.is_some() || args.hold {
        let why = "`--release` and `--hold` are of one service: name one, or leave them out";
        return Ok(misused(why));
    }
    if let Some(instance) = several.iter().find(|id| id.slot.port().is_some()) {
        return Ok(misused(&format!("`{instance}` is an instance; name its service")));
    }
    let services: Vec<&str> = several.iter().map(|id| id.service.as_str()).collect();
    let how = PlanTogether { way, services: services.join(","), force: args.force };
    let planned = daemon.plan_together(&how).await?;
    screen.show(&planned, |look| all(&planned, look))?;
    Ok(Exit::Done)
}

async fn one_service(
    of: &InstanceId,
    way: Way,
    args: &PlanArgs,
    daemon: &Daemon,
    screen: Screen,
) -> Ended {
    let release = args.release.as_deref().map(roll::whole_path).transpose()?;
    let way = match way {
        Way::Rolling => PlanWay::Rolling,
        Way::Swap => PlanWay::Swap,
        Way::Rollback => PlanWay::Rollback,
        Way::Start => PlanWay::Start,
        Way::Stop => PlanWay::Stop,
        Way::Restart => PlanWay::Restart,
    };
    let port = of.slot.port().map(Port::get);
    let how = Plan { way, port, release, force: args.force, hold: args.hold };
    let planned = daemon.plan(&of.service, &how).await?;
    screen.show(&planned, |look| text(&planned, look))?;
    Ok(Exit::Done)
}

const COLUMNS: [Column; 5] = [
    Column("", Fit::Number),
    Column("STEP", Fit::Whole),
    Column("ON", Fit::Broken),
    Column("AT MOST", Fit::Number),
    Column("IF IT FAILS THERE", Fit::Broken),
];

/// Of several services, in the order in which they go.
fn all(planned: &[Planned], look: Look) -> String {
    let names: Vec<&str> = planned.iter().map(|one| one.service.as_str()).collect();
    let head = format!(
        "{}, one after another; one that fails stops those behind it, and what was done before it \
         stays.",
        harmless(&names.join(", "))
    );
    let each: Vec<String> = planned.iter().map(|one| text(one, look)).collect();
    format!("{}\n{}", hanging("", &head, look.width), each.join("\n"))
}

fn text(planned: &Planned, look: Look) -> String {
    let subject = planned.instance.as_deref().unwrap_or(&planned.service);
    let mut text = format!("{} of {}", verdict::kind(&planned.kind), harmless(subject));
    if let Some(release) = &planned.release {
        let _ = write!(text, " to release {}", harmless(release));
    }
    text.push_str("; nothing of it is done now\n");
    if let Some(held) = &planned.held {
        let held = format!(
            "{held}; it could begin once that has ended, and this is what it would do where that \
             comes to what it means to"
        );
        text.push_str(&hanging("", &held, look.width));
    }
    if planned.steps.is_empty() {
        return text + "nothing would have to be done: everything is so already\n";
    }
    let rows: Vec<Vec<Cell>> =
        planned.steps.iter().enumerate().map(|(at, step)| row(at, step)).collect();
    let _ = write!(text, "\n{}\n", table(&COLUMNS, &rows, look));
    text + &closing(planned, look)
}

fn row(at: usize, step: &PlannedStep) -> Vec<Cell> {
    vec![
        Cell::plain(&(at + 1)),
        Cell::plain(&step.name),
        Cell::plain(&step.on),
        Cell::plain(&time::took(step.deadline_s)),
        match step.undo.as_deref() {
            Some(undo) => Cell::plain(&undone(undo)),
            None => Cell::plain("no return: it stays as it is"),
        },
    ]
}

/// `publish 8000, drain api@8001, stop api@8001`.
pub(super) fn undone(undo: &[Undo]) -> String {
    if undo.is_empty() {
        return "nothing has to be undone".to_owned();
    }
    undo.iter().map(|step| format!("{} {}", step.name, step.on)).collect::<Vec<_>>().join(", ")
}

fn closing(planned: &Planned, look: Look) -> String {
    let back = match planned.no_return.and_then(|at| Some((at, planned.steps.get(at)?))) {
        Some((at, step)) => format!(
            "From step {} ({} {}) there is no return: `cancel` is refused then, and what serves \
             goes on serving.",
            at + 1,
            step.name,
            step.on
        ),
        None => "Each step can be undone.".to_owned(),
    };
    let loss = if planned.lossy { " Requests may be lost over it." } else { "" };
    let took = time::took(planned.deadline_s);
    let mut text = hanging("", &format!("{back}{loss} At most {took} in all."), look.width);
    if planned.lossy {
        text = look.paint(look::STRONG, text.trim_end()) + "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, on: &str, deadline_s: f64, undo: Option<&[(&str, &str)]>) -> PlannedStep {
        let one = |(name, on): &(&str, &str)| Undo { name: (*name).into(), on: (*on).into() };
        let undo = undo.map(|steps| steps.iter().map(one).collect());
        PlannedStep { name: name.into(), on: on.into(), deadline_s, undo }
    }

    fn rolling() -> Planned {
        let stop = [("stop", "api@8001")];
        let back = [("publish", "8000"), ("drain", "api@8001"), ("stop", "api@8001")];
        Planned {
            kind: "rolling".into(),
            service: "api".into(),
            instance: None,
            release: Some("v2".into()),
            held: None,
            steps: vec![
                step("start", "api@8001", 30.0, Some(&stop)),
                step("await-ready", "api@8001", 45.0, Some(&stop)),
                step("publish", "8000 8001", 80.0, Some(&back[1..])),
                step("watch", "api@8001", 10.0, Some(&back)),
                step("stop", "api@8000", 60.0, None),
            ],
            no_return: Some(4),
            deadline_s: 225.0,
            lossy: false,
        }
    }

    #[test]
    fn the_last_word_is_a_way_where_something_stands_before_it() {
        let split = |of: &[&str]| {
            let of = of.iter().map(|word| (*word).to_owned()).collect();
            let args = PlanArgs { of, release: None, force: false, hold: false };
            let (names, way) = args.split().unwrap();
            (names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "), way)
        };
        assert_eq!(split(&["api"]), ("api".to_owned(), Way::Rolling));
        assert_eq!(split(&["api@8000", "stop"]), ("api@8000".to_owned(), Way::Stop));
        assert_eq!(split(&["api", "admin"]), ("api admin".to_owned(), Way::Rolling));
        assert_eq!(split(&["api", "admin", "swap"]), ("api admin".to_owned(), Way::Swap));
        assert_eq!(split(&["swap"]), ("swap".to_owned(), Way::Rolling));
    }

    #[test]
    fn a_plan_is_a_table_with_what_would_be_undone() {
        insta::assert_snapshot!(text(&rolling(), Look::PAGE));
        let held = Planned {
            held: Some(
                "rollout 12 (swap of api) is under way, begun 3 s ago by uid 0, at step `watch \
                 api@8001`"
                    .into(),
            ),
            no_return: None,
            lossy: true,
            ..rolling()
        };
        insta::assert_snapshot!("held", text(&held, Look::PAGE));
        let admin = Planned { service: "admin".into(), ..rolling() };
        let both = all(&[rolling(), admin], Look::PAGE);
        assert!(both.starts_with("api, admin, one after another; one that fails"), "{both}");
        assert!(both.contains("\nrolling update of admin to release v2"), "{both}");
        let nothing = Planned { steps: vec![], ..rolling() };
        assert!(text(&nothing, Look::PAGE).ends_with("everything is so already\n"));
    }
}
