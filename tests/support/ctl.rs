//! aibkctl, and what it tells.

use std::{process::Command, time::Duration};

use aibk::api::types::{InstanceState, InstanceStatus, Rollout, Status, Traffic};

use super::{LONG, Output, Running, Stage, wait_for};

impl Stage {
    /// `aibkctl` with `args`, on this stage's daemon.
    pub fn aibkctl(&self, args: &[&str]) -> Command {
        let mut aibkctl = Command::new(env!("CARGO_BIN_EXE_aibkctl"));
        aibkctl.args(args).env("AIBK_SOCKET", self.socket()).env("NO_COLOR", "1");
        aibkctl
    }

    /// Runs `aibkctl` to its end.
    #[track_caller]
    pub fn ctl(&self, args: &[&str]) -> Output {
        super::run(&mut self.aibkctl(args), LONG)
    }

    /// Starts `aibkctl` and does not wait for it.
    pub fn ctl_begun(&self, args: &[&str]) -> Running {
        Running::start(&mut self.aibkctl(args))
    }

    /// Everything, as the daemon sees it now.
    #[track_caller]
    pub fn status(&self) -> Status {
        let output = self.ctl(&["status", "--json"]).expect(0);
        serde_json::from_str(&output.stdout)
            .unwrap_or_else(|error| panic!("status is not what it should be: {error}\n{output}"))
    }

    /// One instance, as the daemon sees it now.
    #[track_caller]
    pub fn instance(&self, name: &str) -> InstanceStatus {
        let status = self.status();
        let mut all = status.services.into_iter().flat_map(|service| service.instances);
        all.find(|instance| instance.name == name).unwrap_or_else(|| panic!("no {name} in status"))
    }

    /// Every instance of a service, as the daemon sees it now.
    #[track_caller]
    pub fn instances(&self, service: &str) -> Vec<InstanceStatus> {
        let all = self.status().services.into_iter().filter(|seen| seen.name == service);
        all.flat_map(|service| service.instances).collect()
    }

    /// Processes of this stage with `word` in their command line.
    pub fn processes(&self, word: &str) -> Vec<i32> {
        let touching = super::processes::touching(self.dir()).into_iter();
        touching.filter(|(_, command)| command.contains(word)).map(|(pid, _)| pid).collect()
    }

    /// The instance of `api` in the first slot.
    pub fn blue_name(&self) -> String {
        format!("api@{}", self.blue)
    }

    /// The instance of `api` in the second slot.
    pub fn green_name(&self) -> String {
        format!("api@{}", self.green)
    }

    /// Waits until an instance is as `wanted`.
    #[track_caller]
    pub fn wait_instance(
        &self,
        name: &str,
        what: &str,
        deadline: Duration,
        wanted: impl Fn(&InstanceStatus) -> bool,
    ) -> InstanceStatus {
        let mut last = String::new();
        let what = format!("{name} to be {what}");
        wait_for(&what, deadline, || {
            let instance = self.instance(name);
            let now = format!("{instance:?}");
            if now != last {
                eprintln!("{now}");
                last = now;
            }
            wanted(&instance).then_some(instance)
        })
    }

    /// Waits until an instance is in `state`.
    #[track_caller]
    pub fn wait_state(&self, name: &str, state: InstanceState) -> InstanceStatus {
        self.wait_instance(name, &format!("{state:?}"), LONG, |seen| seen.state == state)
    }

    /// Names of the instances of `api` that nginx says it sends requests to.
    #[track_caller]
    pub fn serving(&self) -> Vec<String> {
        let status = self.status();
        let api = status.services.into_iter().find(|service| service.name == "api");
        let instances = api.expect("a service api").instances.into_iter();
        let serving = instances.filter(|instance| instance.traffic == Some(Traffic::Serving));
        serving.map(|instance| instance.name).collect()
    }

    /// The last rollouts, the newest first.
    #[track_caller]
    pub fn rollouts(&self) -> Vec<Rollout> {
        let output = self.ctl(&["rollouts", "--json"]).expect(0);
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| {
            panic!("rollouts are not what they should be: {error}\n{output}")
        })
    }

    /// The release that answers through nginx.
    #[track_caller]
    pub fn answering(&self) -> String {
        let (status, body) = super::fetch(self.public, "/version").unwrap();
        assert_eq!(status, 200, "{body}");
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        answer["version"].as_str().unwrap().to_owned()
    }

    /// The rollout of `api` under way, once it is at `step` or past it.
    #[track_caller]
    pub fn wait_step(&self, step: &str) -> Rollout {
        wait_for(&format!("a rollout at step {step}"), LONG, || {
            let status = self.status();
            let rollout = status.services.into_iter().find_map(|service| service.rollout)?;
            rollout.steps.iter().any(|seen| seen.name == step).then_some(rollout)
        })
    }
}
