//! Why nginx does not serve what it was asked to.

use std::{io, path::PathBuf, time::Duration};

use super::{
    Edition, Lack,
    version::{Unsupported, Version},
};
use crate::ident::ServiceName;

/// Why something about nginx failed. After a failed publish the previous file is in force again,
/// except for [`NginxError::NotUndone`].
#[derive(Debug, thiserror::Error)]
pub enum NginxError {
    /// The executable is missing or cannot be run.
    #[error("cannot run {}: {source}; install nginx, or set `nginx.binary`", path.display())]
    Binary {
        /// The configured executable.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The executable ran but never ended; it was killed.
    #[error(
        "`{command}` did not end within {deadline:?} and was killed; run it by hand to see why"
    )]
    Stuck {
        /// The command line.
        command: String,
        /// How long it had.
        deadline: Duration,
    },
    /// `nginx -v` said something that is no version.
    #[error("cannot read the version of {}: it says `{words}`; is `nginx.binary` an nginx?", path.display())]
    NoVersion {
        /// The configured executable.
        path: PathBuf,
        /// What it said.
        words: String,
    },
    /// The configuration asks for more than this nginx knows.
    #[error("nginx {has} does not know {}, which needs nginx {}; {}", what.directive, what.since, what.remedy)]
    TooOld {
        /// The version installed.
        has: Version,
        /// What it lacks.
        what: Unsupported,
    },
    /// `nginx -t` failed.
    #[error("nginx refuses its configuration {}:\n{words}", config.display())]
    Test {
        /// nginx's main configuration file.
        config: PathBuf,
        /// nginx's own words.
        words: String,
    },
    /// The site's own lines do not go with the way in which a service is switched.
    #[error("{lack}")]
    Site {
        /// What is not as it should be.
        lack: Lack,
    },
    /// No nginx runs.
    #[error("nginx is not running: {why}; start it, or check `nginx.pid_file`")]
    NotRunning {
        /// How that was seen.
        why: String,
    },
    /// No master runs, but workers that lost theirs go on serving.
    #[error(
        "{why}, but workers that lost their master still listen on {}: end them, then start nginx",
        socket.display()
    )]
    Orphans {
        /// How it was seen that there is no master.
        why: String,
        /// The proof socket.
        socket: PathBuf,
    },
    /// Two masters run, and the workers of both accept.
    #[error(
        "nginx is being replaced by another one: its old master, process {old}, still serves beside \
         the new one; end it (`kill -QUIT {old}`), or the new one"
    )]
    Upgrading {
        /// The old master.
        old: i32,
    },
    /// The pid file names something else, which gets no signal from us.
    #[error("{} names process {pid}, which is not an nginx master but `{command}`; check `nginx.pid_file`", pid_file.display())]
    NotMaster {
        /// The pid file.
        pid_file: PathBuf,
        /// What it says.
        pid: i32,
        /// What that process is.
        command: String,
    },
    /// nginx does not answer on the proof socket.
    #[error("nginx does not answer on {}: {why}", socket.display())]
    NoAnswer {
        /// The proof socket.
        socket: PathBuf,
        /// What was seen instead, and what to do.
        why: String,
    },
    /// Something else holds the proof socket.
    #[error("{} cannot be used as nginx's proof socket: {why}", socket.display())]
    Socket {
        /// The proof socket.
        socket: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// The kernel would not tell or do something.
    #[error("cannot {what}: {source}")]
    Kernel {
        /// What was tried.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The owned file, or its directory, could not be read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// There is a file in the place of ours that we did not write.
    #[error("{} was not written by aibk and is left alone; move it away, or set `nginx.file` to a name of our own", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// Our file does not read back.
    #[error("{} is damaged ({why}) and is left alone; remove it, and the next publish writes what nginx serves", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A service that is not behind nginx.
    #[error("service {0} is not behind nginx; give it an `upstream` in the configuration")]
    UnknownService(ServiceName),
    /// An upstream that nginx would refuse.
    #[error(
        "the upstream of {service} would have {why}; nginx needs a member that is serving or down"
    )]
    NoMember {
        /// Whose.
        service: ServiceName,
        /// What is wrong.
        why: &'static str,
    },
    /// nginx said that it keeps the old configuration.
    #[error("nginx refused to reload and keeps its old configuration:\n{words}")]
    Refused {
        /// nginx's own words, from its error log.
        words: String,
    },
    /// nginx did not come to serve the new edition in time.
    #[error("nginx did not serve edition {edition} within {deadline:?}: {seen}")]
    NotProved {
        /// The edition that was published.
        edition: Edition,
        /// How long it had.
        deadline: Duration,
        /// What was seen instead, with nginx's words where it had any.
        seen: String,
    },
    /// nginx serves an edition that nobody asked for.
    #[error(
        "nginx serves edition {served}, not {expected} as before; has somebody else reloaded it?"
    )]
    Astray {
        /// What it served before.
        expected: Edition,
        /// What it serves now.
        served: Edition,
    },
    /// nginx accepts its configuration only without our file.
    #[error(
        "{cause}\nIt accepts it without {0}, which is taken back. Remove what this file defines too \
         (an `upstream` of the same name) from nginx's configuration, or set `upstream.name` of \
         the service to another; then restart aibkd.",
        file.display()
    )]
    Clash {
        /// Our file, which is as it was before, or gone if there was none.
        file: PathBuf,
        /// nginx's words.
        cause: Box<Self>,
    },
    /// A publish failed; everything is as it was before.
    #[error("{cause}\nThe previous file is back{}.", served(*edition))]
    Undone {
        /// What failed.
        cause: Box<Self>,
        /// The edition that nginx was seen to serve afterwards.
        edition: Option<Edition>,
    },
    /// nginx does not see a flag that was turned.
    #[error("nginx does not see that the flag of {service} says otherwise ({}): {why}", flag.display())]
    NotFlipped {
        /// Whose.
        service: ServiceName,
        /// The file for which nginx looks.
        flag: PathBuf,
        /// What keeps it from that, as far as it can be told, and what to do.
        why: String,
    },
    /// A flip failed; the flag says what it said before, and nginx serves that.
    #[error("{cause}\nThe flag is turned back, and nginx serves edition {edition}, as before.")]
    TurnedBack {
        /// What failed.
        cause: Box<Self>,
        /// What nginx serves.
        edition: Edition,
    },
    /// A change of the file failed, and so did going back: what nginx serves is not known.
    #[error(
        "{cause}\nGoing back failed too: {undo}\nSee `aibkctl nginx show`, then publish again."
    )]
    NotUndone {
        /// What failed first.
        cause: Box<Self>,
        /// What failed while going back.
        undo: Box<Self>,
    },
}

fn served(edition: Option<Edition>) -> String {
    edition.map(|edition| format!(", and nginx serves edition {edition}")).unwrap_or_default()
}
