//! `setup`: what a host needs before aibkd can start there. Needs no daemon.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{
    Ended,
    exit::Exit,
    failure::Failure,
    layout::{hanging, harmless},
    look::{self, Look},
    screen::{Format, Screen, put},
};
use crate::setup::{Options, Setup, SetupError, Step};

/// What to set up, and from what.
#[derive(Debug, Args)]
pub(super) struct SetupArgs {
    /// Do it; without, only say what would be done
    #[arg(long)]
    apply: bool,
    /// Make the configuration from a unit of systemd that starts uvicorn, such as api@8000; again
    /// for each further instance and service
    #[arg(long = "from-systemd", value_name = "UNIT")]
    units: Vec<String>,
    /// Where the configuration is, or is to be; one that is there is gone by
    #[arg(long, value_name = "FILE", default_value = "/etc/aibk/aibk.yaml")]
    config: PathBuf,
    /// Name of the site, for nginx and for its certificate
    #[arg(long, value_name = "NAME", default_value = "localhost", value_parser = host_name)]
    server_name: String,
    /// Work in this directory in place of /
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// It goes into nginx's configuration as it is.
fn host_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if !text.is_empty() && text.len() <= 253 && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("write a host name, such as books.example.org".to_owned())
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Told<'s> {
    applied: bool,
    steps: &'s [Step],
    notes: &'s [String],
    hints: &'s [String],
}

pub(super) async fn run(args: &SetupArgs, screen: Screen) -> Ended {
    let root = std::path::absolute(&args.root).unwrap_or_else(|_| args.root.clone());
    let config = std::path::absolute(&args.config).unwrap_or_else(|_| args.config.clone());
    let (units, server_name) = (args.units.clone(), args.server_name.clone());
    let setup = Setup::look(&Options { root, config, units, server_name })
        .map_err(|error| failure(&error))?;
    let steps = setup.steps();
    let changes = steps.iter().filter(|step| matches!(step, Step::Change { .. })).count();
    let kept = steps.iter().filter(|step| matches!(step, Step::Kept { .. })).count();
    if screen.format == Format::Text {
        put(&text(&steps, &setup, screen.look))?;
    }
    if args.apply {
        let look = screen.look;
        let tell = |what: &str| {
            if screen.format == Format::Text {
                // Whoever does not read it still gets the end of it.
                let _ = put(&format!("{} {}\n", look.paint(look::GOOD, "made"), harmless(what)));
            }
        };
        setup.apply(&tell).await.map_err(|error| failure(&error))?;
    }
    match screen.format {
        Format::Json => {
            let (notes, hints) = (&setup.notes, &setup.hints);
            screen.show(&Told { applied: args.apply, steps: &steps, notes, hints }, |_| {
                String::new()
            })?;
        }
        Format::Text => put(&verdict(changes, kept, args.apply, screen.look))?,
    }
    Ok(if kept == 0 { Exit::Done } else { Exit::Failed })
}

fn failure(error: &SetupError) -> Failure {
    let told = error.to_string();
    match told.rsplit_once(['\n', ';']) {
        Some((what, next)) => Failure::here(what.trim(), next.trim()),
        None => Failure::here(told, "see `aibkctl setup --help`"),
    }
}

fn text(steps: &[Step], setup: &Setup, look: Look) -> String {
    let mut text: String = steps.iter().map(|step| entry(step, look)).collect();
    let list = |title: &str, lines: &[String]| {
        let lines = lines.iter().map(|line| hanging("  - ", &harmless(line), look.width));
        let lines: String = lines.collect();
        if lines.is_empty() {
            lines
        } else {
            format!("\n{}\n{lines}", look.paint(look::STRONG, title))
        }
    };
    text.push_str(&list("of the units", &setup.notes));
    text.push_str(&list("left for you, in this order", &setup.hints));
    text + "\n"
}

fn entry(step: &Step, look: Look) -> String {
    let (word, style, what, diff) = match step {
        Step::Done { what } => ("there", look::FAINT, what, None),
        Step::Change { what, diff } => ("make", look::GOOD, what, Some(diff)),
        Step::Kept { what, diff, .. } => ("kept", look::PENDING, what, Some(diff)),
    };
    let first = format!("{word:<6}");
    let painted = format!("{}{}", look.paint(style, word), " ".repeat(6 - word.len()));
    let mut text = hanging(&first, &harmless(what), look.width).replacen(&first, &painted, 1);
    for line in diff.into_iter().flatten() {
        text.push_str("        ");
        text.push_str(harmless(line).trim_end());
        text.push('\n');
    }
    if let Step::Kept { next, .. } = step {
        text.push_str(&hanging("      next: ", &harmless(next), look.width));
    }
    text
}

fn verdict(changes: usize, kept: usize, applied: bool, look: Look) -> String {
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    let done = match (changes, applied) {
        (0, _) => "nothing to do".to_owned(),
        (n, true) => format!("{n} change{} made", plural(n)),
        (n, false) => format!("{n} change{} to make; do it with --apply", plural(n)),
    };
    let done = look.paint(look::GOOD, &done);
    if kept == 0 { format!("{done}\n") } else { format!("{done}; {kept} left for you\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_shown_with_what_it_changes() {
        let steps = [
            Step::Done { what: "group aibk".into() },
            Step::Change { what: "file /a (0644)".into(), diff: vec!["+ x: 1".into()] },
            Step::Kept {
                what: "file /b, which setup did not write, or somebody has edited".into(),
                diff: vec!["- y".into(), "+ z".into()],
                next: "take over what you want of it, or move the file away and run setup again"
                    .into(),
            },
        ];
        let told: String = steps.iter().map(|step| entry(step, Look::PAGE)).collect();
        insta::assert_snapshot!(told + &verdict(1, 1, false, Look::PAGE));
        assert_eq!(verdict(0, 0, true, Look::PAGE), "nothing to do\n");
    }

    #[test]
    fn a_name_that_would_reach_into_nginx_is_refused() {
        assert!(host_name("books.example.org").is_ok());
        for bad in ["", "a;b", "a b", "a{"] {
            assert!(host_name(bad).is_err(), "{bad}");
        }
    }
}
