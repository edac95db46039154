//! `load`: sends a mixed load through a proxy until it is told to stop, and reports what was lost.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::must_use_candidate,
    reason = "the module is shared with the tests, which use the rest of it"
)]

#[path = "mod.rs"]
mod load;

use std::{error::Error, fs, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use load::{Load, Plan};
use tokio::signal::unix::{SignalKind, signal};

/// Sends a mixed load, retries nothing, and counts what was lost.
///
/// The exit status is 0 when nothing was lost, 1 when something was, 2 when it could not run.
#[derive(Debug, Parser)]
struct Options {
    /// Where to, as http://ADDRESS:PORT
    #[arg(long)]
    url: String,
    /// Ends after so many seconds; else at SIGTERM or SIGINT
    #[arg(long)]
    seconds: Option<f64>,
    /// File with one line for each execution of an order
    #[arg(long, value_name = "FILE")]
    executed: Option<PathBuf>,
    /// Also writes the report there, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep-alive connections that GET; the others go with them
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Only GETs
    #[arg(long)]
    gets_only: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<u64, Box<dyn Error>> {
    let to = options.url.strip_prefix("http://").unwrap_or(&options.url).trim_end_matches('/');
    let to = to.parse().map_err(|_| format!("--url {}: give http://ADDRESS:PORT", options.url))?;
    let plan = if options.gets_only {
        Plan::gets(to, options.connections)
    } else {
        let posts = options.connections.div_ceil(2);
        Plan { gets: options.connections, posts, ..Plan::mixed(to) }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let load = Load::start(plan)?;
    runtime.block_on(until_told(options.seconds))?;
    let report = load.finish(options.executed.as_deref())?;
    if let Some(json) = &options.json {
        fs::write(json, serde_json::to_vec_pretty(&report)?)
            .map_err(|error| format!("cannot write {}: {error}", json.display()))?;
    }
    print!("{report}");
    Ok(report.lost)
}

async fn until_told(seconds: Option<f64>) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let limit = Duration::try_from_secs_f64(seconds.unwrap_or(f64::MAX)).unwrap_or(Duration::MAX);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = tokio::time::sleep(limit) => {}
    }
    Ok(())
}
