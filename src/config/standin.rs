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

/// Something of the host that does not fit the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: `services.api.venv`.
    pub about: String,
    /// What is not as it should be, and what to do next.
    pub what: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works, but maybe not as meant.
    Warning,
    /// A start would fail.
    Error,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{word}: {}: {}", self.about, self.what)
    }
}

/// What this host lacks for `config`.
#[must_use]
pub fn check_host(_config: &Config) -> Vec<Finding> {
    Vec::new()
}
