//! The plan against every way in which its steps can end, with the daemon dying anywhere: the same
//! search as that of rollouts, in a world of its own.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{
    plan::{Next, Runs, World, next_step, to_roll_back},
    record::{
        Aim, Course, DOCUMENT, Deploy, Harm, Learnt, Off, Outcome, Schema, Scope, Setback, Step,
    },
};
use crate::{
    ident::{AppName, ReleaseId, RolloutId, ServiceName},
    release::{History, Origin, Release, Source, Wanted, Weight},
};

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

fn release(id: &str) -> Release {
    Release { id: ReleaseId(id.to_owned()), directory: format!("/srv/shop/releases/{id}").into() }
}

pub(super) fn deploy(aim: Aim, scope: Scope) -> Deploy {
    let services = ["api", "admin"].map(service);
    Deploy {
        document: DOCUMENT,
        id: RolloutId(7),
        app: AppName::new("shop").unwrap(),
        release: match &aim {
            Aim::New(_) => None,
            Aim::Kept(id) => Some(id.clone()),
        },
        aim,
        scope,
        by: "uid 0".to_owned(),
        begun: 1,
        ended: None,
        source: None,
        origin: services.iter().map(|service| (service.clone(), release("old"))).collect(),
        services: services.to_vec(),
        before: Some(ReleaseId("old".to_owned())),
        schema: None,
        report: vec![],
        dump: None,
        passed: BTreeSet::new(),
        rollouts: vec![],
        course: Course::Forward,
        steps: vec![],
        failure: None,
        revision: 0,
    }
}

pub(super) fn ended(release: &str, outcome: Outcome) -> Deploy {
    let mut deploy = deploy(Aim::Kept(ReleaseId(release.to_owned())), Scope::Full);
    deploy.end(outcome, 2);
    deploy
}

/// What there is, beside what the plan sees of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reality {
    world: World,
    dumped: bool,
    migrated: bool,
    /// The order in which things happened to the services and the database.
    broken: Option<&'static str>,
}

impl Reality {
    fn at_rest() -> Self {
        let runs = |name| (service(name), Runs::Alone(release("old")));
        let services = BTreeMap::from(["api", "admin"].map(runs));
        let current = Some(ReleaseId("old".to_owned()));
        let world = World { sealed: false, services, current };
        Self { world, dumped: false, migrated: false, broken: None }
    }

    /// What `step` does when it goes right, `far` services along.
    fn suffer(&mut self, step: Step, deploy: &Deploy, far: usize) {
        match step {
            Step::Fetch | Step::Check | Step::Prune => {}
            Step::Build => self.world.sealed = true,
            Step::Backup => self.dumped = true,
            Step::Migrate => {
                self.break_unless(self.dumped, "D1: migrated without a dump");
                self.migrated = true;
            }
            Step::RollOut => {
                self.break_unless(self.world.sealed, "what is not sealed was started");
                let migrates = deploy.scope == Scope::Full && deploy.needs_migration();
                self.break_unless(self.migrated || !migrates, "the code came before its database");
                for service in deploy.services.iter().take(far) {
                    let new = release(&deploy.release.as_ref().unwrap().0);
                    self.world.services.insert(service.clone(), Runs::Alone(new));
                }
            }
            Step::RollBack => {
                let back: Vec<_> = to_roll_back(deploy, &self.world)
                    .take(far)
                    .map(|(service, release)| (service.clone(), release.clone()))
                    .collect();
                for (service, release) in back {
                    self.world.services.insert(service, Runs::Alone(release));
                }
            }
            Step::Settle => self.world.current = deploy.release.clone(),
        }
    }

    fn break_unless(&mut self, so: bool, what: &'static str) {
        if !so {
            self.broken = Some(what);
        }
    }

    fn all_run(&self, id: &str) -> bool {
        self.world.services.values().all(|runs| *runs == Runs::Alone(release(id)))
    }
}

fn source() -> Source {
    Source {
        origin: Origin::Git,
        commit: None,
        reference: None,
        digest: "1".repeat(40),
        history: History::Unknown,
        weight: Weight::default(),
    }
}

fn came_off(step: Step) -> Off {
    let learnt = match step {
        Step::Fetch => Learnt::Source(source(), ReleaseId("new".to_owned())),
        Step::Check => Learnt::Checked(
            Some(Schema {
                from: vec!["1".to_owned()],
                to: vec!["2".to_owned()],
                pending: vec!["2".to_owned()],
                ..Schema::default()
            }),
            vec![],
        ),
        Step::Backup => Learnt::Dump("dump".to_owned()),
        _ => Learnt::Nothing,
    };
    Off { note: None, learnt }
}

/// All that can become of one step: it goes right, it fails before or after its effect or half way, the
/// daemon dies at these moments, or an operator turns it back.
fn outcomes(deploy: &Deploy, reality: &Reality, step: Step) -> Vec<(Deploy, Reality)> {
    let mut begun = deploy.clone();
    begun.begin(step, 1);
    let mut all = vec![];
    for far in 0..=2 {
        let mut after = reality.clone();
        after.suffer(step, &begun, far);
        // The daemon dies here: the intent is durable, the result is not.
        all.push((begun.clone(), after.clone()));
        for harm in [Harm::None, Harm::Left] {
            // Whoever says that nothing is changed tells the truth.
            if harm == Harm::Left || after.migrated == reality.migrated {
                let mut failed = begun.clone();
                failed.finish(Err(Setback { why: "no".to_owned(), harm }), 1);
                all.push((failed, after.clone()));
            }
        }
        if begun.can_turn_back() {
            let mut cancelled = begun.clone();
            cancelled.fail("cancelled", Harm::None);
            all.push((cancelled, after));
        }
    }
    let mut right = (begun, reality.clone());
    right.1.suffer(step, &right.0, 2);
    right.0.finish(Ok(came_off(step)), 1);
    all.push(right);
    all
}

fn explore(
    next_step: fn(&Deploy, &World) -> Next,
    first: Deploy,
    reality: Reality,
) -> (usize, BTreeSet<&'static str>) {
    let mut ends = BTreeSet::new();
    let mut seen: HashSet<String> = HashSet::new();
    let mut open = vec![(first, reality)];
    while let Some((mut deploy, reality)) = open.pop() {
        if let Some(what) = reality.broken {
            panic!("{what}: {deploy:#?}");
        }
        // What it has done is no part of what it does next.
        deploy.steps.drain(..deploy.steps.len().saturating_sub(1));
        (deploy.revision, deploy.failure) = (0, deploy.failure.map(|_| "why".to_owned()));
        if !seen.insert(format!("{deploy:?} {reality:?}")) {
            continue;
        }
        match next_step(&deploy, &reality.world) {
            Next::Do(step) => open.extend(outcomes(&deploy, &reality, step)),
            Next::End(Outcome::Done) => {
                let touched = deploy.scope.reaches_services();
                let looked = deploy.scope == Scope::Look;
                assert!(!looked || !reality.migrated && reality.all_run("old"), "it only looks");
                assert!(!touched || reality.all_run("new"), "done, and not everywhere");
                assert!(!touched || reality.world.current == deploy.release);
                ends.insert("done");
            }
            Next::End(Outcome::Undone) => {
                assert!(reality.all_run("old"), "undone, and not as before: {deploy:#?}");
                assert_eq!(reality.world.current, deploy.before);
                ends.insert("undone");
            }
            Next::End(Outcome::Stuck) => {
                ends.insert("stuck");
            }
        }
    }
    (seen.len(), ends)
}

#[test]
fn every_deploy_ends_as_it_says_whatever_fails() {
    let mut states = 0;
    for scope in [Scope::Full, Scope::CodeOnly, Scope::MigrateOnly] {
        let new = deploy(Aim::New(Wanted::Ref(None)), scope);
        let (seen, ends) = explore(next_step, new, Reality::at_rest());
        assert_eq!(ends, BTreeSet::from(["done", "stuck", "undone"]), "{scope:?}");
        states += seen;
    }
    let look = deploy(Aim::New(Wanted::Ref(None)), Scope::Look);
    let (seen, ends) = explore(next_step, look, Reality::at_rest());
    assert!(ends.contains("done") && ends.contains("undone"), "{ends:?}");
    states += seen;
    let mut there = Reality::at_rest();
    there.world.sealed = true;
    let kept = deploy(Aim::Kept(ReleaseId("new".to_owned())), Scope::CodeOnly);
    let (seen, _) = explore(next_step, kept, there);
    println!("{} states of deploys", states + seen);
}

#[test]
fn a_first_deploy_has_nothing_to_go_back_to() {
    let mut first = deploy(Aim::Kept(ReleaseId("new".to_owned())), Scope::CodeOnly);
    first.origin.clear();
    first.course = Course::Back;
    let mut reality = Reality::at_rest();
    reality.world.services = BTreeMap::from([(service("api"), Runs::Nothing)]);
    assert_eq!(next_step(&first, &reality.world), Next::End(Outcome::Undone));
    reality.suffer(Step::RollOut, &first, 1);
    assert_eq!(next_step(&first, &reality.world), Next::End(Outcome::Stuck));
}

#[test]
#[should_panic(expected = "D1: migrated without a dump")]
fn a_plan_that_leaves_the_dump_out_is_caught() {
    let hasty = |deploy: &Deploy, world: &World| match next_step(deploy, world) {
        Next::Do(Step::Backup) => Next::Do(Step::Migrate),
        next => next,
    };
    explore(hasty, deploy(Aim::New(Wanted::Ref(None)), Scope::Full), Reality::at_rest());
}

#[test]
#[should_panic(expected = "the code came before its database")]
fn a_plan_that_migrates_too_late_is_caught() {
    let late = |deploy: &Deploy, world: &World| match next_step(deploy, world) {
        Next::Do(Step::Migrate) => Next::Do(Step::RollOut),
        next => next,
    };
    explore(late, deploy(Aim::New(Wanted::Ref(None)), Scope::Full), Reality::at_rest());
}

#[test]
fn what_goes_back_says_that_the_database_does_not() {
    let mut deploy = deploy(Aim::New(Wanted::Ref(None)), Scope::Full);
    deploy.passed.insert(Step::Migrate);
    deploy.dump = Some("shop-1".to_owned());
    deploy.begin(Step::RollOut, 1);
    deploy.fail("api is ill", Harm::None);
    let told = "api is ill\nthe database stays where the migration brought it; \
                the dump from before: shop-1";
    assert_eq!((deploy.course, deploy.failure.as_deref()), (Course::Back, Some(told)));
}
