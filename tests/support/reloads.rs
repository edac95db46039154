//! What nginx itself costs its clients when it is reloaded: the floor under what we cost them.

use rustix::process::Signal;

use super::{
    LONG, Stage, children_of, kill,
    load::{Load, Report},
    wait_for,
};

impl Stage {
    /// The edition of its file that nginx serves.
    #[track_caller]
    pub fn edition(&self) -> u64 {
        self.status().nginx.and_then(|nginx| nginx.edition).expect("nginx answers")
    }

    /// Ends `load`, which has gone on since nginx served the edition `before`. Nothing was lost, and
    /// no more connections were closed under a request than by as many reloads with nothing changed.
    #[track_caller]
    pub fn loses_nothing_since(&self, before: u64, load: Load) -> Report {
        let report = load.finish(Some(&self.executed())).unwrap();
        println!("{report}");
        assert_eq!(report.lost, 0, "lost requests:\n{report}");
        let reloads = self.edition() - before;
        let bare = self.bare_reloads(reloads);
        println!("the same number of bare reloads ({reloads}):\n{bare}");
        println!("reuse races: {} with us, {} without", report.reuse_races, bare.reuse_races);
        assert_eq!(bare.lost, 0, "bare reloads lose nothing else:\n{bare}");
        // Rare as they are, their numbers differ; what cut connections would do so each time.
        let usual = 3 * bare.reuse_races + reloads / 4 + 3;
        assert!(report.reuse_races <= usual, "more than reloads explain:\n{report}");
        report
    }

    /// Reloads nginx `times` times with nothing changed, under load.
    fn bare_reloads(&self, times: u64) -> Report {
        let load = self.load();
        for _ in 0..times {
            let master = self.status().nginx.and_then(|nginx| nginx.master).expect("nginx runs");
            let old = children_of(master);
            let answered = load.progress().answered;
            kill(master, Signal::HUP);
            wait_for("other workers", LONG, || {
                children_of(master).iter().any(|worker| !old.contains(worker)).then_some(())
            });
            wait_for("answers", LONG, || (load.progress().answered > answered + 200).then_some(()));
        }
        load.finish(Some(&self.executed())).unwrap()
    }
}
