//! The status page: pure.

use jiff::Timestamp;

use super::workers::workers;
use crate::{
    api::types::{
        App, Colour, DaemonStatus, InstanceState, InstanceStatus, NginxStatus, Rollout,
        RolloutState, ServiceStatus, Status, Traffic,
    },
    cli::{
        layout::{Cell, Column, Fit, hanging, harmless, table},
        look::{self, Look},
        status::jobs,
        steps,
        time::{self, Clock},
        verdict,
    },
};

const NAME: Column = Column("INSTANCE", Fit::Name);
const SLOT: Column = Column("SLOT", Fit::Whole);
const REST: [Column; 7] = [
    Column("STATE", Fit::Whole),
    Column("TRAFFIC", Fit::Whole),
    Column("RELEASE", Fit::Broken),
    Column("GEN", Fit::Number),
    Column("PID", Fit::Number),
    Column("UPTIME", Fit::Number),
    Column("RESTARTS", Fit::Number),
];

/// The whole page: the daemon, nginx, a table of instances, what is under way, what is wrong.
pub(super) fn page(status: &Status, look: Look) -> String {
    let mut text = daemon_line(&status.daemon, look);
    if let Some(nginx) = &status.nginx {
        text.push_str(&nginx_line(nginx, look));
    }
    status.apps.iter().for_each(|app| text.push_str(&app_lines(app, look)));
    let instances: Vec<&InstanceStatus> =
        status.services.iter().flat_map(|service| &service.instances).collect();
    text.push('\n');
    if instances.is_empty() {
        text.push_str("no service is configured\n");
    } else {
        text.push_str(&instance_table(&instances, look));
    }
    let rollouts: String = status
        .services
        .iter()
        .filter_map(|service| service.rollout.as_ref())
        .map(|rollout| rollout_line(rollout, look))
        .collect();
    let waits: String =
        status.services.iter().filter_map(|service| waiting(service, look)).collect();
    let troubles: String =
        instances.iter().filter_map(|instance| trouble(instance, look)).collect();
    text.push_str(&jobs::part(&status.jobs, Clock::SYSTEM, Timestamp::now(), look));
    let workers: String = instances.iter().filter_map(|instance| workers(instance, look)).collect();
    let parts = [workers, rollouts, waits, disabled(&status.services, look), troubles];
    for part in parts.iter().filter(|part| !part.is_empty()) {
        text.push('\n');
        text.push_str(part);
    }
    text
}

fn daemon_line(daemon: &DaemonStatus, look: Look) -> String {
    let DaemonStatus { version, pid, uptime_s, config } = daemon;
    let head = look.paint(look::STRONG, "aibkd");
    let up = time::age(*uptime_s);
    format!("{head}  {} up {up}, pid {pid}, {}\n", harmless(version), harmless(config))
}

/// Which release of an application is current, and what is being done about it.
fn app_lines(app: &App, look: Look) -> String {
    let name = harmless(&app.name);
    let Some(current) = &app.current else {
        return format!("{}  no release yet\n", look.paint(look::STRONG, &name));
    };
    let subject = app.code.as_ref().map(|code| format!(" \"{}\"", code.subject));
    let since = app.since.as_ref().map(|since| {
        let by = app.by.as_deref().unwrap_or("somebody");
        format!(", since {} by {by}", Clock::SYSTEM.second_of(since, Timestamp::now()))
    });
    let parts = [Some(format!("release {current}")), subject, since];
    let text = parts.into_iter().flatten().collect::<String>();
    let indent = " ".repeat(name.chars().count() + 2);
    let text = hanging(&indent, &text, look.width);
    let text = format!("{}  {}", look.paint(look::STRONG, &name), text.trim_start());
    match &app.rollout {
        Some(rollout) => text + &rollout_line(rollout, look),
        None => text,
    }
}

/// What nginx serves, by its own answer, and what is wrong with it.
pub(in crate::cli) fn nginx_line(nginx: &NginxStatus, look: Look) -> String {
    let mut parts = vec![match (nginx.answers, nginx.edition) {
        (false, _) => look.paint(look::BAD, "does not answer"),
        (true, Some(edition)) => format!("serves edition {edition}"),
        (true, None) => look.paint(look::BAD, "serves nothing that aibk published"),
    }];
    if let Some(master) = nginx.master {
        parts.push(format!("master {master}"));
        parts.push(counted(nginx.workers, "worker"));
    }
    if nginx.leaving > 0 {
        let leaving = format!("{} finishing", counted(nginx.leaving, "old worker"));
        parts.push(look.paint(look::PENDING, &leaving));
    }
    let mut text = format!("{}  {}\n", look.paint(look::STRONG, "nginx"), parts.join(", "));
    if let Some(problem) = &nginx.problem {
        text.push_str(&paint_first(&hanging("       ", problem, look.width), look));
    }
    text
}

fn counted(n: usize, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{n} {thing}s") }
}

fn paint_first(text: &str, look: Look) -> String {
    match text.split_once('\n') {
        Some((first, rest)) => format!("{}\n{rest}", look.paint(look::BAD, first)),
        None => text.to_owned(),
    }
}

fn instance_table(instances: &[&InstanceStatus], look: Look) -> String {
    let slots = instances.iter().any(|instance| instance.colour.is_some());
    let columns: Vec<Column> =
        [NAME].into_iter().chain(slots.then_some(SLOT)).chain(REST).collect();
    let rows: Vec<Vec<Cell>> = instances
        .iter()
        .map(|instance| {
            let slot = slots.then(|| slot_cell(instance.colour));
            let name = Cell::plain(&instance.name);
            [name].into_iter().chain(slot).chain(rest_of_row(instance)).collect()
        })
        .collect();
    table(&columns, &rows, look)
}

fn slot_cell(colour: Option<Colour>) -> Cell {
    match colour {
        None => Cell::plain("-"),
        Some(Colour::Blue) => Cell::styled("blue", look::of_slot(Colour::Blue)),
        Some(Colour::Green) => Cell::styled("green", look::of_slot(Colour::Green)),
    }
}

fn rest_of_row(instance: &InstanceStatus) -> [Cell; 7] {
    [
        Cell::styled(state_name(instance.state), look::of_state(instance.state)),
        instance.traffic.map_or_else(
            || Cell::plain("-"),
            |traffic| {
                Cell::styled(&traffic_words(instance, traffic), traffic_style(instance, traffic))
            },
        ),
        Cell::maybe(instance.release.as_ref()),
        Cell::maybe(instance.generation),
        Cell::maybe(instance.pid),
        Cell::maybe(instance.uptime_s.map(time::age)),
        Cell::plain(&instance.restarts),
    ]
}

pub(super) const fn state_name(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Stopped => "stopped",
        InstanceState::Starting => "starting",
        InstanceState::Ready => "ready",
        InstanceState::Unready => "unready",
        InstanceState::Hung => "hung",
        InstanceState::Backoff => "backoff",
        InstanceState::Stopping => "stopping",
        InstanceState::Failed => "failed",
        InstanceState::Finished => "finished",
    }
}

fn traffic_words(instance: &InstanceStatus, traffic: Traffic) -> String {
    let share = instance.share.map(|percent| format!(" {percent}%"));
    format!("{}{}", traffic_name(traffic), share.unwrap_or_default())
}

pub(super) const fn traffic_name(traffic: Traffic) -> &'static str {
    match traffic {
        Traffic::Serving => "serving",
        Traffic::Backup => "backup",
        Traffic::Down => "down",
        Traffic::Preview => "preview",
        Traffic::Canary => "canary",
    }
}

fn traffic_style(instance: &InstanceStatus, traffic: Traffic) -> anstyle::Style {
    if is_sent_in_vain(instance) { look::BAD } else { look::of_traffic(traffic) }
}

/// nginx sends requests to what cannot answer them.
fn is_sent_in_vain(instance: &InstanceStatus) -> bool {
    matches!(instance.traffic, Some(Traffic::Serving | Traffic::Canary))
        && instance.state != InstanceState::Ready
}

/// What is wrong with an instance, where something is.
fn trouble(instance: &InstanceStatus, look: Look) -> Option<String> {
    use InstanceState::{
        Backoff, Failed, Finished, Hung, Ready, Starting, Stopped, Stopping, Unready,
    };
    let mut lines = match instance.state {
        Stopped | Finished | Starting | Ready | Stopping => vec![],
        Unready | Hung | Backoff | Failed => {
            vec![instance.detail.clone().unwrap_or_else(|| "no reason is known".to_owned())]
        }
    };
    if is_sent_in_vain(instance) {
        lines.push("nginx still sends it requests".to_owned());
    }
    let refused = instance.confined.refused.iter();
    lines.extend(refused.map(|r| format!("runs without {}: {}", r.asked, r.reason)));
    let head = format!("{} {}", instance.name, state_name(instance.state));
    let body = hanging("  ", &lines.join("\n"), look.width);
    (!lines.is_empty()).then(|| format!("{}\n{body}", look.paint(look::BAD, &head)))
}

/// What keeps a service from being started.
fn waiting(service: &ServiceStatus, look: Look) -> Option<String> {
    let why = service.waits.as_ref()?;
    let head = look.paint(look::PENDING, &format!("{} waits", service.name));
    Some(format!("{head}\n{}", hanging("  ", why, look.width)))
}

/// Which services do not come up with their host.
fn disabled(services: &[ServiceStatus], look: Look) -> String {
    let names: Vec<String> = services
        .iter()
        .filter(|service| !service.enabled)
        .map(|service| harmless(&service.name))
        .collect();
    if names.is_empty() {
        return String::new();
    }
    hanging("  ", &format!("disabled, not started at boot: {}", names.join(", ")), look.width)
        .trim_start()
        .to_owned()
}

/// What is under way, at which step, since when.
fn rollout_line(rollout: &Rollout, look: Look) -> String {
    let direction = match rollout.state {
        RolloutState::Undoing => ", going back",
        RolloutState::Waiting => ", waits for its turn",
        _ => "",
    };
    let head = format!("rollout {}", rollout.id);
    let elapsed = time::took(rollout.elapsed_s);
    let what = verdict::what(rollout);
    let mut text = format!("{}  {what}{direction}, {elapsed}\n", look.paint(look::PENDING, &head));
    if let Some(step) = rollout.steps.iter().find(|step| !steps::ended(step)) {
        let mut line = format!(
            "step {} {}, {}",
            harmless(&step.name),
            harmless(&step.on),
            time::took(steps::age(rollout))
        );
        if let Some(note) = &step.note {
            line = format!("{line}: {note}");
        }
        text.push_str(&hanging("  ", &line, look.width));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{look::visible, samples};

    #[track_caller]
    fn fits(text: &str) -> &str {
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        text
    }

    #[test]
    fn all_fine() {
        insta::assert_snapshot!(fits(&page(&samples::all_fine(), Look::PAGE)));
        insta::assert_snapshot!("coloured", visible(&page(&samples::all_fine(), Look::COLOURED)));
    }

    #[test]
    fn one_failed() {
        insta::assert_snapshot!(fits(&page(&samples::one_failed(), Look::PAGE)));
    }

    #[test]
    fn one_held() {
        let mut status = samples::one_failed();
        status.services[1].waits = Some("it requires admin, which has failed".into());
        insta::assert_snapshot!(fits(&page(&status, Look::PAGE)));
    }

    #[test]
    fn sent_in_vain() {
        let mut status = samples::one_failed();
        status.services[0].instances[0].traffic = Some(Traffic::Serving);
        status.services[1].instances[0].state = InstanceState::Stopped;
        insta::assert_snapshot!(fits(&page(&status, Look::PAGE)));
        insta::assert_snapshot!("sent_in_vain_coloured", visible(&page(&status, Look::COLOURED)));
    }

    #[test]
    fn refused_limits() {
        let mut status = samples::single_slot();
        status.services[0].instances[0].confined.refused = vec![crate::api::types::Refusal {
            asked: "limits.nofile 65535".into(),
            reason: "Operation not permitted; it is above what aibkd itself may have: raise \
                     Limit...= of its unit"
                .into(),
        }];
        insta::assert_snapshot!(fits(&page(&status, Look::PAGE)));
    }

    #[test]
    fn rollout_under_way() {
        insta::assert_snapshot!(fits(&page(&samples::under_way(), Look::PAGE)));
    }

    #[test]
    fn nginx_problem() {
        insta::assert_snapshot!(fits(&page(&samples::nginx_problem(), Look::PAGE)));
    }

    #[test]
    fn nginx_dead() {
        let dead = NginxStatus {
            answers: false,
            edition: None,
            master: None,
            workers: 0,
            leaving: 0,
            problem: Some("no process listens on /run/aibk/nginx.sock".into()),
        };
        insta::assert_snapshot!(nginx_line(&dead, Look::PAGE));
    }

    #[test]
    fn disabled_services() {
        let mut status = samples::single_slot();
        status.services[0].enabled = false;
        insta::assert_snapshot!(fits(&page(&status, Look::PAGE)));
    }

    #[test]
    fn single_slot() {
        insta::assert_snapshot!(fits(&page(&samples::single_slot(), Look::PAGE)));
    }

    #[test]
    fn long_names() {
        insta::assert_snapshot!(fits(&page(&samples::long_names(), Look::PAGE)));
    }
}
