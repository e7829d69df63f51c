//! `dig --pid`: a process that runs is attached to, recorded and let go, whatever happens to dig.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{call, count, dig};
use crate::support::{available, callgate, expect, json as parsed, root, said, scratch, tool};

/// Three threads that sleep and ask, children that come and go, and a count of the rounds.
const SERVER: &str = "import os, sys, threading, time\n\
    def work():\n    while True:\n        time.sleep(0.02)\n        os.getsid(0)\n\
    for _ in range(3):\n    threading.Thread(target=work, daemon=True).start()\n\
    rounds = 0\n\
    while True:\n    if os.fork() == 0:\n        os.getpgid(0)\n        os._exit(0)\n    os.wait()\n    rounds += 1\n    \
    open(sys.argv[1] + '.new', 'w').write(str(rounds))\n    os.rename(sys.argv[1] + '.new', sys.argv[1])\n    time.sleep(0.01)\n";

/// A process that runs on its own, killed at the end of the test.
struct Running(Child);

impl Running {
    fn server(dir: &Path) -> Self {
        let rounds = dir.join("rounds");
        let script = dir.join("server.py");
        fs::write(&script, SERVER).unwrap();
        let server = Self::start(Command::new("python3").args([&script, &rounds]));
        wait(|| progress(dir) > 0);
        server
    }

    fn start(command: &mut Command) -> Self {
        Self(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    /// One field of every thread's status.
    fn each(&self, name: &str) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let status = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok());
        status
            .filter_map(|status| {
                let line = status.lines().find_map(|line| line.strip_prefix(name))?;
                Some(line.trim().to_owned())
            })
            .collect()
    }

    fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signal(pid: i32, name: &str) {
    expect(0, Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]));
}

fn progress(dir: &Path) -> u64 {
    fs::read_to_string(dir.join("rounds")).map_or(0, |text| text.parse().unwrap_or(0))
}

fn wait(until: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !until() {
        assert!(Instant::now() < deadline, "it never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// It goes on by itself, with nobody attached.
fn goes_on(server: &Running, dir: &Path) {
    let before = progress(dir);
    wait(|| progress(dir) > before + 3);
    wait(|| server.each("TracerPid:").iter().all(|tracer| tracer == "0"));
    assert_eq!(server.each("TracerPid:").len(), 4, "all its threads are there");
}

/// dig in the background, attached.
fn attached(pid: i32, trace: &Path) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut command = callgate(["dig", "--pid", &pid.to_string(), "-o"]);
    let mut child = command
        .arg(trace)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert!(line.contains(&format!("attached to process {pid}")), "{line}");
    (child, told)
}

#[test]
fn threads_and_children_of_a_running_process_are_recorded_and_it_goes_on_after_the_time_limit() {
    let dir = scratch();
    let server = Running::server(dir.path());
    let output = expect(
        0,
        &mut dig(["--pid", &server.pid().to_string(), "--timeout", "1"]),
    );
    goes_on(&server, dir.path());
    let trace = parsed(&output);
    assert_eq!(
        trace["outcome"],
        json!({"status": "detached"}),
        "{}",
        said(&output)
    );
    assert_eq!(trace["counts"], "exact");
    assert!(
        trace["command"][0].as_str().unwrap().contains("python3"),
        "{}",
        trace["command"]
    );
    assert!(
        trace["notes"].to_string().contains("what it did before"),
        "{}",
        trace["notes"]
    );
    for call in trace["syscalls"].as_array().unwrap() {
        assert_eq!(call["phases"], json!(["body"]), "{call}");
    }
    let by = |name: &str| call(&trace, name).unwrap_or_else(|| panic!("no {name}: {trace:#}"));
    assert_eq!(
        by("getsid")["sights"][0]["thread"]["main"],
        false,
        "a thread that was there"
    );
    assert_eq!(by("getsid")["site"]["line"], 5);
    assert_eq!(
        by("getpgid")["site"]["line"],
        11,
        "a child that was made meanwhile"
    );
    assert!(call(&trace, "execve").is_none());
}

#[test]
fn an_interrupt_lets_it_go_and_what_was_seen_is_written() {
    let dir = scratch();
    let server = Running::server(dir.path());
    let file = dir.path().join("t.json");
    let (mut child, _told) = attached(server.pid(), &file);
    let before = progress(dir.path());
    wait(|| progress(dir.path()) > before + 2);
    signal(child.id() as i32, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    goes_on(&server, dir.path());
    let trace: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(trace["outcome"], json!({"status": "detached"}));
    assert!(count(&trace, "wait4") > 0);
}

#[test]
fn a_killed_dig_leaves_nothing_stopped() {
    let dir = scratch();
    let server = Running::server(dir.path());
    // At whatever stop its threads are.
    for _ in 0..10 {
        let (mut child, _told) = attached(server.pid(), &dir.path().join("t.json"));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        goes_on(&server, dir.path());
    }
    assert!(!dir.path().join("t.json").exists());
}

#[test]
fn a_stopped_process_stays_stopped_while_it_is_attached_and_after() {
    let dir = scratch();
    let server = Running::server(dir.path());
    let state = || server.each("State:");
    let stopped = |all: Vec<String>| all.iter().all(|state| state.starts_with(['T', 't']));
    server.signal("STOP");
    wait(|| stopped(state()));
    let before = progress(dir.path());
    let (mut child, _told) = attached(server.pid(), &dir.path().join("t.json"));
    std::thread::sleep(Duration::from_millis(300)); // for nothing to happen
    assert!(
        stopped(state()) && progress(dir.path()) == before,
        "{:?}",
        state()
    );
    signal(child.id() as i32, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // The kernel wakes each thread and lets it enter the stop again by itself.
    wait(|| state().iter().all(|state| state.starts_with('T')));
    assert_eq!(progress(dir.path()), before);
    server.signal("CONT");
    goes_on(&server, dir.path());
    // And one that is continued while it is attached goes on.
    server.signal("STOP");
    wait(|| stopped(state()));
    let (mut child, _told) = attached(server.pid(), &dir.path().join("t.json"));
    let before = progress(dir.path());
    server.signal("CONT");
    wait(|| progress(dir.path()) > before + 2);
    signal(child.id() as i32, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    goes_on(&server, dir.path());
}

#[test]
fn a_sleep_goes_on_by_the_kernel_s_restart_and_the_end_of_a_process_is_recorded() {
    let script = "import os, time\nos.write(1, b'x')\nbegin = time.monotonic()\ntime.sleep(3)\n\
                  os._exit(0 if 2.9 < time.monotonic() - begin < 20 else 1)\n";
    // sleep(1) waits for a length of time, of which the kernel knows what is left; Python waits for a moment.
    let mut sleeper = Running::start(Command::new("sleep").arg("2"));
    let python = Running::start(Command::new("python3").args(["-c", script]));
    wait(|| sleeper.each("State:") == ["S (sleeping)"]);
    wait(|| {
        fs::read_to_string(format!("/proc/{}/wchan", sleeper.pid()))
            .is_ok_and(|at| at.contains("nanosleep") || at == "0")
    });
    let output = expect(0, &mut dig(["--pid", &sleeper.pid().to_string()]));
    let trace = parsed(&output);
    assert_eq!(trace["outcome"], json!({"status": "exited", "exit_code": 0}));
    assert_eq!(count(&trace, "restart_syscall"), 1, "{trace:#}");
    assert_eq!(
        sleeper.0.wait().unwrap().code(),
        Some(0),
        "its parent hears of its end too"
    );
    let table = expect(0, callgate(["dig", "--pid"]).arg(python.pid().to_string()));
    assert!(said(&table).contains("exited with 0"), "{}", said(&table));
    let shown = scratch();
    let file = shown.path().join("t.json");
    fs::write(&file, trace.to_string()).unwrap();
    let shown = expect(0, callgate(["dig", "show"]).arg(&file));
    assert!(said(&shown).contains("by the kernel"), "{}", said(&shown));
}

#[test]
fn a_failure_and_a_signal_that_end_it_are_the_outcome() {
    let sleeper = Running::start(Command::new("sleep").arg("60"));
    let dir = scratch();
    let file = dir.path().join("t.json");
    let (mut child, _told) = attached(sleeper.pid(), &file);
    sleeper.signal("USR1");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let trace: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(
        trace["outcome"],
        json!({"status": "signaled", "signal": "SIGUSR1"})
    );
}

#[test]
fn what_can_t_be_attached_to_is_told_with_the_mend() {
    let refused = |code: i32, pid: i32, word: &str| {
        let output = expect(code, &mut callgate(["dig", "--pid", &pid.to_string()]));
        assert!(said(&output).contains(word), "{word}: {}", said(&output));
    };
    refused(2, i32::MAX, "no such process");
    refused(2, std::process::id() as i32, "callgate itself");
    let dir = scratch();
    let server = Running::server(dir.path());
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let thread = tasks
        .map(|task| {
            task.unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .parse::<i32>()
                .unwrap()
        })
        .find(|tid| *tid != server.pid());
    refused(2, thread.unwrap(), &format!("attach to {}", server.pid()));
    {
        let (mut first, _told) = attached(server.pid(), &dir.path().join("t.json"));
        refused(125, server.pid(), "(callgate) traces it already");
        signal(first.id() as i32, "INT");
        first.wait().unwrap();
    }
    let mut zombie = Running::start(&mut Command::new("true"));
    wait(|| zombie.each("State:") == ["Z (zombie)"]);
    refused(2, zombie.pid(), "ended already");
    zombie.0.wait().unwrap();
    let both = expect(2, &mut callgate(["dig", "--pid", "1", "--", "/bin/true"]));
    assert!(said(&both).contains("--pid"), "{}", said(&both));
    expect(2, &mut callgate(["dig", "--pid", "0"]));
}

#[test]
fn another_users_process_is_refused_with_advice() {
    if !available("root", root()) || !available("setpriv", tool("setpriv")) {
        return;
    }
    let sleeper = Running::start(Command::new("sleep").arg("60"));
    let dir = scratch();
    // Where every user may execute it.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(dir.path(), open).unwrap();
    let program = dir.path().join("callgate");
    fs::copy(crate::support::CALLGATE, &program).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(program);
    let output = expect(125, command.args(["dig", "--pid", &sleeper.pid().to_string()]));
    let told = said(&output);
    assert!(told.contains("it runs as uid 0, callgate as 65534"), "{told}");
    assert!(told.contains("CAP_SYS_PTRACE"), "{told}");
}
