//! Lines on their way to systemd's journal, by its native protocol
//! (systemd's `docs/JOURNAL_NATIVE_PROTOCOL.md`): a datagram per line. The longest, of a line of
//! 16 KiB read as JSON, is far below what a datagram may have (`net.core.wmem_default`, 208 KiB),
//! so none needs a memfd.

use std::{
    collections::BTreeMap,
    io,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Map, Value};

use super::{Line, Start, Stream, log_file::Health};
use crate::{
    ident::{Generation, InstanceId},
    process::Reading,
};

/// Where journald listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";
/// How long journald may keep the writer thread waiting, which serves every instance.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long it is left alone after that.
const REST: Duration = Duration::from_secs(5);
/// Lines of one instance within a time, in microseconds: what journald itself lets a unit have.
const BURST: (u64, i64) = (10_000, 30_000_000);
/// Fields of its own that a line may have, and bytes in the name of one.
const FIELDS: (usize, usize) = (32, 64);
/// Starts whose lines may still come: more than a service may have workers.
const STARTS: usize = 1024;

/// Until when journald is left alone. One for all instances: each would wait for it otherwise.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<Option<Instant>>);

impl Gate {
    fn is_open(&self) -> bool {
        let shut = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shut.is_none_or(|until| Instant::now() >= until)
    }

    fn shut_until(&self, until: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// The journal, for one instance.
#[derive(Debug)]
pub(super) struct Journal {
    name: InstanceId,
    path: PathBuf,
    socket: Option<UnixDatagram>,
    starts: BTreeMap<Generation, Start>,
    rate: Rate,
    lost: u64,
    gate: Arc<Gate>,
    health: Health,
}

impl Journal {
    pub(super) fn new(name: InstanceId, path: &Path, gate: Arc<Gate>) -> Self {
        Self {
            name,
            path: path.to_owned(),
            socket: None,
            starts: BTreeMap::new(),
            rate: Rate::default(),
            lost: 0,
            gate,
            health: Health::Good,
        }
    }

    pub(super) fn begin(&mut self, start: Start) {
        self.starts.insert(start.generation, start);
        if self.starts.len() > STARTS {
            self.starts.pop_first();
        }
    }

    /// Sends lines of our log file; what cannot be sent is counted, and told once it can.
    pub(super) fn write(&mut self, lines: &[u8]) {
        let texts = lines.split(|byte| *byte == b'\n').filter(|text| !text.is_empty());
        for line in texts.filter_map(|text| serde_json::from_slice::<Line>(text).ok()) {
            match self.rate.admit(line.at) {
                Admit::Yes => {}
                Admit::No => continue,
                Admit::LastOfMany => {
                    let (lines, time) = (BURST.0, BURST.1 / 1_000_000);
                    let text = format!(
                        "[aibk: more than {lines} lines in {time} s; the rest of them is left out \
                         here, `aibkctl logs {}` may have them]",
                        self.name
                    );
                    self.send(&notice(&line, text));
                    continue;
                }
                Admit::After(left_out) => {
                    let text = format!("[aibk: {left_out} lines were left out here]");
                    self.send(&notice(&line, text));
                }
            }
            self.send(&line);
        }
    }

    fn send(&mut self, line: &Line) {
        if !self.gate.is_open() {
            self.lost += 1;
            return;
        }
        if self.lost > 0 {
            let text = format!("[aibk: {} lines are missing here: journald was away]", self.lost);
            if self.try_send(&notice(line, text)).is_ok() {
                self.lost = 0;
            }
        }
        match self.try_send(line) {
            Ok(()) => {
                if std::mem::replace(&mut self.health, Health::Good) == Health::Bad {
                    tracing::info!(instance = %self.name, "its output goes to the journal again");
                }
                self.gate.shut_until(None);
            }
            Err(error) => {
                if std::mem::replace(&mut self.health, Health::Bad) == Health::Good {
                    tracing::error!(
                        instance = %self.name, %error, socket = %self.path.display(),
                        "cannot send output to the journal; it is kept in files only until journald \
                         is back"
                    );
                }
                self.socket = None;
                self.gate.shut_until(Some(Instant::now() + REST));
                self.lost += 1;
            }
        }
    }

    fn try_send(&mut self, line: &Line) -> io::Result<()> {
        let entry = entry(&self.name, self.starts.get(&line.generation), line);
        let socket = self.socket.take().map_or_else(|| connect(&self.path), Ok)?;
        socket.send(&entry)?;
        self.socket = Some(socket);
        Ok(())
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.connect(path)?;
    Ok(socket)
}

/// What is said in place of lines, at the time of `line`.
fn notice(line: &Line, text: String) -> Line {
    Line { at: line.at, generation: line.generation, stream: Stream::Stderr, text }
}

/// One line as the journal takes it.
fn entry(name: &InstanceId, start: Option<&Start>, line: &Line) -> Vec<u8> {
    let Reading { priority, message, fields } = line.read();
    let mut entry = Vec::with_capacity(256 + message.len());
    put(&mut entry, "MESSAGE", &message);
    put(&mut entry, "PRIORITY", &priority.number().to_string());
    put(&mut entry, "SYSLOG_IDENTIFIER", &name.to_string());
    put(&mut entry, "AIBK_SERVICE", name.service.as_str());
    put(&mut entry, "AIBK_INSTANCE", &name.to_string());
    put(&mut entry, "AIBK_GENERATION", &line.generation.0.to_string());
    put(&mut entry, "AIBK_STREAM", line.stream.word());
    if let Some(start) = start {
        if let Some(release) = &start.release {
            put(&mut entry, "AIBK_RELEASE", &release.0);
        }
        if let Some(rollout) = start.rollout {
            put(&mut entry, "AIBK_ROLLOUT", &rollout.0.to_string());
        }
    }
    put_fields(&mut entry, fields);
    entry
}

/// An application's own fields, under their names in capitals. It cannot take a name that means
/// something to the journal or to us.
fn put_fields(entry: &mut Vec<u8>, fields: Map<String, Value>) {
    for (key, value) in fields.into_iter().take(FIELDS.0) {
        let key: String = key
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
            .collect();
        let reserved = ["AIBK_", "SYSLOG_", "OBJECT_", "COREDUMP_"];
        let ours = key == "MESSAGE"
            || key == "MESSAGE_ID"
            || key == "PRIORITY"
            || reserved.iter().any(|prefix| key.starts_with(prefix));
        let begins = key.starts_with(|c: char| c.is_ascii_uppercase());
        if ours || !begins || key.len() > FIELDS.1 {
            continue;
        }
        match value {
            Value::String(text) => put(entry, &key, &text),
            other => put(entry, &key, &other.to_string()),
        }
    }
}

/// `KEY=value`, or where the value has several lines, its length and the value.
fn put(entry: &mut Vec<u8>, key: &str, value: &str) {
    entry.extend_from_slice(key.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

/// How many lines an instance may send: one that floods must not push the others out of the
/// journal, or have journald silence the whole unit.
#[derive(Debug, Default)]
struct Rate {
    begun: i64,
    sent: u64,
    left_out: u64,
}

/// Whether a line may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admit {
    Yes,
    No,
    /// Not this one, and those that follow neither.
    LastOfMany,
    /// Yes, after so many that were left out.
    After(u64),
}

impl Rate {
    /// Asks for a line of the time `at`; times only grow.
    fn admit(&mut self, at: i64) -> Admit {
        if at - self.begun >= BURST.1 {
            let left_out = self.left_out;
            *self = Self { begun: at, sent: 1, left_out: 0 };
            return if left_out > 0 { Admit::After(left_out) } else { Admit::Yes };
        }
        self.sent += 1;
        if self.sent <= BURST.0 {
            return Admit::Yes;
        }
        self.left_out += 1;
        if self.left_out == 1 { Admit::LastOfMany } else { Admit::No }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::ident::{ReleaseId, RolloutId};

    fn line(at: i64, text: &str) -> Line {
        Line { at, generation: Generation(7), stream: Stream::Stderr, text: text.to_owned() }
    }

    fn written(line: &Line) -> Vec<u8> {
        let mut text = serde_json::to_vec(line).unwrap();
        text.push(b'\n');
        text
    }

    fn name() -> InstanceId {
        "api@8000".parse().unwrap()
    }

    #[test]
    fn an_entry_has_our_fields_and_the_applications_own() {
        let start = Start {
            generation: Generation(7),
            release: Some(ReleaseId("v2".to_owned())),
            rollout: Some(RolloutId(3)),
        };
        let text = r#"{"message":"two\nlines","level":"error","logger":"shop","n":[1],"aibk_instance":"x","_pid":1,"priority":0,"order-id":"7"}"#;
        let entry = entry(&name(), Some(&start), &line(1, text));
        let mut expected = b"MESSAGE\n\x09\0\0\0\0\0\0\0two\nlines\n".to_vec();
        expected.extend_from_slice(
            b"PRIORITY=3\nSYSLOG_IDENTIFIER=api@8000\nAIBK_SERVICE=api\nAIBK_INSTANCE=api@8000\n\
              AIBK_GENERATION=7\nAIBK_STREAM=stderr\nAIBK_RELEASE=v2\nAIBK_ROLLOUT=3\n\
              LEVEL=error\nLOGGER=shop\nN=[1]\nORDER_ID=7\n",
        );
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(shown(&entry), shown(&expected));
    }

    #[test]
    fn each_of_many_workers_has_its_release() {
        let mut journal = Journal::new(name(), Path::new("/nowhere"), Arc::default());
        for generation in 1..=600 {
            let release = Some(ReleaseId(format!("v{generation}")));
            journal.begin(Start { generation: Generation(generation), release, rollout: None });
        }
        let entry = entry(&name(), journal.starts.get(&Generation(7)), &line(1, "x"));
        assert!(String::from_utf8(entry).unwrap().contains("AIBK_RELEASE=v7\n"));
        (601..=5000).for_each(|n| journal.begin(Generation(n).into()));
        assert_eq!(journal.starts.len(), STARTS);
    }

    #[test]
    fn journald_may_come_later_and_is_told_what_it_missed() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("socket");
        let mut journal = Journal::new(name(), &path, Arc::default());
        journal.write(&[written(&line(1, "one")), written(&line(2, "two"))].concat());
        assert_eq!(journal.lost, 2);
        let journald = UnixDatagram::bind(&path).unwrap();
        journal.gate.shut_until(None);
        journal.write(&written(&line(3, "three")));
        let mut buffer = [0; 4096];
        let mut next = || {
            let n = journald.recv(&mut buffer).unwrap();
            let entry = String::from_utf8_lossy(&buffer[..n]).into_owned();
            entry.lines().next().unwrap().to_owned()
        };
        assert_eq!(next(), "MESSAGE=[aibk: 2 lines are missing here: journald was away]");
        assert_eq!(next(), "MESSAGE=three");
    }

    #[test]
    fn a_journald_that_hangs_holds_nobody_up_for_long() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("socket");
        let _journald = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::new(name(), &path, Arc::default());
        let begun = Instant::now();
        for at in 0..5000 {
            journal.write(&written(&line(at, "x")));
        }
        assert!(journal.lost > 0);
        assert!(begun.elapsed() < REST, "it was waited for more than once");
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let mut rate = Rate::default();
        let (burst, time) = BURST;
        assert_eq!(rate.admit(time), Admit::Yes);
        assert!((1..burst).all(|_| rate.admit(time + 1) == Admit::Yes));
        assert_eq!(rate.admit(time + 2), Admit::LastOfMany);
        assert_eq!(rate.admit(2 * time - 1), Admit::No);
        assert_eq!(rate.admit(2 * time), Admit::After(2));
        assert_eq!(rate.admit(2 * time + 1), Admit::Yes);
    }
}
