//! Stand-in for the loader until the configuration room is merged.

use std::{collections::BTreeMap, path::Path};

use super::{Config, Control};

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl Config {
    /// Reads and validates the configuration at `path`.
    ///
    /// # Errors
    /// Every mistake in it, at once.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let refuse = |why: String| ConfigError(format!("{}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| refuse(e.to_string()))?;
        if !text.contains("services:") {
            return Err(refuse("no `services`".into()));
        }
        Ok(Self {
            runtime_dir: "/run/aibk".into(),
            state_dir: "/var/lib/aibk".into(),
            log_dir: "/var/log/aibk".into(),
            control: Control {
                socket: "/run/aibk/control.sock".into(),
                group: None,
                grants: BTreeMap::new(),
            },
            nginx: None,
            services: BTreeMap::new(),
        })
    }
}

/// What this host lacks for `config`.
#[must_use]
pub fn check_host(_config: &Config) -> Vec<String> {
    Vec::new()
}
