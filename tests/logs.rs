//! Output: read back by instance, time and pattern; and what a flood of it may do.

mod bad_disk;
mod exactly_once;

use std::{fs, path::Path};

use aibk::api::types::LogLine;

use crate::support::{LONG, Output, Running, Stage, wait_for};

/// Writes `NAME 0` to `NAME 9`, and stays.
fn counting(name: &str) -> [String; 3] {
    let script = format!("for n in 0 1 2 3 4 5 6 7 8 9; do echo {name} $n; done; sleep 1000");
    ["sh".to_owned(), "-c".to_owned(), script]
}

fn lines(output: &Output) -> Vec<LogLine> {
    output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn output_is_read_by_instance_time_and_pattern() {
    let mut stage = Stage::new();
    for name in ["one", "two"] {
        let argv = counting(name);
        stage.add_command(name, &argv.each_ref().map(String::as_str));
    }
    stage.start();
    let read = |args: &[&str]| lines(&stage.ctl(&[&["logs", "--json"], args].concat()).expect(0));
    let both = wait_for("twenty lines", LONG, || {
        Some(read(&["one", "two"])).filter(|both| both.len() == 20)
    });
    assert!(both.iter().map(|line| &line.at).is_sorted());
    assert_eq!(both.iter().filter(|line| line.instance == "two").count(), 10);
    let everybody = read(&["-n", "10000"]);
    for name in ["one", "two", "nginx", &stage.blue_name()] {
        let known = name == "nginx" || everybody.iter().any(|line| line.instance == name);
        assert!(known, "{name} is not among everybody");
    }
    let api = read(&["api"]);
    assert!(!api.is_empty() && api.iter().all(|line| line.instance.starts_with("api@")));

    let text = |lines: &[LogLine]| lines.iter().map(|l| l.text.clone()).collect::<Vec<_>>();
    let odd = ["--grep", "[13579]$", "-n", "2", "one"];
    assert_eq!(text(&read(&odd)), ["one 7", "one 9"]);
    let since = read(&["one"])[4].at.clone();
    let later = ["--since", &since, "one", "two"];
    assert_eq!(read(&later), both.iter().filter(|l| l.at >= since).cloned().collect::<Vec<_>>());
    assert_eq!(text(&read(&["--until", &since, "one"])), ["one 0", "one 1", "one 2", "one 3"]);
    assert_eq!(read(&["--since", "today", "--until", "2h ago", "one"]), []);

    // Each line of several says whose it is.
    let shown = stage.ctl(&["logs", "one", "two"]).expect(0).stdout;
    assert!(shown.contains(" one stdout one 3\n") && shown.contains(" two stdout two 3\n"));
    assert!(stage.ctl(&["logs", "one"]).expect(0).stdout.contains(" stdout one 3\n"));

    stage.ctl(&["logs", "nobody"]).expect(4).says(&["nobody", "aibkctl status"]);
    let bad = stage.ctl(&["logs", "--grep", "(", "one"]);
    assert!(bad.status.is_some_and(|status| status != 0), "{bad}");
    bad.says(&["the pattern is not understood"]);
}

#[test]
fn what_a_line_says_of_itself_is_understood() {
    let mut stage = Stage::new();
    let script = [
        r#"echo '{"level":"error","message":"it failed","order":7}'"#,
        "echo '<4>it is slow'",
        "echo 'DEBUG: details' >&2",
        "echo 'a trace' >&2",
        "sleep 1000",
    ];
    let script = script.join("; ");
    stage.add_command("worker", &["sh", "-c", &script]);
    // There is no journald here: told once, and the files have it.
    stage.settings.set("logs", serde_json::json!({"to": "journal"}));
    stage.start();
    let four = wait_for("four lines", LONG, || {
        let read = lines(&stage.ctl(&["logs", "--json", "worker"]).expect(0));
        (read.len() == 4).then_some(read)
    });
    let one = |text: &str| four.iter().find(|line| line.text.contains(text)).unwrap();
    let (json, slow) = (one("it failed"), one("it is slow"));
    assert_eq!((json.priority.as_str(), json.message.as_deref()), ("err", Some("it failed")));
    assert_eq!(json.fields["order"], 7);
    assert_eq!((slow.priority.as_str(), slow.message.as_deref()), ("warning", Some("it is slow")));
    assert_eq!(
        (one("details").priority.as_str(), one("trace").priority.as_str()),
        ("debug", "notice")
    );
    let shown = stage.ctl(&["logs", "worker"]).expect(0).stdout;
    assert!(shown.contains(" stdout it failed level=error order=7\n"), "{shown}");
}

#[test]
fn several_are_followed_at_once() {
    let mut stage = Stage::new();
    for name in ["one", "two"] {
        let script = format!("n=0; while :; do echo {name} $n; n=$((n+1)); sleep 0.05; done");
        stage.add_command(name, &["sh", "-c", &script]);
    }
    stage.start();
    let path = stage.path("followed");
    let mut command = stage.aibkctl(&["logs", "-f", "--since", "1h", "--json", "one", "two"]);
    let following = Running::start_logged(&mut command, &path);
    let seen = wait_for("a hundred lines", LONG, || {
        let text = fs::read_to_string(&path).unwrap();
        let whole = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        Some(whole.collect::<Vec<LogLine>>()).filter(|seen| seen.len() > 100)
    });
    drop(following);
    for name in ["one", "two"] {
        let own = seen.iter().filter(|line| line.instance == name);
        let numbers: Vec<u32> =
            own.filter_map(|line| line.text.split(' ').nth(1)?.parse().ok()).collect();
        assert!(numbers.len() > 20 && numbers[0] == 0, "{name}: {numbers:?}");
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{name}: {numbers:?}");
    }
}

fn size(dir: &Path, prefix: &str) -> u64 {
    let entries = fs::read_dir(dir).unwrap().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    // One may be compressed, and so gone, between two looks.
    ours.filter_map(|entry| entry.metadata().ok()).map(|seen| seen.len()).sum()
}

#[test]
fn a_flood_neither_waits_nor_fills_the_disk() {
    const MIB: u64 = 1024 * 1024;
    let mut stage = Stage::new();
    stage.settings.set("logs", serde_json::json!({"size": "1MiB", "keep": 3}));
    let flood = "head -c 100000000 /dev/zero | tr '\\0' 'x' | fold -w 120; echo; echo it is over; \
                 sleep 1000";
    stage.add_command("flood", &["sh", "-c", flood]);
    stage.start();
    let load = stage.load();
    let over = ["logs", "--grep", "it is over", "flood"];
    wait_for("the end of the flood", LONG * 3, || {
        let kept = size(&stage.path("log"), "flood.log");
        assert!(kept < 8 * MIB, "{kept} bytes are kept of the flood");
        stage.ctl(&over).expect(0).stdout.contains("it is over").then_some(())
    });
    let status = procfs::process::Process::new(stage.daemon_pid()).unwrap().status().unwrap();
    let resident = status.vmrss.unwrap_or_default();
    assert!(resident < 64 * 1024, "the daemon has grown to {resident} KiB");
    let report = load.finish(Some(&stage.executed())).unwrap();
    assert_eq!(report.lost, 0, "{report}");
    wait_for("closed files to be compressed", LONG, || {
        let seen = fs::read_dir(stage.path("log")).unwrap().flatten();
        let names = seen.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut closed = names.filter_map(|name| Some(name.strip_prefix("flood.log.")?.to_owned()));
        closed.all(|name| name.strip_suffix(".gz").is_some()).then_some(())
    });
    // The newest lines are there, in order, through compressed files too.
    let kept = lines(&stage.ctl(&["logs", "--json", "-n", "10000", "flood"]).expect(0));
    assert!(kept.len() > 1000 && kept.iter().map(|line| &line.at).is_sorted());
}
