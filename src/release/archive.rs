//! Tarballs with code in them. Whatever they hold, nothing is written outside of the release.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, BufReader, Read, Seek},
    path::{Component, Path, PathBuf},
};

use flate2::read::MultiGzDecoder;
use tar::EntryType;

use super::tree::{Entry, Found, Hasher};

/// The most that the files of an archive may come to: more is a bomb, or no code.
pub(super) const LARGEST: u64 = 4 << 30;

/// The most entries.
const MOST: usize = 1_000_000;

/// Looks at everything in the archive at `path`; a sentence says what is wrong with it.
pub(super) fn survey(path: &Path) -> Result<Found, String> {
    read(path, None)
}

/// Lays out what is in the archive at `path` in `to`, which is there and empty.
pub(super) fn unpack(path: &Path, to: &Path) -> Result<Found, String> {
    read(path, Some(to))
}

type Each<'e> = &'e mut dyn FnMut(&Path, &Entry, &mut dyn Read) -> Result<(), String>;

/// Looks at each entry, and lays it out in `to`, where that is given.
fn read(path: &Path, to: Option<&Path>) -> Result<Found, String> {
    let top = single_top(path)?;
    let mut hasher = Hasher::default();
    let mut made: BTreeMap<PathBuf, bool> = BTreeMap::new();
    entries(path, &mut |name, entry, content| {
        let name = match &top {
            Some(top) => name.strip_prefix(top).unwrap_or(name),
            None => name,
        };
        if name.as_os_str().is_empty() {
            return Ok(());
        }
        let told = |e: io::Error| format!("{}: {e}", name.display());
        // Directories that the archive does not name are there all the same.
        let above: Vec<&Path> =
            name.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()).collect();
        for directory in above.into_iter().rev() {
            match made.get(directory) {
                Some(true) => {}
                Some(false) => {
                    return Err(format!("{} leads through a file or a link", name.display()));
                }
                None => {
                    let nothing = &mut io::empty();
                    hasher.take(directory, &Entry::Directory, nothing, to).map_err(told)?;
                    made.insert(directory.to_owned(), true);
                }
            }
        }
        let is_directory = *entry == Entry::Directory;
        match made.insert(name.to_owned(), is_directory) {
            Some(true) if is_directory => return Ok(()),
            Some(_) => return Err(format!("{} is in it twice; pack it again", name.display())),
            None => {}
        }
        hasher.take(name, entry, content, to).map_err(told)
    })?;
    if made.is_empty() {
        return Err("holds no file; pack the code again".to_owned());
    }
    Ok(hasher.found())
}

/// The one directory that everything lies in, as archives of forges have it.
fn single_top(path: &Path) -> Result<Option<PathBuf>, String> {
    let (mut tops, mut flat) = (BTreeSet::new(), false);
    entries(path, &mut |name, entry, _| {
        let mut parts = name.components();
        if let Some(first) = parts.next() {
            flat |= parts.next().is_none() && *entry != Entry::Directory;
            tops.insert(PathBuf::from(first.as_os_str()));
        }
        Ok(())
    })?;
    let first = tops.pop_first();
    Ok(first.filter(|_| tops.is_empty() && !flat))
}

fn entries(path: &Path, each: Each<'_>) -> Result<(), String> {
    const BROKEN: &str = "is no tarball, or a broken one; pack it again as .tar or .tar.gz";
    let broken = |e: io::Error| format!("{BROKEN} ({e})");
    let mut file = open(path)?;
    let mut magic = [0; 2];
    let zipped = file.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    file.rewind().map_err(broken)?;
    let plain: Box<dyn Read> =
        if zipped { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut archive = tar::Archive::new(plain.take(LARGEST));
    let mut bytes = 0;
    for (number, entry) in archive.entries().map_err(broken)?.enumerate() {
        let mut entry = entry.map_err(broken)?;
        bytes += entry.size();
        if number >= MOST || bytes > LARGEST {
            return Err("holds more than 4 GiB, or more than a million files".to_owned());
        }
        let Some(name) = inside(&entry.path().map_err(broken)?) else {
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            return Err(format!("`{name}` lies outside of it; pack it without `..` and `/`"));
        };
        let kind = match entry.header().entry_type() {
            EntryType::Directory => Entry::Directory,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let mode = entry.header().mode().map_err(broken)?;
                Entry::File { executable: mode & 0o100 != 0 }
            }
            EntryType::Symlink => {
                let target = entry.link_name().map_err(broken)?.unwrap_or_default().into_owned();
                if !stays(&name, &target) {
                    return Err(format!(
                        "the link `{}` leads out of it; leave it out",
                        name.display()
                    ));
                }
                Entry::Link(target)
            }
            EntryType::XGlobalHeader | EntryType::XHeader => continue,
            _ => {
                return Err(format!("`{}` is neither file nor directory nor link", name.display()));
            }
        };
        each(&name, &kind, &mut entry)?;
    }
    Ok(())
}

fn open(path: &Path) -> Result<BufReader<fs::File>, String> {
    let seen = path.metadata().map_err(|e| format!("{e}; name a file that is there"))?;
    if !seen.is_file() {
        return Err("is no file; name a tarball".to_owned());
    }
    Ok(BufReader::new(fs::File::open(path).map_err(|e| format!("{e}; see who may read it"))?))
}

/// `name` without `.`; `None` when it leads anywhere else.
fn inside(name: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => clean.push(part),
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::ParentDir => return None,
        }
    }
    Some(clean)
}

/// Whether a link at `name` to `target` stays within the archive.
fn stays(name: &Path, target: &Path) -> bool {
    let mut depth = name.components().count().saturating_sub(1);
    target.components().all(|part| match part {
        Component::Normal(_) => {
            depth += 1;
            true
        }
        Component::CurDir => true,
        Component::ParentDir if depth > 0 => {
            depth -= 1;
            true
        }
        Component::ParentDir | Component::Prefix(_) | Component::RootDir => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Item<'i> {
        File(&'i str, &'i str),
        Link(&'i str, &'i str),
        Hard(&'i str, &'i str),
    }

    /// Writes the names as they are: what a hostile archive does.
    fn pack(items: &[Item<'_>]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = tar::Builder::new(file.reopen().unwrap());
        for item in items {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o755);
            let (name, content, target) = match item {
                Item::File(name, content) => (name, *content, None),
                Item::Link(name, target) => (name, "", Some((EntryType::Symlink, target))),
                Item::Hard(name, target) => (name, "", Some((EntryType::Link, target))),
            };
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            if let Some((kind, target)) = target {
                header.set_entry_type(kind);
                header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
            }
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.finish().unwrap();
        file
    }

    fn unpacked(items: &[Item<'_>]) -> Result<(tempfile::TempDir, Found), String> {
        let (archive, to) = (pack(items), tempfile::tempdir().unwrap());
        let found = survey(archive.path())?;
        assert_eq!(unpack(archive.path(), to.path())?, found, "the same twice");
        Ok((to, found))
    }

    #[test]
    fn code_is_laid_out_without_the_one_directory_around_it() {
        use Item::{File, Link};
        let flat = [File("app/main.py", "x"), File("run", "y"), Link("now", "app/../run")];
        let (to, found) = unpacked(&flat).unwrap();
        assert_eq!(fs::read_to_string(to.path().join("now")).unwrap(), "y");
        let around = [
            File("shop-1/app/main.py", "x"),
            File("shop-1/run", "y"),
            Link("shop-1/now", "app/../run"),
        ];
        let (to, same) = unpacked(&around).unwrap();
        assert!(to.path().join("app/main.py").is_file());
        assert_eq!(same, found, "and is the same code");
    }

    #[test]
    fn nothing_is_written_outside() {
        use Item::{File, Hard, Link};
        for (items, told) in [
            (vec![File("../x", "")], "outside"),
            (vec![File("/x", "")], "outside"),
            (vec![File("a/../../x", "")], "outside"),
            (vec![Link("a", "/etc")], "leads out"),
            (vec![Link("a/b", "../../etc")], "leads out"),
            (vec![Link("a", "b"), File("a/x", ""), File("c", "")], "leads through"),
            (vec![File("a", ""), File("a", "x")], "twice"),
            (vec![File("c", ""), Hard("a", "/etc/passwd")], "neither file"),
            (vec![], "holds no file"),
        ] {
            let why = unpacked(&items).map(drop).unwrap_err();
            assert!(why.contains(told), "{told}: {why}");
        }
        let text = tempfile::NamedTempFile::new().unwrap();
        fs::write(text.path(), "this is no archive at all, but some text").unwrap();
        assert!(survey(text.path()).unwrap_err().contains("no tarball"));
        fs::write(text.path(), [0x1f, 0x8b, 0, 0, 1, 2, 3]).unwrap();
        assert!(survey(text.path()).unwrap_err().contains("no tarball"));
        assert!(survey(Path::new("/nonexistent.tar")).unwrap_err().contains("name a file"));
    }
}
