//! A program that is run as the instance is, and tells by its exit status.

use std::time::Duration;

use super::{Subject, Verdict};
use crate::{
    instance::specify::{Specified, specify},
    process::{Exit, SpawnSpec},
    release,
};

/// How much of what it says is shown, in characters.
const SHOWN: usize = 200;

/// Runs `argv` as `subject` is run: its user, environment and directory. `name` tells it apart from
/// other questions of the same instance.
pub(super) async fn ask(
    subject: &Subject,
    argv: &[String],
    name: &str,
    within: Duration,
) -> Verdict {
    let Specified { spec, censor } =
        specify(&subject.service, &subject.id, &subject.runs, None).await?;
    let spec = SpawnSpec { argv: release::command(argv, subject.id.slot), ..spec };
    let ran = subject.launcher.run(&subject.id, name, &spec, within).await;
    let ran = ran.map_err(|e| e.to_string())?;
    let last = ran.said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    let last: String = censor.clean(last).chars().take(SHOWN).collect();
    let tail = if last.is_empty() { last } else { format!(": {last}") };
    match ran.exit {
        Some(Exit::Code(0)) => Ok(format!("exit status 0{tail}")),
        Some(exit) => Err(format!("{exit}{tail}")),
        None => Err(format!("did not end in {within:?}{tail}")),
    }
}
