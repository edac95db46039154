//! `completions`: a script for the shell.

use clap::Args;
use serde::Serialize;

use super::{Ended, args, exit::Exit, screen::Screen};

/// For which shell.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

#[derive(Debug, Serialize)]
struct Script {
    shell: String,
    script: String,
}

pub(super) fn run(args: &CompletionsArgs, screen: Screen) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut args::command(), "aibkctl", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let script = Script { shell: args.shell.to_string(), script };
    screen.show(&script, |_| script.script.clone())?;
    Ok(Exit::Done)
}
