//! Which application a command is about.

use clap::Args;

use super::{daemon::Daemon, failure::Failure};
use crate::ident::AppName;

/// Which application.
#[derive(Debug, Clone, Args)]
pub(super) struct Which {
    /// The application; not needed where only one is configured
    #[arg(long, value_name = "NAME")]
    app: Option<AppName>,
}

impl Which {
    /// The one that was named, else the only one there is.
    pub(super) async fn one(&self, daemon: &Daemon) -> Result<AppName, Failure> {
        if let Some(app) = &self.app {
            return Ok(app.clone());
        }
        let apps = daemon.apps().await?;
        let names: Vec<&str> = apps.iter().map(|app| app.name.as_str()).collect();
        match names.as_slice() {
            [] => Err(Failure::here(
                "no application is configured",
                "describe one below `apps:`, then `aibkctl daemon-reload`",
            )),
            [one] => one.parse().map_err(|e| Failure::here(format!("{e}"), "report this")),
            several => Err(Failure::here(
                format!("there are {} applications: {}", several.len(), several.join(", ")),
                "say which one with --app NAME",
            )),
        }
    }
}
