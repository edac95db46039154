//! The daemon's own command line; its manual page is written with the others.

use std::path::PathBuf;

use clap::Parser;

/// Supervises the applications of one host: rolling updates without a lost request
#[derive(Debug, Parser)]
#[command(name = "aibkd", version, about, after_help = EXIT_CODES)]
pub struct DaemonArgs {
    /// The configuration
    #[arg(long, short, env = "AIBK_CONFIG", default_value = "/etc/aibk/aibk.yaml")]
    pub config: PathBuf,
    /// Only look whether this program understands the configuration and the state of the daemon
    /// that runs, and say its version; change nothing
    #[arg(long)]
    pub check_state: bool,
    /// The control socket, left open by a predecessor
    #[arg(long, hide = true, value_name = "FD")]
    pub control_fd: Option<i32>,
    /// A listening socket, left open by a predecessor
    #[arg(long, hide = true, value_name = "NAME=FD", value_parser = named)]
    pub listener: Vec<(String, i32)>,
}

fn named(word: &str) -> Result<(String, i32), String> {
    let (name, number) = word.rsplit_once('=').ok_or("it has no `=`")?;
    let number = number.parse().map_err(|_| format!("`{number}` is not a number"))?;
    Ok((name.to_owned(), number))
}

const EXIT_CODES: &str = "Exit codes:
  0  ended as it was told to: on SIGINT, and on SIGTERM outside systemd, every
     instance was stopped; as a unit of systemd, only where that stops the unit
  1  could not come up; the reason is in its log
  2  the command line makes no sense

AIBK_LOG=debug makes it say more. It logs to the journal under systemd, else to
standard error.";
