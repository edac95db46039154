use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use super::kit::{Daemon, Home, sh, spec, within};
use crate::process::Exit;

/// Threads that change the memory that a child may share until its execve.
struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    fn new() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (1..=3).map(|seed| thread::spawn(allocate(seed, Arc::clone(&stop))));
        Self { threads: threads.collect(), stop }
    }

    fn end(self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads {
            thread.join().expect("its memory is its own");
        }
    }
}

/// Small and large blocks: from the heap, and from mappings that come and go.
fn allocate(seed: usize, stop: Arc<AtomicBool>) -> impl FnOnce() {
    move || {
        let mut size = seed;
        while !stop.load(Relaxed) {
            size = (size * 31 + seed) % 500_000;
            let blocks = [vec![seed; size % 1000], black_box(vec![seed; size])];
            assert!(blocks.iter().flatten().step_by(97).all(|value| *value == seed));
            // There are as few processors as there are other tests.
            thread::yield_now();
        }
    }
}

#[tokio::test]
async fn starts_go_well_among_threads_at_work() {
    let home = Home::new();
    let daemon = Daemon::new(&home);
    let busy = Busy::new();
    for round in 0..200_i32 {
        let mut script = sh("[ \"$ROUND\" = \"$0\" ] && exit $((ROUND % 100))");
        script.env.push(("ROUND".into(), round.to_string().into()));
        script.argv.push(round.to_string().into());
        let tree = daemon.spawn(&script).await;
        assert_eq!(within(tree.exited()).await, Exit::Code(round % 100));
        let missing = daemon.refused(&spec(&["/x/y"])).await;
        assert!(missing.starts_with("cannot execute /x/y: No such file"), "{missing}");
    }
    busy.end();
}
