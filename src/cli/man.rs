//! `man`: manual pages, one per command.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, CommandFactory as _};
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};
use serde::Serialize;

use super::{DaemonArgs, Ended, args, exit::Exit, failure::Failure, screen::Screen, version::OURS};

/// Where to.
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Directory to write the pages to; made when it does not exist
    directory: PathBuf,
}

#[derive(Debug, Serialize)]
struct Pages {
    files: Vec<PathBuf>,
}

pub(super) fn run(args: &ManArgs, screen: Screen) -> Ended {
    let directory = &args.directory;
    let mut command = args::command().disable_help_subcommand(true);
    command.build();
    let mut files = Vec::new();
    fs::create_dir_all(directory)
        .and_then(|()| write_pages(&command, directory, &mut files))
        .and_then(|()| write_daemon_page(directory, &mut files))
        .map_err(|e| {
            Failure::here(
                format!("cannot write manual pages to {}: {e}", directory.display()),
                "name a directory that you may write to",
            )
        })?;
    let pages = Pages { files };
    screen.show(&pages, |_| {
        format!("{} manual pages written to {}\n", pages.files.len(), directory.display())
    })?;
    Ok(Exit::Done)
}

/// The page of `command` and of all under it.
fn write_pages(
    command: &clap::Command,
    directory: &Path,
    files: &mut Vec<PathBuf>,
) -> io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write_pages(below, directory, files)?;
    }
    let man = Man::new(command.clone()).manual("aibk").source(format!("aibk {OURS}"));
    let path = directory.join(man.get_filename());
    fs::write(&path, page(&man, command)?)?;
    files.push(path);
    Ok(())
}

/// `aibkd.8`: daemons are in section 8 (man-pages(7)).
fn write_daemon_page(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let command = DaemonArgs::command();
    let man = Man::new(command).section("8").manual("aibk").source(format!("aibk {OURS}"));
    let path = directory.join(man.get_filename());
    let mut page = Vec::new();
    man.render(&mut page)?;
    fs::write(&path, page)?;
    files.push(path);
    Ok(())
}

fn page(man: &Man, command: &clap::Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    exit_section().to_writer(&mut page)?;
    man.render_version_section(&mut page)?;
    Ok(page)
}

fn exit_section() -> Roff {
    let mut section = Roff::new();
    section.control("SH", ["EXIT STATUS"]);
    for exit in Exit::ALL {
        section.control("TP", []);
        section.text([clap_mangen::roff::bold(exit.code().to_string())]);
        section.text([roman(exit.meaning())]);
    }
    section
}
