//! What services may use and do, and what is told when the kernel does not give it.

use aibk::api::types::InstanceState;

use crate::support::Stage;

/// More files than any kernel lets a process open.
const TOO_MANY: u64 = 1 << 40;

#[test]
fn what_the_kernel_refuses_is_an_error_or_is_told() {
    let mut stage = Stage::new();
    for name in ["strict", "lenient"] {
        stage.add_command(name, &["sleep", "100000"]);
        stage.settings.set(&format!("services.{name}.limits.nofile"), TOO_MANY);
        stage.settings.set(&format!("services.{name}.limits.core"), 0);
    }
    stage.settings.set("services.lenient.on_refusal", "warn");
    stage.settings.set("services.strict.restart.limit", 1);
    stage.start();

    let strict = stage.wait_state("strict", InstanceState::Failed).detail.unwrap();
    assert!(strict.contains("limits.nofile 1099511627776 (Operation not permitted"), "{strict}");
    assert!(strict.contains("on_refusal: warn"), "{strict}");

    let told = |stage: &Stage| {
        let lenient = stage.instance("lenient");
        assert_eq!(lenient.state, InstanceState::Ready);
        assert_eq!(lenient.confined.enforced, ["limits.core 0"]);
        assert_eq!(lenient.confined.refused[0].asked, "limits.nofile 1099511627776");
        stage.ctl(&["status"]).expect(0).says(&["runs without limits.nofile"]);
        lenient.pid
    };
    let before = told(&stage);
    stage.ctl(&["events"]).expect(0).says(&["instance.refused", "lenient runs without"]);

    // The next daemon knows it of what it takes over.
    stage.kill_daemon();
    stage.restart_daemon();
    assert_eq!(told(&stage), before);
}

#[test]
fn an_application_is_confined_as_its_service_says() {
    let mut stage = Stage::new();
    stage.settings.set("services.api.umask", "0077");
    stage.settings.set("services.api.limits.nofile", "512:1024");
    stage.settings.set("services.api.sandbox.capabilities", "none");
    stage.settings.set("services.api.on_refusal", "warn");
    stage.settings.set("services.api.workers", 2);
    stage.start();
    let pid = stage.instance(&stage.blue_name()).pid.unwrap();
    for pid in [pid].into_iter().chain(crate::support::children_of(pid)) {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        let status = read("status");
        for line in ["Umask:\t0077", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
            assert!(status.contains(line), "{line} is missing: {status}");
        }
        let limits = read("limits");
        let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let numbers: Vec<_> = files.split_whitespace().skip(3).take(2).collect();
        assert_eq!(numbers, ["512", "1024"]);
    }
    assert_eq!(stage.answering(), "v1");
}
