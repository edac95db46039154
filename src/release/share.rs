//! What releases share: links out of a release to what outlives it.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, symlink},
    path::Path,
};

use super::{BuildError, Tell, error::file, tree, tree::Owner};

/// Files that only make git keep a directory.
const PLACEHOLDERS: &[&str] = &[".gitkeep", ".keep", ".gitignore", "README.md"];

/// Links `paths` of the release in `code` to the same below `shared`.
pub(super) fn link(
    code: &Path,
    shared: &Path,
    paths: &[std::path::PathBuf],
    owner: Owner,
    tell: Tell<'_>,
) -> Result<(), BuildError> {
    for path in paths {
        let (here, there) = (code.join(path), shared.join(path));
        let above = path.parent().unwrap_or(Path::new(""));
        if !tree::is_plain(code, above) {
            return Err(BuildError::InTheWay {
                path: above.display().to_string(),
                whose: "to be a directory, and is none",
                todo: "make it one in the code, or share something else",
            });
        }
        provide(&there, path, owner, tell)?;
        clear(&here, path, tell)?;
        if let Some(above) = here.parent() {
            fs::create_dir_all(above).map_err(file("create", above))?;
        }
        symlink(&there, &here).map_err(file("link", &here))?;
    }
    Ok(())
}

/// A directory is made; a file is the operator's to write. A name with a dot is a file's.
fn provide(there: &Path, path: &Path, owner: Owner, tell: Tell<'_>) -> Result<(), BuildError> {
    match there.metadata() {
        Ok(_) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(file("see", there)(e).into()),
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.contains('.') {
        return Err(BuildError::NotShared(there.to_owned()));
    }
    tell(&format!("{} is made: releases share it", there.display()));
    if let Some(above) = there.parent() {
        fs::create_dir_all(above).map_err(file("create", above))?;
    }
    let made = fs::DirBuilder::new().mode(0o750).create(there);
    made.map_err(file("create", there))?;
    Ok(tree::hand_over(there, owner)?)
}

/// Whatever the code itself has there: nothing that somebody might miss is hidden by a link.
fn clear(here: &Path, path: &Path, tell: Tell<'_>) -> Result<(), BuildError> {
    let seen = match here.symlink_metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        seen => seen.map_err(file("see", here))?,
    };
    let in_the_way = || BuildError::InTheWay {
        path: path.display().to_string(),
        whose: "shared by all releases",
        todo: "remove it from the code, or from `shared`",
    };
    if !seen.is_dir() {
        return Err(in_the_way());
    }
    let names = fs::read_dir(here).map_err(file("read", here))?;
    for entry in names {
        let name = entry.map_err(file("read", here))?.file_name();
        if !PLACEHOLDERS.iter().any(|placeholder| name == *placeholder) {
            return Err(in_the_way());
        }
    }
    tell(&format!("{} of the code is empty; the shared one takes its place", path.display()));
    Ok(tree::remove(here)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_share_what_outlives_them_and_hide_nothing() {
        let home = tempfile::tempdir().unwrap();
        let (code, shared) = (home.path().join("code"), home.path().join("shared"));
        let linked = |paths: &[&str]| {
            let paths: Vec<_> = paths.iter().map(Into::into).collect();
            let mut told = Vec::new();
            link(&code, &shared, &paths, None, &mut |line| told.push(line.to_owned()))
                .map(|()| told)
                .map_err(|e| e.to_string())
        };
        fs::create_dir_all(code.join("logs")).unwrap();
        fs::write(code.join("logs/.gitkeep"), "").unwrap();
        fs::create_dir_all(code.join("data")).unwrap();
        fs::write(code.join("data/x"), "").unwrap();
        fs::write(code.join("settings"), "").unwrap();
        fs::create_dir(&shared).unwrap();

        let told = linked(&["logs", "media/uploads"]).unwrap();
        assert_eq!(told.len(), 3, "{told:?}");
        fs::write(shared.join("media/uploads/f"), "kept").unwrap();
        assert_eq!(fs::read_to_string(code.join("media/uploads/f")).unwrap(), "kept");
        assert_eq!(fs::read_link(code.join("logs")).unwrap(), shared.join("logs"));

        assert!(linked(&[".env"]).unwrap_err().contains("shared/.env is not there"));
        fs::write(shared.join(".env"), "A=1").unwrap();
        assert_eq!(linked(&[".env"]).unwrap(), [""; 0]);
        symlink("/tmp", code.join("out")).unwrap();
        assert!(linked(&["out/x"]).unwrap_err().starts_with("the code holds `out`"));
        for path in ["data", "settings"] {
            let why = linked(&[path]).unwrap_err();
            assert!(why.starts_with(&format!("the code holds `{path}`")), "{why}");
        }
    }
}
