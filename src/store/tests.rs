#![allow(clippy::indexing_slicing, reason = "a panic here is a failed test")]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use rusqlite::Connection;
use tempfile::TempDir;
use tokio::time::timeout;

use super::{generations::BLOCK, thread::Thread, *};
use crate::ident::{InstanceId, ReleaseId};

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

fn event(message: &str) -> Event {
    Event { kind: "test".into(), message: message.into(), ..Event::default() }
}

fn slot(generation: u64) -> SlotRow {
    SlotRow {
        instance: "api@8000".parse::<InstanceId>().unwrap(),
        wanted: true,
        release: ReleaseId("r1".into()),
        directory: "/srv/r1".into(),
        rollout: Some(RolloutId(3)),
        generation: Generation(generation),
        identity: Some("{}".into()),
        rest: None,
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A state directory with a closed database in it.
fn closed() -> TempDir {
    let dir = TempDir::new().unwrap();
    drop(Store::open(dir.path()).unwrap());
    dir
}

async fn begin(store: &Store, name: &str) -> Result<RolloutRow, StoreError> {
    store.begin_rollout(service(name), Box::new(|id| format!("document {id}"))).await
}

#[tokio::test]
async fn what_was_written_is_there_after_a_reopen() {
    let dir = TempDir::new().unwrap();
    let state = dir.path().join("state");
    let store = Store::open(&state).unwrap();
    store.put_slot(slot(1)).await.unwrap();
    store.put_slot(slot(2)).await.unwrap();
    let rollout = begin(&store, "api").await.unwrap();
    assert_eq!(rollout.document, format!("document {}", rollout.id));
    store.record(event("hello"));
    drop(store);

    let store = Store::open(&state).unwrap();
    assert_eq!(store.slots().await.unwrap(), [slot(2)]);
    assert_eq!(store.rollout(rollout.id).await.unwrap(), Some(rollout));
    assert_eq!(store.rollout(RolloutId(77)).await.unwrap(), None);
    assert_eq!(store.events(0, 10).await.unwrap()[0].message, "hello");
    assert_eq!(mode(&state), 0o700);
    for file in ["aibk.db", "aibk.db-wal", "aibk.db-shm", "aibk.lock"] {
        assert_eq!(mode(&state.join(file)), 0o600, "{file}");
    }
}

#[test]
fn a_second_daemon_is_told_who_holds_the_state() {
    let dir = TempDir::new().unwrap();
    let first = Store::open(dir.path()).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    let expected = format!("pid {}", std::process::id());
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    assert!(error.to_string().contains(&expected), "{error}");
    drop(first);
    Store::open(dir.path()).unwrap();
}

#[test]
fn what_a_dead_daemon_s_child_holds_for_a_moment_is_waited_for() {
    let dir = TempDir::new().unwrap();
    let first = Store::open(dir.path()).unwrap();
    let lock = fs::File::open(dir.path().join("aibk.lock")).unwrap();
    drop(first);
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let opened = std::thread::scope(|scope| {
        let opening = scope.spawn(|| Store::open(dir.path()));
        while !opening.is_finished() && waiting_for(dir.path()) == 1 {
            std::thread::yield_now();
        }
        drop(lock);
        opening.join().unwrap()
    });
    opened.unwrap();
}

/// Descriptors of this process that are open on the lock of `dir`.
fn waiting_for(dir: &Path) -> usize {
    let lock = dir.join("aibk.lock");
    let open = fs::read_dir("/proc/self/fd").unwrap();
    open.filter(|fd| fs::read_link(fd.as_ref().unwrap().path()).is_ok_and(|to| to == lock)).count()
}

#[test]
fn a_newer_state_is_refused_untouched() {
    let dir = closed();
    let path = dir.path().join("aibk.db");
    let wal = dir.path().join("aibk.db-wal");
    // As a newer daemon that crashed leaves it: with a log beside it.
    let newer = Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 9999).unwrap();
    let crashed = TempDir::new().unwrap();
    for name in ["aibk.db", "aibk.db-wal"] {
        fs::copy(dir.path().join(name), crashed.path().join(name)).unwrap();
    }
    drop(newer);
    assert!(!wal.exists());

    for dir in [&dir, &crashed] {
        let bytes = |name: &str| fs::read(dir.path().join(name)).ok();
        let before = (bytes("aibk.db"), bytes("aibk.db-wal").filter(|b| !b.is_empty()));
        let error = Store::open(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 9999, .. }), "{error}");
        let after = (bytes("aibk.db"), bytes("aibk.db-wal").filter(|b| !b.is_empty()));
        assert!(before == after, "changed");
    }
}

#[test]
fn what_cannot_be_read_is_refused_and_kept() {
    let whole = closed();
    let bytes = fs::read(whole.path().join("aibk.db")).unwrap();
    let other = Connection::open(whole.path().join("other.db")).unwrap();
    other.execute_batch("CREATE TABLE t (x); PRAGMA user_version = 1;").unwrap();
    drop(other);
    let damaged = [
        ("empty", vec![]),
        ("garbage", b"not a database, but longer than a header of one hundred bytes. ".repeat(99)),
        ("header only", bytes[..100].to_vec()),
        ("half", bytes[..bytes.len() / 2].to_vec()),
        ("a hole", [&bytes[..4096], &[0; 4096][..], &bytes[8192..]].concat()),
        ("somebody else's", fs::read(whole.path().join("other.db")).unwrap()),
    ];
    for (what, bytes) in damaged {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("aibk.db");
        fs::write(&path, &bytes).unwrap();
        let error = Store::open(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{what}: {error}");
        assert!(fs::read(&path).unwrap() == bytes, "{what}: changed");
    }
}

#[test]
fn a_log_without_its_database_is_damage() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("aibk.db-wal"), b"x").unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(!dir.path().join("aibk.db").exists());
}

#[test]
fn a_creation_cut_short_is_begun_again() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("aibk.db.new"), b"half").unwrap();
    Store::open(dir.path()).unwrap();
    assert!(!dir.path().join("aibk.db.new").exists());
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = Store::open(&file.join("state")).unwrap_err();
    assert!(error.to_string().contains("file/state"), "{error}");
}

#[tokio::test]
async fn generations_never_repeat() {
    let dir = TempDir::new().unwrap();
    let crashed = TempDir::new().unwrap();
    let mut last = 0;
    for round in 0..3 {
        let store = Store::open(dir.path()).unwrap();
        for _ in 0..(BLOCK * 3 + round) {
            let Generation(next) = store.next_generation().await.unwrap();
            assert!(next > last, "{next} after {last}");
            last = next;
        }
        // What a crash at this moment would leave.
        for name in ["aibk.db", "aibk.db-wal"] {
            fs::copy(dir.path().join(name), crashed.path().join(name)).unwrap();
        }
    }
    let store = Store::open(crashed.path()).unwrap();
    assert!(store.next_generation().await.unwrap() > Generation(last));
}

#[tokio::test]
async fn one_rollout_of_a_service_at_a_time() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut first = begin(&store, "api").await.unwrap();
    let error = begin(&store, "api").await.unwrap_err();
    assert!(matches!(error, StoreError::Busy(id) if id == first.id), "{error}");
    let admin = begin(&store, "admin").await.unwrap();

    first.ended = true;
    first.document = "over".into();
    store.put_rollout(first.clone()).await.unwrap();
    let second = begin(&store, "api").await.unwrap();
    assert!(second.id > first.id);

    // An ended one cannot come back beside the open one.
    let again = RolloutRow { ended: false, ..first.clone() };
    let error = store.put_rollout(again).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy(id) if id == second.id), "{error}");
    assert_eq!(store.rollout(first.id).await.unwrap(), Some(first.clone()));

    // Whatever is open is listed, however old.
    assert_eq!(store.rollouts(1).await.unwrap(), [second.clone(), admin.clone()]);
    let api = service("api");
    let of_api = store.rollouts_of(&api, None, 9).await.unwrap();
    assert_eq!(of_api, [second.clone(), first.clone()]);
    assert_eq!(store.rollouts_of(&api, None, 1).await.unwrap(), of_api[..1]);
    assert_eq!(store.rollouts_of(&api, Some(second.id), 9).await.unwrap(), of_api[1..]);
    assert_eq!(store.rollouts(9).await.unwrap(), [second, admin, first.clone()]);
    let missing = RolloutRow { id: RolloutId(99), ..first };
    let error = store.put_rollout(missing).await.unwrap_err();
    assert!(matches!(error, StoreError::NoRollout(RolloutId(99))), "{error}");
}

#[tokio::test]
async fn a_panic_in_a_document_leaves_nothing_and_no_lock() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let broken = store.begin_rollout(service("api"), Box::new(|_| panic!("in a test"))).await;
    assert!(matches!(broken, Err(StoreError::Panicked { .. })), "{broken:?}");
    begin(&store, "api").await.unwrap();
}

#[tokio::test]
async fn events_come_in_order_to_readers_and_subscribers() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut told = store.subscribe();
    for n in 0..200 {
        store.record(event(&n.to_string()));
    }
    for n in 0..200 {
        let event = timeout(Duration::from_secs(10), told.recv()).await.unwrap().unwrap();
        assert_eq!((event.id, event.message), (n + 1, n.to_string()));
        assert!(event.at > 1_600_000_000_000_000);
    }
    let tail: Vec<_> = store.events(0, 3).await.unwrap().iter().map(|e| e.id).collect();
    assert_eq!(tail, [198, 199, 200]);
    let tail: Vec<_> = store.events(198, 100).await.unwrap().iter().map(|e| e.id).collect();
    assert_eq!(tail, [199, 200]);
    assert_eq!(store.events(0, 1).await.unwrap()[0].message, "199");
}

#[tokio::test]
async fn old_events_are_pruned_and_ids_go_on() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let total = events::KEPT + 1_000;
    for _ in 0..total {
        store.record(event("x"));
    }
    let kept = store.events(0, usize::MAX).await.unwrap();
    assert_eq!(kept.len(), usize::try_from(events::KEPT).unwrap());
    assert_eq!(kept.last().unwrap().id, total);
}

#[tokio::test]
async fn a_full_or_read_only_disk_is_a_typed_error() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let set = |pragma: &'static str, value: i64| {
        store.inner.thread.read("test", move |db| {
            db.query_row(&format!("PRAGMA {pragma} = {value}"), [], |_| Ok(())).or_else(|e| {
                if e == rusqlite::Error::QueryReturnedNoRows { Ok(()) } else { Err(e) }
            })
        })
    };
    set("max_page_count", 1).await.unwrap();
    let mut told = store.subscribe();
    let big = "x".repeat(1 << 20);
    let full = store.begin_rollout(service("api"), Box::new(move |_| big)).await;
    assert!(matches!(full, Err(StoreError::Full { .. })), "{full:?}");
    store.record(event(&"y".repeat(1 << 20)));
    let unkept = timeout(Duration::from_secs(10), told.recv()).await.unwrap().unwrap();
    assert_eq!(unkept.id, 0);

    set("max_page_count", 1_000_000).await.unwrap();
    set("query_only", 1).await.unwrap();
    let refused = store.put_slot(slot(1)).await;
    assert!(matches!(refused, Err(StoreError::ReadOnly { .. })), "{refused:?}");

    // It was the disk; the store itself goes on.
    set("query_only", 0).await.unwrap();
    store.put_slot(slot(1)).await.unwrap();
    store.record(event("kept"));
    assert_eq!(store.events(0, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_dead_thread_is_an_error_not_a_hang() {
    let dir = TempDir::new().unwrap();
    let db = schema::open(&dir.path().join("aibk.db")).unwrap();
    let generations = Generations::open(&db).unwrap();
    let (told, mut heard) = broadcast::channel(LAG);
    let inner = Inner { thread: Thread::dead(told.clone()), generations, told };
    let store = Store { inner: Arc::new(inner) };
    let slots = store.slots().await;
    assert!(matches!(slots, Err(StoreError::Closed { .. })), "{slots:?}");
    store.record(event("x"));
    let event = timeout(Duration::from_secs(10), heard.recv()).await.unwrap().unwrap();
    assert_eq!(event.message, "x");
    for _ in 0..BLOCK {
        store.next_generation().await.unwrap();
    }
    assert!(store.next_generation().await.is_err());
}

#[tokio::test]
async fn a_daemon_knows_whether_it_goes_on_or_begins_afresh() {
    let dir = TempDir::new().unwrap();
    let resting = SlotRow { rest: Some("{}".into()), ..slot(1) };
    let blank = SlotRow { identity: None, ..slot(1) };
    let store = Store::open(dir.path()).unwrap();
    store.put_slot(resting.clone()).await.unwrap();
    // What a version without this knowledge left is gone on with.
    assert_eq!(store.begin_daemon("one", "stopped").await.unwrap(), Beginning::Successor);
    assert_eq!(store.begin_daemon("one", "stopped").await.unwrap(), Beginning::Successor);
    let kept = store.slots().await.unwrap();
    assert_eq!(kept, std::slice::from_ref(&resting));
    assert_eq!(store.begin_daemon("two", "stopped").await.unwrap(), Beginning::Afresh);
    let kept = store.slots().await.unwrap();
    assert_eq!(kept, std::slice::from_ref(&blank));
    store.put_slot(resting).await.unwrap();
    store.end_daemon("two").await.unwrap();
    assert_eq!(store.begin_daemon("two", "stopped").await.unwrap(), Beginning::Afresh);
    assert_eq!(store.slots().await.unwrap(), [blank]);
    assert_eq!(store.begin_daemon("two", "stopped").await.unwrap(), Beginning::Successor);
}

#[tokio::test]
async fn what_does_not_come_up_rests_and_what_is_enabled_anew_is_as_if_never_started() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let row = |instance: &str, wanted| SlotRow {
        instance: instance.parse().unwrap(),
        wanted,
        identity: None,
        ..slot(1)
    };
    let rows = [
        row("admin@8002", false),
        row("api-2@8003", true),
        row("api@8000", true),
        row("api@8001", false),
        row("other", false),
        row("other@1", true),
        row("worker", true),
    ];
    for row in &rows {
        store.put_slot(row.clone()).await.unwrap();
    }
    store.begin_daemon("one", "stopped").await.unwrap();
    for (name, boots) in [
        ("admin", Boots::AsConfigured),
        ("api", Boots::Not),
        ("other", Boots::AsConfigured),
        ("worker", Boots::Not),
        ("worker", Boots::AsLeft),
    ] {
        store.put_boots(&service(name), boots).await.unwrap();
    }
    assert_eq!(store.slots().await.unwrap(), rows, "nothing now");
    assert_eq!(store.begin_daemon("two", "stopped").await.unwrap(), Beginning::Afresh);
    let [_, api2, api, rest @ ..] = rows;
    let mut expected = vec![api2, SlotRow { rest: Some("stopped".into()), ..api }];
    expected.extend(rest);
    assert_eq!(store.slots().await.unwrap(), expected);
    assert_eq!(store.disabled().await.unwrap(), [service("api")].into());
    store.put_boots(&service("api"), Boots::AsLeft).await.unwrap();
    store.begin_daemon("three", "stopped").await.unwrap();
    assert!(store.slots().await.unwrap().iter().all(|row| row.rest.is_none()));
}

/// All of them, or none: nobody gets in between.
#[tokio::test]
async fn several_rollouts_begin_together_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let both = || vec![service("api"), service("admin")];
    let numbered = || -> Documents {
        Box::new(|ids| ids.iter().map(|id| format!("{id} of {}", ids.len())).collect())
    };
    let begun = store.begin_rollouts(both(), Some(RolloutId(77)), numbered()).await.unwrap();
    let documents: Vec<&str> = begun.iter().map(|row| row.document.as_str()).collect();
    assert_eq!(documents, ["1 of 2", "2 of 2"]);
    assert_eq!(store.rollouts_of_deploy(RolloutId(77)).await.unwrap(), begun);
    let others = || vec![service("worker"), service("admin")];
    let refused = store.begin_rollouts(others(), None, numbered()).await;
    assert!(matches!(refused, Err(StoreError::Busy(RolloutId(2)))), "{refused:?}");
    assert_eq!(store.rollouts(10).await.unwrap().len(), 2, "nothing of the other one is left");
    let again = RolloutRow { ended: true, ..begun[1].clone() };
    store.put_rollout(again).await.unwrap();
    store.begin_rollouts(others(), None, numbered()).await.unwrap();
    assert_eq!(store.rollouts_of_deploy(RolloutId(77)).await.unwrap().len(), 2);
}

/// What an older version wrote is a part of no deploy.
#[tokio::test]
async fn rollouts_of_before_the_column_for_deploys_are_kept() {
    let dir = closed();
    let before = "DROP INDEX rollouts_of_a_deploy;
        ALTER TABLE rollouts DROP COLUMN deploy;
        INSERT INTO rollouts (service, document, ended) VALUES ('api', 'old', 1);
        PRAGMA user_version = 6;";
    Connection::open(dir.path().join("aibk.db")).unwrap().execute_batch(before).unwrap();
    let store = Store::open(dir.path()).unwrap();
    let numbered = Box::new(|_: &[RolloutId]| vec!["new".to_owned()]);
    let deploy = RolloutId(7);
    let new = store.begin_rollouts(vec![service("api")], Some(deploy), numbered).await.unwrap();
    assert_eq!(store.rollouts_of_deploy(deploy).await.unwrap(), new);
    let all = store.rollouts(9).await.unwrap();
    assert_eq!(all.iter().map(|row| row.document.as_str()).collect::<Vec<_>>(), ["new", "old"]);
}
