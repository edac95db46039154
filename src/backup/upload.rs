//! The copy of a dump at another place, by the operator's own commands.

use std::{
    ffi::OsString,
    path::Path,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{Copied, Manifest, Progress, Tell};
use crate::{
    config::Upload,
    ident::{AppName, InstanceId, ServiceName, Slot},
    process::{Exit, Launcher, SpawnSpec},
    sys::confine::Confinement,
};

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// One dump to be copied.
pub(super) struct Job<'j> {
    pub(super) launcher: &'j Launcher,
    pub(super) app: &'j AppName,
    pub(super) manifest: &'j Manifest,
    pub(super) file: &'j Path,
}

impl Job<'_> {
    /// Copies it and has the copy checked. They run as the daemon's own user, whose the dump is.
    pub(super) async fn run(&self, upload: &Upload, within: Duration, tell: Tell<'_>) -> Copied {
        let until = Instant::now() + within;
        tell(Progress::Copying);
        if let Err(why) = self.command("copy", &upload.copy, until).await {
            return Copied::Failed { why };
        }
        tell(Progress::CheckingCopy);
        match self.command("copy_check", &upload.check, until).await {
            Ok(()) => Copied::Checked { at: Timestamp::now() },
            Err(why) => Copied::Failed { why },
        }
    }

    async fn command(&self, name: &str, argv: &[String], until: Instant) -> Result<(), String> {
        let of = ServiceName::new(self.app.as_str()).map_err(|e| e.to_string())?;
        let of = InstanceId::new(of, Slot::Sole);
        let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
        let spec = SpawnSpec {
            argv: argv.iter().map(|argument| self.filled(argument)).collect(),
            env: vec![("PATH".into(), PATH.into()), ("HOME".into(), home)],
            directory: self.file.parent().unwrap_or(Path::new("/")).to_owned(),
            user: None,
            group: None,
            confinement: Confinement::default(),
            listener: None,
        };
        let within = until.saturating_duration_since(Instant::now());
        let ran = self.launcher.run(&of, name, &spec, within).await.map_err(|e| e.to_string())?;
        match ran.exit {
            Some(Exit::Code(0)) => Ok(()),
            Some(exit) => Err(format!("`{name}` {}: {}", exit.told(), ran.said)),
            None => Err(format!("`{name}` was not done in time: {}", ran.said)),
        }
    }

    fn filled(&self, argument: &str) -> OsString {
        let Manifest { name, size, sha256, .. } = self.manifest;
        let file = self.file.to_string_lossy();
        argument
            .replace("{file}", &file)
            .replace("{name}", &name.dump())
            .replace("{size}", &size.to_string())
            .replace("{sha256}", sha256)
            .into()
    }
}
