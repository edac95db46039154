//! Which file a program's name means: as the new process would see it, not as the daemon does.

use std::{
    ffi::{CString, OsStr, OsString},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::PermissionsExt,
    },
    path::{Path, PathBuf},
};

use super::{ProcessError, SpawnSpec};

/// Used where the environment has no PATH: what execvp(3) takes.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The file to execute: absolute, or relative to the working directory if it holds a `/`, else
/// looked for in the PATH of the environment that it will get.
pub(super) fn resolve(spec: &SpawnSpec) -> Result<PathBuf, ProcessError> {
    let program = spec.argv.first().filter(|p| !p.is_empty()).ok_or(ProcessError::NoProgram)?;
    if program.as_bytes().contains(&b'/') {
        return Ok(spec.directory.join(program));
    }
    let path = spec.env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, value)| value);
    let path = path.map_or(OsStr::new(DEFAULT_PATH), OsString::as_os_str);
    std::env::split_paths(path)
        .map(|dir| spec.directory.join(dir).join(program))
        .find(|file| is_executable(file))
        .ok_or_else(|| ProcessError::NotInPath {
            program: program.to_string_lossy().into_owned(),
            path: path.to_string_lossy().into_owned(),
        })
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// The kernel's form of a path.
pub(super) fn c_path(path: &Path) -> Result<CString, ProcessError> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| ProcessError::Nul("a path"))
}

/// The kernel's form of the arguments.
pub(super) fn c_argv(argv: &[OsString]) -> Result<Vec<CString>, ProcessError> {
    let arguments = argv.iter().map(|argument| CString::new(argument.as_bytes()));
    arguments.collect::<Result<_, _>>().map_err(|_| ProcessError::Nul("an argument"))
}

/// The kernel's form of the environment.
pub(super) fn c_env(env: &[(OsString, OsString)]) -> Result<Vec<CString>, ProcessError> {
    let variables = env.iter().map(|(name, value)| {
        let mut variable = name.clone();
        variable.push("=");
        variable.push(value);
        CString::new(variable.into_vec())
    });
    variables.collect::<Result<_, _>>().map_err(|_| ProcessError::Nul("an environment variable"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::confine::Confinement;

    fn spec(program: &str, path: Option<&str>) -> SpawnSpec {
        SpawnSpec {
            argv: vec![program.into()],
            env: path.map(|path| ("PATH".into(), path.into())).into_iter().collect(),
            directory: "/usr".into(),
            user: None,
            group: None,
            confinement: Confinement::default(),
            listener: None,
        }
    }

    #[test]
    fn a_program_is_looked_for_where_the_child_will_be() {
        assert_eq!(resolve(&spec("/x/y", None)).unwrap(), Path::new("/x/y"));
        assert_eq!(resolve(&spec("bin/env", None)).unwrap(), Path::new("/usr/bin/env"));
        assert_eq!(resolve(&spec("env", Some("/none:bin"))).unwrap(), Path::new("/usr/bin/env"));
        assert!(resolve(&spec("env", None)).is_ok());
        let error = resolve(&spec("env", Some("/none:/etc"))).unwrap_err().to_string();
        assert!(error.starts_with("cannot find `env` in PATH (/none:/etc);"), "{error}");
        assert!(matches!(resolve(&spec("", None)), Err(ProcessError::NoProgram)));
    }
}
