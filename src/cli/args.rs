//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use super::{
    act::ActArgs,
    backup::BackupVerb,
    completions::CompletionsArgs,
    config::ConfigVerb,
    daemon_reload::DaemonReloadArgs,
    deploy::DeployArgs,
    doctor::DoctorArgs,
    enable::{DisableArgs, EnableArgs},
    events::EventsArgs,
    exit,
    logs::LogsArgs,
    man::ManArgs,
    nginx::NginxVerb,
    plan::PlanArgs,
    releases::ReleasesVerb,
    reload::ReloadArgs,
    reset_failed::ResetFailedArgs,
    roll::{DecideArgs, RollArgs, RollbackArgs, SwapArgs},
    rollouts::RolloutsArgs,
    run::{RunArgs, RunsArgs},
    setup::SetupArgs,
    status::StatusArgs,
    time,
};

/// Where the daemon listens unless told otherwise.
const SOCKET: &str = "/run/aibk/control.sock";

/// Sees and steers the applications that aibkd keeps running.
#[derive(Debug, Parser)]
#[command(name = "aibkctl", version, propagate_version = true, max_term_width = 100)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(super) struct Global {
    /// The daemon's control socket
    #[arg(long, global = true, env = "AIBK_SOCKET", hide_env_values = true, default_value = SOCKET, value_name = "PATH")]
    pub(super) socket: PathBuf,
    /// Print JSON: one document, or one per line where the command is a stream
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// Whether and how long a command waits for the operation it began.
#[derive(Debug, Clone, Args)]
pub(super) struct Patience {
    /// Print the rollout's id and return at once
    #[arg(long, conflicts_with = "timeout")]
    pub(super) no_wait: bool,
    #[command(flatten)]
    pub(super) limit: Limit,
}

/// How long a command waits.
#[derive(Debug, Clone, Args)]
pub(super) struct Limit {
    /// Stop waiting after this long (`30s`, `5m`) with exit code 6; the operation goes on
    #[arg(long, value_name = "TIME", value_parser = time::parse_duration)]
    pub(super) timeout: Option<Duration>,
}

/// A rollout by its number.
#[derive(Debug, Args)]
pub(super) struct Id {
    /// Number of the rollout, as `aibkctl status` and `aibkctl rollouts` show it
    pub(super) id: u64,
}

/// `wait`.
#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    #[command(flatten)]
    pub(super) which: Id,
    #[command(flatten)]
    pub(super) limit: Limit,
}

/// `cancel`.
#[derive(Debug, Args)]
pub(super) struct CancelArgs {
    #[command(flatten)]
    pub(super) which: Id,
    #[command(flatten)]
    pub(super) patience: Patience,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show every service, what nginx serves, and rollouts under way
    Status(StatusArgs),
    /// Start an instance and wait until it is ready
    Start(ActArgs),
    /// Take an instance out of traffic, drain it, and stop it
    Stop(ActArgs),
    /// Stop and start an instance, the same release
    Restart(ActArgs),
    /// Tell an instance, or without one aibkd, to read its own configuration again
    Reload(ReloadArgs),
    /// Let a service come up when the host boots
    Enable(EnableArgs),
    /// Let a service not come up when the host boots; what runs goes on
    Disable(DisableArgs),
    /// Forget the deaths of an instance; one that has failed is stopped then
    ResetFailed(ResetFailedArgs),
    /// Switch a service to its other slot, and keep the old one warm
    Swap(SwapArgs),
    /// Let a swap that is held go on, and follow it to its end
    Promote(DecideArgs),
    /// Turn a swap that is held back, and follow it until everything is as before
    Abort(DecideArgs),
    /// Bring new code of an application into service
    Deploy(DeployArgs),
    /// Look at the releases of an application
    #[command(subcommand)]
    Releases(ReleasesVerb),
    /// Bring an application back to its last good release, or a service to its old slot
    Rollback(RollbackArgs),
    /// Bring a release into both slots of a service, one after the other
    Rolling(RollArgs),
    /// Show what a rollout would do, and do nothing: its steps, and what would be undone
    Plan(PlanArgs),
    /// Join a rollout and follow it to its end
    Wait(WaitArgs),
    /// Turn a rollout back, and follow it until everything is as before
    Cancel(CancelArgs),
    /// List the last rollouts and deploys, or show one with its steps
    #[command(visible_alias = "history")]
    Rollouts(RolloutsArgs),
    /// Print what the steps of a deploy wrote
    Output(Id),
    /// Run a job now, and follow it to its end
    Run(RunArgs),
    /// List the last runs of a job
    Runs(RunsArgs),
    /// Make, list, check and bring back dumps of an application's database
    #[command(subcommand)]
    Backup(BackupVerb),
    /// Show the output of instances
    Logs(LogsArgs),
    /// Show what happened
    Events(EventsArgs),
    /// Look at nginx
    #[command(subcommand)]
    Nginx(NginxVerb),
    /// Look at configuration files; needs no daemon
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Set up a host: user, directories, site, configuration; needs no daemon
    Setup(SetupArgs),
    /// Look for what is wrong with this host, and say what to do next; needs no daemon
    Doctor(DoctorArgs),
    /// Let the daemon read its configuration again, and apply what differs
    DaemonReload(DaemonReloadArgs),
    /// Let the aibkd that is installed now take the place of the one that runs
    DaemonReexec,
    /// Show the versions of this command and of the daemon
    Version,
    /// Print a completion script; needs no daemon
    Completions(CompletionsArgs),
    /// Write manual pages; needs no daemon
    Man(ManArgs),
}

/// The whole command line, with the exit codes after the help of each command.
pub(super) fn command() -> clap::Command {
    with_exit_codes(Cli::command())
}

fn with_exit_codes(command: clap::Command) -> clap::Command {
    command.after_long_help(exit::help()).mut_subcommands(with_exit_codes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches as _;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        let matches = command().try_get_matches_from(line.split(' '))?;
        Cli::from_arg_matches(&matches)
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_command_takes_the_global_options() {
        for line in [
            "aibkctl status --json",
            "aibkctl --json nginx show",
            "aibkctl config check --json --socket /x f",
            "aibkctl wait 7 --json --timeout 5m",
            "aibkctl logs -f -n 5 worker --json",
            "aibkctl reset-failed",
            "aibkctl doctor --config f --json",
            "aibkctl setup --from-systemd api@8000 --from-systemd api@8001 --apply --json",
            "aibkctl reload api@8000",
            "aibkctl reload --dry-run --force --json",
            "aibkctl enable api --now --no-wait",
            "aibkctl disable api --now --force",
            "aibkctl reset-failed api@8000 --json",
            "aibkctl logs",
            "aibkctl logs api worker@8000 --since today --until 10m --grep a|b",
            "aibkctl logs -S -2h",
            "aibkctl swap api --release . --no-wait",
            "aibkctl swap api --hold --release . --wait",
            "aibkctl promote api --timeout 5s",
            "aibkctl abort api --no-wait",
            "aibkctl rollback api --wait --timeout 5s",
            "aibkctl rollback",
            "aibkctl history",
            "aibkctl output 7",
            "aibkctl rollback --to 20260301T110000Z-1a2b3c4d5e6f --app shop",
            "aibkctl deploy",
            "aibkctl deploy v1.2 --app shop --code-only --no-wait",
            "aibkctl deploy --archive shop.tar.gz --json",
            "aibkctl deploy --archive - --plan --app shop",
            "aibkctl deploy main --plan",
            "aibkctl releases list --json",
            "aibkctl releases pin r1 --app shop",
            "aibkctl plan api",
            "aibkctl backup create --pin --no-wait",
            "aibkctl backup list --app ledger --json",
            "aibkctl backup verify --drill --timeout 5m",
            "aibkctl backup restore ledger-20260301T030000Z --yes",
            "aibkctl backup prune --dry-run",
            "aibkctl backup cancel 7",
            "aibkctl rolling api admin --force",
            "aibkctl plan api swap --release .",
            "aibkctl plan api@8000 stop --force --json",
        ] {
            parse(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
    }

    #[test]
    fn names_are_checked_before_the_daemon_is_asked() {
        for line in [
            "aibkctl",
            "aibkctl start",
            "aibkctl start api@0",
            "aibkctl swap ../api",
            "aibkctl rolling api --hold",
            "aibkctl promote api@8000",
            "aibkctl enable api@8000",
            "aibkctl reload api@8000 --dry-run",
            "aibkctl disable api --force",
            "aibkctl wait seven",
            "aibkctl plan ../api",
            "aibkctl setup --server-name a;b",
            "aibkctl plan",
            "aibkctl backup",
            "aibkctl backup restore",
            "aibkctl backup list --app ../x",
            "aibkctl rollback api --to r1",
            "aibkctl deploy v1 --archive x.tar",
            "aibkctl deploy --code-only --migrate-only",
            "aibkctl deploy --plan --code-only",
            "aibkctl rolling",
            "aibkctl rolling api admin@8002",
            "aibkctl logs -n 10001 api@8000",
            "aibkctl logs --since soon",
            "aibkctl logs -f --until now",
            "aibkctl swap api --no-wait --timeout 5s",
            "aibkctl stop api@8000 --timeout -5s",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
