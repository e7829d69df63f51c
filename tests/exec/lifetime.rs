//! When a run is over, everything of it is over, however it ended.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{exec, interpreter, marked, outcome, policy, unique};
use crate::support::{CALLGATE, available, callgate, root, said, scratch};

/// Starts a daemon that has left its session and holds the output, ignores what can be ignored and
/// stops itself; then one that goes on; then says so and sleeps.
pub const CLINGING: &str = "
import os, signal, time
def daemon(stop):
    ready, told = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() != 0: os._exit(0)
        for number in range(1, 32):
            if number not in (signal.SIGKILL, signal.SIGSTOP): signal.signal(number, signal.SIG_IGN)
        os.write(told, b'x')
        if stop: os.kill(os.getpid(), signal.SIGSTOP)
        while True: time.sleep(600)
    os.wait()
    os.read(ready, 1)
daemon(True)
daemon(False)
for number in range(1, 32):
    if number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD): signal.signal(number, signal.SIG_IGN)
print('ready', flush=True)
";

#[test]
fn a_time_limit_ends_every_process_of_the_run() {
    let dir = scratch();
    let policy = policy(dir.path(), &json!([]));
    let mark = unique("mark");
    let flags = [
        "--timeout",
        "2",
        "--policy",
        &policy,
        "--env",
        &format!("MARK={mark}"),
    ];
    let begun = Instant::now();
    let outcome = outcome(&flags, &format!("{CLINGING}\nwhile True: time.sleep(600)\n"));
    assert_eq!(
        (&outcome["status"], &outcome["exit_code"]),
        (&json!("timeout"), &json!(124)),
        "{outcome:#}"
    );
    assert_eq!(outcome["stdout"], "ready\n");
    assert!(outcome["usage"]["wall_ms"].as_u64().unwrap() >= 2000);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(marked(&mark), [""; 0]);
}

#[test]
fn a_process_that_stops_itself_or_spins_is_ended_as_well() {
    for code in [
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n",
        "while True: pass\n",
    ] {
        let output = exec(&["--timeout", "1"], code);
        assert_eq!(output.status.code(), Some(124), "{}", said(&output));
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("killed at the time limit"),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn the_end_of_the_main_process_is_the_end_of_the_run() {
    let dir = scratch();
    let policy = policy(dir.path(), &json!([]));
    let mark = unique("mark");
    let flags = [
        "--timeout",
        "60",
        "--policy",
        &policy,
        "--env",
        &format!("MARK={mark}"),
    ];
    let outcome = outcome(&flags, &format!("{CLINGING}\nos._exit(5)\n"));
    assert_eq!(
        (&outcome["status"], &outcome["exit_code"]),
        (&json!("exited"), &json!(5)),
        "{outcome:#}"
    );
    assert_eq!(marked(&mark), [""; 0]);
}

/// Starts a run that clings, and waits until it is ready.
fn clinging(flags: &[&str], mark: &str) -> (Child, tempfile::TempDir) {
    let dir = scratch();
    let policy = policy(dir.path(), &json!([]));
    let script = dir.path().join("clinging.py");
    std::fs::write(&script, format!("{CLINGING}\nwhile True: time.sleep(600)\n")).unwrap();
    let mut child = callgate([
        "exec",
        "--python",
        interpreter(),
        "--policy",
        &policy,
        "--env",
        &format!("MARK={mark}"),
    ])
    .args(flags)
    .arg(&script)
    .stdin(Stdio::null())
    .stdout(Stdio::piped())
    .stderr(Stdio::null())
    .process_group(0)
    .spawn()
    .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    assert!(marked(mark).len() >= 3, "{:?}", marked(mark));
    (child, dir)
}

/// Waits until no process has the mark.
fn gone(mark: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !marked(mark).is_empty() {
        assert!(Instant::now() < deadline, "still there: {:?}", marked(mark));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_killed_supervisor_leaves_nothing_running() {
    if !available("root", root()) {
        return;
    }
    for tier in ["full", "container"] {
        let mark = unique("mark");
        let (mut child, _dir) = clinging(&["--tier", tier], &mark);
        child.kill().unwrap();
        child.wait().unwrap();
        gone(&mark);
    }
}

#[test]
fn an_interrupted_run_is_ended_in_order() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mark = unique("mark");
        let (mut child, _dir) = clinging(&[], &mark);
        Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(child.id().to_string())
            .status()
            .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(137));
        assert_eq!(marked(&mark), [""; 0]);
    }
}

#[test]
fn an_interrupt_from_a_terminal_ends_the_run_in_order_at_every_tier() {
    if !available("root", root()) {
        return;
    }
    // A terminal's Ctrl-C goes to the whole process group: the init must outlive it, to end the rest.
    for tier in ["full", "container"] {
        let mark = unique("mark");
        let (mut child, _dir) = clinging(&["--tier", tier], &mark);
        let group = format!("-{}", child.id());
        Command::new("kill").args(["-2", "--", &group]).status().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(137));
        assert_eq!(marked(&mark), [""; 0]);
    }
}

#[test]
fn a_time_limit_during_the_set_up_is_a_time_limit() {
    for limit in ["0.001", "0.005", "0.01", "0.02", "0.03", "0.05", "0.07"] {
        let mark = unique("mark");
        let flags = ["--timeout", limit, "--env", &format!("MARK={mark}")];
        let outcome = outcome(&flags, "import time\ntime.sleep(600)\n");
        assert_eq!(
            (&outcome["status"], &outcome["exit_code"]),
            (&json!("timeout"), &json!(124)),
            "{outcome:#}"
        );
        assert_eq!(marked(&mark), [""; 0]);
    }
}

#[test]
fn a_run_leaves_no_mounts_and_no_files_on_the_host() {
    if !available("root", root()) {
        return;
    }
    let dir = scratch();
    let script = dir.path().join("writes.py");
    let temporary = dir.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    std::fs::write(&script, "open('/tmp/left', 'w').write('x' * 1000)\n").unwrap();
    // In a mount namespace of our own, where nobody else mounts anything.
    let shell = format!(
        "cat /proc/self/mountinfo > {0}/before && {CALLGATE} exec --tier full -q {0}/writes.py && cat /proc/self/mountinfo > {0}/after",
        dir.path().display()
    );
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &shell])
        .env("TMPDIR", &temporary)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(read("before"), read("after"));
    assert!(read("before").lines().count() > 3);
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    assert!(!std::path::Path::new("/tmp/left").exists());
}

#[test]
fn runs_at_the_same_time_have_different_uids() {
    if !available("root", root()) {
        return;
    }
    let dir = scratch();
    let script = dir.path().join("uid.py");
    std::fs::write(
        &script,
        "import os, sys\nprint(os.getuid(), flush=True)\nsys.stdin.read()\n",
    )
    .unwrap();
    let start = || {
        let mut child = callgate(["exec", "--tier", "full", "-q", script.to_str().unwrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        (child, line)
    };
    let (mut first, uid) = start();
    let (mut second, other) = start();
    assert_ne!(uid, other);
    assert!(uid.trim().parse::<u32>().unwrap() >= 65_000);
    for child in [&mut first, &mut second] {
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_bomb_of_processes_is_held_and_swept() {
    if !available("root", root()) {
        return;
    }
    let dir = scratch();
    let policy = policy(dir.path(), &json!([]));
    let code = "
import os, time
def bomb():
    while True:
        try:
            if os.fork() == 0: continue
        except OSError:
            time.sleep(0.05)
for _ in range(2):
    if os.fork() == 0: bomb()
time.sleep(600)
";
    for tier in ["full", "container"] {
        let mark = unique("mark");
        let variable = format!("MARK={mark}");
        let flags = [
            "--timeout",
            "2",
            "--tier",
            tier,
            "--policy",
            &policy,
            "--env",
            &variable,
        ];
        let outcome = outcome(&flags, code);
        assert_eq!(outcome["exit_code"], 124, "{outcome:#}");
        assert_eq!(marked(&mark), [""; 0]);
    }
}

#[test]
fn a_process_that_kills_all_it_can_does_not_outlive_the_run() {
    if !available("root", root()) {
        return;
    }
    let dir = scratch();
    let policy = policy(dir.path(), &json!([]));
    let code = "
import os, signal
assert os.getuid() >= 65000
if os.fork() == 0:
    os.setsid()
    while True:
        try: os.kill(-1, signal.SIGKILL)
        except OSError: pass
signal.pause()
";
    for tier in ["full", "container"] {
        let mark = unique("mark");
        let variable = format!("MARK={mark}");
        let flags = [
            "--timeout",
            "30",
            "--tier",
            tier,
            "--policy",
            &policy,
            "--env",
            &variable,
        ];
        let outcome = outcome(&flags, code);
        assert_eq!(
            (&outcome["status"], &outcome["signal"]),
            (&json!("signaled"), &json!("SIGKILL")),
            "{outcome:#}"
        );
        assert_eq!(marked(&mark), [""; 0]);
    }
}
