//! The plan against every way in which its steps can end, with the daemon dying anywhere: the same
//! search as that of rollouts, in a world of its own.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{
    order::{Serving, choose},
    plan::{Next, Runs, World, next_step, to_roll_back},
    record::{
        Aim, Course, DOCUMENT, Deploy, Harm, Learnt, Loss, Off, Order, Outcome, Schema, Scope,
        Setback, Step, Way,
    },
};
use crate::{
    ident::{AppName, ReleaseId, RolloutId, ServiceName},
    migration::{Crossing, Effect},
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
        loss: Loss::Never,
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
    /// What goes back, where it goes back.
    back: Option<Back>,
    /// The order in which things happened to the services and the database.
    broken: Option<&'static str>,
}

/// A schema that goes back from beneath the code that needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Back {
    /// The older code runs on the schema as it is.
    older_runs_ahead: bool,
    /// The newer code runs on the schema from before.
    newer_runs_behind: bool,
    order: Order,
}

impl Reality {
    fn at_rest() -> Self {
        let runs = |name| (service(name), Runs::Alone(release("old")));
        let services = BTreeMap::from(["api", "admin"].map(runs));
        let current = Some(ReleaseId("old".to_owned()));
        let world = World { sealed: false, services, current };
        Self { world, dumped: false, migrated: false, back: None, broken: None }
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
                let migrates = migrates && self.back.is_none();
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

    /// A service has code that cannot run on the schema. What goes back is called new.
    fn fails_requests(&self) -> bool {
        let Some(back) = self.back else { return false };
        let serves =
            |id| self.world.services.values().any(|runs| *runs == Runs::Alone(release(id)));
        serves("old") && self.migrated && !back.newer_runs_behind
            || serves("new") && !self.migrated && !back.older_runs_ahead
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

fn came_off(step: Step, reality: &Reality) -> Off {
    let learnt = match step {
        Step::Fetch => Learnt::Source(source(), ReleaseId("new".to_owned())),
        Step::Check => Learnt::Checked(
            Some(Schema {
                from: vec!["1".to_owned()],
                to: vec!["2".to_owned()],
                pending: vec!["2".to_owned()],
                way: reality.back.map_or(Way::Forward, |_| Way::Back),
                order: reality.back.map(|back| back.order).unwrap_or_default(),
                newer: None,
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
        for (harm, is_true) in [
            (Harm::None, after.migrated == reality.migrated),
            (Harm::Unchanged, !after.migrated),
            (Harm::Left, true),
        ] {
            if is_true {
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
    right.0.finish(Ok(came_off(step, reality)), 1);
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
        assert!(!reality.fails_requests(), "code on a schema that it cannot run on: {deploy:#?}");
        // What it has done is no part of what it does next, but for a migration that nobody heard of.
        let last = deploy.steps.pop();
        let unheard = deploy
            .may_have_migrated()
            .then(|| deploy.steps.iter().find(|it| it.step == Step::Migrate));
        deploy.steps = unheard.flatten().cloned().into_iter().chain(last).collect();
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
                let stays = reality.back.is_some_and(|back| back.order == Order::CodeFirst);
                assert!(!stays || !reality.migrated, "undone, and the schema is not");
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

/// A way back for each combination of what either code runs on; `order` overrules the decision.
fn ways_back(order: Option<Order>) -> usize {
    let effect = |runs| if runs { Effect::Harmless } else { Effect::Unknown(String::new()) };
    let mut states = 0;
    for (older_runs_ahead, newer_runs_behind) in [(true, true), (true, false), (false, true)] {
        let crossing = Crossing { up: effect(older_runs_ahead), down: effect(newer_runs_behind) };
        let chosen = choose(&crossing, Serving::Newer, Loss::Never).unwrap().order;
        let order = order.unwrap_or(chosen);
        let mut reality = Reality::at_rest();
        reality.world.sealed = true;
        reality.back = Some(Back { older_runs_ahead, newer_runs_behind, order });
        let back = deploy(Aim::Kept(ReleaseId("new".to_owned())), Scope::Full);
        let (seen, ends) = explore(next_step, back, reality);
        assert_eq!(ends, BTreeSet::from(["done", "stuck", "undone"]), "{order:?}");
        states += seen;
    }
    states
}

#[test]
fn on_a_way_back_no_code_meets_a_schema_that_it_cannot_run_on() {
    println!("{} states of ways back", ways_back(None));
}

#[test]
#[should_panic(expected = "code on a schema that it cannot run on")]
fn a_schema_that_always_goes_first_is_caught() {
    ways_back(Some(Order::SchemaFirst));
}

#[test]
#[should_panic(expected = "code on a schema that it cannot run on")]
fn services_that_always_go_first_are_caught() {
    ways_back(Some(Order::CodeFirst));
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

fn failed(way: Way, passed: &[Step], step: Step, harm: Harm) -> Deploy {
    let mut deploy = deploy(Aim::Kept(ReleaseId("new".to_owned())), Scope::Full);
    let newer = (way == Way::Back).then(|| ReleaseId("newer".to_owned()));
    let to = if way == Way::Untold { vec![] } else { vec!["b2".to_owned()] };
    deploy.schema = Some(Schema { to, way, newer, ..Schema::default() });
    deploy.passed.extend(passed);
    deploy.dump = Some("shop-1".to_owned());
    deploy.begin(step, 1);
    deploy.finish(Err(Setback { why: "no".to_owned(), harm }), 1);
    deploy
}

#[test]
fn what_goes_back_says_that_the_database_does_not_and_what_to_do() {
    let migrated = [Step::Backup, Step::Migrate];
    let ill = |way| failed(way, &migrated, Step::RollOut, Harm::None);
    let cut = |way| failed(way, &[Step::Backup], Step::Migrate, Harm::Left);
    for (deploy, course, told) in [
        (
            ill(Way::Forward),
            Course::Back,
            "no\nthe database stays at b2\nthe dump from before: shop-1\n\
             `aibkctl deploy --app shop` brings corrected code to this schema\n\
             `aibkctl rollback --db --to old --app shop` brings the schema back",
        ),
        (
            ill(Way::Untold),
            Course::Back,
            "no\nthe database stays where the migration brought it\nthe dump from before: shop-1\n\
             `aibkctl deploy --app shop` goes on, once it is corrected\n\
             `aibkctl backup restore shop-1 --yes --app shop` brings the dump back",
        ),
        (
            ill(Way::Back),
            Course::Back,
            "no\nthe database stays at b2\nthe dump from before: shop-1\n\
             `aibkctl rollback --db --to new --app shop` goes on\n\
             `aibkctl rollback --db --to newer --app shop` brings the schema forward again",
        ),
        (
            cut(Way::Forward),
            Course::Ended(Outcome::Stuck),
            "no\nthe dump from before: shop-1\n\
             `aibkctl deploy --app shop` goes on, once it is corrected\n\
             `aibkctl backup restore shop-1 --yes --app shop` brings the dump back",
        ),
        (
            failed(Way::Forward, &[], Step::Migrate, Harm::None),
            Course::Ended(Outcome::Undone),
            "no",
        ),
        (
            failed(Way::Back, &[Step::RollOut, Step::Backup], Step::Migrate, Harm::None),
            Course::Back,
            "no",
        ),
    ] {
        assert_eq!((deploy.course, deploy.failure.as_deref()), (course, Some(told)));
    }
}
