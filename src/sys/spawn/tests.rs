//! What a start leaves behind in the process that made it.

use std::{fs::File, hint::black_box, io::Read};

use rustix::process::{Pid, WaitOptions, waitpid};

use super::*;

fn plan(program: &str) -> Plan {
    let null = || File::open("/dev/null").unwrap().into();
    Plan {
        program: CString::new(program).unwrap(),
        argv: vec![CString::new(program).unwrap()],
        env: Environment(vec![c"NAME=value".into()]),
        directory: c"/".into(),
        stdio: [null(), null(), null()],
        listener: None,
        credentials: None,
        bounds: Bounds::default(),
    }
}

/// Starts it and waits for its end.
fn outcome(plan: &Plan) -> Option<(Stage, Option<i32>)> {
    let started = start(plan, None).unwrap();
    let mut message = Vec::new();
    File::from(started.verdict).read_to_end(&mut message).unwrap();
    // A reaper of another test may have been faster.
    let _ = waitpid(Pid::from_raw(started.pid), WaitOptions::empty());
    match verdict(&message) {
        Verdict::Runs(refused) if refused.is_empty() => None,
        Verdict::Failed(trouble) => Some((trouble.stage, trouble.source.raw_os_error())),
        other => panic!("{other:?}"),
    }
}

/// A frame with something to lose, at every depth.
#[inline(never)]
fn nested(depth: u64, plan: &Plan) -> u64 {
    let before: [u64; 32] = black_box(std::array::from_fn(|i| depth * 1000 + i as u64));
    let text = black_box(format!("{depth} of it"));
    let below = if depth == 0 {
        let result = outcome(plan);
        assert_eq!(result, Some((Stage::Exec, Some(libc::ENOENT))));
        0
    } else {
        nested(depth - 1, plan)
    };
    assert!(before.iter().zip(0..).all(|(value, i)| *value == depth * 1000 + i));
    assert_eq!(text, format!("{depth} of it"));
    below + black_box(before)[1]
}

#[test]
fn memory_is_as_it_was_after_a_child_that_failed() {
    let missing = plan("/no/such/program");
    for depth in 0..20 {
        assert_eq!(nested(depth, &missing), (0..=depth).map(|d| d * 1000 + 1).sum::<u64>());
    }
    assert_eq!(missing.program.as_c_str(), c"/no/such/program");
    assert_eq!(missing.argv, std::slice::from_ref(&missing.program));
    assert_eq!(missing.env.0, [CString::from(c"NAME=value")]);

    let mut nowhere = plan("/bin/true");
    nowhere.directory = c"/no/such/place".into();
    assert_eq!(outcome(&nowhere), Some((Stage::Directory, Some(libc::ENOENT))));
    assert_eq!(outcome(&plan("/bin/true")), None);
}

#[test]
fn signals_are_let_in_again() {
    let blocked = || {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        status.lines().find(|line| line.starts_with("SigBlk")).map(str::to_owned)
    };
    let before = blocked();
    assert!(before.is_some());
    outcome(&plan("/bin/true"));
    outcome(&plan("/no/such/program"));
    assert_eq!(blocked(), before);
}

#[test]
fn refusals_are_read_with_what_follows() {
    let said = |messages: &[[u8; 3]]| {
        let errno = libc::EPERM.to_ne_bytes();
        let with_errno = messages.iter().flat_map(|head| head.iter().chain(&errno));
        verdict(&[ALIVE].iter().chain(with_errno).copied().collect::<Vec<_>>())
    };
    assert!(matches!(verdict(&[]), Verdict::NeverRan));
    assert!(matches!(said(&[]), Verdict::Runs(none) if none.is_empty()));
    let (nice, limit) = (Stage::Nice as u8, Stage::Limit as u8);
    let Verdict::Runs(refused) = said(&[[REFUSED, nice, 0], [REFUSED, limit, 7]]) else { panic!() };
    let seen: Vec<_> = refused.iter().map(|t| (t.stage, t.item, t.source.kind())).collect();
    let denied = io::ErrorKind::PermissionDenied;
    assert_eq!(seen, [(Stage::Nice, 0, denied), (Stage::Limit, 7, denied)]);
    let failed = said(&[[REFUSED, nice, 0], [FAILED, limit, 1]]);
    assert!(matches!(failed, Verdict::Failed(Trouble { stage: Stage::Limit, item: 1, .. })));
}
