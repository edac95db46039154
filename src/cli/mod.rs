//! The command line: one verb is one route of the control socket, plus presentation.
//!
//! Each verb has a file. What they share: [`exit`] (codes), `failure` (messages), `daemon`
//! (routes), `screen` and `look` (where output goes and how it looks), `follow` (a long
//! operation to its end). Rendering is pure: types and a look in, text out.

mod act;
mod aibkd;
mod app;
mod args;
mod backup;
mod cancel;
mod clients;
mod completions;
mod config;
mod daemon;
mod daemon_reexec;
mod daemon_reload;
mod deploy;
mod doctor;
mod enable;
mod events;
pub mod exit;
mod failure;
mod follow;
mod layout;
mod logs;
mod look;
mod man;
mod moments;
mod nginx;
mod plan;
mod progress;
mod queue;
mod releases;
mod reload;
mod reset_failed;
mod roll;
mod rollouts;
mod run;
#[cfg(test)]
mod samples;
mod screen;
mod send;
mod setup;
mod several;
mod status;
mod steps;
mod stream;
mod time;
mod verdict;
mod version;
mod wait;

use std::{ffi::OsString, path::Path, process::ExitCode};

use clap::FromArgMatches as _;

pub use self::aibkd::DaemonArgs;
use self::{
    args::{Cli, Command},
    daemon::{Daemon, Decision, Verb},
    exit::Exit,
    failure::Failure,
    screen::{Format, Screen},
};

/// How a command ends: with an exit code, or early.
type Ended = Result<Exit, Failure>;

/// Runs the command line `args` (the program's name first) and tells how it ended.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let parsed =
        args::command().try_get_matches_from(args).and_then(|found| Cli::from_arg_matches(&found));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(told) => {
            // Also the way `--help` and `--version` end, with 0; a closed pipe is no matter.
            let _ = told.print();
            return if told.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let format = if cli.global.json { Format::Json } else { Format::Text };
    let screen = Screen::new(format);
    match run(cli.command, cli.global.socket.clone(), screen) {
        Ok(exit) => exit.into(),
        Err(failure) => tell(&failure, &cli.global.socket, screen).into(),
    }
}

/// Says why a command ended early. Programs that asked for JSON get it where they read.
fn tell(failure: &Failure, socket: &Path, screen: Screen) -> Exit {
    if failure.is_closed_pipe() {
        return Exit::Done;
    }
    let report = failure.report(socket);
    if screen.format == Format::Json && !matches!(failure, Failure::Output(_)) {
        // Standard error still has it when this cannot be written.
        let _ = screen.show(&report, |_| String::new());
    }
    screen::complain(&report.text());
    failure.exit()
}

fn run(command: Command, socket: std::path::PathBuf, screen: Screen) -> Ended {
    match command {
        Command::Completions(args) => completions::run(&args, screen),
        Command::Man(args) => man::run(&args, screen),
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|e| Failure::here(format!("cannot start: {e}"), "free some memory"))?;
            runtime.block_on(ask(command, &Daemon::at(socket), screen))
        }
    }
}

/// Runs a command that talks to the daemon, or waits for something else.
async fn ask(command: Command, daemon: &Daemon, screen: Screen) -> Ended {
    match command {
        Command::Status(args) => status::run(&args, daemon, screen).await,
        Command::Start(args) => act::run(Verb::Start, &args, daemon, screen).await,
        Command::Stop(args) => act::run(Verb::Stop, &args, daemon, screen).await,
        Command::Restart(args) => act::run(Verb::Restart, &args, daemon, screen).await,
        Command::Swap(args) => roll::swap(&args, daemon, screen).await,
        Command::Promote(args) => roll::decide(Decision::Promote, &args, daemon, screen).await,
        Command::Abort(args) => roll::decide(Decision::Abort, &args, daemon, screen).await,
        Command::Rollback(args) => roll::back(&args, daemon, screen).await,
        Command::Deploy(args) => deploy::run(&args, daemon, screen).await,
        Command::Releases(verb) => releases::run(&verb, daemon, screen).await,
        Command::Rolling(args) => roll::rolling(&args, daemon, screen).await,
        Command::Reload(args) => reload::run(&args, daemon, screen).await,
        Command::Enable(args) => enable::enable(&args, daemon, screen).await,
        Command::Disable(args) => enable::disable(&args, daemon, screen).await,
        Command::ResetFailed(args) => reset_failed::run(&args, daemon, screen).await,
        Command::Plan(args) => plan::run(&args, daemon, screen).await,
        Command::Wait(args) => wait::run(&args, daemon, screen).await,
        Command::Cancel(args) => cancel::run(&args, daemon, screen).await,
        Command::Rollouts(args) => rollouts::run(&args, daemon, screen).await,
        Command::Output(args) => deploy::output(args.id, daemon, screen).await,
        Command::Run(args) => run::run(&args, daemon, screen).await,
        Command::Runs(args) => run::list(&args, daemon, screen).await,
        Command::Backup(verb) => backup::run(&verb, daemon, screen).await,
        Command::Logs(args) => logs::run(&args, daemon, screen).await,
        Command::Events(args) => events::run(&args, daemon, screen).await,
        Command::Doctor(args) => doctor::run(&args, daemon, screen).await,
        Command::Setup(args) => setup::run(&args, screen).await,
        Command::Config(verb) => config::run(&verb, screen).await,
        Command::Nginx(verb) => nginx::run(&verb, daemon, screen).await,
        Command::DaemonReexec => daemon_reexec::run(daemon, screen).await,
        Command::DaemonReload(args) => daemon_reload::run(&args, daemon, screen).await,
        Command::Version => version::run(daemon, screen).await,
        Command::Completions(_) | Command::Man(_) => Ok(Exit::Usage),
    }
}
