//! The host that is set up, or a directory that stands for it.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::unistd::{Group, User};

use super::{
    plan::{Seen, Want},
    unit::Unit,
};

/// Where units are, the first first: systemd.unit(5).
const UNITS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Where nginx's sites are.
const SITES: [&str; 2] = ["/etc/nginx/sites-enabled", "/etc/nginx/conf.d"];

/// `/`, or a directory in its place.
#[derive(Debug, Clone)]
pub(super) struct Root(pub(super) PathBuf);

impl Root {
    pub(super) fn is_host(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// Where `path` is in it.
    pub(super) fn at(&self, path: &Path) -> PathBuf {
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.at(Path::new(path)).exists()
    }

    pub(super) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(Path::new(path))).unwrap_or_default()
    }

    /// A line of a database such as /etc/passwd, in its fields.
    fn entry(&self, file: &str, name: &str) -> Option<Vec<String>> {
        let text = self.read(file);
        let entries = text.lines().map(|line| line.split(':').map(str::to_owned).collect());
        entries
            .into_iter()
            .find(|entry: &Vec<String>| entry.first().map(String::as_str) == Some(name))
    }

    /// User id, group id and home of a user.
    pub(super) fn user(&self, name: &str) -> Option<(u32, u32, PathBuf)> {
        if self.is_host() {
            let user = User::from_name(name).ok()??;
            return Some((user.uid.as_raw(), user.gid.as_raw(), user.dir));
        }
        let entry = self.entry("/etc/passwd", name)?;
        let number = |at: usize| entry.get(at)?.parse().ok();
        Some((number(2)?, number(3)?, entry.get(5)?.into()))
    }

    fn has_group(&self, name: &str) -> bool {
        if self.is_host() {
            return matches!(Group::from_name(name), Ok(Some(_)));
        }
        self.entry("/etc/group", name).is_some()
    }

    /// The unit `name`, with what is dropped in beside it; `None` where there is none.
    pub(super) fn unit(&self, name: &str) -> Option<Unit> {
        let name = name.strip_suffix(".service").unwrap_or(name);
        let template = name.split_once('@').map(|(prefix, _)| format!("{prefix}@"));
        let names: Vec<String> = [name.to_owned()].into_iter().chain(template).collect();
        let read = |path: PathBuf| fs::read_to_string(path).ok();
        let places = || UNITS.iter().map(|place| self.at(Path::new(place)));
        let text = names.iter().find_map(|name| {
            places().find_map(|place| read(place.join(format!("{name}.service"))))
        })?;
        let mut texts = vec![text];
        for name in names.iter().rev() {
            let directories = places().map(|place| place.join(format!("{name}.service.d")));
            for directory in directories {
                let files = fs::read_dir(directory).into_iter().flatten().flatten();
                let mut files: Vec<PathBuf> = files.map(|file| file.path()).collect();
                files.retain(|file| file.extension().is_some_and(|kind| kind == "conf"));
                files.sort();
                texts.extend(files.into_iter().filter_map(read));
            }
        }
        Some(Unit::parse(name, &texts))
    }

    /// The sites that nginx reads, by path.
    pub(super) fn sites(&self) -> BTreeMap<PathBuf, String> {
        let directories = SITES.iter().map(|place| self.at(Path::new(place)));
        let files = directories.flat_map(|directory| fs::read_dir(directory).into_iter().flatten());
        let read = |path: PathBuf| {
            // In a directory that stands for the host, links are the host's.
            let target = fs::read_link(&path).ok().filter(|to| to.is_absolute());
            let text = fs::read_to_string(target.map_or_else(|| path.clone(), |to| self.at(&to)));
            Some((path, text.ok()?))
        };
        files.flatten().filter_map(|file| read(file.path())).collect()
    }

    /// What is there of `want`.
    ///
    /// # Errors
    /// When it cannot be seen.
    pub(super) fn look(&self, want: &Want) -> Result<Seen, String> {
        let found = |there: bool| if there { Seen::There } else { Seen::Absent };
        let path = match want {
            Want::Group(name) => return Ok(found(self.has_group(name))),
            Want::User { name, .. } => return Ok(found(self.user(name).is_some())),
            _ => self.at(want.path().unwrap_or(Path::new("/"))),
        };
        let cannot = |error: std::io::Error| format!("{} cannot be seen: {error}", path.display());
        let meta = match path.symlink_metadata() {
            Ok(meta) => meta,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Seen::Absent),
            Err(error) => return Err(cannot(error)),
        };
        Ok(match want {
            Want::Certificate { .. } if path.is_file() => Seen::There,
            // A link to a directory is as good as one.
            Want::Directory { .. } if path.is_dir() => {
                Seen::Directory(path.metadata().map_err(cannot)?.mode())
            }
            _ if meta.is_symlink() => Seen::Link(fs::read_link(&path).map_err(cannot)?),
            _ if meta.is_dir() => Seen::Directory(meta.mode()),
            _ if meta.is_file() => Seen::Text(fs::read_to_string(&path).map_err(cannot)?),
            _ => Seen::Other("neither a file nor a directory"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_found_by_its_template_with_what_is_dropped_in() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc/systemd/system");
        fs::create_dir_all(etc.join("a@.service.d")).unwrap();
        fs::create_dir_all(etc.join("a@1.service.d")).unwrap();
        fs::write(etc.join("a@.service"), "[Service]\nUser=a\nGroup=%i\n").unwrap();
        fs::write(etc.join("a@.service.d/x.conf"), "[Service]\nUser=b\nNice=1\n").unwrap();
        fs::write(etc.join("a@1.service.d/x.conf"), "[Service]\nUser=c\n").unwrap();
        let root = Root(dir.path().to_owned());
        let unit = root.unit("a@1.service").unwrap();
        let told = ["User", "Group", "Nice"].map(|key| unit.value(key).unwrap().to_owned());
        assert_eq!(told, ["c", "1", "1"]);
        assert_eq!(root.unit("b"), None);
    }
}
