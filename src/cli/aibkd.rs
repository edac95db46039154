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
}

const EXIT_CODES: &str = "Exit codes:
  0  stopped as it was told to (SIGTERM, SIGINT): every instance was stopped
  1  could not come up; the reason is in its log
  2  the command line makes no sense

AIBK_LOG=debug makes it say more. It logs to the journal under systemd, else to
standard error.";
