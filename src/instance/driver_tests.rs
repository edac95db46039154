//! A driver with real children and a store and a kernel that fail.

use rustix::io::Errno;

use super::{
    Instance, Phase, View,
    kit::{Bed, LONG, is_alive, reaches, release, service},
};
use crate::{config::Kind, process::Identity, sys::fake::Call};

fn ready(view: &View) -> bool {
    view.phase == Phase::Ready
}

async fn started(bed: &Bed, id: &str) -> (Instance, Identity) {
    let instance = bed.begin(None);
    instance.start(release(id), None).await.unwrap();
    let who = reaches(&instance, ready).await.identity.unwrap();
    (instance, who)
}

async fn stopped(instance: &Instance) {
    instance.stop().await.unwrap();
    reaches(instance, |view| view.phase == Phase::Stopped).await;
}

/// A daemon that dies between the two writes would make its successor adopt the wrong code.
#[tokio::test]
async fn what_ran_before_is_never_written_down_as_the_new_release() {
    let bed = Bed::new();
    let (instance, old) = started(&bed, "r1").await;
    bed.disk.witness();
    instance.start(release("r2"), None).await.unwrap();
    let is_new = |view: &View| ready(view) && view.identity.as_ref() != Some(&old);
    let new = reaches(&instance, is_new).await.identity.unwrap();
    assert_eq!(
        bed.disk.written(),
        [("r1".to_owned(), Some(old)), ("r2".to_owned(), Some(new))],
        "what runs, until the other one does"
    );
    stopped(&instance).await;
    instance.start(release("r3"), None).await.unwrap();
    assert!(bed.disk.written().contains(&("r3".to_owned(), None)), "{:?}", bed.disk.written());
    stopped(&instance).await;
}

/// Waits until the store has the row of `view`.
async fn saved(bed: &Bed, view: &View) {
    let end = std::time::Instant::now() + LONG;
    let written = async || -> Option<Identity> {
        bed.row().await.identity.and_then(|text| serde_json::from_str(&text).ok())
    };
    while written().await != view.identity {
        assert!(std::time::Instant::now() < end, "it was never written");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_start_that_could_not_be_written_down_is_written_later() {
    let bed = Bed::new();
    let (instance, who) = started(&bed, "r1").await;
    bed.disk.refuse();
    let pid = rustix::process::Pid::from_raw(who.pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let is_new = |view: &View| ready(view) && view.identity.as_ref() != Some(&who);
    let new = reaches(&instance, is_new).await;
    bed.disk.take_again();
    saved(&bed, &new).await;
    stopped(&instance).await;
}

/// A store that stalled may write it all the same, later.
#[tokio::test]
async fn an_order_that_was_refused_is_written_over_with_what_stands() {
    let bed = Bed::new();
    let (instance, who) = started(&bed, "r1").await;
    bed.disk.refuse();
    let refused = instance.start(release("r2"), None).await.unwrap_err().to_string();
    assert!(refused.contains("nothing was started or stopped"), "{refused}");
    bed.disk.write_late("r2");
    bed.disk.take_again();
    let view = instance.view();
    assert!(ready(&view) && view.identity == Some(who));
    saved(&bed, &view).await;
    assert_eq!(bed.row().await.release, release("r1").id);
    stopped(&instance).await;
}

#[tokio::test]
async fn a_kernel_that_cannot_tell_for_a_while_costs_no_tree() {
    let bed = Bed::new();
    let (first, who) = started(&bed, "r1").await;
    let row = bed.row().await;
    drop(first);
    (0..3).for_each(|_| bed.kernel.fail(Call::Open, Errno::MFILE));
    let second = bed.begin(Some(row));
    assert_eq!(reaches(&second, ready).await.identity, Some(who));
    stopped(&second).await;
}

#[tokio::test]
async fn a_tree_that_nobody_can_tell_of_is_left_alone() {
    let bed = Bed::new();
    let (first, who) = started(&bed, "r1").await;
    let row = bed.row().await;
    drop(first);
    (0..1000).for_each(|_| bed.kernel.fail(Call::Open, Errno::MFILE));
    let second = bed.begin(Some(row));
    let view = reaches(&second, |view| view.phase == Phase::Failed).await;
    let why = view.death.unwrap().to_string();
    assert!(why.contains("not known whether its last start still runs"), "{why}");
    second.start(release("r2"), None).await.unwrap();
    assert!(second.view().phase == Phase::Failed && is_alive(&who));
    bed.kernel.forgive();
    second.stop().await.unwrap();
    reaches(&second, |view| view.phase == Phase::Stopped).await;
    assert!(!is_alive(&who));
}

#[tokio::test]
async fn another_definition_touches_nothing_before_the_next_start() {
    let bed = Bed::new();
    let (instance, who) = started(&bed, "r1").await;
    let mut other = service();
    other.kind = Kind::Command(vec!["sleep".to_owned(), "2000".to_owned()]);
    instance.adapt(other.into()).await.unwrap();
    let view = instance.view();
    assert_eq!((view.phase, view.identity.as_ref()), (Phase::Ready, Some(&who)));
    assert!(is_alive(&who));
    instance.start(release("r1"), None).await.unwrap();
    let is_new = |view: &View| ready(view) && view.identity.as_ref() != Some(&who);
    let new = reaches(&instance, is_new).await.identity.unwrap();
    assert_eq!(crate::sys::proc::command(new.pid), "sleep 2000");
    stopped(&instance).await;
}
