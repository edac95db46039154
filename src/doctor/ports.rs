//! Who holds the ports of slots, and those on which nginx listens.

use super::{Finding, Seen, Topic, site::Site};
use crate::{
    api::types::InstanceState,
    config::{Config, Kind, Slots},
    ident::InstanceId,
    sys::{proc, sockets},
};

/// A port, and who is to have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port {
    number: u16,
    owner: Owner,
    holder: Holder,
}

/// Who is to have a port.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    /// An instance, in this state as far as the daemon tells.
    Instance(String, Option<InstanceState>),
    /// nginx, which runs or not.
    Nginx(Life),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Runs,
    IsDown,
}

/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holder {
    Nobody,
    /// Who is to have it.
    Owner,
    /// Somebody who may not be seen.
    Unseen,
    /// Somebody else.
    Stranger {
        pid: i32,
        command: String,
        /// The unit of systemd that it belongs to.
        unit: Option<String>,
    },
    /// The kernel did not tell.
    Unknown(String),
}

pub(super) fn look(config: &Config, site: &Site, seen: &Seen) -> Vec<Port> {
    let status = seen.status();
    let daemon = status.and_then(|status| i32::try_from(status.daemon.pid).ok());
    let mut ports = Vec::new();
    for service in config.services.values() {
        let listens = match service.slots {
            Slots::Sole => continue,
            Slots::One(_) | Slots::Two { .. } => service.slots.all(),
        };
        for slot in listens {
            let Some(port) = slot.port() else { continue };
            let name = InstanceId::new(service.name.clone(), slot).to_string();
            let all = status.iter().flat_map(|status| &status.services);
            let mut all = all.flat_map(|service| &service.instances);
            let instance = all.find(|instance| instance.name == name);
            let own = |pid: i32| {
                Some(pid) == daemon
                    || Some(pid) == instance.and_then(|instance| instance.pid)
                    || is_started_as(pid, &name)
            };
            // Not every command listens, and a probe that only waits does not ask it to.
            let state = instance.map(|instance| instance.state);
            let state = state.filter(|_| matches!(service.kind, Kind::Asgi(_)));
            let holder = holder(port.get(), own);
            ports.push(Port { number: port.get(), owner: Owner::Instance(name, state), holder });
        }
    }
    let life = if site.master.is_some() { Life::Runs } else { Life::IsDown };
    ports.extend(site.ports().into_iter().map(|number| {
        let holder = holder(number, |pid| proc::command(pid).starts_with("nginx: "));
        Port { number, owner: Owner::Nginx(life), holder }
    }));
    ports
}

fn holder(port: u16, own: impl Fn(i32) -> bool) -> Holder {
    match sockets::listener(port) {
        Ok(None) => Holder::Nobody,
        Ok(Some(sockets::Holder { pid: None, .. })) => Holder::Unseen,
        Ok(Some(sockets::Holder { pid: Some(pid), .. })) if own(pid) => Holder::Owner,
        Ok(Some(sockets::Holder { pid: Some(pid), command })) => {
            let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
            Holder::Stranger { pid, command, unit: unit(&cgroup.unwrap_or_default()) }
        }
        Err(error) => Holder::Unknown(error.to_string()),
    }
}

/// It was started by aibk, as this instance.
fn is_started_as(pid: i32, name: &str) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let wanted = format!("AIBK_INSTANCE={name}");
    environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
}

/// The last unit in /proc/PID/cgroup: `0::/system.slice/nginx.service`.
fn unit(cgroup: &str) -> Option<String> {
    let places = cgroup.lines().filter_map(|line| line.rsplit(':').next());
    let mut names = places.flat_map(|place| place.rsplit('/'));
    names.find(|name| name.ends_with(".service")).map(str::to_owned)
}

pub(super) fn findings(ports: &[Port]) -> Vec<Finding> {
    ports.iter().map(finding).collect()
}

fn finding(port: &Port) -> Finding {
    let number = port.number;
    let owner = match &port.owner {
        Owner::Instance(name, _) => name.clone(),
        Owner::Nginx(_) => "nginx".to_owned(),
    };
    match (&port.holder, &port.owner) {
        (Holder::Stranger { pid, command, unit }, _) => {
            let stop = match unit {
                Some(unit) => format!("stop that (systemctl disable --now {unit})"),
                None => format!("see what that is (ps -fp {pid}) and stop it"),
            };
            let unit = unit.as_ref().map(|unit| format!(" of {unit}")).unwrap_or_default();
            Finding::problem(
                Topic::Ports,
                format!("port {number} of {owner} is held by pid {pid}{unit} ({command})"),
                format!("{stop}, or give {owner} another port"),
            )
        }
        (Holder::Owner, _) => Finding::ok(Topic::Ports, format!("{owner} listens on {number}")),
        (Holder::Unseen, _) => Finding::warning(
            Topic::Ports,
            format!("port {number} of {owner} is held by a process that this user may not see"),
            "look as root (sudo aibkctl doctor)",
        ),
        (Holder::Unknown(why), _) => Finding::warning(
            Topic::Ports,
            format!("who holds port {number} of {owner} cannot be seen: {why}"),
            "look as root (sudo aibkctl doctor)",
        ),
        (Holder::Nobody, Owner::Instance(_, Some(InstanceState::Ready))) => Finding::problem(
            Topic::Ports,
            format!("{owner} is ready, but nobody listens on port {number}"),
            format!("see what it does (aibkctl logs {owner}), and restart it"),
        ),
        (Holder::Nobody, Owner::Nginx(Life::Runs)) => Finding::problem(
            Topic::Ports,
            format!("nginx runs, but does not listen on port {number} of its configuration"),
            "reload it (systemctl reload nginx), and read its error log if that fails",
        ),
        (Holder::Nobody, _) => {
            Finding::ok(Topic::Ports, format!("port {number} of {owner} is free"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    fn told(owner: Owner, holder: Holder) -> (Severity, String, String) {
        let finding = finding(&Port { number: 8000, owner, holder });
        (finding.severity, finding.observed, finding.next.unwrap_or_default())
    }

    fn api(state: Option<InstanceState>) -> Owner {
        Owner::Instance("api@8000".into(), state)
    }

    #[test]
    fn a_stranger_is_named_with_its_unit() {
        let stranger = |unit: Option<&str>| Holder::Stranger {
            pid: 7,
            command: "uvicorn".into(),
            unit: unit.map(str::to_owned),
        };
        let (severity, what, next) = told(api(None), stranger(Some("old@8000.service")));
        assert_eq!(severity, Severity::Problem);
        assert_eq!(what, "port 8000 of api@8000 is held by pid 7 of old@8000.service (uvicorn)");
        assert!(next.contains("systemctl disable --now old@8000.service"), "{next}");
        let (_, _, next) = told(Owner::Nginx(Life::IsDown), stranger(None));
        assert!(next.contains("ps -fp 7"), "{next}");
    }

    #[test]
    fn nobody_is_only_missed_where_somebody_should_listen() {
        use InstanceState::{Ready, Stopped};
        for (owner, severity) in [
            (api(None), Severity::Ok),
            (api(Some(Stopped)), Severity::Ok),
            (api(Some(Ready)), Severity::Problem),
            (Owner::Nginx(Life::Runs), Severity::Problem),
            (Owner::Nginx(Life::IsDown), Severity::Ok),
        ] {
            assert_eq!(told(owner.clone(), Holder::Nobody).0, severity, "{owner:?}");
            assert_eq!(told(owner.clone(), Holder::Owner).0, Severity::Ok);
            assert_eq!(told(owner.clone(), Holder::Unseen).0, Severity::Warning);
            assert_eq!(told(owner, Holder::Unknown("x".into())).0, Severity::Warning);
        }
    }

    #[test]
    fn a_unit_is_found_in_either_hierarchy() {
        assert_eq!(unit("0::/system.slice/a@1.service\n").as_deref(), Some("a@1.service"));
        assert_eq!(
            unit("1:name=systemd:/system.slice/b.service/x\n0::/\n").as_deref(),
            Some("b.service")
        );
        assert_eq!(unit("0::/user.slice/session-1.scope\n"), None);
    }
}
