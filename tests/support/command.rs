//! Programs that a test runs, each with a deadline.

use std::{
    fmt, fs,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread::JoinHandle,
    time::Duration,
};

use super::wait_for;

/// How a program ended, and what it said.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit status; none when a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Panics with everything it said unless it ended with `status`.
    #[track_caller]
    pub fn expect(self, status: i32) -> Self {
        assert!(self.status == Some(status), "expected exit status {status}, got:\n{self}");
        self
    }

    /// Everything it said.
    pub fn words(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Panics unless it said each of `words`, wherever its lines were broken.
    #[track_caller]
    pub fn says(&self, words: &[&str]) -> &Self {
        let said = self.words().split_whitespace().collect::<Vec<_>>().join(" ");
        for word in words {
            assert!(said.contains(word), "expected `{word}` in:\n{self}");
        }
        self
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "exit status {:?}", self.status)?;
        writeln!(f, "-- stdout\n{}-- stderr\n{}", self.stdout, self.stderr)
    }
}

/// A program under way; ended when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    what: String,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

fn reader(mut from: impl std::io::Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl Running {
    /// Starts `command` and reads what it says.
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = Self::start_apart(command);
        running.stdout = running.child.stdout.take().map(reader);
        running.stderr = running.child.stderr.take().map(reader);
        running
    }

    /// Starts `command`, everything it says going to the file `log`.
    pub fn start_logged(command: &mut Command, log: &Path) -> Self {
        let open = || fs::File::options().create(true).append(true).open(log).expect("a log");
        command.stdin(Stdio::null()).stdout(open()).stderr(open());
        Self::start_apart(command)
    }

    #[expect(clippy::disallowed_methods, reason = "tests start programs here, and only here")]
    fn start_apart(command: &mut Command) -> Self {
        let what = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot run {what}: {error}"));
        Self { child, what, stdout: None, stderr: None }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// It has not ended yet.
    pub fn is_going_on(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self, deadline: Duration) -> Output {
        let status = self.status(deadline);
        let text = |reader: Option<JoinHandle<String>>| {
            reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
        };
        let (stdout, stderr) = (text(self.stdout.take()), text(self.stderr.take()));
        Output { status: status.code(), stdout, stderr }
    }

    /// Waits for its end, for no more than its status.
    #[track_caller]
    pub fn status(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.what);
        wait_for(&what, deadline, || self.child.try_wait().expect("a child"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_going_on() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Runs `command` to its end.
#[track_caller]
pub fn run(command: &mut Command, deadline: Duration) -> Output {
    Running::start(command).end(deadline)
}
