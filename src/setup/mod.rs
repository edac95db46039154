//! The first set-up of a host: what `aibkctl setup` does.
//!
//! `generate` makes a configuration of units of systemd, `wants` says what a configuration needs on
//! the host, `plan` what that means, given what is there: all pure. `host` looks, `apply` makes one
//! thing at a time and looks at it again. Nothing that somebody else made is ever changed.

mod apply;
mod generate;
mod hints;
mod host;
mod plan;
mod site;
mod unit;
mod uvicorn;
mod wants;
mod written;

use std::path::{Path, PathBuf};

pub use self::plan::Step;
use self::{
    generate::{Found, Generated, Output},
    host::Root,
    plan::{Seen, Want, step},
    wants::{Choice, wants},
};
use crate::config::{Config, load_env_file, parse_database_url};

/// The configuration where there is nothing to make one from: the whole deployment of the guide.
const TEMPLATE: &str = include_str!("../../packaging/aibk.yaml");

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// `/`, or a directory in its place.
    pub root: PathBuf,
    /// Where the configuration is, or is to be; absolute.
    pub config: PathBuf,
    /// Units that run the applications now.
    pub units: Vec<String>,
    /// The site's name.
    pub server_name: String,
}

/// Why nothing can be planned, or something could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// There is no such unit.
    #[error("there is no unit {0}; `systemctl list-units --all` lists those there are")]
    NoUnit(String),
    /// It cannot be taken over.
    #[error("{0}; write the configuration by hand, then run setup again")]
    Unit(String),
    /// The configuration has mistakes.
    #[error("{0}\ncorrect the configuration, then run setup again")]
    Config(String),
    /// The host cannot be looked at.
    #[error("{0}; run it as root")]
    Host(String),
    /// Something failed; what was made before stays.
    #[error("{why}; what was made before stays: correct the cause, then run setup again")]
    Made {
        /// What.
        why: String,
    },
}

/// A host, and what is to be there.
#[derive(Debug)]
pub struct Setup {
    root: Root,
    wants: Vec<(Want, Seen)>,
    kept: Vec<Step>,
    hidden: Vec<String>,
    /// What was not taken over from units.
    pub notes: Vec<String>,
    /// What is left for the operator, in order.
    pub hints: Vec<String>,
}

impl Setup {
    /// Looks at the host. Changes nothing.
    ///
    /// # Errors
    /// When a unit is not there or cannot be taken over, or the configuration has mistakes.
    pub fn look(options: &Options) -> Result<Self, SetupError> {
        let root = Root(options.root.clone());
        let units = options.units.iter();
        let units =
            units.map(|name| root.unit(name).ok_or_else(|| SetupError::NoUnit(name.clone())));
        let units: Vec<unit::Unit> = units.collect::<Result<_, _>>()?;
        let written = std::fs::read_to_string(root.at(&options.config)).ok();
        let generated = generated(&root, units)?;
        let text = match (&generated, &written) {
            (Some(generated), None) => written::marked(&generated.text),
            (Some(generated), Some(has)) if written::is_untouched(has) => {
                written::marked(&generated.text)
            }
            (_, Some(has)) => has.clone(),
            (None, None) => written::marked(TEMPLATE),
        };
        let config = Config::parse(&text, &options.config)
            .map_err(|mistakes| SetupError::Config(mistakes.to_string()))?;
        let sites = root.sites();
        let snippets = config.services.keys();
        let snippets = snippets.filter_map(|name| crate::daemon::snippet(&config, name)).collect();
        let choice = Choice {
            config_file: options.config.clone(),
            config_text: match &generated {
                Some(generated) => Some(written::marked(&generated.text)),
                None => written.is_none().then(|| text.clone()),
            },
            server_name: options.server_name.clone(),
            standing: site::standing(&sites, &wants::upstreams(&config)),
            has_sites: root.has("/etc/nginx/sites-enabled"),
            snippets,
        };
        let (wants, kept) = wants(&config, &choice);
        let seen = |want: Want| Ok((root.look(&want).map_err(SetupError::Host)?, want));
        let wants = wants.into_iter().map(|want| seen(want).map(|(seen, want)| (want, seen)));
        let wants = wants.collect::<Result<Vec<_>, SetupError>>()?;
        let generated = generated.unwrap_or_default();
        let hints = hints::hints(&config, &hints::look(&root, &config), &options.units);
        let values =
            config.services.values().flat_map(|service| service.env.iter().map(|(_, value)| value));
        let hidden =
            values.map(|value| value.expose().to_owned()).chain(generated.hidden).collect();
        Ok(Self { wants, kept, hidden, notes: generated.notes, hints, root })
    }

    /// What follows for each thing that is to be there.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let steps = self.wants.iter().map(|(want, seen)| step(want, seen, &self.hidden));
        steps.chain(self.kept.iter().cloned()).collect()
    }

    /// Makes what is missing, one after the other; `tell` hears of each.
    ///
    /// # Errors
    /// The first that failed.
    pub async fn apply(&self, tell: &dyn Fn(&str)) -> Result<(), SetupError> {
        for (want, seen) in &self.wants {
            if let Step::Change { what, .. } = step(want, seen, &self.hidden) {
                let made = apply::make(&self.root, want, seen).await;
                made.map_err(|why| SetupError::Made { why })?;
                tell(&what);
            }
        }
        Ok(())
    }
}

fn generated(root: &Root, units: Vec<unit::Unit>) -> Result<Option<Generated>, SetupError> {
    if units.is_empty() {
        return Ok(None);
    }
    let users = units.iter().filter_map(|unit| unit.value("User"));
    let homes = users.filter_map(|user| Some((user.to_owned(), root.user(user)?.2))).collect();
    let files = units.iter().filter_map(|unit| unit.all("EnvironmentFile").first());
    let files = files.map(|file| PathBuf::from(file.trim_start_matches('-')));
    let databases = files.filter(|file| names_database(&root.at(file))).collect();
    let upstreams = site::upstreams(&root.sites());
    let journal = root.has("/run/systemd/journal");
    let output = if journal { Output::Journal } else { Output::Files };
    let found = Found { units, homes, databases, upstreams, output };
    generate::generate(&found).map(Some).map_err(SetupError::Unit)
}

fn names_database(file: &Path) -> bool {
    let variables = load_env_file(file).unwrap_or_default();
    variables.get("DATABASE_URL").is_some_and(|url| parse_database_url(url.expose()).is_ok())
}
