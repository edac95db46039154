//! `aibkd`: supervises the applications of one host.

use std::{process::ExitCode, time::Duration};

use aibk::{
    cli::DaemonArgs,
    daemon::{Ended, Estate},
};
use clap::Parser;
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// How long a thread that waits for files is kept without work. Coming up needs some, and staying up
/// needs none.
const IDLE_THREAD: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    aibk::sys::memory::share_heap();
    let args = DaemonArgs::parse();
    log_to_journal_or_stderr();
    if args.check_state {
        return check_state(&args);
    }
    // First of all, before anything else can be opened under its numbers.
    let estate = Estate::claim(args.control_fd, &args.listener).unwrap_or_else(|e| {
        tracing::error!("what systemd kept cannot be taken: {e}");
        Estate::default()
    });
    // One thread is enough for waiting, and keeps the daemon small.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().thread_keep_alive(IDLE_THREAD).build();
    let ended = runtime.map_err(|e| format!("cannot start: {e}")).and_then(|runtime| {
        let ended =
            runtime.block_on(aibk::daemon::run(&args.config, estate)).map_err(|e| e.to_string());
        // What still waits for a file system that hangs is left behind.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(Ended::Told) => ExitCode::SUCCESS,
        Ok(Ended::Replaced(handover)) => {
            let why = handover.carry_out();
            tracing::error!("the other program cannot be run: {why}; the applications run on");
            ExitCode::FAILURE
        }
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn check_state(args: &DaemonArgs) -> ExitCode {
    match aibk::daemon::check_state(&args.config) {
        Ok(()) => {
            anstream::println!("{}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Err(why) => {
            anstream::eprintln!("{why}");
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
