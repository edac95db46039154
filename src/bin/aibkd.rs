//! `aibkd`: supervises the applications of one host.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// Supervises the applications of one host: rolling updates without a lost request
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Exit codes:\n  0  stopped as it was told to\n  1  could not come up; the reason is on standard error\n  2  the command line makes no sense"
)]
struct Args {
    /// The configuration
    #[arg(long, short, env = "AIBK_CONFIG", default_value = "/etc/aibk/aibk.yaml")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    log_to_journal_or_stderr();
    // One thread is enough for waiting, and keeps the daemon small.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(|e| format!("cannot start: {e}")).and_then(|runtime| {
        runtime.block_on(aibk::daemon::run(&args.config)).map_err(|e| e.to_string())
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Under systemd, structured into the journal; elsewhere, lines on standard error.
fn log_to_journal_or_stderr() {
    let filter = EnvFilter::try_from_env("AIBK_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    let journal = journal.map(|layer| layer.with_field_prefix(Some("AIBK".to_owned())));
    let stderr = journal.is_none().then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .with_target(false)
    });
    tracing_subscriber::registry().with(filter).with(journal).with(stderr).init();
}
